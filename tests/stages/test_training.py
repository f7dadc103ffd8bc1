"""Stages train_textembedding and train_lora: what they learn, continue and write."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file

from editinfinity.environment import Environment, package_versions
from editinfinity.errors import UserError
from editinfinity.files import transformer_weights
from editinfinity.files.checkpoints import SoftPrompt
from editinfinity.files.weights import load_transformer
from editinfinity.jobs.record import logged_event
from editinfinity.models.rotary import rotary_table
from editinfinity.presets import preset
from editinfinity.settings.groups import LoraSettings, ModelSettings, TrainingSettings
from editinfinity.stages.attention_map import collect_attention
from editinfinity.stages.edit import edit
from editinfinity.stages.host import Host
from editinfinity.stages.image_features import extract_image_features
from editinfinity.stages.train_lora import train_lora
from editinfinity.stages.train_textembedding import train_textembedding

from .conftest import FAST, TINY, Worked

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json", "state.safetensors")


def embed(case: Worked, folder: Path, name: str, iterations: int, **more: object) -> Path:
    train_textembedding(
        image_features=case.image,
        text_features=case.text,
        output=folder / name,
        state=folder / f"{name}.state",
        iterations=iterations,
        model=TINY,
        **{"training": FAST, **more},  # type: ignore[arg-type]
    )
    return folder / name


def adapt(case: Worked, folder: Path, iterations: int, **more: object) -> Path:
    train_lora(
        image_features=case.image,
        text_features=case.text,
        output_dir=folder,
        iterations=iterations,
        model=TINY,
        **{"training": FAST, "embedding": case.embedding, **more},  # type: ignore[arg-type]
    )
    return folder


def test_a_training_says_what_it_ran_on(
    worked: Worked, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        embed(worked, tmp_path, "e.safetensors", 1)
        adapt(worked, tmp_path / "lora", 1)
    events = [event for record in caplog.records if (event := logged_event(record))]
    used = [event for event in events if isinstance(event, Environment)]
    assert used == [Environment("cpu", torch.get_num_threads(), package_versions())] * 2


def test_embedding_is_twenty_vectors_that_moved_from_zero(worked: Worked) -> None:
    checkpoint = SoftPrompt.load(worked.embedding, "tiny", 128)
    assert checkpoint.vectors.shape == (20, 128) and checkpoint.vectors.dtype == torch.float32
    assert checkpoint.iteration == 3
    assert (checkpoint.vectors.abs().amax(1) > 0).all()


def test_n_iterations_are_n_updates(worked: Worked) -> None:
    steps = {float(v) for k, v in load_file(worked.embedding_state).items() if k.endswith("step")}
    assert steps == {3.0}
    lines = worked.embedding_losses.read_text().splitlines()
    assert lines[0] == "iteration\tloss"
    assert [line.split("\t")[0] for line in lines[1:]] == ["1", "2", "3"]
    steps = {
        float(v)
        for k, v in load_file(worked.lora / "state.safetensors").items()
        if k.endswith("step")
    }
    assert steps == {4.0}


def test_one_small_step_moves_by_the_learning_rate(worked: Worked, tmp_path: Path) -> None:
    # AdamW's first step is lr·sign(gradient): fixes learning rate and weight decay at once.
    training = TrainingSettings(embedding_learning_rate=5e-4, lora_learning_rate=5e-4, batch_size=1)
    vectors = SoftPrompt.load(
        embed(worked, tmp_path, "e", 1, training=training), "tiny", 128
    ).vectors
    assert vectors.abs().max().item() == pytest.approx(5e-4, rel=1e-3)


def test_weight_decay_shrinks(worked: Worked, tmp_path: Path) -> None:
    decayed = TrainingSettings(
        embedding_learning_rate=1e-3, lora_learning_rate=1e-3, batch_size=1, weight_decay=100
    )
    vectors = SoftPrompt.load(
        embed(worked, tmp_path, "e", 3, training=decayed), "tiny", 128
    ).vectors
    plain = SoftPrompt.load(worked.embedding, "tiny", 128).vectors
    assert vectors.abs().mean() < 0.95 * plain.abs().mean()


def test_continued_embedding_equals_a_straight_run_byte_for_byte(
    worked: Worked, tmp_path: Path
) -> None:
    first = embed(worked, tmp_path, "one", 1)
    rest = embed(
        worked, tmp_path, "three", 3, previous=first, previous_state=tmp_path / "one.state"
    )
    assert rest.read_bytes() == worked.embedding.read_bytes()
    assert (tmp_path / "three.state").read_bytes() == worked.embedding_state.read_bytes()


def test_continued_lora_equals_a_straight_run_byte_for_byte(worked: Worked, tmp_path: Path) -> None:
    adapt(worked, tmp_path / "two", 2)
    adapt(worked, tmp_path / "four", 4, previous_dir=tmp_path / "two")
    for name in ADAPTER_FILES:
        assert (tmp_path / "four" / name).read_bytes() == (worked.lora / name).read_bytes(), name
    two = load_file(tmp_path / "two" / ADAPTER_FILES[0])
    four = load_file(worked.lora / ADAPTER_FILES[0])
    assert any(not torch.equal(two[name], four[name]) for name in two)


class Keeping(Host):
    """A host that keeps everything, as a worker does, and counts what is taken."""

    def __init__(self) -> None:
        self.kept: dict[str, object] = {}
        self.taken = 0

    def keep(self, name: str, value: object) -> None:
        self.kept[name] = value

    def take(self, name: str) -> object | None:
        value = self.kept.pop(name, None)
        self.taken += value is not None
        return value


def test_lora_continued_in_memory_equals_a_straight_run_byte_for_byte(
    worked: Worked, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Keeping()
    with caplog.at_level(logging.INFO):
        adapt(worked, tmp_path / "two", 2, host=host)
        for name in ADAPTER_FILES:  # as Snakemake does when a job has ended
            (tmp_path / "two" / name).touch()
        adapt(worked, tmp_path / "four", 4, previous_dir=tmp_path / "two", host=host)
    assert "in memory" in caplog.text
    for name in ADAPTER_FILES:
        assert (tmp_path / "four" / name).read_bytes() == (worked.lora / name).read_bytes(), name


@pytest.mark.parametrize("changed", ["file", "lora", "stopped"])
def test_lora_continues_from_its_files_if_memory_has_another_training(
    worked: Worked, tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    """A file was replaced, the settings are others, or a training went on and was stopped."""
    host, two = Keeping(), tmp_path / "two"
    adapt(worked, two, 2, host=host)
    settings = LoraSettings()
    if changed == "file":  # by an adapter of the same size
        adapt(worked, tmp_path / "other", 2, training=replace(FAST, train_seed=7))
        shutil.copy(tmp_path / "other" / ADAPTER_FILES[0], two / ADAPTER_FILES[0])
    elif changed == "lora":
        settings = replace(settings, lora_dropout=0.5)
    else:
        broken = replace(FAST, lora_learning_rate=1e30)
        with pytest.raises(UserError, match="not finite|learning rate"):
            adapt(worked, tmp_path / "x", 9, previous_dir=two, training=broken, host=host)
        assert host.taken == 1
    caplog.clear()
    with caplog.at_level(logging.INFO):
        adapt(worked, tmp_path / "warm", 3, previous_dir=two, lora=settings, host=host)
    assert "in memory" not in caplog.text
    adapt(worked, tmp_path / "cold", 3, previous_dir=two, lora=settings)
    for name in ADAPTER_FILES:
        warm, cold = tmp_path / "warm" / name, tmp_path / "cold" / name
        assert warm.read_bytes() == cold.read_bytes(), name


def test_the_seed_decides(worked: Worked, tmp_path: Path) -> None:
    other = TrainingSettings(
        embedding_learning_rate=1e-3, lora_learning_rate=1e-3, batch_size=1, train_seed=7
    )
    assert embed(worked, tmp_path, "e", 3, training=other).read_bytes() != (
        worked.embedding.read_bytes()
    )


def test_adapter_config_is_pefts_and_sorted(worked: Worked) -> None:
    config = json.loads((worked.lora / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 32, 0.1)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert sorted(path.name for path in worked.lora.iterdir()) == sorted(ADAPTER_FILES)


def test_adapter_loads_with_peft_itself(worked: Worked) -> None:
    model = load_transformer(preset("tiny"), torch.device("cpu"))
    adapted = peft.PeftModel.from_pretrained(model, str(worked.lora))
    saved = load_file(worked.lora / "adapter_model.safetensors")
    loaded = peft.get_peft_model_state_dict(adapted)
    assert len(saved) == 2 * 2 * preset("tiny").transformer.depth
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    again = peft.get_peft_model(
        load_transformer(preset("tiny"), torch.device("cpu")),
        peft.LoraConfig(r=1, target_modules=["ffn.fc1"]),
        adapter_name="other",
    )
    again.load_adapter(str(worked.lora), adapter_name="mine")


def test_every_part_of_the_adapter_learns(worked: Worked) -> None:
    for name, tensor in load_file(worked.lora / "adapter_model.safetensors").items():
        assert tensor.abs().max() > 0, name  # B starts at zero


def test_lora_without_embedding_differs(worked: Worked, tmp_path: Path) -> None:
    adapt(worked, tmp_path / "without", 2, embedding=None)
    adapt(worked, tmp_path / "with", 2)
    first, second = (
        (tmp_path / name / ADAPTER_FILES[0]).read_bytes() for name in ("without", "with")
    )
    assert first != second


def test_nulls_mean_the_models_own_rates(worked: Worked, tmp_path: Path) -> None:
    own = preset("tiny").training
    explicit = TrainingSettings(
        embedding_learning_rate=own.embedding_learning_rate,
        lora_learning_rate=own.embedding_learning_rate,
        batch_size=own.embedding_batch_size,
    )
    first = embed(worked, tmp_path, "null", 1, training=TrainingSettings())
    assert first.read_bytes() == embed(worked, tmp_path, "own", 1, training=explicit).read_bytes()


def test_files_that_do_not_fit_are_refused(worked: Worked, tmp_path: Path) -> None:
    state = {"previous": worked.embedding, "previous_state": worked.embedding_state}
    with pytest.raises(UserError, match="cannot train to iteration 3 from iteration 3"):
        embed(worked, tmp_path, "e", 3, **state)
    with pytest.raises(UserError, match="cannot train to iteration 0 from iteration 0"):
        embed(worked, tmp_path, "e", 0)
    with pytest.raises(UserError, match="optimizer state is missing"):
        embed(worked, tmp_path, "e", 5, previous=worked.embedding)
    with pytest.raises(UserError, match="contains image_features, not text_embedding"):
        embed(worked, tmp_path, "e", 5, **{**state, "previous": worked.image})
    one = embed(worked, tmp_path, "one", 1)
    with pytest.raises(UserError, match="belongs to iteration 3, but .* to iteration 1"):
        embed(worked, tmp_path, "e", 5, previous=one, previous_state=worked.embedding_state)
    with pytest.raises(UserError, match="does not fit the adapter in training"):
        adapt(worked, tmp_path / "l", 5, previous_dir=worked.lora, lora=LoraSettings(lora_rank=2))
    with pytest.raises(UserError, match="there is no such file"):
        adapt(worked, tmp_path / "l", 5, previous_dir=tmp_path / "none")


def test_features_of_another_model_are_refused(worked: Worked, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is for model tiny, not bundled"):
        train_textembedding(
            image_features=worked.image,
            text_features=worked.text,
            output=tmp_path / "e",
            state=tmp_path / "s",
            iterations=1,
            model=ModelSettings(model="bundled", device="cpu", threads=1),
        )


def test_training_at_a_larger_budget(worked: Worked, tmp_path: Path) -> None:
    extract_image_features(
        image=worked.photograph, output=tmp_path / "image", model=TINY, pixel_budget="0.25M"
    )
    train_lora(
        image_features=tmp_path / "image",
        text_features=worked.text,
        output_dir=tmp_path / "lora",
        iterations=1,
        model=TINY,
        training=FAST,
    )
    assert (tmp_path / "lora" / ADAPTER_FILES[0]).is_file()


def test_a_rate_that_explodes_is_one_line(worked: Worked, tmp_path: Path) -> None:
    wild = TrainingSettings(embedding_learning_rate=1e30, lora_learning_rate=1e30, batch_size=1)
    with pytest.raises(UserError, match="lower the learning rate"):
        adapt(worked, tmp_path / "l", 8, training=wild)


def test_training_after_sampling_in_one_process(worked: Worked, tmp_path: Path) -> None:
    rotary_table.cache_clear()
    collect_attention(
        image_features=worked.image,
        text_features=worked.text,
        target_word="cup",
        output=tmp_path / "attention",
        model=TINY,
    )
    try:
        assert embed(worked, tmp_path, "e", 1).is_file()
    finally:
        rotary_table.cache_clear()


def test_blocks_in_bf16_train_and_draw(
    worked: Worked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a GPU runs: blocks in bf16, adapter, optimizer and everything on disk in fp32.
    monkeypatch.setattr(transformer_weights, "block_dtype", lambda device: torch.bfloat16)
    adapt(worked, tmp_path / "one", 1)
    adapt(worked, tmp_path / "two", 2, previous_dir=tmp_path / "one")
    for name in (ADAPTER_FILES[0], ADAPTER_FILES[2]):
        saved = load_file(tmp_path / "two" / name)
        assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    edit(
        image_features=worked.image,
        text_features=worked.edit_text,
        output=tmp_path / "e.png",
        settings=tmp_path / "e.json",
        model=TINY,
        lora_dir=tmp_path / "two",
        kernel=worked.kernel,
    )
    assert (tmp_path / "e.png").is_file()
