"""The method stands once, below the stages: what imports what, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import editinfinity

PACKAGE = Path(editinfinity.__file__).parent
FORBIDDEN = ("stages", "workflow", "worker", "pipeline")


def imported(path: Path) -> set[str]:
    """Everything that a module imports anywhere in its code, as dotted names."""
    package = ".".join(path.relative_to(PACKAGE.parent).parts[:-1]).split(".")
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def modules(folder: str) -> Iterator[Path]:
    """Files of a subpackage."""
    found = sorted((PACKAGE / folder).rglob("*.py"))
    assert len(found) > 3
    return iter(found)


def below(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether a dotted name lies in one of the rooms of the package."""
    parts = name.split(".")
    return parts[0] == "editinfinity" and len(parts) > 1 and parts[1] in rooms


def reached(starts: Iterator[Path]) -> dict[Path, Path | None]:
    """Modules of the package that some modules import, however indirectly → who imports each."""
    waiting: list[tuple[Path, Path | None]] = [(path, None) for path in starts]
    seen: dict[Path, Path | None] = {}
    while waiting:
        path, importer = waiting.pop()
        if path in seen:
            continue
        seen[path] = importer
        for name in imported(path):
            file = PACKAGE.parent.joinpath(*name.split("."))
            candidates = (file.with_suffix(".py"), file / "__init__.py")
            # The package's own lists all exports, for type checkers.
            waiting.extend(
                (candidate, path)
                for candidate in candidates
                if candidate.is_file() and candidate != PACKAGE / "__init__.py"
            )
    return seen


def test_the_method_reaches_no_stage_workflow_or_worker() -> None:
    found = reached(modules("method"))
    assert PACKAGE / "inversion" / "training.py" in found  # so it does find what is imported
    wrong = {
        str(path.relative_to(PACKAGE)): str(importer)
        for path, importer in found.items()
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in FORBIDDEN
    }
    assert wrong == {}


def test_stages_and_pipeline_train_and_draw_only_through_the_method() -> None:
    for path in [*modules("stages"), PACKAGE / "pipeline.py"]:
        wrong = [name for name in imported(path) if below(name, ("editing", "inversion"))]
        assert wrong == [], path
