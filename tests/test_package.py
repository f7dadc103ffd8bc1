"""The package itself: light to import, and what it exports is there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import editinfinity


def test_import_is_light_and_free_of_torch() -> None:
    code = (
        "import sys; import editinfinity;"
        "editinfinity.preset('tiny'); editinfinity.ScaleSchedule; editinfinity.ModelSettings;"
        "heavy = {'torch', 'transformers', 'peft', 'pandas', 'pydantic'} & set(sys.modules);"
        "sys.exit(bool(heavy) and str(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_jobs_import_little() -> None:
    code = (
        "import sys, editinfinity.planning.job;"
        "heavy = {'torch', 'numpy', 'pandas', 'PIL', 'pydantic', 'snakemake'} & set(sys.modules);"
        "sys.exit(bool(heavy) and str(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_export_is_there() -> None:
    for name in editinfinity.__all__:
        assert getattr(editinfinity, name) is not None, name
    assert set(editinfinity.__all__) - {"__version__"} == set(editinfinity._HOMES)
    assert set(editinfinity.__all__) <= set(dir(editinfinity))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = editinfinity.nonsense


def test_type_checkers_see_every_export() -> None:
    """What stands under ``if TYPE_CHECKING`` is what is loaded when it is asked for."""
    tree = ast.parse(Path(editinfinity.__file__).read_text("utf-8"))
    (checked,) = (part.body for part in tree.body if isinstance(part, ast.If))
    homes = {alias.asname: part.module for part in checked for alias in part.names}
    assert homes == {name: f"editinfinity.{home}" for name, home in editinfinity._HOMES.items()}
