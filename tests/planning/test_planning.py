"""What rules ask while a run is planned: params, inputs and targets, without Snakemake."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from editinfinity.cancellation import Cancellation
from editinfinity.config.load import ConfigError
from editinfinity.planning.job import Job
from editinfinity.planning.params import named
from editinfinity.planning.rule_inputs import RuleInputs
from editinfinity.planning.rule_params import RuleParams
from editinfinity.planning.run import PlannedRun, config_file, exit_on_user_error
from editinfinity.planning.run_marker import RunMarker
from editinfinity.settings.groups import LoraSettings, TrainingSettings
from tests.cases.test_cases import make_case

NAME = "embedding10-lora50-cfg4-tau0.5-seed42"
SWEPT = {"cfg": [4, 3], "smoothing": ["linear", "hard"]}


class Wildcards(SimpleNamespace):
    """Those of a job, as Snakemake gives them."""

    def keys(self) -> list[str]:
        return [*vars(self)]


def wildcards(**given: str) -> Any:
    return Wildcards(**{"case": "masked", "edit": "edit", **given})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cases without, with a mask, with a word, and with both."""
    monkeypatch.chdir(tmp_path)
    mask, word = "image/mask.png", "prompt/target_word.txt"
    make_case(tmp_path / "data" / "plain")
    make_case(tmp_path / "data" / "masked", mask)
    make_case(tmp_path / "data" / "word", word)
    make_case(tmp_path / "data" / "both", mask, word)
    return tmp_path


def run_of(**settings: Any) -> PlannedRun:
    return PlannedRun.load(settings)


def params_of(**settings: Any) -> RuleParams:
    return RuleParams(run_of(**settings))


def inputs_of(**settings: Any) -> RuleInputs:
    return RuleInputs(run_of(**settings))


def test_a_setting_is_the_cases_and_where_it_is_null_the_models() -> None:
    params = params_of(overrides={"plain": {"batch_size": 3, "betas": [0.5, 0.75]}})
    of_batch, of_beta = params.of_case("batch_size"), params.of_case("betas", 1)
    assert of_batch(wildcards(case="plain")) == 3
    assert of_batch(wildcards()) == params_of().of_case("batch_size")(wildcards()) is not None
    assert of_beta(wildcards(case="plain")) == 0.75


def test_the_batch_is_that_of_each_training(folder: Path) -> None:
    """One of the text embedding's alone retrains no LoRA by itself, and a number is for both."""
    for name in ("tokenizer.safetensors", "transformer.safetensors", "text_encoder/config.json"):
        (folder / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "model" / name).touch()
    released = {"model": "infinity_2b", "model_dir": str(folder / "model")}
    for settings, batches in (
        ({}, (2, 2)), (released, (1, 2)), ({**released, "batch_size": 4}, (4, 4)),
    ):  # fmt: skip
        params = params_of(**settings)
        of_lora = params.of_group(TrainingSettings)["batch_size"]
        assert (params.embedding_batch_size(wildcards()), of_lora(wildcards())) == batches


def test_a_swept_setting_is_the_variants() -> None:
    of_top_k = params_of(top_k=[2, 7]).of_edit("top_k")
    assert of_top_k(wildcards(variant=f"{NAME}-top_k=7")) == 7
    assert params_of(gps="keep").of_edit("gps")(wildcards()) == "keep"


def test_without_training_the_guidance_is_its_own() -> None:
    assert params_of().guidance(wildcards()) == "cfg"
    assert params_of(method="training_free").guidance(wildcards()) == "source_negative"


def test_the_numbers_of_a_guidance_are_part_of_its_param() -> None:
    """Other guidances' params stay as they are, so that none of their jobs is done again."""
    for settings in ({"method": "editmod"}, {"guidance": "editmod"}):
        text = params_of(editmod_copy=[1, 3], **settings).guidance(
            wildcards(variant=f"{NAME}-editmod_copy=3")
        )
        name, _, numbers = text.partition(" ")
        assert name == "editmod" and json.loads(numbers) == {
            "editmod_preset": "target", "editmod_copy": 3, "editmod_mix": None,
            "editmod_confidence": 0.95,
        }  # fmt: skip
    assert params_of(method="aredit").guidance(wildcards(variant=NAME)) == (
        'aredit {"aredit_threshold": 0.2}'
    )
    assert params_of(method="bitresedit").guidance(wildcards(variant=NAME)) == "bitresedit"
    for settings in ({"editmod_copy": 1}, {"guidance": "source_negative", "aredit_threshold": 0.5}):
        assert "{" not in params_of(**settings).guidance(wildcards(variant=NAME))


@pytest.mark.parametrize("guidance", ["source_negative", "editmod", "aredit", "bitresedit"])
def test_the_source_prompt_is_an_input_where_the_prompts_are_compared(guidance: str) -> None:
    full = wildcards(variant=NAME)
    text = "results/masked/features/text.safetensors"
    assert inputs_of(guidance=guidance).source_text(full) == text


def test_params_of_a_mask_are_those_of_its_source() -> None:
    # The user's mask counts for metrics where the edit is drawn by a word.
    params = params_of(mask_source="attention", overrides={"plain": {"mask_source": "none"}})
    drawn, judged = (
        {key: value(wildcards(case="both")) for key, value in params.of_mask(use).items()}
        for use in ("mask_source", "judged_mask")
    )
    assert drawn["mask_fingerprint"] == drawn["mask_grow"] == drawn["mask_edit_region"] == "none"
    assert isinstance(drawn["attention_threshold"], float)
    assert judged["attention_threshold"] == "none"
    assert judged["mask_fingerprint"] not in ("none", "missing")
    assert judged["mask_grow"] == 0
    plain = params.of_mask("mask_source")
    assert {value(wildcards(case="plain")) for value in plain.values()} == {"none"}


def test_what_a_found_place_depends_on_is_one_param() -> None:
    """Others would rerun every job of projects that have no such place."""

    def fingerprint_of(**settings: object) -> object:
        params = params_of(mask_source="both", **settings).of_mask("mask_source")
        values = {key: value(wildcards(case="plain")) for key, value in params.items()}
        assert set(values) == {
            "mask_fingerprint", "mask_edit_region", "mask_grow", "attention_threshold"
        }  # fmt: skip
        return values.pop("mask_fingerprint")

    texts = [
        fingerprint_of(),
        fingerprint_of(prompt_map_threshold=0.4),
        fingerprint_of(prompt_map_filter=0),
        fingerprint_of(prompt_map_grow=3),
    ]
    assert len(set(texts)) == 4 and all(str(text).startswith("both, ") for text in texts)
    assert fingerprint_of(mask_grow=7) == texts[0]


def test_the_scales_of_attention_are_named_only_if_they_are_not_all() -> None:
    word = wildcards(case="word")
    plain = params_of().target_word_fingerprint(word)
    fine = params_of(attention_scales="fine").target_word_fingerprint(word)
    assert fine == f"{plain}, attention_scales=fine"


@pytest.mark.parametrize("main_process", [True, False])
def test_fingerprints_follow_the_files(folder: Path, main_process: bool) -> None:
    def found() -> list[str]:
        params = RuleParams(PlannedRun.load({}, main_process=main_process))
        jobs = wildcards(case="both")
        return [
            params.image_fingerprint(jobs),
            params.edit_prompt_fingerprint(jobs),
            params.target_word_fingerprint(jobs),
        ]

    before = found()
    for file in ("image/original_image.jpg", "prompt/edit_image_prompt.txt"):
        (folder / "data" / "both" / file).write_text("another", "utf-8")
    after = found()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_a_checkpoint_grows_from_the_one_before_with_its_state() -> None:
    inputs = inputs_of(checkpoint_every=10)
    first, second = (wildcards(iteration=n, embedding="10") for n in ("10", "15"))
    assert inputs.embedding_before(first) == inputs.lora_before(first) == []
    embedding = "results/masked/text_embedding/iter10"
    assert inputs.embedding_before(second) == [
        f"{embedding}.safetensors", f"{embedding}.state.safetensors",
    ]  # fmt: skip
    lora = "results/masked/lora/embedding10/iter10"
    assert inputs.lora_before(second) == [
        f"{lora}/adapter_model.safetensors", f"{lora}/adapter_config.json",
        f"{lora}/state.safetensors",
    ]  # fmt: skip
    assert inputs.embedding_of_lora(second) == f"{embedding}.safetensors"
    assert inputs.embedding_of_lora(wildcards(embedding="0")) == []
    assert inputs.text_of_lora(second) == "results/masked/features/text.safetensors"
    assert inputs.text_of_lora(wildcards(embedding="0")) == (
        "results/masked/features/text_plain.safetensors"
    )


def test_a_drawing_takes_what_its_variant_uses() -> None:
    inputs = inputs_of(guidance="source_negative")
    full = wildcards(variant=NAME)
    assert inputs.embedding(full) == "results/masked/text_embedding/iter10.safetensors"
    assert (
        inputs.lora(full)[0] == "results/masked/lora/embedding10/iter50/adapter_model.safetensors"
    )
    assert inputs.kernel(full) == "results/masked/mask/edit/kernel-linear.safetensors"
    assert inputs.source_text(full) == "results/masked/features/text.safetensors"
    assert inputs.edit_text(full) == "results/masked/edit/edit/text.safetensors"
    bare = wildcards(case="plain", variant=NAME.replace("embedding10-lora50", "embedding0-lora0"))
    assert inputs.embedding(bare) == inputs.lora(bare) == inputs.kernel(bare) == []
    assert inputs.source_text(bare) == "results/plain/features/text_plain.safetensors"
    assert inputs.edit_text(bare) == "results/plain/edit/edit/text_plain.safetensors"
    assert inputs_of().source_text(full) == []
    only_embedding = wildcards(variant=NAME.replace("lora50", "lora0"))
    assert inputs.lora(only_embedding) == [] != inputs.embedding(only_embedding)
    only_lora = wildcards(variant=NAME.replace("embedding10-lora50", "embedding0-lora50"))
    assert inputs.embedding(only_lora) == [] != inputs.lora(only_lora)


def test_an_attention_map_is_for_the_masks_that_come_from_it() -> None:
    inputs = inputs_of(overrides={"both": {"mask_source": "attention"}})
    drawn, judged = inputs.attention("mask_source"), inputs.attention("judged_mask")
    word, both = wildcards(case="word"), wildcards(case="both")
    assert drawn(word) == judged(word) == "results/word/mask/edit/attention.safetensors"
    assert drawn(both) == "results/both/mask/edit/attention.safetensors"
    assert judged(both) == drawn(wildcards()) == []


def test_prompt_maps_are_for_the_places_found_in_them() -> None:
    for source in ("words", "bits", "both"):
        inputs = inputs_of(mask_source=source)
        drawn, judged = inputs.prompt_map("mask_source"), inputs.prompt_map("judged_mask")
        path = "results/word/mask/edit/prompt_map.safetensors"
        assert drawn(wildcards(case="word")) == judged(wildcards(case="word")) == path
        # The user's mask counts for metrics.
        assert drawn(wildcards(case="both")) and judged(wildcards(case="both")) == []
        assert inputs.attention("mask_source")(wildcards(case="word")) == []
    assert inputs_of().prompt_map("mask_source")(wildcards(case="word")) == []


def test_the_result_is_chosen_among_its_candidates() -> None:
    first, best = inputs_of(**SWEPT), inputs_of(**SWEPT, select="best")
    pictures = best.pictures_of_candidates(wildcards())
    assert len(pictures) == 4
    assert first.pictures_of_candidates(wildcards()) == [pictures[0]]
    assert first.selection(wildcards()) == []
    assert best.selection(wildcards()) == "results/masked/edit.selection.json"
    assert len(best.metrics_of_variants(wildcards())) == 4
    assert best.kernels_of_candidates(wildcards()) == [
        f"results/masked/mask/edit/kernel-{name}.safetensors" for name in ("linear", "hard")
    ]
    assert best.kernels_of_candidates(wildcards(case="plain")) == []
    assert inputs_of(background="decoded").kernels_of_candidates(wildcards()) == []


def test_only_a_result_with_its_detail_needs_the_rendering() -> None:
    detail = inputs_of()  # the default
    for case in ("masked", "plain"):
        found = detail.rendering(wildcards(case=case))
        assert found == f"results/{case}/features/rendering.png"
    exact, decoded = (inputs_of(background=name) for name in ("exact", "decoded"))
    kernels = exact.kernels_of_candidates(wildcards())
    assert kernels and detail.kernels_of_candidates(wildcards()) == kernels
    assert exact.rendering(wildcards()) == decoded.rendering(wildcards()) == []


def test_a_killed_run_is_a_target_of_the_next_one(folder: Path) -> None:
    run = run_of(cases=["plain", "word"], results="made")
    assert run.targets()[0] == "made/plain/check.json"
    assert not any(".telling" in target for target in run.targets())
    (folder / "made").mkdir()
    RunMarker(Path("made"), ["plain", "word"]).create()
    assert run_of(cases=["plain", "word"], results="made").targets()[-1].startswith("made/.telling")


def test_a_prefix_is_where_results_lie_and_rules_do_not_spell_it(folder: Path) -> None:
    run = PlannedRun.load({"cases": ["plain"]}, map_path=lambda path: f"photos/{path}")
    assert run.config.results == "photos/results"
    assert {target.partition("/")[0] for target in run.targets()} == {"results"}
    assert RuleInputs(run).embedding_of_lora(
        wildcards(case="plain", embedding="10")
    ) == "results/plain/text_embedding/iter10.safetensors"  # fmt: skip
    # A checkpoint that is not trained is looked for where it lies.
    lora = folder / "photos/results/plain/lora/embedding10/iter50/adapter_model.safetensors"
    settings = {"cases": ["plain"], "train_lora": 0}
    with pytest.raises(ConfigError, match="there is no photos/results/plain/lora"):
        PlannedRun.load(settings, map_path=lambda path: f"photos/{path}")
    lora.parent.mkdir(parents=True)
    lora.touch()
    PlannedRun.load(settings, map_path=lambda path: f"photos/{path}")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.case("maskd"), "there is no folder data/maskd; did you mean masked?"),
        (lambda run: run.edit(wildcards(edit="hut")), "masked: there is no edit hut"),
        (lambda run: run.variant(wildcards(variant="embedding1")), "is not a variant name"),
        (lambda run: run.pie_bench_targets(wildcards()), "pie_bench: is null"),
    ],
)
def test_what_rules_cannot_find_ends_the_run_in_one_line(
    ask: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(cases=["masked"])
    with pytest.raises(SystemExit) as ended:
        ask(run)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_case_that_is_none_of_the_runs_is_found_when_it_is_a_target() -> None:
    run = run_of(cases=["masked"])
    assert run.case("word").name == "word"
    assert [*run.cases.by_name] == ["masked"]


def test_each_fault_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_on_user_error():
        raise ConfigError(["one", "two"])
    assert capsys.readouterr().err == "one\ntwo\n"
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        _ = 1 / 0


def test_the_configuration_file_of_a_folder(folder: Path) -> None:
    assert config_file(Path(), files_named=False) == (None, [])
    path = folder / "config.yaml"
    path.write_text("# nothing\n", "utf-8")
    assert config_file(Path(), files_named=False) == (None, [])
    path.write_text("cfg: 3\n", "utf-8")
    assert config_file(Path(), files_named=True) == (Path("config.yaml"), [])
    path.rename(folder / "config.yml")
    found, notices = config_file(Path(), files_named=False)
    assert found == Path("config.yml") and notices
    assert config_file(Path(), files_named=True) == (None, [])


def test_the_precision_of_lora_reaches_its_job_and_changes_no_other_param() -> None:
    plain = wildcards(case="plain")
    params = params_of(overrides={"plain": {"precision": "fp8", "lora_rank": 3}})
    identity = params.lora_transformer(plain)
    assert identity == f"{params.transformer(plain)} precision=fp8"
    assert params_of().lora_transformer(plain) == params.transformer(plain)
    of_lora = params.of_group(LoraSettings, without=["precision"])
    texts = {key: text(plain) for key, text in named(model=identity, **of_lora).items()}
    job = Job(SimpleNamespace(params=texts, config={}), Cancellation())
    assert job.lora == LoraSettings(lora_rank=3, precision="fp8")
    texts["model"] = f"model={params.transformer(plain)}"
    job = Job(SimpleNamespace(params=texts, config={}), Cancellation())
    assert job.lora == LoraSettings(lora_rank=3)
