"""Products in FP8: the reference, the matrices in a model, and the GPU's arithmetic beside it.

PyTorch (2.13, but not 2.11) has the GPU's product of quantised matrices on a CPU too, and Triton's
interpreter runs the kernel there. What needs a real GPU is marked so.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.errors import UserError
from editinfinity.inversion.gradient_checkpointing import prepare
from editinfinity.inversion.lora import add_lora
from editinfinity.models import dispatch
from editinfinity.models.dispatch import choose_fp8
from editinfinity.models.fp8 import (
    FP8,
    LARGEST,
    Fp8Arithmetic,
    Fp8Matrix,
    Quantised,
    in_fp8,
    reason_against,
)
from editinfinity.models.operations import PLAIN
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TransformerConfig
from editinfinity.scales import PIXEL_BUDGETS, schedule
from editinfinity.settings.groups import LoraSettings

CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
REFERENCE = Fp8Arithmetic()
DEPTH, WIDTH = 3, 64
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9),
    reason="needs a GPU with FP8",
)


def multiplies_rows() -> bool:
    """Whether the installed torch multiplies matrices whose rows have scales on this device."""
    values = torch.ones(16, 16, device=DEVICE).to(FP8)
    scales = torch.ones(16, 1, device=DEVICE)
    try:
        torch._scaled_mm(values, values.t(), scales, scales.t(), out_dtype=torch.bfloat16)
    except RuntimeError:
        return False
    return True


def dequantised(matrix: Quantised) -> Tensor:
    return matrix.values.float() * matrix.scales


def representable(rows: int, width: int) -> Tensor:
    """Rows that FP8 loses nothing of: random FP8 numbers times powers of two."""
    torch.manual_seed(0)
    numbers = (torch.randn(rows, width) * 50).to(torch.float8_e4m3fn).float()
    numbers[:, 0] = LARGEST
    return numbers * torch.logspace(-9, 6, rows, base=2)[:, None].log2().round().exp2()


# --- the reference --------------------------------------------------------------------------------


def test_each_row_has_its_scale_and_four_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 500) * torch.logspace(-8, 3, 6)[:, None]
    rounded = REFERENCE.quantise(x)
    torch.testing.assert_close(rounded.scales[:, 0], x.abs().amax(1) / LARGEST)
    large = x.abs() > x.abs().amax(1, keepdim=True) / 100
    errors = ((dequantised(rounded) - x) / x).abs()[large]
    assert 1 / 32 < errors.max() <= 1 / 16  # half of the last of 4 bits
    exact = representable(5, 48)
    assert torch.equal(dequantised(REFERENCE.quantise(exact)), exact)


def test_rows_of_zeros_stay_and_nan_is_not_hidden() -> None:
    x = torch.tensor([[0.0, 0.0], [1e-38, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
    values = dequantised(REFERENCE.quantise(x))
    assert values[:2].abs().max() <= 1e-38
    assert values[2:, 0].isnan().all()


def test_a_matrix_multiplies_in_fp8_and_is_else_itself() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(32, 48) * torch.logspace(-2, 2, 32)[:, None], torch.randn(32)
    x = torch.randn(2, 5, 48, requires_grad=True)
    gradient = torch.randn(2, 5, 32)
    matrix = Fp8Matrix.of(weight, REFERENCE)
    product = F.linear(x, matrix, bias=bias)
    rounded = dequantised(REFERENCE.quantise(x.detach().flatten(0, 1))).view_as(x)
    expected = F.linear(rounded, dequantised(REFERENCE.quantise(weight)), bias)
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-4)
    assert type(product) is Tensor
    product.backward(gradient)
    columns = dequantised(REFERENCE.quantise(weight.T.contiguous())).T
    rounded = dequantised(REFERENCE.quantise(gradient.flatten(0, 1))).view_as(gradient)
    torch.testing.assert_close(x.grad, rounded @ columns, rtol=1e-5, atol=1e-4)
    assert torch.equal(gradient @ matrix, x.grad)  # as the fused feed-forward calls it
    assert torch.equal(matrix + 0, weight) and matrix.data_ptr() == weight.data_ptr()
    assert not matrix.requires_grad and matrix.shape == weight.shape


# --- in a model -----------------------------------------------------------------------------------


@dataclass
class Counting(Fp8Arithmetic):
    """The reference, counting its products."""

    shapes: list[tuple[int, int]] = field(default_factory=list)

    def multiply(
        self, a: Quantised, b: Quantised, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        self.shapes.append((b.values.shape[0], b.values.shape[1]))
        return super().multiply(a, b, bias, dtype)


class Learning:
    """A small model with an adapter that does something, and a batch to run it on."""

    def __init__(self, device: torch.device = CPU, width: int = WIDTH) -> None:
        torch.manual_seed(0)
        config = TransformerConfig(
            width=width, depth=DEPTH, heads=2, chunks=1, bits=8, text_width=32, text_length=16
        )
        self.base = Infinity(config).requires_grad_(False)
        self.adapted = add_lora(self.base, LoraSettings(lora_dropout=0.0)).to(device).train()
        self.matrices = [p for p in self.adapted.parameters() if p.requires_grad]
        with torch.no_grad():
            for matrix in self.matrices:
                matrix.copy_(torch.randn(matrix.shape) * 0.1)
        self.scales = schedule(1.0, "two scales")
        self.inputs = torch.randn(1, self.scales.tokens - 1, 8).to(device)
        self.text = TextFeatures(torch.randn(1, 9, 32).to(device))
        self.weights = torch.randn(1, self.scales.tokens, 8, 2).to(device)

    def run(self) -> tuple[Tensor, Tensor]:
        """Return the logits, and the gradient of all of the adapter's matrices."""
        logits = self.adapted(self.inputs, self.text, self.scales)
        gradients = torch.autograd.grad((logits * self.weights).sum(), self.matrices)
        return logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def apart(ours: Tensor, exact: Tensor) -> float:
    return float((ours.float() - exact.float()).norm() / exact.float().norm())


@pytest.fixture(autouse=True)
def two_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tokens, which take Triton's interpreter seconds instead of minutes."""
    monkeypatch.setitem(PIXEL_BUDGETS, "two scales", 2)  # type: ignore[arg-type]


@pytest.fixture
def learning() -> Learning:
    return Learning()


def test_a_model_learns_about_the_same(learning: Learning) -> None:
    exact, counting = learning.run(), Counting()
    before = dict(learning.base.named_parameters())
    with in_fp8(learning.base, counting):
        lossy = learning.run()
    assert 1e-3 < apart(lossy[0], exact[0]) < 0.1
    assert 1e-3 < apart(lossy[1], exact[1]) < 0.2
    assert F.cosine_similarity(lossy[1], exact[1], dim=0) > 0.98
    # Forward in each block: queries, keys and values; four square ones; up and down.
    forward = [(3 * WIDTH, WIDTH), *[(WIDTH, WIDTH)] * 3, (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
    assert counting.shapes[: 6 * DEPTH] == forward * DEPTH
    # Backward the same, transposed, from the end to the first adapter.
    backward = [(outputs, inputs) for inputs, outputs in reversed(forward)] * DEPTH
    assert counting.shapes[6 * DEPTH :] == backward[:-5]
    after = dict(learning.base.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(torch.equal(a, b) for a, b in zip(learning.run(), exact, strict=True))


def test_recomputed_blocks_have_the_same_numbers(learning: Learning) -> None:
    with in_fp8(learning.base, REFERENCE):
        stored = learning.run()
        prepare(learning.base, learning.scales.tokens, "all")
        recomputed = learning.run()
        prepare(learning.base, learning.scales.tokens, "none")
    assert all(torch.equal(a, b) for a, b in zip(stored, recomputed, strict=True))


def test_an_error_leaves_the_model_as_it_was(learning: Learning) -> None:
    weight = learning.base.blocks[0].sa.proj.weight
    with pytest.raises(KeyboardInterrupt), in_fp8(learning.base, REFERENCE):
        assert isinstance(learning.base.blocks[0].sa.proj.weight, Fp8Matrix)
        raise KeyboardInterrupt
    assert learning.base.blocks[0].sa.proj.weight is weight


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "all"])
def test_the_fused_operations_use_it_too(recompute: str) -> None:
    from editinfinity.models.fused.operations import FUSED

    learning, counted = Learning(DEVICE), []
    results = []
    for operations in (PLAIN, FUSED):
        learning.base.use_operations(operations)
        prepare(learning.base, learning.scales.tokens, recompute)
        counting = Counting()
        with in_fp8(learning.base, counting):
            results.append(learning.run())
        counted.append(sorted(counting.shapes))
    assert counted[0] == counted[1]
    # A last bit of difference may round a value to the next FP8 number.
    assert max(apart(b, a) for a, b in zip(*results, strict=True)) < 0.02


# --- the arithmetic of a GPU ----------------------------------------------------------------------


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [48, 2048])
def test_the_kernel_quantises_as_the_reference(dtype: torch.dtype, width: int) -> None:
    from editinfinity.models.fused.fp8 import GpuFp8Arithmetic

    # Not any numbers: where rounding reaches the next power of two, the interpreter is wrong.
    x = torch.cat([representable(7, width), torch.zeros(1, width)]).to(DEVICE, dtype)
    plain, fused = REFERENCE.quantise(x), GpuFp8Arithmetic().quantise(x)
    assert torch.equal(plain.scales, fused.scales)
    assert torch.equal(plain.values.float(), fused.values.float())
    slanted = x[:, ::2]  # not contiguous
    assert torch.equal(
        GpuFp8Arithmetic().quantise(slanted).scales, REFERENCE.quantise(slanted).scales
    )


@needs_triton
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_gpus_product_is_the_references(with_bias: bool) -> None:
    from editinfinity.models.fused.fp8 import GpuFp8Arithmetic

    if not multiplies_rows():
        pytest.skip(f"torch {torch.__version__} does not multiply rows with scales on {DEVICE}")
    torch.manual_seed(0)
    x, weight = torch.randn(21, 96) * 3, torch.randn(48, 96)
    bias = torch.randn(48).to(DEVICE, torch.bfloat16) if with_bias else None
    a, b = (REFERENCE.quantise(part.to(DEVICE, torch.bfloat16)) for part in (x, weight))
    plain = REFERENCE.multiply(a, b, bias, torch.bfloat16)
    assert apart(GpuFp8Arithmetic().multiply(a, b, bias, torch.bfloat16), plain) < 3e-3


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("width", [256, 2048, 8192])
def test_a_gpu_quantises_and_multiplies_as_the_reference(width: int) -> None:
    torch.manual_seed(0)
    arithmetic = choose_fp8(DEVICE)
    x = torch.randn(1001, width, device=DEVICE).to(torch.bfloat16)
    weight = torch.randn(512, width, device=DEVICE).to(torch.bfloat16)
    plain, fused = REFERENCE.quantise(x), arithmetic.quantise(x)
    assert torch.equal(plain.scales, fused.scales)
    assert torch.equal(plain.values.float(), fused.values.float())
    rows = REFERENCE.quantise(weight)
    ours = arithmetic.multiply(fused, rows, None, torch.bfloat16)
    assert apart(ours, REFERENCE.multiply(plain, rows, None, torch.bfloat16)) < 5e-3


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_learns_as_the_reference() -> None:
    learning = Learning(DEVICE, 256)
    learning.base.set_block_dtype(torch.bfloat16)
    exact, results = learning.run(), []
    for arithmetic in (REFERENCE, choose_fp8(DEVICE)):
        learning.base.use_operations(dispatch.choose_operations(DEVICE).result())
        with in_fp8(learning.base, arithmetic):
            results.append(learning.run())
    for plain, ours, reference in zip(*results, exact, strict=True):
        assert apart(ours, plain) < 0.5 * apart(plain, reference) + 0.01


# --- choosing it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "width", "streamed", "reason"),
    [
        (16384, 2048, False, None),
        (8192, 4096, False, None),
        (16383, 2048, False, "it is not faster with 16,383 tokens an iteration"),
        (16384, 2048, True, "it needs all weights on the GPU"),
    ],
)
def test_large_iterations_gain_from_it(
    tokens: int, width: int, streamed: bool, reason: str | None
) -> None:
    model: Any = SimpleNamespace(config=SimpleNamespace(width=width), is_streamed=streamed)
    found = reason_against(model, tokens)
    assert found is None if reason is None else str(found).startswith(reason)


def test_a_device_without_fp8_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="fp8 needs an NVIDIA GPU, not cpu; use precision: auto"):
        choose_fp8(CPU)
    card = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(UserError, match=r"not supported by A100; .* capability 8\.9 or more"):
        choose_fp8(card)


@needs_triton
def test_fp8_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from editinfinity.models.fused.fp8 import GpuFp8Arithmetic

    def fail(*_: object) -> None:
        raise RuntimeError("no row-wise scaling\nin this version")

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device, dtype: ones(shape, dtype=dtype))
    assert isinstance(choose_fp8(torch.device("cuda")), GpuFp8Arithmetic)
    monkeypatch.setattr(GpuFp8Arithmetic, "multiply", fail)
    with pytest.raises(UserError, match="does not work on H100 ") as fault:
        choose_fp8(torch.device("cuda"))
    assert "no row-wise scaling" in str(fault.value) and "\n" not in str(fault.value)
