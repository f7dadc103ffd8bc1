"""The fused kernels give the plain operations' numbers and gradients.

On a card they run compiled; without one, through Triton's interpreter where it is installed
(tests/conftest.py chooses).
"""

from __future__ import annotations

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytest.importorskip("triton", reason="Triton is not installed")

from editinfinity.inversion.lora import add_lora
from editinfinity.models.block import FeedForward
from editinfinity.models.fused import feed_forward
from editinfinity.models.fused.dropout import threshold_of
from editinfinity.models.fused.operations import FUSED
from editinfinity.models.operations import PLAIN
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TransformerConfig
from editinfinity.scales import schedule
from editinfinity.settings.groups import LoraSettings

pytestmark = pytest.mark.slow

EXACT = {"rtol": 1e-4, "atol": 1e-4}
B, L, C = 2, 19, 48


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape).to(DEVICE, dtype).requires_grad_()


def gradients(outputs, leaves, seed: int = 7):
    """Gradients of a fixed random combination of the outputs."""
    torch.manual_seed(seed)
    total = sum((o.float() * torch.randn(o.shape).to(o.device)).sum() for o in outputs)
    return torch.autograd.grad(total, leaves)


def same(function, *leaves: torch.Tensor, tolerance=EXACT) -> None:
    plain, fused = function(PLAIN), function(FUSED)
    for a, b in zip(plain, fused, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(b, a, **tolerance)
    for a, b in zip(gradients(plain, leaves), gradients(fused, leaves), strict=True):
        torch.testing.assert_close(b, a, **tolerance)


@pytest.mark.parametrize("rows", [1, B])
def test_norms_and_sums(rows: int) -> None:
    torch.manual_seed(0)
    x, branch = leaf(B, 70, C), leaf(B, 70, C)  # tokens of several programs, not all full
    gate, scale, shift = leaf(rows, 1, C), leaf(rows, 1, C), leaf(C)
    same(lambda do: do.add_norm(x, None, None, scale, shift, torch.float32), x, scale, shift)
    same(lambda do: do.add_norm(x, None, None, scale, shift, torch.float32)[1:], x, scale, shift)
    same(
        lambda do: do.add_norm(x, branch, gate, scale, shift, branch.dtype),
        x,
        branch,
        gate,
        scale,
        shift,
    )
    same(
        lambda do: do.add_norm(x, branch, None, scale, shift, branch.dtype), x, branch, scale, shift
    )
    same(lambda do: [do.add(x, branch, gate)], x, branch, gate)


def test_norms_when_only_the_input_learns_or_only_one_output_is_used() -> None:
    torch.manual_seed(0)
    x, branch = leaf(B, L, C), leaf(B, L, C)
    gate, scale, shift = (leaf(B, 1, C).detach() for _ in range(3))
    same(lambda do: do.add_norm(x, branch, gate, scale, shift, branch.dtype), x, branch)
    same(lambda do: do.add_norm(x, branch, gate, scale, shift, branch.dtype)[:1], x, branch)
    same(lambda do: do.add_norm(x, branch, gate, scale, shift, branch.dtype)[1:], x, branch)


def test_bf16_branches_round_where_the_plain_ones_do() -> None:
    torch.manual_seed(0)
    x, branch = leaf(B, L, C), leaf(B, L, C, dtype=torch.bfloat16)
    gate, scale, shift = leaf(B, 1, C), leaf(B, 1, C), leaf(B, 1, C)
    rough = {"rtol": 2e-2, "atol": 2e-2}
    same(
        lambda do: do.add_norm(x, branch, gate, scale, shift, branch.dtype),
        x, branch, gate, scale, shift, tolerance=rough,
    )  # fmt: skip


def model(heads: int = 3, width: int = C) -> Infinity:
    torch.manual_seed(1)
    config = TransformerConfig(
        width=width, depth=2, heads=heads, chunks=1, bits=4, text_width=24, text_length=16
    )
    return Infinity(config).to(DEVICE).eval().requires_grad_(False)


def test_queries_keys_and_values() -> None:
    attention = model().blocks[0].sa
    with torch.no_grad():
        for vector in (attention.q_bias, attention.v_bias, attention.scale_mul_1H11):
            vector.copy_(torch.randn_like(vector) * 2)
    h = leaf(B, L, C)
    angles = torch.randn(40, 8)  # a table of more tokens than are asked for
    table = torch.stack([angles.cos(), angles.sin()]).to(DEVICE)[:, 5 : 5 + L]
    same(lambda do: do.queries_keys_values(attention, h, table), h)
    with torch.no_grad():
        plain = PLAIN.queries_keys_values(attention, h, table)
        for dtype in (h.dtype, torch.float64):  # the other does not fit
            kv_buffer = torch.zeros(2, B, 2 * L, 3, 16, device=DEVICE, dtype=dtype).transpose(2, 3)
            places = kv_buffer.narrow(3, 4, L).unbind(0)
            fused = FUSED.queries_keys_values(attention, h, table, places)
            for given, expected in zip(fused, plain, strict=True):
                torch.testing.assert_close(given, expected, **EXACT)
            pairs = zip(fused[1:], places, strict=True)
            written = [given.data_ptr() == place.data_ptr() for given, place in pairs]
            assert written == [dtype == h.dtype] * 2
            if dtype == h.dtype:
                assert (
                    kv_buffer[..., :4, :].count_nonzero()
                    == kv_buffer[..., 4 + L :, :].count_nonzero()
                    == 0
                )


@pytest.fixture
def several_tokens_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card with real numbers of tokens; the last program has fewer."""
    monkeypatch.setattr(feed_forward, "_PROGRAMS", 6)


def adapted(dropout: float, rank: int = 3) -> tuple[Infinity, list[torch.nn.Parameter]]:
    base = model()
    wrapped = add_lora(base, LoraSettings(rank, lora_alpha=2 * rank, lora_dropout=dropout)).to(
        DEVICE
    )
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    return base, parameters


def test_frozen_feed_forward() -> None:
    torch.manual_seed(0)
    layers = FeedForward(C).to(DEVICE).requires_grad_(False)
    h = leaf(B, L, C)
    same(lambda do: [do.feed_forward(layers, h)], h)


@pytest.mark.parametrize("count", [1, 6, 9])
def test_prefixes_are_added_up(count: int) -> None:
    torch.manual_seed(0)

    def laid_out(length: int) -> torch.Tensor:
        return torch.randn(B, length, 3, 16).to(DEVICE).transpose(1, 2)

    parts, total = [laid_out(2 * n + 1) for n in range(count)], laid_out(L)
    sums = [total.clone(memory_format=torch.preserve_format) for _ in range(3)]
    PLAIN.add_prefixes(sums[0], parts)
    FUSED.add_prefixes(sums[1], parts)
    torch.testing.assert_close(sums[1], sums[0], **EXACT)
    FUSED.add_prefixes(sums[2], [part.contiguous() for part in parts])  # not laid out so
    torch.testing.assert_close(sums[2], sums[0], **EXACT)


@pytest.mark.parametrize("rank", [1, 3, 16, 32])  # from 16 on, channels of several programs
@pytest.mark.usefixtures("several_tokens_a_program")
def test_adapted_feed_forward(rank: int) -> None:
    torch.manual_seed(0)
    base, parameters = adapted(0.0, rank)
    base.train()
    h = leaf(B, L, C)
    layers = base.blocks[1].ffn
    mine = [p for name, p in layers.named_parameters() if "lora" in name]
    assert len(mine) == 4 and len(parameters) == 8
    close = {"rtol": 1e-4, "atol": 1e-4 * rank}
    same(lambda do: [do.feed_forward(layers, h)], h, *mine, tolerance=close)
    with torch.no_grad():
        plain, fused = (do.feed_forward(layers, h) for do in (PLAIN, FUSED))
    torch.testing.assert_close(fused, plain, **close)


def test_every_matrix_that_learns_has_its_gradient() -> None:
    base, _ = adapted(0.0)
    layers, h = base.blocks[0].ffn, leaf(B, L, C)
    mine = [p for name, p in layers.named_parameters() if "lora" in name]
    for learning in mine:
        base.requires_grad_(False)
        learning.requires_grad_()
        same(lambda do: [do.feed_forward(layers, h)], h, learning)


def test_adapters_in_turn_are_not_taken_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where a new one lies where the last lay, as allocators like to have it."""
    monkeypatch.setattr(torch.Tensor, "data_ptr", lambda self: 0)
    base, h = model().eval(), leaf(B, L, C)
    for seed in range(4):
        torch.manual_seed(seed)
        wrapped = add_lora(base, LoraSettings(lora_rank=3, lora_dropout=0.0)).eval()
        for name, parameter in wrapped.named_parameters():
            if "lora" in name:
                parameter.data = 0.3 * torch.randn(parameter.shape).to(DEVICE)
        with torch.no_grad():
            plain, fused = (do.feed_forward(base.blocks[0].ffn, h) for do in (PLAIN, FUSED))
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-3)
        wrapped.unload()


def keep_mask(shape: tuple[int, int], seed: int, rate: float) -> torch.Tensor:
    """Which places of a matrix are kept, bool; the kernels' mask, on the CPU."""
    word = 0xFFFFFFFF  # products wrap modulo 2⁶⁴, of which the low half is right
    x = torch.arange(shape[0] * shape[1], dtype=torch.int64) ^ seed
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & word
    x = x ^ (x >> 15)
    return ((x * 0x846CA68B) & word >= threshold_of(rate)).view(shape)


@pytest.mark.usefixtures("several_tokens_a_program")
def test_dropout_is_that_of_the_written_down_mask() -> None:
    """With the masks that the kernels' seeds stand for, PyTorch gives the same gradients."""
    base, _ = adapted(0.4, rank=16)
    base.train()
    layers, h = base.blocks[0].ffn, leaf(B, L, C)
    mine = [p for name, p in layers.named_parameters() if "lora" in name]
    torch.manual_seed(11)
    seeds = torch.randint(2**31, (2,)).tolist()

    def written_down():
        x = h
        for layer, seed in zip((layers.fc1, layers.fc2), seeds, strict=True):
            kept = keep_mask((B * L, x.shape[-1]), seed, 0.4).view(B, L, -1).to(DEVICE)
            a, b = (getattr(layer, f"lora_{n}")["default"].weight for n in "AB")
            low = (x * kept / 0.6) @ a.T @ b.T * layer.scaling["default"]
            x = layer.get_base_layer()(x) + low
            if layer is layers.fc1:
                x = torch.nn.functional.gelu(x, approximate="tanh")
        return [x]

    torch.manual_seed(11)
    fused = [FUSED.feed_forward(layers, h)]
    plain = written_down()
    torch.testing.assert_close(fused[0], plain[0], **EXACT)
    leaves = [h, *mine]
    for a, b in zip(gradients(plain, leaves), gradients(fused, leaves), strict=True):
        assert (b - a).norm() <= 1e-5 * a.norm()


def test_masks_keep_their_share_and_differ_by_seed() -> None:
    first, second = keep_mask((300, 400), 1, 0.1), keep_mask((300, 400), 2, 0.1)
    for mask in (first, second):
        assert mask.float().mean().item() == pytest.approx(0.9, abs=0.005)
        assert (mask[:, 1:] & mask[:, :-1]).float().mean().item() == pytest.approx(0.81, abs=0.01)
    assert (first & second).float().mean().item() == pytest.approx(0.81, abs=0.01)


def test_what_the_kernels_cannot_do_is_left_to_the_plain_operations() -> None:
    base, _ = adapted(0.0)
    layers, h = base.blocks[0].ffn, leaf(B, L, C)
    layers.fc1.get_base_layer().weight.requires_grad_(True)
    same(lambda do: [do.feed_forward(layers, h)], h, layers.fc1.get_base_layer().weight)
    attention = base.blocks[0].sa
    attention.q_bias.requires_grad_(True)
    table = torch.ones(2, L, 8, device=DEVICE)
    same(lambda do: do.queries_keys_values(attention, h, table), h, attention.q_bias)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type == "cpu", reason="takes minutes in the interpreter")
def test_whole_model() -> None:
    """Logits and the gradients of soft prompt and of every adapter."""
    base, parameters = adapted(0.0)
    base.train()
    s = schedule(1.5, "0.06M")
    inputs = torch.randn(B, s.tokens - 1, 4).to(DEVICE)
    text = leaf(B, 5, 24)

    def run(do):
        base.use_operations(do)
        return [base(inputs, TextFeatures(text), s)]

    same(run, text, *parameters, tolerance={"rtol": 1e-3, "atol": 1e-4})
