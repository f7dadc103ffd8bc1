"""What waits in RAM gives the same numbers as what stays on the device."""

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.files.loading import build_on_meta
from editinfinity.inversion.gradient_checkpointing import GradientCheckpointing, prepare
from editinfinity.inversion.lora import add_lora
from editinfinity.method.memory import for_sampling, for_training
from editinfinity.models import scale_passes
from editinfinity.models.block import Block, Stream
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.placement import on_device, place, rest_in_ram
from editinfinity.models.scale_cache import make_caches
from editinfinity.models.transfers import spread
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import PRESETS, TransformerConfig
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings

CONFIG = TransformerConfig(
    width=64, depth=4, heads=2, chunks=1, bits=8, text_width=32, text_length=64
)
SCHEDULE = schedule(1, "0.06M")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def model(device: str = "cpu", config: TransformerConfig = CONFIG) -> Infinity:
    torch.manual_seed(1)
    return Infinity(config).eval().requires_grad_(False).to(device)


def text(device: str) -> TextFeatures:
    generator = torch.Generator().manual_seed(2)
    return TextFeatures(torch.randn(1, 6, 32, generator=generator).to(device))


def drawn(base: Infinity, device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return sample(base, text(device), SCHEDULE, SamplingSettings(), generator).code.cpu()


def gradient(base: Infinity, device: str) -> list[torch.Tensor]:
    """Gradients of an adapter after two passes, as training makes them."""
    torch.manual_seed(4)
    base.train().set_drop_path(0.3)
    adapted = add_lora(base, LoraSettings(lora_dropout=0.2)).to(device).train()
    matrices = [p for p in adapted.parameters() if p.requires_grad]
    with torch.no_grad():
        for matrix in matrices:
            matrix.copy_(torch.randn(matrix.shape) * 0.05)
    inputs = torch.randn(2, SCHEDULE.tokens - 1, 8).to(device)
    features = text(device).features.expand(2, -1, -1)
    for seed in (5, 6):
        torch.manual_seed(seed)
        adapted(inputs, TextFeatures(features), SCHEDULE).square().mean().backward()
    found = [matrix.grad.cpu() for matrix in matrices if matrix.grad is not None]
    adapted.unload()
    base.eval().requires_grad_(False)
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("streamed", [1, 2, 4])
def test_streamed_blocks_draw_and_learn_the_same(device: str, streamed: int) -> None:
    plain, base = model(device), place(rest_in_ram(model()), torch.device(device), streamed)
    for each in (plain, base):
        each.run_block = GradientCheckpointing(each.blocks)
    for _ in range(2):  # drawing and learning in turn: the blocks run in both directions
        assert torch.equal(drawn(base, device), drawn(plain, device))
        for ours, theirs in zip(gradient(base, device), gradient(plain, device), strict=True):
            assert torch.equal(ours, theirs) and ours.any()


def test_streamed_matrices_take_the_memory_of_two_blocks() -> None:
    base = place(model(), torch.device("cpu"), 3)
    addresses = {block.ffn.fc1.weight.data_ptr() for block in base.blocks}
    assert len(addresses) == 4 - 3 + 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("parked", [1, 2, 4])
def test_parked_keys_and_values_draw_the_same(
    device: str, parked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = model(device)
    plain = drawn(base, device)
    monkeypatch.setattr(
        scale_passes,
        "scale_caches",
        lambda config, s, *others: make_caches(
            config.depth, s.lengths, parked, torch.device(device)
        ),
    )
    assert torch.equal(drawn(base, device), plain)


def test_the_last_scale_is_not_cached() -> None:
    x, lengths = torch.randn(1, 4, 8), (1, 4, 9)
    (cache,) = make_caches(1, lengths)
    cache.kv_buffer(x[:, :1], 2)
    assert cache._cache.shape[3] == 5  # type: ignore[union-attr]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("parked", [1, 4])
def test_parked_inputs_learn_the_same(device: str, parked: int) -> None:
    base = model(device)
    found = []
    for count in (0, parked):
        inputs = [base.blocks[index] for index in spread(count, 4)]
        base.run_block = GradientCheckpointing(base.blocks, inputs)
        found.append(gradient(base, device))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs) and ours.any()


def test_parked_inputs_leave_the_device() -> None:
    base, inputs = model(), []
    base.run_block = GradientCheckpointing(base.blocks, base.blocks)
    run = base.run_block

    def watched(block: Block, stream: Stream, *arguments: object) -> Stream:
        inputs.append(StorageWeakRef(stream.x.untyped_storage()))
        return run(block, stream, *arguments)

    base.run_block = watched
    vectors = torch.zeros(3, 32, requires_grad=True)
    noise = torch.randn(1, SCHEDULE.tokens - 1, 8)
    logits = base(noise, text("cpu").append(vectors), SCHEDULE)
    # The last one is on its way.
    assert [each.expired() for each in inputs] == [True, True, True, False]
    logits.mean().backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_2b_draws_and_learns_at_full_size_within_seven_gib() -> None:
    preset = PRESETS["infinity_2b"]
    card, scales = torch.device("cuda"), schedule(1.0, "1M")
    config, dtype = preset.transformer, torch.bfloat16
    resting = build_on_meta(lambda: Infinity(config).set_block_dtype(dtype)).to_empty(device="cpu")
    for parameter in resting.requires_grad_(False).parameters():
        parameter.fill_(0.01)
    rest_in_ram(resting.use_operations(choose_operations(card, config, dtype).result()))
    words = TextFeatures(torch.randn(1, 30, config.text_width, device=card))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(card).total_memory
    torch.cuda.set_per_process_memory_fraction(7 * 2**30 / total)
    try:
        base = for_sampling(resting, card, scales)
        sample(base, words, scales, SamplingSettings(), torch.Generator())
        del base
        base = for_training(resting, card, 2 * scales.tokens).train()
        prepare(base, 2 * scales.tokens)
        adapted = add_lora(base, LoraSettings()).to(card).train()
        inputs = torch.randn(2, scales.tokens - 1, config.bits, device=card)
        features = words.features.expand(2, -1, -1)
        adapted(inputs, TextFeatures(features), scales).square().mean().backward()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_model_on_its_device_is_used_as_it_is() -> None:
    base = model()
    assert on_device(base, torch.device("cpu"), 0) is base


@pytest.mark.parametrize("parked", [0, 1, 3])
def test_rows_that_end_early_are_dropped_from_every_cache(parked: int) -> None:
    """The last scales predict for the first of two rows only; it draws as if it were alone."""
    base, lengths = model(), SCHEDULE.lengths
    torch.manual_seed(6)
    features = torch.randn(2, 6, 32)
    both, first = TextFeatures(features), TextFeatures(features[:1])
    rows = [2 if scale < 4 else 1 for scale in range(len(lengths))]
    passes = scale_passes.ScalePasses(base, both, SCHEDULE, rows)
    passes.contexts = make_caches(len(base.blocks), lengths, parked)
    alone = scale_passes.ScalePasses(base, first, SCHEDULE)
    for scale, length in enumerate(lengths):
        inputs = torch.randn(1, length, 8) if scale else None
        logits = passes.logits(scale, inputs)
        assert len(logits) == rows[scale]
        torch.testing.assert_close(logits[:1], alone.logits(scale, inputs))
