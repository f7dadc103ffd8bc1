"""The package itself: light to import, and what it exports is there."""

import subprocess
import sys
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import pytest

import editinfinity
from editinfinity.settings import groups
from editinfinity.settings.edit_kwargs import EditKwargs
from editinfinity.settings.types import Choice


def require_not_imported(code: str, heavy: set[str]) -> None:
    """Fail if a new process has imported one of the heavy packages after running code."""
    code += f"; found = {heavy!r} & set(sys.modules); sys.exit(bool(found) and str(found))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_is_light_and_free_of_torch() -> None:
    require_not_imported(
        "import sys; import editinfinity;"
        "editinfinity.preset('tiny'); editinfinity.ScaleSchedule; editinfinity.ModelSettings",
        {"torch", "transformers", "peft", "pandas", "pydantic"},
    )


def test_jobs_import_little() -> None:
    require_not_imported(
        "import sys, editinfinity.planning.job",
        {"torch", "numpy", "pandas", "PIL", "pydantic", "snakemake"},
    )


def test_only_texts_and_lora_wait_for_their_libraries() -> None:
    """transformers takes seconds to import, and PEFT imports it."""
    require_not_imported(
        "import sys, editinfinity.pipeline, editinfinity.stages.text_features,"
        " editinfinity.stages.train_textembedding, editinfinity.stages.train_lora",
        {"transformers", "peft", "scipy"},
    )


def test_commands_import_little(tmp_path: Path) -> None:
    """Neither help nor the search for photographs opens a picture."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a_mask.png").touch()
    code = (
        "import sys; from pathlib import Path; from editinfinity.cli import main;"
        "from editinfinity.cases.photo_folder import find_photographs\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert len(find_photographs(Path(sys.argv.pop()), False).photographs) == 1\n"
        "heavy = {'torch', 'numpy', 'pandas', 'PIL', 'pydantic', 'snakemake'} & set(sys.modules)\n"
        "sys.exit(bool(heavy) and str(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_export_is_there() -> None:
    assert len(editinfinity.__all__) == 33
    for name in [*editinfinity.__all__, "__version__"]:
        assert getattr(editinfinity, name) is not None, name
    assert set(editinfinity.__all__) <= set(dir(editinfinity))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = editinfinity.nonsense


def test_the_typed_options_of_edit_are_its_settings() -> None:
    accepted = (
        groups.SamplingSettings, groups.GuidanceSettings, groups.PreservationSettings,
        groups.MaskSettings, groups.FinishSettings,
    )  # fmt: skip
    options = get_type_hints(EditKwargs)
    assert list(options) == [key for group in accepted for key in group.settings()]
    for group in accepted:
        declared = get_type_hints(group)
        for key, setting in group.settings().items():
            kind = options[key]
            without_none = [part for part in get_args(kind) if part is not NoneType]
            assert (NoneType in get_args(kind)) == setting.nullable, key
            if isinstance(setting.type, Choice):
                choices = get_args(kind)
                if setting.nullable:  # a Literal | None has the literals one level below
                    choices = get_args(without_none[0])
                assert choices == setting.type.options, key
            else:
                plain = declared[key] if NoneType in get_args(declared[key]) else None
                assert kind in (declared[key], plain, declared[key] | None), key
