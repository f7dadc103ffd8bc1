"""A stage's version: changes when its code, or code it uses, changes, and not with comments.

Snakemake does not watch imported packages, and scripts only by their time, which a fresh clone or
an installation changes. A stage's version is the SHA-256 of the syntax trees,
docstrings stripped, of its module and of every ``editinfinity`` module that it imports, found
transitively and statically (nothing is imported), and is passed to the stage's rule as a param.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from editinfinity.workflow.location import PACKAGE

_DIGITS = 16


@functools.cache
def stage_version(stage: str) -> str:
    """Version of ``editinfinity.stages.STAGE``, 16 hexadecimal digits.

    Raises:
        ValueError: there is no such stage.
    """
    module = f"{PACKAGE.name}.stages.{stage}"
    if _source(module) is None:
        raise ValueError(f"there is no stage {stage}")
    return _digest("\n".join(f"{name} {_read(name)[0]}" for name in sorted(modules_used(module))))


@functools.cache
def rule_version(script: Path, stage: str) -> str:
    """Version of a rule: of its stage, and, after a dash, of the script that calls it."""
    return f"{stage_version(stage)}-{_digest(_code(ast.parse(script.read_bytes())))}"


def stage_part(version: str) -> str:
    """The stage's version in a rule's."""
    return version.partition("-")[0]


def forget_versions() -> None:
    """Have the next question look at the files again."""
    for cached in (stage_version, rule_version, _read, _source):
        cached.cache_clear()


def modules_used(module: str) -> set[str]:
    """The module and all modules of this package it imports, wherever in its code."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(_read(name)[1])
    return seen


@functools.cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """(fingerprint of a module's code, modules of this package that it names in imports)."""
    path = _source(module)
    assert path is not None, module
    tree = ast.parse(path.read_bytes())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imports = tuple(dict.fromkeys(_imports(tree, package)))
    return _digest(_code(tree)), imports


def _code(tree: ast.Module) -> str:
    """A module's code in one form, without comments and docstrings.

    Source again, not a dump of the tree, whose form differs between Python versions.
    """
    for node in ast.walk(tree):
        _strip_docstring(node)
    return ast.unparse(tree)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Modules of this package imported below a node, but for what only type checkers see."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Import):
        for alias in node.names:
            if _source(alias.name):
                yield alias.name
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")
        above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
        base = ".".join(part for part in (above, node.module) if part)
        if _source(base):
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if _source(name)]
            yield from found
            # A name that is no module of its own comes from the package's __init__.
            if len(found) < len(submodules):
                yield base
    for child in children:
        yield from _imports(child, package)


def _strip_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    # The attribute docstrings of dataclasses and constants go too: any bare string is prose.
    node.body = [
        statement
        for statement in node.body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]


@functools.cache
def _source(module: str) -> Path | None:
    """File of a module of this package; None for any other."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
