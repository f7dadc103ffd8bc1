"""Find out, without any reference, whether a model is trained and its parts belong together.

Names, shapes and checksums say nothing about that. Here the models run on the example photographs
of this project. :mod:`editinfinity.released.spectra` looks at the weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from editinfinity.environment import workflow_root
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import read_image
from editinfinity.files.input_files import read_text
from editinfinity.files.weights import load_text_encoder, load_tokenizer, load_transformer
from editinfinity.inversion.teacher_forcing import bit_loss, training_batch_of
from editinfinity.method.draw import decode, draw
from editinfinity.method.encode import encode_photograph
from editinfinity.models import bsq
from editinfinity.models.text_encoder import TextEncoder, TransformersEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import Preset, preset
from editinfinity.released.spectra import weakest_block
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import SamplingSettings

EXAMPLES = ("photo", "example_1", "example_2", "example_3")
"""Cases of this project whose photographs and source prompts are used."""

CHANCE = math.log(2)
"""Loss of a model that knows nothing about a bit, in nats."""

_LEAST_GAIN = 0.01
"""Least difference of two losses that counts, in nats a bit. The mean over the 50,000 bits or more
of the examples varies less by chance."""

_LEAST_RATIO = 1.1
"""Least ratio of ``spectra.weakest_block``; the bundled model's is 1.31."""

_LEAST_PSNR_GAIN = 3
"""Decibels by which a reconstruction must be better than one flat colour."""


@dataclass(frozen=True)
class Example:
    """A photograph with a prompt that describes it."""

    photograph: Image.Image
    prompt: str


@dataclass(frozen=True)
class Models:
    """The three parts of a model, on one device."""

    preset: Preset
    transformer: Infinity
    tokenizer: Tokenizer
    text_encoder: TextEncoder


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: what was measured.
        value: the numbers.
        expected: what a trained model has.
        fine: whether the numbers are so.
        fault: what is wrong if they are not.
    """

    name: str
    value: str
    expected: str
    fine: bool
    fault: str


@dataclass(frozen=True)
class DeepReport:
    """The result of all checks.

    Attributes:
        checks: what was measured, in the order of the report.
        picture: an example photograph, its reconstruction and a sample for its prompt, side by
            side; None if the checks ended before.
    """

    checks: list[Check]
    picture: Image.Image | None

    @property
    def trained(self) -> bool:
        """Whether every check found what a trained model shows."""
        return all(check.fine for check in self.checks)


@dataclass(frozen=True)
class _Losses:
    """Mean losses of one example, in nats a bit.

    Attributes:
        right: with its own prompt.
        wrong: with the prompt of each other example.
        unconditional: without a prompt.
        shuffled: with its own prompt, for bits of other cells.
    """

    right: float
    wrong: list[float]
    unconditional: float
    shuffled: float


def load_models(chosen: Preset, device: torch.device, model_dir: Path | None = None) -> Models:
    """Load the parts of a model.

    Raises:
        UserError: a part is missing, damaged or belongs to another model.
    """
    return Models(
        chosen,
        load_transformer(chosen, device, model_dir),
        load_tokenizer(chosen, device, model_dir),
        load_text_encoder(chosen, device, model_dir),
    )


def example_photographs() -> list[Example]:
    """Return the examples of this project, which are a part of the installed package too.

    Raises:
        UserError: they are missing.
    """
    folder = workflow_root() / "data"
    return [
        Example(
            read_image(folder / case / "image" / "original_image.jpg"),
            read_text(
                folder / case / "prompt" / "original_image_prompt.txt", 2**12, "restore it"
            ).strip(),
        )
        for case in EXAMPLES
    ]


def deep_check(models: Models, examples: Sequence[Example]) -> DeepReport:
    """Check a model.

    Args:
        models: its parts.
        examples: at least two photographs that show different things.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    checks = [_finite(models)]
    if not checks[0].fine:
        return DeepReport(checks, None)
    checks += [_constants(models.transformer), *_structure(models)]
    encoded = [
        encode_photograph(
            example.photograph, None, models.preset.pixel_budget, models.preset, models.tokenizer
        )
        for example in examples
    ]
    captions = [_features(models, example.prompt) for example in examples]
    codes = [_quantize(photograph) for photograph in encoded]
    decoded = [decode(models.tokenizer, code.total.to(_device(models))) for code in codes]
    checks.append(_reconstruction(encoded, decoded))
    losses = [
        _losses(models.transformer, code, photograph.schedule, captions, number)
        for number, (code, photograph) in enumerate(zip(codes, encoded, strict=True))
    ]
    checks += _loss_checks(losses)
    panels = [Image.fromarray(encoded[0].pixels), decoded[0]]
    panels.append(_sample(models, encoded[0], examples[0].prompt, captions[0]))
    return DeepReport(checks, _side_by_side(panels))


def _device(models: Models) -> torch.device:
    return models.transformer.device


def _features(models: Models, prompt: str) -> TextFeatures:
    """Encode a prompt as it is, without the suffix of captions that a soft prompt follows."""
    return TextFeatures(models.text_encoder.encode(prompt).features.to(_device(models)))


def _parts(models: Models) -> Iterator[tuple[str, nn.Module]]:
    """Yield each part that has weights, with its name."""
    yield "transformer", models.transformer
    yield "tokenizer", models.tokenizer
    if isinstance(models.text_encoder, TransformersEncoder):
        yield "text encoder", models.text_encoder.model


def _finite(models: Models) -> Check:
    """Check every weight, and features of a text, which half precision may overflow."""
    tensors = [
        (f"{part}: {name}", tensor)
        for part, module in _parts(models)
        for name, tensor in module.state_dict().items()
    ]
    tensors.append(("features of a text", _features(models, "a cup").features))
    bad = [name for name, tensor in tensors if not torch.isfinite(tensor).all()]
    value = f"{len(bad)} are not, such as {bad[0]}" if bad else f"{len(tensors)} tensors"
    return Check("finite values", value, "all", not bad, "values are not finite")


def _constants(transformer: Infinity) -> Check:
    """Compare norms and temperatures, which start as constants, with the bundled model's."""
    bundled = load_transformer(preset("bundled"), torch.device("cpu"))
    norms, temperatures = _norms_and_temperatures(transformer)
    usual_norms, usual_temperatures = map(_spread, _norms_and_temperatures(bundled))
    return Check(
        "norms, temperatures",
        f"{_spread(norms)}, {_spread(temperatures)}",
        f"different ones (the bundled model: {usual_norms}, {usual_temperatures})",
        all(bool(values.max() > values.min()) for values in (norms, temperatures)),
        "norms or temperatures are as before training",
    )


def _norms_and_temperatures(transformer: Infinity) -> tuple[Tensor, Tensor]:
    """Return all weights of text and cross-attention norms, and self-attention's 1/temperatures."""
    norms: list[Tensor] = [transformer.text_norm.weight]
    norms += [block.ca_norm.weight for block in transformer.blocks]
    factors = [block.sa.scale_mul_1H11.flatten() for block in transformer.blocks]
    exponents = torch.cat(factors).float().clamp(max=math.log(100))
    return torch.cat(norms).float().cpu(), exponents.exp().cpu()


def _spread(values: Tensor) -> str:
    return f"{values.mean():.2f} ± {values.std():.2f}"


def _structure(models: Models) -> Iterator[Check]:
    """Check that no block's weights are like random numbers."""
    for part, module in _parts(models):
        if found := weakest_block(module):  # else too narrow to tell
            yield Check(
                f"structure, {part}",
                f"{found.ratio:.2f} in {found.block}",
                f"above {_LEAST_RATIO}; shuffled weights have 1",
                found.ratio > _LEAST_RATIO,
                f"{found.block} of the {part} is like random weights",
            )


def _quantize(photograph: ImageFeatures) -> bsq.Quantized:
    raw = torch.from_numpy(photograph.raw)[None]
    return bsq.quantize(raw, photograph.schedule.tokenizer_scales)


def _reconstruction(encoded: Sequence[ImageFeatures], decoded: Sequence[Image.Image]) -> Check:
    """Compare decoded photographs with what the tokenizer saw, and with one flat colour."""
    found, flat = [], []
    for photograph, picture in zip(encoded, decoded, strict=True):
        pixels = photograph.pixels.astype(np.float32)
        found.append(_psnr(np.asarray(picture, dtype=np.float32) - pixels))
        flat.append(_psnr(pixels.mean((0, 1)) - pixels))
    return Check(
        "reconstruction",
        f"PSNR {_mean(found):.1f} dB, flat colour {_mean(flat):.1f} dB",
        f"at least {_LEAST_PSNR_GAIN} dB above one flat colour",
        all(a >= b + _LEAST_PSNR_GAIN for a, b in zip(found, flat, strict=True)),
        "the tokenizer does not reconstruct",
    )


def _psnr(difference: NDArray[np.float32]) -> float:
    return 10 * math.log10(255**2 / max(float(np.square(difference).mean()), 1e-6))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@torch.inference_mode()
def _losses(
    transformer: Infinity,
    code: bsq.Quantized,
    schedule: ScaleSchedule,
    captions: Sequence[TextFeatures],
    right: int,
) -> _Losses:
    """Return the teacher-forced losses of an example whose own caption is ``captions[right]``."""
    device = transformer.device
    batch = training_batch_of(code, schedule)
    inputs, targets = batch.inputs.to(device), batch.targets.to(device)

    def logits(text: TextFeatures) -> Tensor:
        return transformer(inputs, text, schedule)

    def loss(logits: Tensor, bits: Tensor = targets) -> float:
        return bit_loss(logits, bits, schedule).cross_entropy.item()

    # Within a scale, so that only the places of the bits are wrong.
    order = torch.Generator().manual_seed(0)
    shuffled = [
        part[:, torch.randperm(part.shape[1], generator=order).to(device)]
        for part in targets.split(list(schedule.lengths), dim=1)
    ]
    predicted = logits(captions[right])
    return _Losses(
        loss(predicted),
        [loss(logits(text)) for number, text in enumerate(captions) if number != right],
        loss(logits(transformer.unconditional(captions[right]))),
        loss(predicted, torch.cat(shuffled, dim=1)),
    )


def _loss_checks(losses: Sequence[_Losses]) -> Iterator[Check]:
    """Compare the losses of true bits with those of shuffled bits and of wrong prompts."""
    right, wrong = _mean([e.right for e in losses]), _mean([_mean(e.wrong) for e in losses])
    shuffled = _mean([each.shuffled for each in losses])
    unconditional = _mean([each.unconditional for each in losses])
    yield Check(
        "loss of true bits",
        f"{right:.3f}, of shuffled bits {shuffled:.3f}",
        f"below chance, {CHANCE:.3f}, and below shuffled",
        right < min(CHANCE, shuffled) - _LEAST_GAIN,
        "the transformer does not predict this tokenizer's bits",
    )
    best = sum(each.right < min(each.wrong) for each in losses)
    enough = math.ceil(0.75 * len(losses))
    yield Check(
        "loss by prompt",
        f"right {right:.3f}, wrong {wrong:.3f}, none {unconditional:.3f}",
        f"right is best for {enough} of {len(losses)} (here: {best})",
        best >= enough,
        "the right prompt does not help",
    )


def _sample(
    models: Models, photograph: ImageFeatures, prompt: str, text: TextFeatures
) -> Image.Image:
    """Draw the prompt freely, with the default settings, at the photograph's size."""
    features = text.features[0].cpu().numpy()
    offsets = models.text_encoder.offsets(prompt)
    encoded = PromptFeatures(models.preset.name, prompt, features, offsets)
    code = draw(models.transformer, photograph, encoded, SamplingSettings())
    return decode(models.tokenizer, code)


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * len(pictures), height))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index * width, 0))
    return sheet
