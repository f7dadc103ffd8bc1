"""Targets of a case, the checkpoints that they depend on, and checks that all of it can be made.

Apart from the rules, this is the only module that spells out the paths of docs/layout.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from editinfinity.cases.case import MAP_ONLY, Case, Cases, Edit
from editinfinity.config.load import Config, ConfigError
from editinfinity.errors import UserError
from editinfinity.files.model_folder import check_model
from editinfinity.planning.variants import (
    Variant,
    chosen_by_settings,
    embeddings_used,
    lora_bases,
    loras_used,
    variants_of,
)
from editinfinity.presets import preset
from editinfinity.settings.guidance import learns_nothing, values_of

TRAIN_EMBEDDING, TRAIN_LORA = "train_textembedding", "train_lora"


def previous_iteration(iteration: int, checkpoint_every: int) -> int:
    """Return the checkpoint from which training to ``iteration`` resumes; 0 means from scratch."""
    return (iteration - 1) // checkpoint_every * checkpoint_every


@dataclass(frozen=True)
class Layout:
    """Paths of the files of one case.

    Attributes:
        folder: ``results/CASE``.
    """

    folder: str

    @property
    def rendering(self) -> str:
        """Path of the photograph as the tokenizer shows it."""
        return f"{self.folder}/features/rendering.png"

    def embedding(self, iteration: int) -> str:
        """Return the path of the soft prompt after an iteration."""
        return f"{self.folder}/text_embedding/iter{iteration}.safetensors"

    def lora_folder(self, base: int, iteration: int) -> str:
        """Return the folder of the adapter after an iteration, trained on embedding ``base``."""
        return f"{self.folder}/lora/embedding{base}/iter{iteration}"

    def lora(self, base: int, iteration: int) -> tuple[str, str]:
        """Return the paths of the two files of an adapter: weights and configuration."""
        folder = self.lora_folder(base, iteration)
        return f"{folder}/adapter_model.safetensors", f"{folder}/adapter_config.json"

    def source_text(self, embedding: int) -> str:
        """Return the path of the encoded source prompt; see :meth:`edit_text`."""
        return f"{self.folder}/features/{_text_name(embedding)}.safetensors"

    def edit_text(self, edit: str, embedding: int) -> str:
        """Return the path of the encoded edit prompt.

        Args:
            edit: name of the edit.
            embedding: iteration of the text embedding that follows the prompt. With 0 (none), the
                prompt is encoded without the caption suffix.
        """
        return f"{self.folder}/edit/{edit}/{_text_name(embedding)}.safetensors"

    def attention(self, edit: str) -> str:
        """Return the path of the target word's attention map."""
        return f"{self.folder}/mask/{edit}/attention.safetensors"

    def prompt_map(self, edit: str) -> str:
        """Return the path of the maps found from the two prompts."""
        return f"{self.folder}/mask/{edit}/prompt_map.safetensors"

    def kernel(self, edit: str, smoothing: str) -> str:
        """Return the path of the blending weights."""
        return f"{self.folder}/mask/{edit}/kernel-{smoothing}.safetensors"

    def mask_pictures(self, edit: str) -> tuple[str, str]:
        """Return the paths of two pictures of the edited region, for people.

        The first is the mask, the second a heatmap over the photograph.
        """
        return f"{self.folder}/mask/{edit}/mask.png", f"{self.folder}/mask/{edit}/heatmap.png"

    def picture(self, edit: str, variant: Variant) -> str:
        """Return the path of a variant's picture at the model's resolution."""
        return f"{self.folder}/edit/{edit}/{variant.name}.png"

    def metrics(self, edit: str, variant: Variant) -> str:
        """Return the path of a variant's metrics."""
        return f"{self.folder}/edit/{edit}/{variant.name}.metrics.json"

    def selection(self, edit: str) -> str:
        """Return the path of the file that says which variant was chosen, and why."""
        return f"{self.folder}/{edit}.selection.json"

    def result(self, edit: str) -> str:
        """Return the path of the result at the photograph's resolution."""
        return f"{self.folder}/{edit}.png"


def _text_name(embedding: int) -> str:
    return "text" if embedding else "text_plain"


def layout(config: Config, case: str) -> Layout:
    """Return the paths of a case's results."""
    return Layout(f"{config.results}/{case}")


def cases_that_train(cases: Cases, stage: str) -> str:
    """Return a regular expression for the case names that a training rule accepts.

    It excludes cases with ``train_X: 0``. Their checkpoints are then plain files to Snakemake, used
    as they are and never made again.
    """
    names = [re.escape(case.name) for case in cases.by_name.values() if not case.settings[stage]]
    return f"(?!(?:{'|'.join(names)})/)[^/]+" if names else "[^/]+"


def case_targets(case: Case, paths: Layout) -> list[str]:
    """Return the files that a case requests."""
    targets = [f"{paths.folder}/check.json"]
    for edit in case.edits.values():
        if edit.mask_source != "none":
            targets += paths.mask_pictures(edit.name)
        if edit.infer_function == MAP_ONLY:
            targets += [
                paths.kernel(edit.name, name) for name in values_of(edit.settings, "smoothing")
            ]
            continue
        if not learns_nothing(edit.settings):
            targets += training_targets(case, edit, paths)
        variants = variants_of(edit.settings)
        targets += [paths.picture(edit.name, variant) for variant in variants]
        if edit.settings["metrics"]:
            targets += [paths.metrics(edit.name, variant) for variant in variants]
        targets.append(paths.result(edit.name))
    return list(dict.fromkeys(targets))


def training_targets(case: Case, edit: Edit, paths: Layout) -> list[str]:
    """Return the last checkpoints that ``train_*: 1`` requests, even if the edit uses earlier ones.

    They are the text embedding and, for each embedding that the edit's LoRAs are trained on top of
    (iteration 0 is none), a LoRA. Rules make both files of a LoRA, so one is enough as a target.
    """
    settings = case.settings
    targets = []
    if settings[TRAIN_EMBEDDING] and settings["train_textembedding_iter"]:
        targets.append(paths.embedding(settings["train_textembedding_iter"]))
    if settings[TRAIN_LORA] and settings["train_lora_iter"]:
        iteration = settings["train_lora_iter"]
        targets += [paths.lora(base, iteration)[0] for base in lora_bases(edit.settings)]
    return targets


def check_plan(config: Config, cases: Cases) -> None:
    """Check that the model, and every checkpoint that an edit uses, exist or will be made.

    Raises:
        ConfigError: with one line for each setting that needs something that neither exists nor
            will be trained.
    """
    if fault := _results_error(config):
        raise ConfigError([f"{config.source}: {fault}"])
    lines: dict[str, str] = {}
    if fault := _model_error(config):
        lines["model_dir"] = f"{config.source}: {fault}"
    for case in cases.by_name.values():
        for edit in case.edits.values():
            try:
                errors = list(_missing_checkpoints(case, edit, layout(config, case.name)))
            except UserError as fault:
                errors = [("", str(fault))]
            for kind, line in errors:
                # Many cases may share one wrong setting: report only the first.
                lines.setdefault(f"{kind}{line if not kind else ''}", f"{config.source}: {line}")
    if lines:
        raise ConfigError(lines.values())


def _results_error(config: Config) -> str | None:
    """Return a message if the results folder cannot be created, or None if it can.

    Snakemake itself would stop with a traceback.
    """
    cure = "choose another folder"
    for path in (Path(config.results), *Path(config.results).parents):
        try:
            if not path.exists():
                continue
            return None if path.is_dir() else f"results: {path} is not a folder; {cure}"
        except OSError as error:
            return f"results: {path} cannot be accessed ({error.strerror}); {cure}"
    return None


def _model_error(config: Config) -> str | None:
    """Return a message if the model's weights are missing, or None."""
    folder = config.settings["model_dir"]
    try:
        check_model(
            preset(str(config.settings["model"])), None if folder is None else Path(str(folder))
        )
    except UserError as fault:
        return str(fault)
    return None


def _missing_checkpoints(case: Case, edit: Edit, paths: Layout) -> Iterator[tuple[str, str]]:
    """Yield (kind of error, line) for each checkpoint that neither exists nor will be trained."""
    if edit.infer_function == MAP_ONLY:
        return
    settings, variants = edit.settings, variants_of(edit.settings)
    chosen_by_settings(settings)
    files: dict[tuple[str, str, int], str] = {}
    for key, iterations in (
        ("use_embedding_iter", embeddings_used(settings)),
        ("use_textembedding_iter", _bases_needed(case, edit)),
    ):
        switch = "use_concat_embedding" if key == "use_embedding_iter" else "use_textembedding"
        for iteration in iterations:
            files[switch, key, iteration] = paths.embedding(iteration)
    for variant in variants:
        file = paths.lora(variant.base, variant.lora)[0]
        files["use_lora", "use_lora_iter", variant.lora] = file
    for (switch, key, iteration), file in files.items():
        stage = TRAIN_LORA if switch == "use_lora" else TRAIN_EMBEDDING
        if not iteration or Path(file).exists():
            continue
        if not settings[stage]:
            yield (
                f"{switch}0",
                f"{stage}: is 0 and {switch} is 1, but there is no {file}; set {stage}: 1 to "
                f"train it, or {switch}: 0 to edit without it",
            )
        elif iteration > settings[f"{stage}_iter"]:
            is_benchmark = stage == TRAIN_LORA and settings["pie_bench"] is not None
            trained = "pie_bench_lora_iter" if is_benchmark else f"{stage}_iter"
            yield (
                f"{key}1",
                f"{key}: {iteration} is more than {trained}: {settings[f'{stage}_iter']}, and "
                f"there is no {file}; set {trained}: {iteration}, or {key}: null for the last",
            )


def _bases_needed(case: Case, edit: Edit) -> tuple[int, ...]:
    """Return the iterations of the embeddings that LoRAs to be trained are based on."""
    trains = case.settings[TRAIN_LORA] and (
        case.settings["train_lora_iter"] or any(loras_used(edit.settings))
    )
    return lora_bases(edit.settings) if trains else ()
