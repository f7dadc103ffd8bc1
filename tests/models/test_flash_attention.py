"""Large scales of a training use FlashAttention-4 if it is installed, and only they."""

import logging
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton", reason="Triton is not installed")

from editinfinity.compute import determinism
from editinfinity.models.attention import TeacherForcing
from editinfinity.models.fused import flash_attention
from editinfinity.models.fused.operations import FUSED
from editinfinity.models.operations import PLAIN

WIDTH = flash_attention.HEAD_WIDTH


def leaf(batch: int = 2, length: int = 1000, width: int = WIDTH, dtype=torch.bfloat16):
    return torch.randn(batch, length, 1, width).to(dtype).transpose(1, 2).requires_grad_()


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A stand-in for the package, as it is called: the queries and keys of each call."""
    seen: list[tuple[int, int]] = []

    def flash_attn_func(q, k, v, softmax_scale):  # (B, L, H, D)
        seen.append((q.shape[1], k.shape[1]))
        parts = (part.transpose(1, 2) for part in (q, k, v))
        return F.scaled_dot_product_attention(*parts, scale=softmax_scale).transpose(1, 2), None

    package, module = types.ModuleType("flash_attn"), types.ModuleType("flash_attn.cute")
    module.flash_attn_func = flash_attn_func  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.cute", module)
    monkeypatch.setattr(flash_attention, "_works", lambda device: True)
    return seen


def test_the_large_scales_use_it(
    lengths: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash_attention, "MIN_QUERIES", 40)
    scales = (600, 30, 40, 50)
    q, k, v = (leaf(length=sum(scales)) for _ in range(3))
    plain = TeacherForcing(scales, PLAIN).attend(q, k, v)
    assert torch.equal(TeacherForcing(scales, FUSED).attend(q, k, v), plain)
    assert lengths == [(40, 670), (50, 720)]


def test_nothing_else_uses_it(lengths: list[tuple[int, int]]) -> None:
    assert flash_attention.suits(leaf())
    assert not flash_attention.suits(leaf(batch=1))
    assert not flash_attention.suits(leaf(length=999))
    assert not flash_attention.suits(leaf(width=64))
    assert not flash_attention.suits(leaf(dtype=torch.float32))
    assert not flash_attention.suits(leaf().detach())  # sampling
    with determinism(True):
        assert not flash_attention.suits(leaf())


def test_a_package_that_fails_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def attend(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel image for this GPU")

    monkeypatch.setattr(flash_attention, "is_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: torch.ones(1))
    monkeypatch.setattr(flash_attention, "attend", attend)
    flash_attention._works.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not flash_attention._works(torch.device("cuda"))
        assert not flash_attention._works(torch.device("cuda"))
    flash_attention._works.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "FlashAttention-4 fails (RuntimeError: no kernel image for this GPU); "
        "PyTorch's attention is used"
    ]


@pytest.mark.parametrize("fault", ["ImportError('undefined symbol')", "OSError('libcudart')"])
def test_an_earlier_release_that_cannot_be_imported_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text(f"raise {fault}", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flash_attn", raising=False)
    assert not flash_attention.is_installed()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(not flash_attention.is_installed(), reason="needs flash-attn-4")
def test_numbers_and_gradients_on_a_card() -> None:
    torch.manual_seed(0)
    shapes = [(2, 1100, 4, WIDTH), (2, 1700, 4, WIDTH), (2, 1700, 4, WIDTH)]
    exact = [torch.randn(shape, device="cuda").transpose(1, 2) for shape in shapes]
    exact[:2] = [F.normalize(part, dim=-1) * 3 for part in exact[:2]]
    weights = torch.randn(2, 4, 1100, WIDTH, device="cuda")

    def run(attend, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [part.to(dtype).requires_grad_() for part in exact]
        out = attend(*leaves)
        return [out, *torch.autograd.grad((out.float() * weights).sum(), leaves)]

    assert flash_attention.suits(exact[0].to(torch.bfloat16).requires_grad_())
    reference = run(PLAIN.attend, torch.float32)
    ours, plain = run(FUSED.attend, torch.bfloat16), run(PLAIN.attend, torch.bfloat16)
    for a, b, c in zip(ours, plain, reference, strict=True):
        error, usual = ((x.float() - c).norm() / c.norm() for x in (a, b))
        assert error <= 1.5 * usual < 0.05
