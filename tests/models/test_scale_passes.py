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


def padded(seed: int) -> TextFeatures:
    """Return three rows of several lengths, padded to one, as prompts that are compared have."""
    features = text(9, seed).features.repeat(3, 1, 1)
    return TextFeatures(features, torch.arange(9) < torch.tensor([[6], [4 + seed % 3], [9]]))


class Replay:
    """Stands in for a CUDA graph: computes the recorded pass again, and writes into its result."""

    def __init__(self, passes: GraphedPasses, scale: int, buffer: torch.Tensor | None) -> None:
        self.passes, self.scale, self.buffer = passes, scale, buffer
        self.logits = self.run()

    def run(self) -> torch.Tensor:
        for context in self.passes.contexts:
            context.filled = sum(SCHEDULE.lengths[: self.scale])
        return ScalePasses.logits(self.passes, self.scale, self.buffer)

    def replay(self) -> None:
        self.logits.copy_(self.run())


@pytest.fixture()
def replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recorded passes run on the CPU."""

    def record(self: GraphedPasses, scale: int, inputs: torch.Tensor | None) -> None:
        buffer = None if inputs is None else inputs.clone()
        graph = Replay(self, scale, buffer)
        self._graphs.append((graph, buffer, graph.logits))  # type: ignore[arg-type]

    monkeypatch.setattr(GraphedPasses, "_record", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)


@pytest.mark.usefixtures("replays")
def test_padded_rows_are_replayed_with_their_own_masks() -> None:
    base = model()
    first = padded(0)
    recorded = GraphedPasses(base, first, SCHEDULE)
    kept = first.mask.clone()  # type: ignore[union-attr]
    for seed in (0, 1, 2):
        words = padded(seed)
        passes = recorded if not seed else recorded.begin(words)
        plain = ScalePasses(base, words, SCHEDULE)
        for scale, length in enumerate(SCHEDULE.lengths):
            inputs = torch.full((1, length, 8), 0.3) if scale else None
            assert torch.allclose(
                passes.logits(scale, inputs), plain.logits(scale, inputs), atol=1e-5
            )
    assert recorded.complete and torch.equal(first.mask, kept)  # type: ignore[arg-type]


def test_a_padded_text_means_what_it_did() -> None:
    base, words = model(), text(6, 2)
    longer = words.pad(9)
    assert longer.features.shape == (1, 9, 128)
    assert longer.mask is not None and longer.mask.tolist() == [[True] * 6 + [False] * 3]
    assert torch.equal(padded(0).pad(12).mask[:, :9], padded(0).mask)  # type: ignore
    assert words.pad(4).features.shape == words.features.shape
    plain, masked = (ScalePasses(base, each, SCHEDULE) for each in (words, longer))
    for scale, length in enumerate(SCHEDULE.lengths):
        inputs = torch.full((1, length, 8), 0.3) if scale else None
        assert torch.allclose(plain.logits(scale, inputs), masked.logits(scale, inputs), atol=1e-5)


@pytest.mark.usefixtures("replays")
def test_rows_that_are_no_longer_needed_are_left_out() -> None:
    base, words = model(), padded(0)
    rows = [3, 3, 3, 2, 2, 1, 1]
    every = ScalePasses(base, words, SCHEDULE)
    recorded = GraphedPasses(base, padded(1), SCHEDULE, rows)
    for scale, length in enumerate(SCHEDULE.lengths):
        recorded.logits(scale, torch.full((1, length, 8), 0.1) if scale else None)
    fewer = [ScalePasses(base, words, SCHEDULE, rows), recorded.begin(words)]
    for scale, length in enumerate(SCHEDULE.lengths):
        inputs = torch.full((1, length, 8), 0.3) if scale else None
        expected = every.logits(scale, inputs)
        for passes in fewer:
            logits = passes.logits(scale, inputs)
            assert len(logits) == rows[scale]
            assert torch.allclose(logits, expected[: rows[scale]], atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["source_negative", "editmod", "bitresedit", "aredit"])
def test_replayed_edits_of_two_prompts_are_the_plain_ones(method: str) -> None:
    from editinfinity.method.draw import draw
    from editinfinity.method.prompt import encode_prompt
    from editinfinity.settings.groups import GuidanceSettings
    from tests.method.test_approach import ENCODER, PHOTOGRAPH, SOURCE, TARGET, TINY

    other = encode_prompt("a small green cup on a long and narrow table", TINY, ENCODER)
    assert len(other.features) != len(TARGET.features)
    base, runner, recorded = model("cuda"), CudaGraphRunner(), []
    for seed in range(4):
        drawn = [
            draw(base, PHOTOGRAPH, (TARGET, other)[seed % 2], SamplingSettings(seed=seed),
                 source_prompt=SOURCE, guidance=GuidanceSettings(method), passes=passes)
            for passes in (ScalePasses, runner)
        ]  # fmt: skip
        assert torch.equal(*drawn)
        recorded.append(runner._recorded)
    # Attention that is replaced runs no recorded pass.
    assert (recorded[1] is not None) == (method != "aredit")
    assert recorded[1] is recorded[2] is recorded[3]  # for prompts of both lengths


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
