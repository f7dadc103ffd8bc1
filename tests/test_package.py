"""The package itself: light to import, and what it exports is there."""

import subprocess
import sys
import time

import pytest

import editinfinity


def test_import_is_light_and_free_of_torch() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import editinfinity;"
        "editinfinity.preset('tiny'); editinfinity.ScaleSchedule; editinfinity.ModelSettings;"
        "print(time.perf_counter() - t); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.3


def test_every_export_is_there() -> None:
    began = time.perf_counter()
    for name in editinfinity.__all__:
        assert getattr(editinfinity, name) is not None, name
    assert set(editinfinity.__all__) - {"__version__"} == set(editinfinity._HOMES)
    assert set(editinfinity.__all__) <= set(dir(editinfinity))
    assert time.perf_counter() - began < 60
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = editinfinity.nonsense
