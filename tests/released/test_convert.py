"""Released files of every layout become one, which loads to the same numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editinfinity.errors import UserError
from editinfinity.files.model_folder import RECORD_NAME
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.presets import PRESETS, Preset
from editinfinity.released.catalogue import RELEASES
from editinfinity.released.convert import CONVERTED, convert, released_files
from editinfinity.released.expected import compare, expected
from editinfinity.released.stored import open_state
from editinfinity.released.verify import verify
from tests.released.files import (
    TOKENIZER_FILE,
    TOKENIZER_LIST,
    TRANSFORMER_LIST,
    released_shapes,
    shrunk,
    tokenizer_state,
    transformer_state,
    write_release,
    write_shards,
)

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all releases in small."""
    folder = tmp_path_factory.mktemp("released")
    for name in RELEASES:
        write_release(shrunk(name), folder)
    return folder


@pytest.mark.parametrize("name", RELEASES)
def test_a_whole_release_converts_and_loads_to_the_same_numbers(
    released: Path, tmp_path: Path, name: str
) -> None:
    small = shrunk(name)
    done = convert(small, released_files(name, released), tmp_path)
    assert done["transformer"].tensors == len(load_transformer(small, CPU, tmp_path).state_dict())
    assert any(key.endswith("zero_k_bias") for key in done["transformer"].unused)
    assert any(key.startswith("decoder.") for key in done["text_encoder"].unused)

    torch.manual_seed(0)
    from editinfinity.models.transformer import Infinity

    wanted = Infinity(small.transformer).state_dict()
    found = load_transformer(small, CPU, tmp_path).state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    load_tokenizer(small, CPU, tmp_path)
    # The encoder's half of T5 gives what the whole gave.
    whole = replace(small, weights=replace(small.weights, text_encoder="flan-t5-xl"))
    (tmp_path / "flan-t5-xl").symlink_to(released / "flan-t5-xl")
    features = [
        load_text_encoder(chosen, CPU, tmp_path).encode("a red cup").features
        for chosen in (small, whole)
    ]
    assert torch.equal(*features)

    report = json.loads((tmp_path / "conversion.json").read_text())
    assert report["model"] == name and str(tmp_path) not in json.dumps(report)
    assert report["parts"]["transformer"]["dtypes"] == ["fp32"]


@pytest.mark.parametrize("name", ["infinity_125m", "infinity_8b"])
def test_bf16_halves_the_files_and_changes_only_what_runs_in_it(
    released: Path, tmp_path: Path, name: str
) -> None:
    """On a GPU the blocks' linear layers run in bf16 anyway: the same numbers from either file."""
    small = shrunk(name)
    as_released, halved = tmp_path / "released", tmp_path / "halved"
    usual = convert(small, released_files(name, released), as_released)
    done = convert(small, released_files(name, released), halved, "bf16")
    assert done["transformer"].dtypes == ["bf16", "fp32"]
    assert done["text_encoder"].dtypes == ["bf16"]
    assert done["tokenizer"].sha256 == usual["tokenizer"].sha256
    assert done["text_encoder"].bytes < 0.6 * usual["text_encoder"].bytes
    record = json.loads((halved / RECORD_NAME).read_text())
    assert record["parts"]["transformer"]["dtypes"] == ["bf16", "fp32"]

    linear = ("mat_qkv.weight", "mat_q.weight", "mat_kv.weight", "proj.weight", "fc1.weight",
              "fc2.weight", "proj.bias", "fc1.bias", "fc2.bias", "mat_q.bias")  # fmt: skip
    first, second = (load_transformer(small, CPU, at).state_dict() for at in (as_released, halved))
    for key, tensor in first.items():
        runs_in_bf16 = key.startswith("blocks.") and key.endswith(linear)
        assert second[key].dtype == torch.float32
        assert torch.equal(second[key], tensor.bfloat16().float() if runs_in_bf16 else tensor), key
    words = [load_text_encoder(small, CPU, at).encode("a red cup") for at in (as_released, halved)]
    assert torch.allclose(words[0].features, words[1].features, atol=0.05)
    assert not torch.equal(words[0].features, words[1].features)
    halves = load_text_encoder(small, CPU, halved, "bf16")
    assert next(halves.model.parameters()).dtype == torch.bfloat16
    assert torch.allclose(halves.encode("a red cup").features, words[0].features, atol=0.1)


@pytest.mark.parametrize("file", ["infinity_vae_d32reg.pth", "infinity_vae_d32_reg.pth"])
def test_both_spellings_of_the_2bs_tokenizer_are_taken(tmp_path: Path, file: str) -> None:
    """The hub's, and that of the original scripts; the d32 without regularisation does not fit."""
    for name in (file, "infinity_vae_d32.pth", "infinity_2b_reg.pth"):
        (tmp_path / name).touch()
    (tmp_path / "flan-t5-xl").mkdir()
    (tmp_path / "flan-t5-xl" / "model.safetensors").touch()
    assert released_files("infinity_2b", tmp_path)["tokenizer"] == [tmp_path / file]
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=r"contains no infinity_vae_d32\*reg\*"):
        released_files("infinity_2b", tmp_path)


def old_pickle(state: dict, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


LAYOUTS = {
    "flat": lambda s, d: torch.save(s, d / "infinity_2b_reg.pth"),
    "before torch 1.6": lambda s, d: old_pickle(s, d / "infinity_2b_reg.pth"),
    "nested": lambda s, d: torch.save(
        {"trainer": {"gpt_fsdp": s, "iter": 3}, "epoch": 1}, d / "infinity_2b_reg.pth"
    ),
    "shards": lambda s, d: write_shards(d / "infinity_2b_reg", s, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale_mul", [0, 1])
def test_every_layout_of_a_transformer_gives_the_same_file(
    released: Path, tmp_path: Path, layout: str, scale_mul: int
) -> None:
    small = shrunk("infinity_2b")
    state = transformer_state(small)
    for key in [key for key in state if key.endswith("scale_mul_1H11")]:
        state[key] = state[key].reshape((1, 1, -1, 1) if scale_mul else (1, -1, 1, 1))
    source = tmp_path / "source"
    source.mkdir()
    LAYOUTS[layout](state, source)
    # The tokenizer in the naming of older files, without the inner .conv and .norm.
    torch.save(tokenizer_state(small, wrapped=False), source / TOKENIZER_FILE["infinity_2b"])
    (source / "flan-t5-xl").symlink_to(released / "flan-t5-xl")
    done = convert(small, released_files("infinity_2b", source), tmp_path / "made")
    usual = convert(small, released_files("infinity_2b", released), tmp_path / "usual")
    assert {p: c.sha256 for p, c in done.items()} == {p: c.sha256 for p, c in usual.items()}


@pytest.mark.parametrize("name", RELEASES)
def test_pickles_of_the_real_shapes_are_recognised(tmp_path: Path, name: str) -> None:
    """At full size but without weight: every tensor is one number, shown many times."""
    lists = {"transformer": TRANSFORMER_LIST, "tokenizer": TOKENIZER_LIST}
    for part, names in lists.items():
        keys = names[name]
        models = " or ".join(model for model in RELEASES if names[model] == keys)
        state = {key: torch.zeros(1).expand(s) for key, s in released_shapes(keys).items()}
        path = tmp_path / f"{part}.pth"
        torch.save(state, path)
        assert path.stat().st_size < 2**20
        (verdict,) = verify(path)
        assert (verdict.model, verdict.part, verdict.usable) == (models, part, True)
        assert (
            verdict.line().endswith("million parameters in fp32") and "complete" in verdict.line()
        )
        del state["encoder.conv_in.conv.weight" if part == "tokenizer" else "pos_start"]
        torch.save(state, path)
        (verdict,) = verify(path)
        assert verdict.model in models and (verdict.part, verdict.usable) == (part, False)
        assert "lacks 1 tensors such as" in verdict.line()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Preset:
    """The small preset under the real one's name."""
    small = shrunk("infinity_2b")
    monkeypatch.setitem(PRESETS, "infinity_2b", small)
    return small


def test_verify_tells_damage(released: Path, tmp_path: Path, known: Preset) -> None:
    convert(known, released_files("infinity_2b", released), tmp_path)
    verdicts = verify(tmp_path)
    assert [v.part for v in verdicts] == ["tokenizer", "transformer", "text_encoder"]
    assert all(v.usable and v.checksum for v in verdicts)
    # A text encoder fits every released model, but the record names one.
    assert [v.model for v in verdicts] == ["infinity_2b"] * 3
    file = tmp_path / "transformer.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert [v.usable for v in verify(tmp_path)] == [True, False, True]
    assert "checksum differs" in verify(file)[0].line()
    assert verify(tmp_path, checksums=False)[1].usable
    file.write_bytes(whole[:-1000])
    with pytest.raises(UserError, match=r"transformer\.safetensors: is damaged or truncated"):
        verify(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=r"transformer\.safetensors: there is no such file"):
        verify(tmp_path)


def test_verify_of_the_folder_one_is_in_and_of_odd_names(
    released: Path, tmp_path: Path, known: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted, shards = tmp_path / "converted", tmp_path / "[a]"
    convert(known, released_files("infinity_2b", released), converted)
    write_shards(shards, transformer_state(known), 2)
    write_shards(tmp_path / "a", {"other": torch.ones(1)}, 1)  # what [a] means as a pattern
    assert [v.part for v in verify(shards)] == ["transformer"]
    monkeypatch.chdir(shards)
    assert [v.part for v in verify(Path())] == ["transformer"]
    monkeypatch.chdir(converted)
    assert all(v.usable and v.checksum for v in verify(Path()))
    monkeypatch.chdir(converted / CONVERTED["text_encoder"].partition("/")[0])
    (verdict,) = verify(Path(CONVERTED["text_encoder"].rpartition("/")[2]))
    assert verdict.usable and verdict.checksum


def pipe(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda place: pipe(place / "a.pth"), "a.pth: is a pipe, not a file"),
        (lambda place: pipe(place / "a.safetensors"), "a.safetensors: is a pipe, not a file"),
        (lambda place: pipe(place / "a.safetensors").parent, "a.safetensors: is a pipe, not a f"),
        (lambda place: place, ": contains no weights; give the file or folder that does"),
        (lambda _: Path("/"), "/: contains no weights"),
        (lambda _: Path("/dev/null"), "/dev/null: is a device, not a file"),
        (lambda place: place / ("a" * 300), ": cannot be read (File name too long)"),
        (lambda place: place / "none", "none: there is no such file; fetch or convert it first"),
    ],
)
def test_what_holds_no_weights_is_one_line_at_once(
    tmp_path: Path, make: Callable[[Path], Path], fault: str
) -> None:
    path = make(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "editinfinity", "weights", "verify", str(path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("editinfinity: ") and fault in done.stderr


def test_a_report_that_is_a_pipe_is_no_report(released: Path, tmp_path: Path) -> None:
    pipe(tmp_path / RECORD_NAME)
    shutil.copy(released / "infinity_2b_reg.pth", tmp_path)
    (verdict,) = verify(tmp_path / "infinity_2b_reg.pth")
    assert verdict.checksum is None


def test_what_does_not_fit_is_named_and_nothing_is_written(
    released: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = shrunk("infinity_2b")
    source = shutil.copytree(released, tmp_path / "source")
    state = transformer_state(small)
    state["head.weight"] = torch.zeros(3, 3)
    state["something.else"] = state.pop("pos_start")
    torch.save(state, source / "infinity_2b_reg.pth")
    with (
        caplog.at_level("INFO"),
        pytest.raises(
            UserError, match=r"lacks 1 .*pos_start and has 1 unexpected .*something\.else"
        ),
    ):
        convert(small, released_files("infinity_2b", source), tmp_path / "made")
    assert "misshapen: head.weight is (3, 3), not (64, 32)" in caplog.text
    assert not (tmp_path / "made" / "transformer.safetensors").exists()

    state = transformer_state(small)
    state["head.bias"] = state["head.bias"] * float("nan")
    torch.save(state, source / "infinity_2b_reg.pth")
    with pytest.raises(UserError, match=r"head\.bias: contains values that are not finite"):
        convert(small, released_files("infinity_2b", source), tmp_path / "made")
    assert not list((tmp_path / "made").glob("*transformer*"))


class Trap:
    def __reduce__(self) -> tuple:
        return (print, ("the pickle ran code",))


def test_no_pickle_runs_code(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"a": Trap()}, tmp_path / "infinity_2b_reg.pth")
    for look in (verify, lambda path: open_state([path])):
        with pytest.raises(UserError, match="is damaged or not plain weights"):
            look(tmp_path / "infinity_2b_reg.pth")
    assert "ran code" not in capsys.readouterr().out


def test_a_text_encoder_of_another_width_is_refused(released: Path, tmp_path: Path) -> None:
    small = shrunk("infinity_2b")
    wide = replace(small, text_encoder=replace(small.text_encoder, width=2048))
    with pytest.raises(UserError, match="its features have 128 channels, infinity_2b needs 2048"):
        expected(wide, "text_encoder", released / "flan-t5-xl")


def test_shapes_alone_tell_the_releases_apart() -> None:
    names = ("infinity_125m", "infinity_2b", "infinity_8b")
    for name in names:
        state = {
            key: torch.empty(shape, device="meta") for key, shape in released_shapes(name).items()
        }
        for other in names:
            found = compare(state, PRESETS[other], "transformer", Path())  # type: ignore[arg-type]
            assert found.fits == (name == other)
