"""The version of every stage: a number that is raised by hand if the stage's results change.

Snakemake does not watch imported packages, so the version of its stage is a param of each rule.
Raising the number reruns that stage and everything downstream of it, for every user.

For each version number, ``stages/versions.json`` also contains a digest of the stage's code: the
stage, the scripts that call it, and all modules of this package that they import. A test fails if
the code no longer has that digest, until a developer classifies the change::

    python -m editinfinity.jobs.stage_version same            # results stay as they are
    python -m editinfinity.jobs.stage_version new kernel ...  # results change: raises the number

Comments, docstrings, formatting, imports and the wording of log lines and raised errors are not
part of a digest.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import sys
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import resolve_name
from pathlib import Path

from editinfinity.environment import PACKAGE, workflow_root
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_json
from editinfinity.jobs.record import Code

VERSIONS = Path("stages", "versions.json")
"""Path of the version numbers and digests, relative to the package."""

_CACHE = Path("__pycache__", "stage_digests.json")
"""Path of the cached digests of the current code, relative to the package; computing them takes
about a second."""

_STAGE_OF = {"edit_text_features": "text_features"}
"""Rule → stage, for rules that are not named after their stage."""

_DIGITS = 16


@dataclass(frozen=True)
class StageVersion:
    """The entry of a stage in ``stages/versions.json``.

    Attributes:
        version: the version number.
        digest: digest of the code that the number stands for, 16 hexadecimal digits.
    """

    version: int
    digest: str


@functools.cache
def recorded_versions(package: Path = PACKAGE) -> dict[str, StageVersion]:
    """Return stage → version, as recorded in ``stages/versions.json``."""
    content = json.loads((package / VERSIONS).read_text("utf-8"))
    return {stage: StageVersion(**entry) for stage, entry in content.items()}


def stage_of(rule: str) -> str:
    """Return the stage that a rule runs.

    Args:
        rule: name of the rule. A workflow that uses this one as a module may have added a prefix or
            suffix (``use rule * from editinfinity as other_*``).
    """
    known = [*_STAGE_OF, *recorded_versions()]
    if rule not in known:
        parts = (name for name in known if rule.endswith(f"_{name}") or rule.startswith(f"{name}_"))
        rule = max(parts, key=len, default=rule)
    return _STAGE_OF.get(rule, rule)


def rule_version(rule: str) -> str:
    """Return the version param of a rule: its stage and the number, e.g. ``train_lora:2``."""
    stage = stage_of(rule)
    return f"{stage}:{recorded_versions()[stage].version}"


def running_code(rule: str, stage: str | None = None) -> Code:
    """Return the code of a rule in this process.

    Args:
        rule: name of the rule.
        stage: the rule's stage, if it cannot be derived from the name.
    """
    stage = stage or stage_of(rule)
    known, digest = recorded_versions()[stage], running_digests()[stage]
    return Code(rule, known.version, digest, digest != known.digest)


@functools.cache
def running_digests() -> dict[str, str]:
    """Return stage → digest of its code at the time of this process's first call."""
    return current_digests()


def current_digests(package: Path = PACKAGE, scripts: Path | None = None) -> dict[str, str]:
    """Return stage → digest of its code as it is on disk now.

    Args:
        package: folder of the package.
        scripts: folder of the rules' scripts; None for those of the workflow.
    """
    scripts = workflow_root() / "scripts" if scripts is None else scripts
    files = sorted([*package.rglob("*.py"), *scripts.glob("*.py")])
    sources = {path: path.read_bytes() for path in files}
    named = (b"%s\0%s" % (os.fsencode(path.name), content) for path, content in sources.items())
    key = _digest(b"\0".join([*map(str.encode, recorded_versions(package)), *named]))
    with suppress(OSError, ValueError, KeyError, TypeError):
        cached = json.loads((package / _CACHE).read_text("utf-8"))
        if cached["code"] == key:
            return dict(cached["digests"])
    digests = _digests_of(sources, package, scripts)
    with suppress(UserError, OSError):  # not cached in a read-only installation
        write_json(package / _CACHE, {"code": key, "digests": digests})
    return digests


def changed_stages(digests: Mapping[str, str], package: Path = PACKAGE) -> list[str]:
    """Return the stages whose code differs from the code that their version stands for."""
    return [
        stage for stage, known in recorded_versions(package).items()
        if digests[stage] != known.digest
    ]  # fmt: skip


def _digests_of(sources: Mapping[Path, bytes], package: Path, scripts: Path) -> dict[str, str]:
    """Return stage → digest of the stage, the scripts that call it and all modules that it imports.

    The location of a module is not part of the digest, so that it can be moved. Nothing is
    imported.

    Args:
        sources: file → content, of the package's modules and of the scripts.
        package: folder of the package.
        scripts: folder of the scripts; in an installed package it is inside the package.
    """
    modules: dict[str, Path] = {}
    calls: dict[str, list[str]] = {}
    for path, content in sources.items():
        if path.parent == scripts:
            calls.setdefault(stage_of(path.stem), []).append(_dump(ast.parse(content)))
        else:
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path

    @functools.cache
    def parsed(path: Path) -> tuple[str, set[Path]]:
        """Return (digest of a module's code, files of all modules that it imports)."""
        tree = ast.parse(sources[path])
        imports = _imports(tree, ".".join(path.relative_to(package.parent).parts[:-1]), modules)
        return _digest(_dump(tree).encode()), {modules[name] for name in imports & modules.keys()}

    digests = {}
    for stage in recorded_versions(package):
        dumps = [_digest(dump.encode()) for dump in calls[stage]]
        visited: set[Path] = set()
        pending = {modules[f"{package.name}.stages.{stage}"]}
        while pending:
            visited.add(path := pending.pop())
            dump, imported = parsed(path)
            dumps.append(dump)
            pending |= imported - visited
        digests[stage] = _digest("\n".join(sorted(dumps)).encode())
    return digests


def _imports(node: ast.AST, package: str, modules: Container[str]) -> set[str]:
    """Return the names imported below a node, except under ``if TYPE_CHECKING``."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    found = set().union(*(_imports(child, package, modules) for child in children))
    if isinstance(node, ast.Import):
        found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), package)
        names = [f"{base}.{alias.name}" for alias in node.names]
        # A name that is not itself a module is defined in the module or package __init__.
        found |= {name if name in modules else base for name in names}
    return found


def _dump(node: object, strings: bool = True) -> str:
    """Return a syntax tree as text that differs if its computation may differ.

    Unlike ``ast.dump`` and ``ast.unparse``, it gives the same text in all Python versions.

    Args:
        node: a node, or the value of a node's field.
        strings: whether to include string constants; those in errors and log calls never are.
    """
    if isinstance(node, list):
        return "[" + ",".join(_dump(item, strings) for item in node if not _inert(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    match node:
        case ast.Raise() | ast.Call(ast.Attribute(ast.Name("log" | "logging"))):
            strings = False
        case ast.JoinedStr() | ast.Constant(str()) if not strings:
            return "''"
    fields = (
        f"{name}={_dump(value, strings)}"
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    )
    return f"{type(node).__name__}({','.join(fields)})"


def _inert(node: object) -> bool:
    """Return whether a statement computes nothing: an import, a docstring, another bare string."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant(str())):
            return True
    return False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _classify(change: str, stages: Sequence[str], package: Path = PACKAGE) -> list[str]:
    """Write the current digests to ``stages/versions.json``, raising the numbers if requested.

    Args:
        change: ``same`` or ``new``.
        stages: stages to update; if empty (``same`` only), all stages that have changed.
        package: folder of the package.

    Returns:
        One line for each stage that was updated.
    """
    digests, known = current_digests(package), dict(recorded_versions(package))
    lines = []
    for stage in stages or changed_stages(digests, package):
        version = known[stage].version + (change == "new")
        known[stage] = StageVersion(version, digests[stage])
        lines.append(f"{stage}: version {version}, {digests[stage]}")
    text = json.dumps({stage: asdict(entry) for stage, entry in known.items()}, indent=2)
    (package / VERSIONS).write_text(text + "\n", encoding="utf-8")
    return lines


def main(arguments: Sequence[str]) -> None:
    """Run ``same [STAGE ...]`` or ``new STAGE ...``; see the module's docstring."""
    change, *stages = arguments or ["?"]
    unknown = [stage for stage in stages if stage not in recorded_versions()]
    if change not in ("same", "new") or unknown or (change == "new" and not stages):
        known = ", ".join(recorded_versions())
        sys.exit(f"usage: same [STAGE ...] or: new STAGE ...; the stages are {known}")
    sys.stdout.writelines(f"{line}\n" for line in _classify(change, stages))


if __name__ == "__main__":
    main(sys.argv[1:])
