"""Kernels are built before they are needed, and models do without where they cannot be.

Without a card they run in Triton's interpreter, which builds nothing; what Triton would build anew
for is written down instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.fused import group_norm, norm, rotary, warm_up
from editinfinity.models.fused.operations import FUSED
from editinfinity.models.operations import PLAIN
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import PRESETS, TokenizerConfig, TransformerConfig
from editinfinity.scales import PIXEL_BUDGETS, schedule

pytestmark = pytest.mark.slow

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KERNELS = [(norm, "_forward"), (rotary, "_forward"), (group_norm, "_moments"),
           (group_norm, "_scale_swish")]  # fmt: skip


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> set[tuple[object, ...]]:
    """What is built: kernels, each with what Triton looks at when it decides whether it has it."""
    found: set[tuple[object, ...]] = set()
    for module, name in KERNELS:
        monkeypatch.setattr(module, name, _Recorded(getattr(module, name), found))
    if DEVICE.type == "cpu":
        monkeypatch.setattr(warm_up, "_THREADS", 1)  # all the interpreter can do
    return found


class _Recorded:
    def __init__(self, kernel: Any, found: set[tuple[object, ...]]) -> None:
        self.kernel, self.found = kernel, found
        if hasattr(kernel, "params"):
            self.out_of_view = {each.name for each in kernel.params if each.do_not_specialize}
        else:  # in the interpreter
            self.out_of_view = set(kernel.kwargs["do_not_specialize"] or ())

    def __getitem__(self, grid: object) -> Callable[..., None]:
        def launch(*arguments: object, **constants: object) -> None:
            given = zip(self.kernel.arg_names, arguments, strict=False)
            looked_at = tuple((name, self._look(name, value)) for name, value in given)
            self.found.add((self.kernel.fn, *looked_at, *sorted(constants.items())))
            self.kernel[grid](*arguments, **constants)

        return launch

    def _look(self, name: str, value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.dtype, value.data_ptr() % 16 == 0
        if isinstance(value, int) and name not in self.out_of_view:
            return int, value == 1, value % 16 == 0
        return type(value)


@pytest.mark.parametrize("ratio", [1.0, 1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drawing_builds_nothing_that_was_not_rehearsed(
    built: set[tuple[object, ...]],
    ratio: float,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TransformerConfig(
        width=64, depth=2, heads=2, chunks=1, bits=4, text_width=24, text_length=16
    )
    warm_up.warm_up(DEVICE, config, dtype)
    rehearsed = set(built)
    built.clear()
    model = Infinity(config).to(DEVICE).eval().requires_grad_(False).set_block_dtype(dtype)
    model.use_operations(FUSED)
    monkeypatch.setitem(PIXEL_BUDGETS, "three scales", 3)
    text = TextFeatures(torch.randn(1, 5, 24, device=DEVICE))
    for cfg in (4.0, 1.0):
        settings, generator = SamplingSettings(cfg=cfg), torch.Generator().manual_seed(0)
        sample(model, text, schedule(ratio, "three scales"), settings, generator)
    assert built == rehearsed
    assert len(built) == (5 if dtype == torch.bfloat16 else 4)  # in fp32 the head's is a block's


def test_decoding_builds_nothing_that_was_not_rehearsed(
    built: set[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_norm, "_PARTS", 2)  # the interpreter is slow
    shape = TokenizerConfig(bits=4, base_width=32, multipliers=(1, 2), group_width=16)
    warm_up.warm_up(DEVICE, shape)
    rehearsed = set(built)
    built.clear()
    tokenizer = Tokenizer(shape).to(DEVICE).use_operations(FUSED)
    with torch.no_grad():
        tokenizer.decode(torch.randn(1, 4, 8, 8, device=DEVICE))
    assert built == rehearsed and len(built) == 2


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """One that would run the kernels, as far as can be told beforehand."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return torch.device("cuda")


def test_what_cannot_be_built_is_done_without(
    card: torch.device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(warm_up, "warm_up", no_compiler)
    with caplog.at_level(logging.WARNING):
        assert choose_operations(card).result() is PLAIN
    (line,) = caplog.messages
    assert "(RuntimeError: Failed to find C compiler)" in line and "python3-dev" in line
    assert "\n" not in line


def test_an_old_card_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old Card")
    assert choose_operations(torch.device("cuda")).result() is PLAIN
    assert "Old Card is too old" in caplog.text


def test_heads_that_the_kernels_cannot_do_are_told_of(
    card: torch.device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warm_up, "warm_up", lambda *_: None)
    released = {name: each.transformer for name, each in PRESETS.items() if each.weights}
    for name, config in released.items():
        wanted = PLAIN if name == "infinity_125m" else FUSED
        assert choose_operations(card, config).result() is wanted, name
    (line,) = caplog.messages
    assert "need a power of two of channels a head, the model has 96; the slower plain" in line


def test_a_full_card_is_no_reason_to_be_slow(
    card: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(warm_up, "warm_up", full)
    with pytest.raises(torch.OutOfMemoryError):
        choose_operations(card).result()


def test_a_cpu_gets_the_plain_operations_at_once() -> None:
    assert choose_operations(torch.device("cpu")).done()
    assert choose_operations(torch.device("cpu")).result() is PLAIN
