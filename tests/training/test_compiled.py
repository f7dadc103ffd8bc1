"""Compiled blocks are left as soon as they give other numbers than plain ones."""

import pytest
import torch
from torch import Tensor

from editinfinity.models.transformer import Block, Infinity, TextFeatures, run_block
from editinfinity.presets import preset
from editinfinity.scales import schedule
from training.train_transformer import Lessons


def faithful(block: Block, *arguments: object) -> Tensor:
    return block(*arguments)


def stale(block: Block, x: Tensor, *arguments: object) -> Tensor:
    """A block that goes on using the attention temperature it was made with."""
    kept = block.sa.scale_mul_1H11.detach().clone()
    with torch.no_grad():
        block.sa.scale_mul_1H11.fill_(-3)
        result = block(x, *arguments)
        block.sa.scale_mul_1H11.copy_(kept)
    return result


@pytest.mark.parametrize(("runner", "left"), [(faithful, False), (stale, True)])
def test_compiled_blocks_are_trusted_while_they_agree(runner: object, left: bool) -> None:
    torch.manual_seed(0)
    plan = schedule(1.0, "0.06M")
    model = Infinity(preset("tiny").transformer).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.sa.proj.weight)  # attention shows in the output
    inputs = torch.randn(2, plan.tokens - 1, 8)
    text = TextFeatures(torch.randn(2, 4, 128), torch.ones(2, 4, dtype=torch.bool))
    model.run_block = runner  # type: ignore[assignment]
    lessons = Lessons(model, plan)
    with torch.no_grad():
        logits = lessons.forward(model, inputs, text)
    lessons.trust_compiled(inputs, text, logits)
    assert (model.run_block is run_block) == left
