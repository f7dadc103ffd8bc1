"""Recorded passes draw the plain ones' picture, and are made only for a shape seen again."""

import pytest
import torch

from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.models.scale_passes import CudaGraphRunner, GraphedPasses, ScalePasses
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule

SCHEDULE = schedule(1, "0.06M")


def model(device: str = "cpu") -> Infinity:
    torch.manual_seed(1)
    return Infinity(preset("tiny").transformer).eval().requires_grad_(False).to(device)


def text(tokens: int, seed: int, device: str = "cpu") -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    return TextFeatures(torch.randn(1, tokens, 128, generator=generator).to(device))


def test_without_a_card_passes_are_plain() -> None:
    replays, base = CudaGraphRunner(), model()
    for _ in range(3):
        assert type(replays(base, text(6, 2), SCHEDULE)) is ScalePasses


def test_a_recording_cannot_be_watched() -> None:
    passes = object.__new__(GraphedPasses)
    with pytest.raises(ValueError, match="cannot be observed"):
        passes.logits(0, None, lambda q, k: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replayed_pictures_are_the_plain_ones() -> None:
    base, replays = model("cuda"), CudaGraphRunner()
    for tokens, seed in ((6, 2), (6, 3), (6, 4), (9, 5), (6, 6), (6, 7)):
        drawn = [
            sample(
                base,
                text(tokens, seed, "cuda"),
                SCHEDULE,
                SamplingSettings(),
                torch.Generator().manual_seed(seed),
                passes=passes,
            ).code
            for passes in (ScalePasses, replays)
        ]
        assert torch.equal(*drawn)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_picture_that_fails_while_it_is_recorded_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, replays = model("cuda"), CudaGraphRunner()

    def draw(passes: type[ScalePasses] | CudaGraphRunner) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        words = text(6, 2, "cuda")
        return sample(base, words, SCHEDULE, SamplingSettings(), generator, passes=passes).code

    wanted = draw(ScalePasses)
    assert torch.equal(draw(replays), wanted)
    forward = base.forward_scale

    def full(tokens: torch.Tensor, scale: int, *others: object) -> torch.Tensor:
        if scale == 3:
            raise torch.OutOfMemoryError("no room")
        return forward(tokens, scale, *others)

    with monkeypatch.context() as patch:
        patch.setattr(base, "forward_scale", full)
        with pytest.raises(torch.OutOfMemoryError):
            draw(replays)
    for _ in range(3):
        assert torch.equal(draw(replays), wanted)
