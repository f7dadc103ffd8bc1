"""Mutants of a source file: one small change each, made by the operators of cosmic-ray."""

from __future__ import annotations

import random
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.tree import NodeOrLeaf

_PROVIDER = OperatorProvider()

_IDENTITY = re.compile(r"ReplaceComparisonOperator_(?!Is_IsNot|IsNot_Is).*Is")

OPERATORS: dict[str, type[Operator]] = {
    name: _PROVIDER[name]
    for name in _PROVIDER
    # Decorators here only cache results, free memory or translate errors. The two after it need to
    # be told names of variables. Of small numbers and None, identity is equality.
    if name not in {"RemoveDecorator", "VariableReplacer", "VariableInserter"}
    and not _IDENTITY.match(name)
}

UNTESTED = {"raise_stmt", "assert_stmt", "fstring", "decorator"}
"""Nodes whose insides are messages, checks of types, or options of a dataclass."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: the file, relative to the repository.
        line: number of the changed line, from 1.
        before, after: the line without and with the change.
        source: the whole changed source.
    """

    path: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before.strip()}  →  {self.after.strip()}"


def sample(root: Path, paths: Iterable[str], number: int, seed: int) -> list[Mutant]:
    """Return mutants at ``number`` places, all equally likely, in the order of the files.

    A place is a leaf of the syntax tree, such as a number or an operator. At each one that is
    drawn, one of its mutants is drawn.
    """
    sources = {path: (root / path).read_text(encoding="utf-8") for path in paths}
    places = [(path, *place) for path, text in sources.items() for place in places_of(text).items()]
    chance = random.Random(seed)
    chance.shuffle(places)
    mutants: list[Mutant] = []
    for path, (line, _), changes in places:
        if len(mutants) == number:
            break
        chance.shuffle(changes)
        before = sources[path]
        for change in changes:
            after = mutated(before, *change)
            if _compiles(after):  # unlike the * before keyword-only parameters
                lines = (text.split("\n")[line - 1] for text in (before, after))
                mutants.append(Mutant(path, line, *lines, after))
                break
    order = list(sources)
    return sorted(mutants, key=lambda mutant: (order.index(mutant.path), mutant.line))


def places_of(source: str) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return (line, column) → mutations there: an operator's name, and the number of its use."""
    nodes = list(ast_nodes(get_ast(source)))
    found: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for name, kind in OPERATORS.items():
        uses = ((node, place) for node in nodes for place, _ in kind().mutation_positions(node))
        for use, (node, place) in enumerate(uses):
            if not _proves_nothing(node):
                found[place].append((name, use))
    return dict(found)


def _proves_nothing(node: NodeOrLeaf) -> bool:
    """Return whether a node is in an annotation, a message or a check of the interpreter's."""
    if node.type == "if_stmt":
        node = node.children[0]
    if node.parent is not None and node.parent.type == "parameters":  # the * before keywords
        return True
    child = node
    while (parent := child.parent) is not None:
        if parent.type in UNTESTED or (parent.type == "tfpdef" and child is not parent.children[0]):
            return True
        if parent.type == "annassign" and child is parent.children[1]:
            return True
        if parent.type == "funcdef" and child is parent.annotation:
            return True
        if parent.type == "argument" and parent.children[0].get_code().strip() == "strict":
            return True
        if parent.type == "if_stmt" and parent.children[1].get_code().strip() == "TYPE_CHECKING":
            return True
        if parent.type == "atom_expr" and parent.get_code().strip().startswith("log."):
            return True
        child = parent
    return False


def mutated(source: str, name: str, use: int) -> str:
    """Return the source with this use of an operator."""
    tree, operator = get_ast(source), OPERATORS[name]()
    count = 0
    for node in list(ast_nodes(tree)):
        for index, _ in enumerate(operator.mutation_positions(node)):
            if count == use:
                changed = operator.mutate(node, index)
                if changed is not node:
                    siblings = node.parent.children
                    siblings[siblings.index(node)] = changed
                return tree.get_code()
            count += 1
    raise IndexError(f"{name} has no use {use}")


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
