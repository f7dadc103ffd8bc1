"""Checkpoints, features and weights that are not what they should be, in the stages' hands."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editinfinity.errors import UserError
from editinfinity.files.tensors import METADATA_KEY, save_tensors
from editinfinity.files.weights import load_tokenizer, load_transformer
from editinfinity.presets import preset
from editinfinity.stages.edit import edit
from editinfinity.stages.train_lora import train_lora
from tests.bad_input.corpus import require_clear
from tests.bad_input.pictures import oversize
from tests.stages.conftest import FAST, TINY, Worked, worked  # noqa: F401


class Spiteful:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8:60] = b"\xff" * 52
    path.write_bytes(data)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Spiteful()))


def torch_pickled(path: Path) -> None:
    torch.save({"embedding": Spiteful()}, path)


def replace(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The same file with other numbers."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    changed = {name: change(tensor) for name, tensor in load_file(path).items()}
    save_file(changed, path, metadata)


def not_a_number(path: Path) -> None:
    replace(path, lambda tensor: torch.full_like(tensor, float("nan")))


def infinite(path: Path) -> None:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[-1] = float("-inf")
        return tensor

    replace(path, change)


def other_shape(path: Path) -> None:
    replace(path, lambda tensor: torch.zeros(3, 5))


def of_whole_numbers(path: Path) -> None:
    save_file({name: tensor.int() for name, tensor in load_file(path).items()}, path)


def foreign(path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3, 3)}, path)


def another_kind(path: Path) -> None:
    save_tensors(path, load_file(path), {"kind": "kernel", "preset": "tiny"})


def another_model(path: Path) -> None:
    save_tensors(path, load_file(path), {"kind": "text_embedding", "preset": "bundled"})


def no_iteration(path: Path) -> None:
    save_tensors(path, load_file(path), {"kind": "text_embedding", "preset": "tiny"})


def deep_metadata(path: Path) -> None:
    save_file({"embedding": torch.zeros(20, 128)}, path, {METADATA_KEY: "[" * 100_000})


def in_place_of(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


WAYS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": cut,
    "garbled": garble,
    "a text": lambda path: path.write_text("not tensors"),
    "a pickle with code": pickled,
    "a torch pickle with code": torch_pickled,
    "not a number": not_a_number,
    "infinite": infinite,
    "foreign": foreign,
    "another shape": other_shape,
    "a folder": in_place_of(Path.mkdir),
    "a pipe": in_place_of(os.mkfifo),
    "a lie about its length": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "too long": lambda path: oversize(path, path.stat().st_size + 2**31),
}
EMBEDDINGS = {
    **WAYS,
    "whole numbers": of_whole_numbers,
    "another kind": another_kind,
    "another model's": another_model,
    "of no iteration": no_iteration,
    "deep metadata": deep_metadata,
}


@pytest.fixture
def case(worked: Worked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worked:  # noqa: F811
    """A copy to spoil."""
    folder = tmp_path / "case"
    shutil.copytree(worked.folder, folder)
    monkeypatch.chdir(tmp_path)
    return Worked(folder)


def draw(case: Worked) -> None:
    edit(
        image_features=case.image,
        text_features=case.edit_text,
        embedding=case.embedding,
        lora_dir=case.lora,
        kernel=case.kernel,
        output=Path("out.png"),
        settings=Path("out.json"),
        model=TINY,
    )


def refused(run: Callable[[], object], blamed: str) -> None:
    """The stage ends with a clear line, writes nothing and runs nothing it read."""
    with pytest.raises(UserError) as fault:
        run()
    require_clear(str(fault.value), blamed)
    assert not Path("out.png").exists()
    assert not Path("pwned").exists()


@pytest.mark.parametrize("way", EMBEDDINGS)
def test_bad_embeddings(way: str, case: Worked) -> None:
    EMBEDDINGS[way](case.embedding)
    refused(lambda: draw(case), "embedding")


@pytest.mark.parametrize("way", WAYS)
def test_bad_adapters(way: str, case: Worked) -> None:
    WAYS[way](case.lora / "adapter_model.safetensors")
    refused(lambda: draw(case), "lora")


@pytest.mark.parametrize(
    "way", ["missing", "truncated", "not a number", "foreign", "another shape"]
)
def test_bad_optimizer_states(way: str, case: Worked) -> None:
    WAYS[way](case.lora / "state.safetensors")
    refused(
        lambda: train_lora(
            image_features=case.image,
            text_features=case.text,
            embedding=case.embedding,
            previous_dir=case.lora,
            output_dir=Path("more"),
            iterations=5,
            model=TINY,
            training=FAST,
        ),
        "state.safetensors",
    )


@pytest.mark.parametrize("file", ["image", "edit_text", "kernel"])
@pytest.mark.parametrize("way", WAYS)
def test_bad_features_and_kernels(way: str, file: str, case: Worked) -> None:
    path = case.folder / file
    if way in ("not a number", "infinite"):
        return  # they hold whole numbers too; the fuzzing covers them
    WAYS[way](path)
    refused(lambda: draw(case), str(path))


def config(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


CONFIGS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "no JSON": lambda path: path.write_text("{"),
    "a list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "another method": config(peft_type="IA3"),
    "an unknown method": config(peft_type="EVIL"),
    "modules to import": config(megatron_config={"a": 1}, megatron_core="os"),
    "another rank": config(r=7),
    "other layers": config(target_modules=["head"]),
    "no layers": config(target_modules=["nowhere"]),
}


@pytest.mark.parametrize("way", CONFIGS)
def test_bad_adapter_configurations(way: str, case: Worked) -> None:
    CONFIGS[way](case.lora / "adapter_config.json")
    refused(lambda: draw(case), "lora")


def test_the_class_that_peft_names_in_a_configuration_is_not_imported(case: Worked) -> None:
    """PEFT writes ``auto_mapping`` itself where a model is none of transformers'."""
    path = case.lora / "adapter_config.json"
    config(auto_mapping={"base_model_class": "A", "parent_library": "no.such.module"})(path)
    draw(case)


def test_weights_are_missing_foreign_or_pickled(tmp_path: Path) -> None:
    chosen, device = preset("infinity_2b"), torch.device("cpu")
    assert chosen.weights is not None
    for load, name in (
        (load_tokenizer, chosen.weights.tokenizer),
        (load_transformer, chosen.weights.transformer),
    ):
        folder = tmp_path / load.__name__
        with pytest.raises(UserError) as fault:
            load(chosen, device, folder)
        require_clear(str(fault.value), str(folder))
        folder.mkdir()
        with pytest.raises(UserError) as fault:
            load(chosen, device, folder)
        require_clear(str(fault.value), str(folder))
        path = folder / name.split(".")[0].replace("*", "")
        save_file({"conv.weight": torch.zeros(3, 3)}, path.with_suffix(".safetensors"))
        with pytest.raises(UserError) as fault:
            load(chosen, device, folder)
        require_clear(str(fault.value), str(folder))
