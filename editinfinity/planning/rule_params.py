"""Values of the rules' params; a job is rerun if one of them changes.

Rules pass them to ``params.named``, which turns them into texts that include the param's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from editinfinity.cases.case import Case, MaskUse
from editinfinity.errors import UserError
from editinfinity.names import names_like
from editinfinity.planning import fingerprint
from editinfinity.planning.model import (
    backbone_identity,
    drawing_identity,
    effective,
    embedding_batch_size,
    lora_model_identity,
    model_identity,
    text_model_identity,
)
from editinfinity.planning.params import Scalar, params_of
from editinfinity.planning.run import PlannedRun, Wildcards
from editinfinity.planning.variants import ALWAYS_NAMED
from editinfinity.settings.groups import FOUND, FOUND_SETTINGS, MaskSettings
from editinfinity.settings.guidance import guidance_of, numbers_of
from editinfinity.settings.setting import SettingsGroup

Param = Callable[[Wildcards], Scalar]


class RuleParams:
    """Param functions of the rules.

    Args:
        run: the planned run.

    Attributes:
        model: identity of the run's model. It is a param of the rules that encode, so that results
            of a replaced model are not reused.
        text_model: the same for features of prompts.
    """

    def __init__(self, run: PlannedRun) -> None:
        self._run = run
        self._crops: dict[str, str] = {}
        self.model = model_identity(run.config.settings)
        self.text_model = text_model_identity(run.config.settings, self.model)
        self._transformers = {run.config.settings["attention_bias"]: self.model}

    def transformer(self, wildcards: Wildcards) -> str:
        """Return the identity of the model of a case, for rules that run the transformer.

        A case may have an ``attention_bias`` of its own, which encoding does not depend on.
        """
        settings = self._run.case(wildcards.case).settings
        bias = settings["attention_bias"]
        if bias not in self._transformers:
            self._transformers[bias] = model_identity(settings)
        return self._transformers[bias]

    def lora_transformer(self, wildcards: Wildcards) -> str:
        """Return the identity of the model of a case and of its precision, for training LoRA.

        They are one param, because a param that is new would rerun all finished trainings.
        ``Job.lora`` reads it.
        """
        settings = self._run.case(wildcards.case).settings
        return lora_model_identity(settings, self.transformer(wildcards))

    def of_case(self, key: str, index: int | None = None) -> Param:
        """Return the param function of a case's setting; if it is null, of the model's default.

        Args:
            key: the setting.
            index: index of the element, if the setting is a list.
        """

        def value(wildcards: Wildcards) -> Scalar:
            setting_value = effective(key, self._run.case(wildcards.case).settings)
            return setting_value if index is None else setting_value[index]

        return value

    def embedding_batch_size(self, wildcards: Wildcards) -> int:
        """Return the batch size with which a case's text embedding is trained."""
        return embedding_batch_size(self._run.case(wildcards.case).settings)

    def of_edit(self, key: str) -> Param:
        """Return the param function of an edit's setting; of a swept one, the variant's value."""

        def value(wildcards: Wildcards) -> Scalar:
            settings = self._run.edit(wildcards).settings
            if "variant" in wildcards.keys():  # noqa: SIM118 (wildcards are not a mapping)
                return self._run.variant(wildcards).setting(key, settings)
            return settings[key]

        return value

    def of_group(
        self, group: type[SettingsGroup], without: Collection[str] = ()
    ) -> dict[str, Param]:
        """Return the params, by name, of a rule that uses a group of settings.

        Settings of the whole run are left out, as none of them changes results, and so are settings
        that are part of a variant's name.

        Args:
            group: the group's class.
            without: further settings that the rule does not use.
        """
        params: dict[str, Param] = {}
        for key, setting in group.settings().items():
            names = params_of(setting)
            if key in without or key in ALWAYS_NAMED or setting.level == "run":
                continue
            if setting.level == "edit":
                params[names[0]] = self.of_edit(key)
                continue
            for index, name in enumerate(names):
                params[name] = self.of_case(key, index if len(names) > 1 else None)
        return params

    def of_mask(self, use: MaskUse) -> dict[str, Param]:
        """Return the params of a rule that uses a mask.

        Params that do not apply to the origin of that mask are "none".

        Args:
            use: which mask: the one used for drawing, or the one used by the metrics.
        """

        def only_with(source: str, key: str) -> Param:
            def value(wildcards: Wildcards) -> Scalar:
                edit = self._run.edit(wildcards)
                return edit.settings[key] if getattr(edit, use) == source else "none"

            return value

        def mask_fingerprint(wildcards: Wildcards) -> str:
            edit = self._run.edit(wildcards)
            source = getattr(edit, use)
            if source in FOUND:
                # In one text: further params would rerun all jobs that have none of these settings.
                settings = (f"{key}={edit.settings[key]}" for key in FOUND_SETTINGS)
                return ", ".join([source, *settings])
            files = {"user": edit.mask, "blend": edit.blend}
            return fingerprint.of_file(files.get(source))

        return {
            "mask_fingerprint": mask_fingerprint,
            "mask_edit_region": only_with("user", "mask_edit_region"),
            "mask_grow": only_with("user", "mask_grow"),
            "attention_threshold": only_with("attention", "attention_threshold"),
        }

    def guidance(self, wildcards: Wildcards) -> str:
        """Return the guidance of an edit, followed by the settings that belong to it alone, if any.

        They are one param (``editmod {"editmod_preset": "target", …}``), because a param that other
        guidances do not use would rerun their jobs. ``Job.guidance`` reads it.
        """
        guidance = guidance_of(self._run.edit(wildcards).settings)
        numbers = {key: self.of_edit(key)(wildcards) for key in numbers_of(guidance)}
        return f"{guidance} {json.dumps(numbers)}" if numbers else guidance

    def image(self, wildcards: Wildcards) -> str:
        """Return the path of the photograph, with the case's name as the results spell it.

        So nothing runs again where only Unicode's spelling of the case's folder has changed.
        """
        case = self._run.case(wildcards.case)
        parts = (names_like(part, [case.name]) or [part] for part in case.image.parts)
        return str(Path(*(part for (part,) in parts)))

    def image_fingerprint(self, wildcards: Wildcards) -> str:
        """Return the fingerprint of the photograph."""
        image = self._run.case(wildcards.case).image
        return self._photographs.get(image) or fingerprint.of_file(image)

    @cached_property
    def _photographs(self) -> dict[Path, str]:
        """Photograph → fingerprint for all cases of the run, read in parallel.

        Empty in a job's process, which reads only its own photograph.
        """
        if not self._run.main_process:
            return {}
        images = [case.image for case in self._run.cases.by_name.values()]
        return fingerprint.of_each(images, "photographs")

    def crop(self, wildcards: Wildcards) -> str:
        """Return the part of the photograph that training of a case uses (see ``crop_of``)."""
        name = wildcards.case
        if name not in self._crops:
            self._crops[name] = crop_of(self._run.case(name))
        return self._crops[name]

    def source_prompt_fingerprint(self, wildcards: Wildcards) -> str:
        """Return the fingerprint of the source prompt."""
        return fingerprint.of_text(self._run.case(wildcards.case).source_prompt)

    def edit_prompt_fingerprint(self, wildcards: Wildcards) -> str:
        """Return the fingerprint of the edit's prompt."""
        return fingerprint.of_text(self._run.edit(wildcards).prompt)

    def target_word_fingerprint(self, wildcards: Wildcards) -> str:
        """Return the fingerprint of the edit's target word, and which scales it is located with.

        The default, all scales, is not named: a finished project has the word's fingerprint alone.
        """
        edit = self._run.edit(wildcards)
        scales = edit.settings["attention_scales"]
        word = fingerprint.of_text(edit.target_word)
        return word if scales == "all" else f"{word}, attention_scales={scales}"

    def backbones(self, wildcards: Wildcards) -> str:
        """Return the identity of the models that metrics use.

        It changes when a missing model has been downloaded, so that the metrics that need it are
        computed.
        """
        return self._backbones

    @cached_property
    def _backbones(self) -> str:
        return backbone_identity(self._run.config.settings)

    def drawn_with(self, wildcards: Wildcards) -> str:
        """Return the identity of the settings that drew a picture; empty without a benchmark."""
        if self._run.config.settings["pie_bench"] is None:
            return ""
        settings = self._run.edit(wildcards).settings
        model = self.transformer(wildcards)
        return drawing_identity(settings, self._run.variant(wildcards), model)


def crop_of(case: Case) -> str:
    """Return the part of a photograph that training uses: ``full`` or ``top,left,height,width``.

    A case is trained once for all its edits, so the crop contains the masks of all of them. It is
    computed while the workflow is planned, from the masks alone: a changed mask that moves the crop
    retrains the case, and one that does not changes only its own edit.

    A region that the setting gives is returned as it is.

    The result is ``full`` if an edit has no user mask to crop by (a blend mask is drawn on the grid
    of the full crop), or if a file cannot be read, which ``check`` reports.
    """
    settings = case.settings
    edits = list(case.edits.values())
    if settings["crop"] not in ("full", "auto"):
        return str(settings["crop"])
    if settings["crop"] == "full" or any(edit.mask_source != "user" for edit in edits):
        return "full"
    # Imported here because planning other cases does not need Pillow and NumPy.
    from editinfinity.files.cropping import crop_around, region_text
    from editinfinity.files.masks import read_mask
    from editinfinity.files.opening import size_upright

    try:
        image, size = case.image, size_upright(case.image)
        masks = []
        for edit in edits:
            mask, group = edit.mask, MaskSettings.of(edit.settings)
            if mask is not None:
                masks.append(read_mask(mask, size, group.mask_edit_region, group.mask_grow, image))
        if len(masks) < len(edits):
            return "full"
        return region_text(crop_around(masks, effective("pixel_budget", settings)))
    except UserError:
        return "full"
