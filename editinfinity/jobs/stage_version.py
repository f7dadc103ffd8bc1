"""The version of every stage: a number that is raised by hand when a stage computes other results.

Snakemake does not watch imported packages, so each rule has the version of its stage as a param:
raising a number reruns that stage and what follows, for every user.

Beside each number, ``stages/versions.json`` keeps a digest of the code that it stands for: the
stage, the scripts that call it and all modules of this package that they import. A test fails when
the code no longer has that digest, until somebody who knows the change says which of two it is::

    python -m editinfinity.jobs.stage_version same            # results stay as they are
    python -m editinfinity.jobs.stage_version new kernel ...  # other results: the number rises

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
"""Numbers and digests, below the package."""

_CACHE = Path("__pycache__", "stage_digests.json")
"""Digests of the code as it is, below the package: working them out takes about a second."""

_STAGE_OF = {"edit_text_features": "text_features"}
"""Stages of the rules that are not named after theirs."""

_DIGITS = 16


@dataclass(frozen=True)
class StageVersion:
    """What ``stages/versions.json`` says of a stage.

    Attributes:
        version: the number.
        digest: of the code that the number stands for, 16 hexadecimal digits.
    """

    version: int
    digest: str


@functools.cache
def recorded_versions(package: Path = PACKAGE) -> dict[str, StageVersion]:
    """Stage → its version, as ``stages/versions.json`` has it."""
    content = json.loads((package / VERSIONS).read_text("utf-8"))
    return {stage: StageVersion(**entry) for stage, entry in content.items()}


def stage_of(rule: str) -> str:
    """The stage that a rule runs.

    Args:
        rule: its name, which another workflow that uses this one as a module may have put a word
            before or after (``use rule * from editinfinity as other_*``).
    """
    known = [*_STAGE_OF, *recorded_versions()]
    if rule not in known:
        parts = (name for name in known if rule.endswith(f"_{name}") or rule.startswith(f"{name}_"))
        rule = max(parts, key=len, default=rule)
    return _STAGE_OF.get(rule, rule)


def rule_version(rule: str) -> str:
    """The version of a rule as a param: its stage and the number, ``train_lora:2``."""
    stage = stage_of(rule)
    return f"{stage}:{recorded_versions()[stage].version}"


def running_code(rule: str, stage: str | None = None) -> Code:
    """The code of a rule in this process, of its stage where the name does not tell that."""
    stage = stage or stage_of(rule)
    known, digest = recorded_versions()[stage], running_digests()[stage]
    return Code(rule, known.version, digest, digest != known.digest)


@functools.cache
def running_digests() -> dict[str, str]:
    """Stage → digest of its code as it was when this process first asked."""
    return current_digests()


def current_digests(package: Path = PACKAGE, scripts: Path | None = None) -> dict[str, str]:
    """Stage → digest of its code as it is on the disk now.

    Args:
        package: folder of the package.
        scripts: folder of the rules' scripts; None for those of the workflow.
    """
    scripts = workflow_root() / "scripts" if scripts is None else scripts
    files = sorted([*package.rglob("*.py"), *scripts.glob("*.py")])
    sources = {path: path.read_bytes() for path in files}
    named = (b"%s\0%s" % (os.fsencode(path.name), content) for path, content in sources.items())
    key = _digest(b"\0".join(named))
    with suppress(OSError, ValueError, KeyError, TypeError):
        cached = json.loads((package / _CACHE).read_text("utf-8"))
        if cached["code"] == key:
            return dict(cached["digests"])
    digests = _digests_of(sources, package, scripts)
    with suppress(UserError, OSError):  # an installation that cannot be written to does without
        write_json(package / _CACHE, {"code": key, "digests": digests})
    return digests


def changed_stages(digests: Mapping[str, str], package: Path = PACKAGE) -> list[str]:
    """Stages whose code is not what their version stands for."""
    return [
        stage for stage, known in recorded_versions(package).items()
        if digests[stage] != known.digest
    ]  # fmt: skip


def _digests_of(sources: Mapping[Path, bytes], package: Path, scripts: Path) -> dict[str, str]:
    """Stage → digest of it, of the scripts that call it and of all modules that it imports.

    Where a module lies does not count, so that it may be moved. Nothing is imported.

    Args:
        sources: file → content, of the package's modules and of the scripts.
        package: its folder.
        scripts: folder of the scripts; an installed package has it inside.
    """
    modules: dict[str, Path] = {}
    calls: dict[str, list[str]] = {}
    for path, content in sources.items():
        if path.parent == scripts:
            calls.setdefault(stage_of(path.stem), []).append(_shape(ast.parse(content)))
        else:
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path

    @functools.cache
    def parsed(path: Path) -> tuple[str, set[Path]]:
        """(a module's shape, files of the modules that it imports, wherever in its code)."""
        tree = ast.parse(sources[path])
        imports = _imports(tree, ".".join(path.relative_to(package.parent).parts[:-1]), modules)
        return _digest(_shape(tree).encode()), {modules[name] for name in imports & modules.keys()}

    digests = {}
    for stage in recorded_versions(package):
        shapes = [_digest(shape.encode()) for shape in calls[stage]]
        seen: set[Path] = set()
        waiting = {modules[f"{package.name}.stages.{stage}"]}
        while waiting:
            seen.add(path := waiting.pop())
            shape, imported = parsed(path)
            shapes.append(shape)
            waiting |= imported - seen
        digests[stage] = _digest("\n".join(sorted(shapes)).encode())
    return digests


def _imports(node: ast.AST, package: str, modules: Container[str]) -> set[str]:
    """What is imported below a node, but for what only type checkers see."""
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
        # A name that is no module of its own comes from the module, or a package's __init__.
        found |= {name if name in modules else base for name in names}
    return found


def _shape(node: object, words: bool = True) -> str:
    """A syntax tree as text that differs where what it computes may differ.

    Unlike ``ast.dump`` and ``ast.unparse`` it is the same in all Python versions.

    Args:
        node: a node, or what a field of one holds.
        words: whether texts count; not in an error or a log line.
    """
    if isinstance(node, list):
        return "[" + ",".join(_shape(each, words) for each in node if not _says_nothing(each)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    match node:
        case ast.Raise() | ast.Call(ast.Attribute(ast.Name("log" | "logging"))):
            words = False
        case ast.JoinedStr() | ast.Constant(str()) if not words:
            return "''"
    fields = (
        f"{name}={_shape(value, words)}"
        for name, value in ast.iter_fields(node)
        if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
    )
    return f"{type(node).__name__}({','.join(fields)})"


def _says_nothing(node: object) -> bool:
    """Whether a statement computes nothing: an import, a docstring, another bare string."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant(str())):
            return True
    return False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _classify(kind: str, stages: Sequence[str], package: Path = PACKAGE) -> list[str]:
    """Write the present digests into ``stages/versions.json``, with higher numbers if asked.

    Args:
        kind: ``same`` or ``new``.
        stages: those meant; of ``same``, none means all that have changed.
        package: folder of the package.

    Returns:
        A line for each stage that was written.
    """
    digests, known = current_digests(package), dict(recorded_versions(package))
    lines = []
    for stage in stages or changed_stages(digests, package):
        version = known[stage].version + (kind == "new")
        known[stage] = StageVersion(version, digests[stage])
        lines.append(f"{stage}: version {version}, {digests[stage]}")
    text = json.dumps({stage: asdict(entry) for stage, entry in known.items()}, indent=2)
    (package / VERSIONS).write_text(text + "\n", encoding="utf-8")
    return lines


def main(arguments: Sequence[str]) -> None:
    """``same [STAGE ...]`` or ``new STAGE ...``; see the module's docstring."""
    kind, *stages = arguments or ["?"]
    unknown = [stage for stage in stages if stage not in recorded_versions()]
    if kind not in ("same", "new") or unknown or (kind == "new" and not stages):
        known = ", ".join(recorded_versions())
        sys.exit(f"write: same, or: new STAGE ..., with stages of {known}")
    sys.stdout.writelines(f"{line}\n" for line in _classify(kind, stages))


if __name__ == "__main__":
    main(sys.argv[1:])
