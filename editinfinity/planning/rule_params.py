"""Values of the rules' params: what changes one of them decides which jobs run again.

Rules hand them to ``params.named``, which makes texts of them that carry the param's name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

from editinfinity.cases.case import Case, MaskUse
from editinfinity.errors import UserError
from editinfinity.planning import fingerprint
from editinfinity.planning.model import (
    backbone_identity,
    drawing_identity,
    effective,
    model_identity,
)
from editinfinity.planning.params import Scalar, params_of
from editinfinity.planning.run import PlannedRun, Wildcards
from editinfinity.planning.variants import NAMED, guidance_of
from editinfinity.settings.groups import MaskSettings
from editinfinity.settings.setting import SettingsGroup

Param = Callable[[Wildcards], Scalar]


class RuleParams:
    """What rules ask of a run for their params.

    Args:
        run: the run.

    Attributes:
        model: identity of the weights that make features and edits: a model made anew must not
            pass for the old one.
    """

    def __init__(self, run: PlannedRun) -> None:
        self._run = run
        self._crops: dict[str, str] = {}
        self.model = model_identity(run.config.settings)

    def of_case(self, key: str, index: int | None = None) -> Param:
        """A setting of the case; where it is null, the model's own.

        Args:
            key: the setting.
            index: of its elements, where it is a list.
        """

        def value(wildcards: Wildcards) -> Scalar:
            found = effective(key, self._run.case(wildcards.case).settings)
            return found if index is None else found[index]

        return value

    def of_edit(self, key: str) -> Param:
        """A setting of the edit, or of the variant where that is swept."""

        def value(wildcards: Wildcards) -> Scalar:
            settings = self._run.edit(wildcards).settings
            if "variant" in wildcards.keys():  # noqa: SIM118 (Snakemake's are no mapping)
                return self._run.variant(wildcards).setting(key, settings)
            return settings[key]

        return value

    def of_group(
        self, group: type[SettingsGroup], without: Collection[str] = ()
    ) -> dict[str, Param]:
        """The params of a rule that takes a group of settings, by their names.

        Left out are settings of the whole run, of which none changes results, and those that the
        name of a variant carries.

        Args:
            group: the settings.
            without: further settings that the rule does not take.
        """
        params: dict[str, Param] = {}
        for key, setting in group.settings().items():
            names = params_of(setting)
            if key in without or key in NAMED or setting.level == "run":
                continue
            if setting.level == "edit":
                params[names[0]] = self.of_edit(key)
                continue
            for index, name in enumerate(names):
                params[name] = self.of_case(key, index if len(names) > 1 else None)
        return params

    def of_mask(self, use: MaskUse) -> dict[str, Param]:
        """The params of what goes by a mask: those of another source than the edit's are "none".

        Args:
            use: which mask: the one that an edit is drawn under, or that metrics go by.
        """

        def only_with(source: str, key: str) -> Param:
            def value(wildcards: Wildcards) -> Scalar:
                edit = self._run.edit(wildcards)
                return edit.settings[key] if getattr(edit, use) == source else "none"

            return value

        def mask_fingerprint(wildcards: Wildcards) -> str:
            edit = self._run.edit(wildcards)
            return fingerprint.of_file(edit.mask) if getattr(edit, use) == "user" else "none"

        return {
            "mask_fingerprint": mask_fingerprint,
            **{
                key: only_with("attention" if key.startswith("attention") else "user", key)
                for key in MaskSettings.settings()
            },
        }

    def guidance(self, wildcards: Wildcards) -> str:
        """The guidance of an edit."""
        return guidance_of(self._run.edit(wildcards).settings)

    def image(self, wildcards: Wildcards) -> str:
        """Path of the photograph."""
        return str(self._run.case(wildcards.case).image)

    def image_fingerprint(self, wildcards: Wildcards) -> str:
        """Fingerprint of the photograph."""
        image = self._run.case(wildcards.case).image
        return self._photographs.get(image) or fingerprint.of_file(image)

    @cached_property
    def _photographs(self) -> dict[Path, str]:
        """Photograph of the run → its fingerprint, read side by side; a job reads its own alone."""
        if not self._run.whole_run:
            return {}
        images = [case.image for case in self._run.cases.by_name.values()]
        return fingerprint.of_each(images, "photographs")

    def crop(self, wildcards: Wildcards) -> str:
        """The part of the photograph that a case is learned from."""
        name = wildcards.case
        if name not in self._crops:
            self._crops[name] = crop_of(self._run.case(name))
        return self._crops[name]

    def source_prompt_fingerprint(self, wildcards: Wildcards) -> str:
        """Fingerprint of the source prompt."""
        return fingerprint.of_text(self._run.case(wildcards.case).source_prompt)

    def edit_prompt_fingerprint(self, wildcards: Wildcards) -> str:
        """Fingerprint of the edit's prompt."""
        return fingerprint.of_text(self._run.edit(wildcards).prompt)

    def target_word_fingerprint(self, wildcards: Wildcards) -> str:
        """Fingerprint of the edit's target word."""
        return fingerprint.of_text(self._run.edit(wildcards).target_word)

    def backbones(self, wildcards: Wildcards) -> str:
        """Which models judge an edit: one fetched meanwhile fills the cells that waited for it."""
        return self._backbones

    @cached_property
    def _backbones(self) -> str:
        return backbone_identity(self._run.config.settings)

    def drawn_with(self, wildcards: Wildcards) -> str:
        """Identity of the settings that drew a picture; empty but for the benchmark's table."""
        if self._run.config.settings["pie_bench"] is None:
            return ""
        settings = self._run.edit(wildcards).settings
        return drawing_identity(settings, self._run.variant(wildcards), self.model)


def crop_of(case: Case) -> str:
    """``full`` or ``top,left,height,width``: the part of a photograph that a case is learned from.

    A case is learned once for all its edits, so the crop holds the masks of all of them. It is
    worked out while the workflow is planned, from the masks alone, so that a mask which moves the
    crop learns the case anew and one which does not changes only its own edit.

    The whole photograph where an edit has no mask of the user's to crop by, or a file cannot be
    read, which ``check`` tells.
    """
    settings = case.settings
    edits = list(case.edits.values())
    if settings["crop"] == "full" or any(edit.mask_source != "user" for edit in edits):
        return "full"
    # Pillow and numpy are of no use to other cases' planning.
    from editinfinity.files.cropping import crop_around, region_text
    from editinfinity.files.masks import read_mask
    from editinfinity.files.opening import size_upright

    try:
        size = size_upright(case.image)
        masks = []
        for edit in edits:
            by, image = MaskSettings.of(edit.settings), case.image
            if edit.mask is not None:
                masks.append(read_mask(edit.mask, size, by.mask_edit_region, by.mask_grow, image))
        if len(masks) < len(edits):
            return "full"
        return region_text(crop_around(masks, effective("pixel_budget", settings)))
    except UserError:
        return "full"
