"""What the original has learned, read from its files: the same logits, and no wrong ones."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from editinfinity.compute import reseed
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, SoftPrompt
from editinfinity.files.weights import load_transformer
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import Source
from editinfinity.method.draw import adapted
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import Preset, preset
from editinfinity.released.trainings import (
    ADAPTERS,
    EMBEDDINGS,
    TrainingFiles,
    read_adapter,
    read_blend,
    read_soft_prompt,
)
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import LoraSettings
from tests.released.files import shrunk, transformer_state
from tests.released.upstream import (
    EMBEDDING,
    LORA,
    RANK,
    SETTINGS,
    finished_folder,
    random_blend,
    random_embedding,
    random_lora,
    save,
)

CPU = torch.device("cpu")
SMALL = shrunk("infinity_2b")
SCHEDULE = ScaleSchedule(1.0, "0.06M")


def saved_weights(folder: Path, small: Preset, biases: bool) -> Path:
    """A released file whose q and v biases are not zero, or are."""
    state = transformer_state(small)
    for name in state:
        if name.endswith((".q_bias", ".v_bias")):
            state[name] = torch.full_like(state[name], 0.3 * biases)
    folder.mkdir()
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()},
        folder / "transformer.safetensors",
    )
    return folder


def inputs(small: Preset, schedule: ScaleSchedule) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """Teacher forcing's inputs and the features of a prompt of 7 tokens."""
    torch.manual_seed(1)
    bits = small.transformer.token_bits
    text = torch.randn(7, small.transformer.text_width).numpy()
    return torch.randn(1, schedule.tokens - 1, bits), text


def direct_logits(model: Infinity, small: Preset, schedule: ScaleSchedule, case: Path) -> Tensor:
    """Computed from the tensors as the original's files have them, by its formula."""
    lora = torch.load(case / LORA, weights_only=True)
    per_chunk = small.transformer.depth // small.transformer.chunks
    handles = []
    for number, block in enumerate(model.blocks):
        for name in ("fc1", "fc2"):
            key = f"block_chunks.{number // per_chunk}.module.{number % per_chunk}.ffn.{name}"
            a, b = lora[f"{key}.lora_A"].reshape(RANK, -1), lora[f"{key}.lora_B"].reshape(-1, RANK)

            def add(_: Any, x: Any, y: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
                return y + x[0] @ a.T @ b.T * (32 / 4)

            handles.append(getattr(block.ffn, name).register_forward_hook(add))
    tokens, text = inputs(small, schedule)
    vectors = torch.load(case / EMBEDDING, weights_only=True)[0, :20]
    features = torch.cat([torch.from_numpy(text), vectors])[None]
    with torch.no_grad():
        logits = model(tokens, TextFeatures(features), schedule)
    for handle in handles:
        handle.remove()
    return logits


def imported_logits(model: Infinity, small: Preset, schedule: ScaleSchedule, case: Path) -> Tensor:
    """Computed from the checkpoints that an import writes, as a stage reads them."""
    read_soft_prompt(case / EMBEDDING, small).save(case / "iter9.safetensors")
    read_adapter(case / LORA, small, LoraSettings()).save(case / "lora")
    width = small.transformer.text_width
    prompt = SoftPrompt.load(case / "iter9.safetensors", small.name, width)
    tokens, text = inputs(small, schedule)
    source = Source(tokens, TextFeatures.of(text, CPU), schedule, prompt.vectors)
    with adapted(model, Adapter.load(case / "lora")), torch.no_grad():
        return model(tokens, source.batch_text(1), schedule)


@pytest.mark.parametrize("name", ["infinity_2b", "infinity_8b"])
def test_logits_are_those_of_the_originals_tensors(tmp_path: Path, name: str) -> None:
    small = shrunk(name)
    case = finished_folder(tmp_path / "case", small)
    schedule = replace(SCHEDULE, patchify=small.transformer.patchify)
    with_biases = saved_weights(tmp_path / "trained", small, biases=True)
    without = saved_weights(tmp_path / "dropped", small, biases=False)
    expected = direct_logits(load_transformer(small, CPU, without), small, schedule, case)
    model = load_transformer(small, CPU, with_biases, attention_bias=False)
    logits = imported_logits(model, small, schedule, case)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    # Each part matters: the biases, the vectors and the adapter.
    kept = load_transformer(small, CPU, with_biases)
    tokens, text = inputs(small, schedule)
    with torch.no_grad():
        bare = model(tokens, TextFeatures.of(text, CPU), schedule)
    for other in (imported_logits(kept, small, schedule, case), bare):
        assert (other - expected).abs().max() > 0.01


def test_a_text_embedding_is_its_first_twenty_rows(tmp_path: Path) -> None:
    rows = random_embedding(SMALL)
    prompt = read_soft_prompt(save(rows, tmp_path / "embedding_it9.pth"), SMALL)
    assert torch.equal(prompt.vectors, rows[0, :20]) and not prompt.vectors.requires_grad
    assert (prompt.iteration, prompt.preset) == (9, "infinity_2b")


def test_an_adapter_has_the_names_and_configuration_of_one_trained_here(tmp_path: Path) -> None:
    tiny = preset("tiny")
    imported = read_adapter(
        save(random_lora(tiny), tmp_path / LORA.name), tiny, LoraSettings(lora_alpha=16)
    )
    reseed(0, "test", 0)
    trained = Adapter.of(add_lora(load_transformer(tiny, CPU), LoraSettings(lora_alpha=16)))
    assert json.dumps(imported.config, sort_keys=True) == json.dumps(trained.config, sort_keys=True)
    assert {name: (t.shape, t.dtype) for name, t in imported.weights.items()} == {
        name: (t.shape, t.dtype) for name, t in trained.weights.items()
    }


def test_another_rank_and_tensors_in_their_shapes_are_read(tmp_path: Path) -> None:
    tiny = preset("tiny")
    content = {
        name: torch.cat([tensor, tensor]).reshape((8, -1) if name.endswith("A") else (-1, 8))
        for name, tensor in random_lora(tiny).items()
    }
    path = save(content, tmp_path / LORA.name)
    with pytest.raises(UserError, match="set model and lora_rank to those"):
        read_adapter(path, tiny, LoraSettings())
    adapter = read_adapter(path, tiny, LoraSettings(lora_rank=8))
    assert adapter.config["r"] == 8
    name = "base_model.model.blocks.1.ffn.fc2.lora_B.weight"
    expected = content["block_chunks.0.module.1.ffn.fc2.lora_B"]
    assert torch.equal(adapter.weights[name], expected)


def test_iterations_are_the_updates_made(tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "case", SMALL)
    (folder / LORA.parent / "notes.txt").touch()
    files = TrainingFiles.find(folder, None, None, None)
    assert [path.name for path in files.adapters] == [
        "lora_weight_10iter.pt",
        "lora_weight_50iter.pt",
    ]
    training = files.read(SMALL, LoraSettings())
    assert (training.embedding_iteration, training.adapter_iteration) == (9, 49)
    assert training.settings() == SETTINGS
    for path, name in ((EMBEDDING, "embedding_it0.pth"), (LORA, "lora_weight_1iter.pt")):
        with pytest.raises(UserError, match="was saved before the first update"):
            (EMBEDDINGS if path is EMBEDDING else ADAPTERS).updates(tmp_path / name)
    with pytest.raises(UserError, match=re.escape("name it as the original does, embedding_it9")):
        read_soft_prompt(save(random_embedding(SMALL), tmp_path / "mine.pth"), SMALL)


def test_a_folder_without_trainings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="contains neither .*; give --embedding or --lora"):
        TrainingFiles.find(tmp_path, None, None, None)


class _RunsCode:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("ran",)


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(_RunsCode(), protocol=2))


def _saved(value: object) -> Callable[[Path], object]:
    return lambda path: save(value, path)


def changed(**changes: Any) -> dict[str, Any]:
    """The tensors of a LoRA, one of them changed."""
    (change,) = changes.items()
    content = random_lora(SMALL)
    key = "block_chunks.7.module.3.ffn.fc2.lora_B"
    match change:
        case ("without", _):
            del content[key]
        case ("value", value):
            content[key] = value
        case ("more", value):
            content[value] = torch.zeros(3)
    return content


FULL = random_embedding(SMALL).detach()
BAD_EMBEDDINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (_pickled, "is damaged or not plain weights"),
    "a text": (lambda path: path.write_text("x"), "is damaged or not plain weights"),
    "empty": (lambda path: path.touch(), "is damaged or not plain weights"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not a file"),
    "a LoRA": (_saved(random_lora(SMALL)), "contains dict, not a tensor"),
    "another width": (_saved(torch.zeros(1, 512, 64)), "width 64, but those of model infinity_2b"),
    "too few rows": (_saved(torch.zeros(1, 19, 128)), r"its shape is \(1, 19, 128\)"),
    "two": (_saved(torch.zeros(2, 512, 128)), r"its shape is \(2, 512, 128\)"),
    "NaN": (_saved(FULL.clone().fill_(torch.nan)), "contains infinity or NaN"),
    "whole numbers": (_saved(FULL.long()), "a tensor that is not plain numbers"),
    "sparse": (_saved(FULL.to_sparse()), "a tensor that is not plain numbers"),
    "no memory": (_saved(FULL.to("meta")), "a tensor that is not plain numbers"),
    "missing": (lambda path: None, "there is no such file"),
}
BAD_LORAS: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (_pickled, "is damaged or not plain weights"),
    "a tensor": (_saved(FULL), "is not a LoRA of the original"),
    "no tensors": (_saved({}), "128 missing tensors such as block_chunks.0.module.0.ffn.fc1"),
    "one less": (_saved(changed(without=1)), "1 missing tensors such as block_chunks.7.module.3"),
    "one more": (_saved(changed(more="x\n\x1b[31m")), r"1 unknown tensors such as x\\n\\x1b"),
    "a number for a name": (_saved(changed(more=3)), "1 unknown tensors such as 3"),
    "another model": (_saved(random_lora(shrunk("infinity_8b"))), "is not a LoRA of model"),
    "another width": (
        _saved(random_lora(replace(SMALL, transformer=replace(SMALL.transformer, width=48)))),
        # 4 · 48 values are 6 · 32 as well.
        r"has shape \(192,\), but should have \(4, 32\) or its 128 values in a row",
    ),
    "a part": (_saved(changed(value=torch.zeros(100))), r"fc2.lora_B has shape \(100,\), but"),
    "turned": (_saved(changed(value=torch.zeros(4, 32))), r"has shape \(4, 32\), but"),
    "empty": (_saved(changed(value=torch.zeros(0))), r"has shape \(0,\)"),
    "huge": (_saved(changed(value=torch.zeros(1).expand(2**40))), r"has shape \(1099511627776,\)"),
    "NaN": (_saved(changed(value=torch.full((128,), torch.nan))), "contains infinity or NaN"),
    "a word": (_saved(changed(value="x")), "contains str, not a tensor"),
    "missing": (lambda path: None, "there is no such file"),
}
BAD_BLENDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (_pickled, "is damaged or not plain weights"),
    "another shape": (_saved(torch.zeros(32, 32)), r"its shape is \(32, 32\), not \(64, 64\)"),
    "above 1": (_saved(random_blend() + 1), "values that are not between 0 and 1"),
    "NaN": (_saved(torch.full((64, 64), torch.nan)), "values that are not between 0 and 1"),
    "whole numbers": (_saved(torch.ones(64, 64).long()), "a tensor that is not plain numbers"),
}


@pytest.mark.parametrize("what", BAD_EMBEDDINGS)
def test_a_wrong_text_embedding_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    refuse(tmp_path, monkeypatch, EMBEDDING.name, *BAD_EMBEDDINGS[what], read_soft_prompt, SMALL)


@pytest.mark.parametrize("what", BAD_LORAS)
def test_a_wrong_lora_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    make, message = BAD_LORAS[what]
    refuse(tmp_path, monkeypatch, LORA.name, make, message, read_adapter, SMALL, LoraSettings())


@pytest.mark.parametrize("what", BAD_BLENDS)
def test_a_wrong_blend_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    refuse(tmp_path, monkeypatch, "weighted_tensor.pt", *BAD_BLENDS[what], read_blend)


def refuse(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path], object],
    message: str,
    read: Callable[..., object],
    *arguments: object,
) -> None:
    monkeypatch.chdir(folder)
    make(Path(name))
    with pytest.raises(UserError, match=message) as fault:
        read(Path(name), *arguments)
    assert str(fault.value).startswith(f"{name}: ") and "\n" not in str(fault.value)
    assert not Path("ran").exists()
