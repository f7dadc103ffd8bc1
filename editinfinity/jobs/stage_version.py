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
from collections.abc import Iterator, Mapping, Sequence
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


def running_code(rule: str) -> Code:
    """The code of a rule in this process."""
    stage = stage_of(rule)
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
    code = _Code(package, sources)
    calls: dict[str, list[Path]] = {}
    for script in sorted(scripts.glob("*.py")):
        calls.setdefault(stage_of(script.stem), []).append(script)
    digests = {stage: code.digest_of(stage, calls[stage]) for stage in recorded_versions(package)}
    with suppress(UserError, OSError):  # an installation that cannot be written to does without
        write_json(package / _CACHE, {"code": key, "digests": digests})
    return digests


def changed_stages(digests: Mapping[str, str], package: Path = PACKAGE) -> list[str]:
    """Stages whose code is not what their version stands for."""
    return [
        stage for stage, known in recorded_versions(package).items()
        if digests[stage] != known.digest
    ]  # fmt: skip


class _Code:
    """The modules of a package, parsed without being imported.

    Args:
        package: its folder.
        sources: file → content.
    """

    def __init__(self, package: Path, sources: Mapping[Path, bytes]) -> None:
        self.package, self.sources = package, sources
        self._read: dict[Path, tuple[str, tuple[str, ...]]] = {}

    def digest_of(self, stage: str, scripts: Sequence[Path]) -> str:
        """Digest of a stage, of the scripts that call it and of all modules it imports.

        Where a module lies does not count, so that it may be moved.
        """
        module = f"{self.package.name}.stages.{stage}"
        used = [self._parsed(path)[0] for path in self._closure(module)]
        used += [_digest(_shape(ast.parse(self.sources[path])).encode()) for path in scripts]
        return _digest("\n".join(sorted(used)).encode())

    def _closure(self, module: str) -> set[Path]:
        """Files of a module and of all modules of this package it imports, wherever in its code."""
        seen: set[Path] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            path = self._file(name)
            if path is not None and path not in seen:
                seen.add(path)
                waiting.extend(self._parsed(path)[1])
        return seen

    def _parsed(self, path: Path) -> tuple[str, tuple[str, ...]]:
        """(digest of a module's code, modules of this package that it names in imports)."""
        if path not in self._read:
            tree = ast.parse(self.sources[path])
            parts = path.relative_to(self.package.parent).with_suffix("").parts
            package = ".".join(parts[:-1])
            imports = tuple(dict.fromkeys(self._imports(tree, package)))
            self._read[path] = _digest(_shape(tree).encode()), imports
        return self._read[path]

    def _imports(self, node: ast.AST, package: str) -> Iterator[str]:
        """Modules of this package imported below a node, but for what only type checkers see."""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            children: list[ast.AST] = list(node.orelse)
        else:
            children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            yield from submodules
            # A name that is no module of its own comes from the module, or a package's __init__.
            if not all(map(self._file, submodules)):
                yield base
        for child in children:
            yield from self._imports(child, package)

    def _file(self, module: str) -> Path | None:
        """File of a module of this package; None for any other."""
        path = self.package.parent.joinpath(*module.split("."))
        files = (path.with_suffix(".py"), path / "__init__.py")
        return next((file for file in files if file in self.sources), None)


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
