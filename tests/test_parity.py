"""The recordings in tests/parity_data through the parity script."""

from pathlib import Path

import pytest
import torch

import tests.parity as parity

DATA = Path(__file__).parent / "parity_data"
ABSENT = {
    "square_256": 3,  # no blended inference at this size
    "square_256_no_attention_bias": 9,
}


@pytest.mark.parametrize("folder", sorted(ABSENT))
def test_model_equals_recording(folder: str) -> None:
    results = parity.compare(DATA / folder, torch.device("cpu"))
    assert [r.name for r in results if r.verdict == "FAIL"] == []
    assert sum(r.verdict == "absent" for r in results) <= ABSENT[folder]


def test_script_fails_on_other_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Biases ignored where the recording has them: the script must say so and exit 1."""
    folder = DATA / "square_256"
    config = (folder / "config.json").read_text()
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "config.json").write_text(
        config.replace('"attention_bias": true', '"attention_bias": false').replace(
            '"seed": 1', f'"weights": "{folder}"'
        )
    )
    (wrong / "tensors.safetensors").symlink_to(folder / "tensors.safetensors")
    assert parity.main([str(wrong)]) == 1
    printed = capsys.readouterr().out
    assert "FAIL   logits" in printed
    assert "ok     features" in printed
    assert "absent infer_function 2: image" in printed


def test_script_reads_masks_and_kernels_and_refuses_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parity.main([str(DATA / "smoothing")]) == 0
    assert capsys.readouterr().out.count("ok     kernel of") == 5
    with pytest.raises(SystemExit):
        parity.main([str(tmp_path)])
    assert "is no recording" in capsys.readouterr().err


def test_incomplete_recording_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SystemExit):
        parity.main([str(tmp_path)])
    assert "tensors.safetensors: is missing" in capsys.readouterr().err
