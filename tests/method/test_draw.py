"""A drawing follows its settings, and its adapter leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from editinfinity.editing import sampler
from editinfinity.files.checkpoints import Adapter
from editinfinity.inversion.lora import add_lora
from editinfinity.method import draw as module
from editinfinity.method.approach import Edit, approach_of
from editinfinity.method.draw import _padded_length, adapted, decode, draw, use_adapter
from editinfinity.models.scale_passes import ScalePasses
from editinfinity.models.transformer import Infinity
from editinfinity.settings.groups import GuidanceSettings, LoraSettings, SamplingSettings
from tests.method.test_approach import MODEL, PHOTOGRAPH, SOURCE, TARGET, model_of

CPU = torch.device("cpu")


def code_of(**more: Any) -> torch.Tensor:
    keys = ("seed", "cfg", "tau", "top_k", "top_p")
    numbers = {key: more.pop(key) for key in keys if key in more}
    return draw(MODEL, PHOTOGRAPH, TARGET, SamplingSettings(**numbers), **more)


@pytest.mark.parametrize(
    "changed", [{"seed": 43}, {"cfg": 3.0}, {"tau": 1.0}, {"top_k": 1}, {"top_p": 0.6}]
)
def test_every_number_changes_the_drawing(changed: dict[str, Any]) -> None:
    plain = code_of()
    assert torch.equal(plain, code_of(seed=42, cfg=4, tau=0.5, top_k=900, top_p=0.97))
    assert not torch.equal(plain, code_of(**changed))


@pytest.mark.parametrize("locked", [1, 3, 7])
def test_locked_scales_are_the_photographs(locked: int) -> None:
    seen: list[torch.Tensor] = []

    class Watching(ScalePasses):
        def logits(self, scale: int, inputs: Any, observe: Any) -> torch.Tensor:
            seen.append(inputs)
            return super().logits(scale, inputs, observe)

    code = code_of(lock_scales=locked, passes=Watching)
    codes = sampler.codes_of(PHOTOGRAPH.bits, PHOTOGRAPH.schedule, CPU)
    if locked == 7:
        assert torch.allclose(code, sum(codes), atol=1e-6)  # type: ignore[arg-type]
        return
    # What is given to the first scale that is not locked and the next one.
    for scale, same in ((locked, True), (locked + 1, False)):
        grid = PHOTOGRAPH.schedule.scales[scale]
        total = torch.stack(codes[:scale]).sum(0)
        resized = torch.nn.functional.interpolate(total, grid, mode="bilinear")
        assert torch.allclose(seen[scale], resized.flatten(2).mT, atol=1e-6) is same


def test_a_blend_mask_is_averaged_to_the_grid_of_the_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    edits: list[Edit] = []
    monkeypatch.setattr(module, "approach_of", lambda edit: edits.append(edit) or approach_of(edit))
    mask = np.ones((64, 64), np.float32)
    mask[:, 30:] = 0
    drawn, kept = code_of(blend_mask=mask), code_of(lock_scales=7)
    assert torch.allclose(drawn[..., :7], kept[..., :7], atol=1e-6)
    assert (drawn[..., 7:] != kept[..., 7:]).float().mean() > 0.2
    masked, free = edits
    assert masked.keep is not None and masked.keep[0, 6:9].tolist() == [1, 0.5, 0]
    assert free.keep is None


def test_a_watched_drawing_is_not_recorded() -> None:
    def refused(*_: object) -> ScalePasses:
        raise AssertionError("recorded passes cannot be watched")

    settings = GuidanceSettings("aredit")
    draw(MODEL, PHOTOGRAPH, TARGET, SamplingSettings(), source_prompt=SOURCE, guidance=settings,
         passes=refused)  # fmt: skip
    with pytest.raises(AssertionError):
        code_of(passes=refused)


def adapter_of(model: Infinity, value: float) -> Adapter:
    """An adapter that changes what the model draws."""
    wrapped = add_lora(model, LoraSettings())
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, value)
    adapter = Adapter.of(wrapped)
    wrapped.unload()
    return adapter


def test_an_adapter_is_applied_inside_the_block_alone() -> None:
    model = model_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = adapter_of(model, 0.05)
    settings = SamplingSettings(top_k=1)
    plain = draw(model, PHOTOGRAPH, TARGET, settings)
    with adapted(model, adapter):
        other = draw(model, PHOTOGRAPH, TARGET, settings)
    with adapted(model, None):
        again = draw(model, PHOTOGRAPH, TARGET, settings)
    assert torch.equal(plain, again) and not torch.equal(plain, other)
    with pytest.raises(RuntimeError), adapted(model, adapter):
        raise RuntimeError
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_an_interrupt_leaves_of_an_adapter_is_never_drawn_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, settings = model_of(), SamplingSettings(top_k=1)
    adapter, other = adapter_of(model, 0.05), adapter_of(model, -0.05)
    drawn = []
    for each in (None, adapter, other):
        use_adapter(model, each)
        drawn.append(draw(model, PHOTOGRAPH, TARGET, settings))
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    for following, expected in zip((None, adapter, other), drawn, strict=True):
        use_adapter(model, adapter)
        layers, unwrapped = model.get_submodule, []

        def interrupted(name: str, layers: Any = layers, unwrapped: Any = unwrapped) -> Any:
            unwrapped.append(name)
            if len(unwrapped) == 4:  # two calls a layer
                raise KeyboardInterrupt
            return layers(name)

        with monkeypatch.context() as patched:
            patched.setattr(model, "get_submodule", interrupted)
            with pytest.raises(KeyboardInterrupt):
                use_adapter(model, other)
        assert any("lora" in name for name, _ in model.named_modules())
        use_adapter(model, following)
        assert torch.equal(draw(model, PHOTOGRAPH, TARGET, settings), expected)


def test_a_code_is_decoded_to_a_picture() -> None:
    class Doubling:
        def decode(self, code: torch.Tensor) -> torch.Tensor:
            return 2 * code

    code = torch.tensor([[-0.5, 0.0], [0.25, 2.0]]).expand(1, 3, 2, 2)
    picture = np.asarray(decode(Doubling(), code))  # type: ignore[arg-type]
    assert picture.shape == (2, 2, 3) and picture[..., 0].tolist() == [[0, 127], [191, 255]]


@pytest.mark.parametrize(
    ("tokens", "most", "padded"),
    [(1, 512, 64), (64, 512, 64), (65, 512, 128), (500, 512, 512), (130, 160, 160)],
)
def test_texts_of_many_lengths_are_padded_to_few(tokens: int, most: int, padded: int) -> None:
    assert _padded_length(tokens, most) == padded
