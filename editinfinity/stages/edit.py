"""Stage ``edit``: draw the edited image (stage 4)."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import DEFAULT_SAMPLING, ModelSettings, SamplingSettings


def edit(
    *,
    image_features: Path,
    text_features: Path,
    output: Path,
    settings: Path,
    model: ModelSettings,
    sampling: SamplingSettings = DEFAULT_SAMPLING,
    embedding: Path | None = None,
    lora_dir: Path | None = None,
    kernel: Path | None = None,
) -> None:
    """Sample the edit prompt, blended with the photograph's codes where there is a kernel.

    Args:
        image_features: of ``extract_image_features``.
        text_features: of the *edit* prompt.
        output: PNG at the model's resolution, its settings embedded as text.
        settings: JSON of everything that made it.
        model: which model and device; the same preset as the features.
        sampling: seed, guidance, temperature and cut-offs.
        embedding: learnt vectors; None to edit without.
        lora_dir: folder of a LoRA adapter; None to edit without.
        kernel: of ``make_kernel``; None edits the whole image (upstream's ``infer_function 0``).

    Raises:
        UserError: files do not fit one another, or are missing.
    """
    raise NotImplementedError
