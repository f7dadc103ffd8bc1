"""Inputs of the rules that depend on the settings of a case or an edit.

Every public method except ``attention`` and ``prompt_map`` is a function of the wildcards for the
``input:`` of a rule. It returns paths as rules spell them: one, several, or ``[]`` if the job has
no such input.
"""

from __future__ import annotations

from collections.abc import Callable

from editinfinity.cases.case import MaskUse
from editinfinity.planning.run import PlannedRun, Wildcards
from editinfinity.planning.targets import previous_iteration
from editinfinity.settings.groups import FOUND
from editinfinity.settings.guidance import guidance_of

Paths = str | list[str] | tuple[str, ...]


class RuleInputs:
    """Input functions of the rules.

    Args:
        run: the planned run.
    """

    def __init__(self, run: PlannedRun) -> None:
        self._run = run

    def embedding_before(self, wildcards: Wildcards) -> Paths:
        """Return the checkpoint and state that a text embedding resumes from; none at the start."""
        previous = self._previous_iteration(wildcards)
        if not previous:
            return []
        path = self._run.layout(wildcards.case).embedding(previous)
        return [path, path.replace(".safetensors", ".state.safetensors")]

    def lora_before(self, wildcards: Wildcards) -> Paths:
        """Return the checkpoint files and state that a LoRA resumes from; none at the start."""
        previous = self._previous_iteration(wildcards)
        if not previous:
            return []
        base, layout = int(wildcards.embedding), self._run.layout(wildcards.case)
        state = f"{layout.lora_folder(base, previous)}/state.safetensors"
        return [*layout.lora(base, previous), state]

    def _previous_iteration(self, wildcards: Wildcards) -> int:
        every = self._run.case(wildcards.case).settings["checkpoint_every"]
        return previous_iteration(int(wildcards.iteration), every)

    def embedding_of_lora(self, wildcards: Wildcards) -> Paths:
        """Return the text embedding that a LoRA is trained on top of, if any."""
        return self._embedding(wildcards, int(wildcards.embedding))

    def embedding(self, wildcards: Wildcards) -> Paths:
        """Return the text embedding that a variant uses, if any."""
        return self._embedding(wildcards, self._run.variant(wildcards).embedding)

    def _embedding(self, wildcards: Wildcards, iteration: int) -> Paths:
        return self._run.layout(wildcards.case).embedding(iteration) if iteration else []

    def lora(self, wildcards: Wildcards) -> Paths:
        """Return the adapter files that a variant uses, if any."""
        variant = self._run.variant(wildcards)
        if not variant.lora:
            return []
        return self._run.layout(wildcards.case).lora(variant.base, variant.lora)

    def source_text(self, wildcards: Wildcards) -> Paths:
        """Return the source prompt's features, if the guidance compares both prompts."""
        if guidance_of(self._run.edit(wildcards).settings) == "cfg":
            return []
        paths = self._run.layout(wildcards.case)
        return paths.source_text(self._run.variant(wildcards).embedding)

    def edit_text(self, wildcards: Wildcards) -> Paths:
        """Return the edit prompt's features, in the form that a variant uses."""
        paths = self._run.layout(wildcards.case)
        return paths.edit_text(wildcards.edit, self._run.variant(wildcards).embedding)

    def text_of_lora(self, wildcards: Wildcards) -> Paths:
        """Return the source prompt's features, in the form that a LoRA is trained with."""
        return self._run.layout(wildcards.case).source_text(int(wildcards.embedding))

    def attention(self, use: MaskUse) -> Callable[[Wildcards], Paths]:
        """Return an input function for the attention map; it returns none if no mask needs the map.

        Args:
            use: which mask: the one used for drawing, or the one used by the metrics.
        """

        def paths(wildcards: Wildcards) -> Paths:
            edit = self._run.edit(wildcards)
            if getattr(edit, use) != "attention":
                return []
            return self._run.layout(wildcards.case).attention(edit.name)

        return paths

    def prompt_map(self, use: MaskUse) -> Callable[[Wildcards], Paths]:
        """As ``attention``, for the prompt maps."""

        def paths(wildcards: Wildcards) -> Paths:
            edit = self._run.edit(wildcards)
            if getattr(edit, use) not in FOUND:
                return []
            return self._run.layout(wildcards.case).prompt_map(edit.name)

        return paths

    def kernel(self, wildcards: Wildcards) -> Paths:
        """Return the blending weights of a variant, if it blends."""
        edit, variant = self._run.edit(wildcards), self._run.variant(wildcards)
        if edit.mask_source == "none":
            return []
        smoothing = variant.setting("smoothing", edit.settings)
        return self._run.layout(wildcards.case).kernel(edit.name, smoothing)

    def kernels_of_candidates(self, wildcards: Wildcards) -> Paths:
        """Return the blending weights of the candidates, if their background must stay exact."""
        edit = self._run.edit(wildcards)
        if edit.mask_source == "none" or edit.settings["background"] == "decoded":
            return []
        layout = self._run.layout(wildcards.case)
        names = (v.setting("smoothing", edit.settings) for v in self._run.candidates(edit))
        return [layout.kernel(edit.name, name) for name in dict.fromkeys(names)]

    def rendering(self, wildcards: Wildcards) -> Paths:
        """Return the tokenizer's rendering of the photograph, if a result gets its detail back."""
        if self._run.edit(wildcards).settings["background"] != "detail":
            return []
        return self._run.layout(wildcards.case).rendering

    def pictures_of_candidates(self, wildcards: Wildcards) -> Paths:
        """Return the drawings of the candidates, one of which becomes the result."""
        edit, layout = self._run.edit(wildcards), self._run.layout(wildcards.case)
        return [layout.picture(edit.name, variant) for variant in self._run.candidates(edit)]

    def selection(self, wildcards: Wildcards) -> Paths:
        """Return the file that names the chosen candidate, if metrics choose among several."""
        edit = self._run.edit(wildcards)
        if len(self._run.candidates(edit)) == 1:
            return []
        return self._run.layout(wildcards.case).selection(edit.name)

    def metrics_of_variants(self, wildcards: Wildcards) -> Paths:
        """Return the metrics files of all variants of an edit, in the order of the variants."""
        edit, layout = self._run.edit(wildcards), self._run.layout(wildcards.case)
        return [layout.metrics(edit.name, variant) for variant in self._run.variants(edit)]
