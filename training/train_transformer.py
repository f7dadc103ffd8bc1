"""Train the bundled model's transformer (preset ``bundled``) on made scenes.

    python -m training.train_transformer --tokenizer build/weights --seconds 560 \
        --total-seconds 900 --compile

AdamW 1e-3, cosine over time with warm-up, batch 256, bitwise self-correction noise up to 0.25,
condition dropped for 10 % of the samples, averaged weights. 40 % of the samples are edits: what is
shown carries the source's codes outside the mask, as blended sampling does.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from editinfinity.inversion.teacher_forcing import SelfCorrectionNoise, bit_loss, lesson_of
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures, run_block
from editinfinity.presets import preset
from editinfinity.scales import ScaleSchedule, schedule
from training.forcing import append_rows, bit_losses, blended, drop_condition, region_weights
from training.loop import Recipe, add_options, set_up, train
from training.pool import TEXT_ROWS, Encoded, Pool, SceneEncoder
from training.scenes import load_maker
from training.state import read_weights
from training.text import PrunedEncoder

log = logging.getLogger(__name__)

RECIPE = Recipe(
    learning_rate=1e-3, warm_up=300, betas=(0.9, 0.97), weight_decay=0.01, clip=1.0, decay=0.9995
)
BATCH = 256
FRESH_SHARE = 0.25
POOL, PREFILL = 65_536, 8_192
EDIT_SHARE = 0.4
NOISE_STRENGTH = 0.25
CONDITION_DROP = 0.1
EMPHASIS = 1.0
CHECK_SEED = 10_002
COMPILED_CHECK, COMPILED_TOLERANCE = 100, 0.03
"""How often, in updates, compiled blocks are compared, and how far bf16 may take them."""


def initialise(model: Infinity) -> None:
    """Small weights, open gates, an almost silent head: a plain pre-norm transformer at first."""
    depth = model.config.depth
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            quiet = name.endswith(("sa.proj", "ca.proj", "ffn.fc2"))
            std = 0.02 / (2 * depth) ** 0.5 if quiet else 0.02
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(model.lvl_embed.weight, std=0.1)
    nn.init.trunc_normal_(model.word_embed.weight, std=0.2)
    with torch.no_grad():
        for block in model.blocks:
            block.ada_gss[:, :, :2] = 1.0  # type: ignore[index,operator]


def spread_unconditional(model: Infinity) -> None:
    """Give rows of ``cfg_uncond`` beyond those trained copies of trained ones, for long prompts."""
    with torch.no_grad():
        rows = model.cfg_uncond
        for index in range(TEXT_ROWS, len(rows)):
            rows[index] = rows[TEXT_ROWS // 2 + index % (TEXT_ROWS // 2)]


class Lessons:
    """Batches → losses of the model."""

    def __init__(self, model: Infinity, plan: ScaleSchedule) -> None:
        self.model = model
        self.plan = plan
        self.seen = 0

    def forward(self, model: Infinity, inputs: Tensor, text: TextFeatures) -> Tensor:
        """Logits under bf16 autocast on a GPU, fp32 elsewhere."""
        device = inputs.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return model(inputs, text, self.plan).float()

    @torch.no_grad()
    def trust_compiled(self, inputs: Tensor, text: TextFeatures, logits: Tensor) -> None:
        """Run blocks plainly from now on if the compiled ones no longer give the plain numbers.

        The first edition was best at the attention temperature it began with, not at the one it was
        exported with, as if compiled blocks had gone on using the first value (training/README.md).
        """
        if self.model.run_block is run_block:
            return
        compiled, self.model.run_block = self.model.run_block, run_block
        plain = self.forward(
            self.model, inputs[:16], TextFeatures(text.features[:16], text.mask[:16])
        )
        off = float((logits[:16] - plain).abs().mean() / plain.abs().mean())
        if off < COMPILED_TOLERANCE:
            self.model.run_block = compiled
        else:
            log.error("compiled blocks are off by %.1f %%: running plainly from here", 100 * off)

    def losses(self, batch: Encoded, generator: torch.Generator) -> dict[str, Tensor]:
        """Training losses of a batch."""
        kernel = batch.kernel.float()
        edited = torch.rand(len(kernel), generator=generator).to(kernel.device) < EDIT_SHARE
        kept = kernel * edited[:, None, None]
        noise = SelfCorrectionNoise(NOISE_STRENGTH)
        with torch.no_grad():
            raw = batch.raw.float()
            lesson = lesson_of(blended(raw[:, 1], raw[:, 0], kept, self.plan, noise), self.plan)
            text = append_rows(batch.states[:, 1].float(), batch.lengths[:, 1], generator)
        text = drop_condition(text, self.model.cfg_uncond, CONDITION_DROP)
        logits = self.forward(self.model, lesson.inputs, text)
        self.seen += 1
        if self.seen % COMPILED_CHECK == 0:
            self.trust_compiled(lesson.inputs, text, logits.detach())
        weights = region_weights(kernel, self.plan, EMPHASIS)
        loss = (bit_losses(logits, lesson.targets).mean(-1) * weights).sum(1).mean()
        with torch.no_grad():
            right = (logits[..., 1] > logits[..., 0]) == lesson.targets
        return {"loss": loss, "accuracy": right.float().mean()}

    @torch.no_grad()
    def check(self, model: Infinity, batch: Encoded, edit: bool) -> dict[str, float]:
        """Noise-free held-out loss (the method's weights) and bit accuracy, overall and inside."""
        kernel = batch.kernel.float()
        kept = kernel if edit else torch.zeros_like(kernel)
        raw = batch.raw.float()
        lesson = lesson_of(blended(raw[:, 1], raw[:, 0], kept, self.plan, None), self.plan)
        position = torch.arange(TEXT_ROWS, device=kernel.device)[None]
        mask = position < batch.lengths[:, 1:2]
        logits = self.forward(model, lesson.inputs, TextFeatures(batch.states[:, 1].float(), mask))
        right = ((logits[..., 1] > logits[..., 0]) == lesson.targets).float().mean(-1)
        inside = region_weights(kernel, self.plan, 1e6)
        return {
            "loss": float(bit_loss(logits, lesson.targets, self.plan).cross_entropy),
            "bit accuracy": float(right.mean()),
            "bit accuracy inside the mask": float((right * inside).sum(1).mean()),
        }


def load_tokenizer(folder: Path, device: torch.device) -> Tokenizer:
    """The frozen tokenizer from exported weights."""
    tokenizer = Tokenizer(preset("bundled").tokenizer)
    tokenizer.load_state_dict(read_weights(folder, "tokenizer"))
    tokenizer = tokenizer.to(device).eval().requires_grad_(False)
    return tokenizer.to(memory_format=torch.channels_last) if device.type == "cuda" else tokenizer


def main() -> None:
    """Command line."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Path("build/transformer"))
    parser.add_argument("--tokenizer", type=Path, default=Path("build/weights"))
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--prefill", type=int, default=PREFILL)
    options = parser.parse_args()
    device = set_up(options)
    batch = options.batch or BATCH
    config = preset("bundled")
    model = Infinity(config.transformer)
    initialise(model)
    model.to(device)
    if options.compile:
        torch._dynamo.config.suppress_errors = True
        model.run_block = torch.compile(run_block, dynamic=False)
    encoder = SceneEncoder(
        load_maker(options.carry, device, options.backgrounds),
        load_tokenizer(options.tokenizer, device),
        PrunedEncoder(options.carry / "text", device),
    )
    lessons = Lessons(model, schedule(1.0, config.pixel_budget))
    pool = Pool(encoder, min(options.pool, 1_000_000), options.seed)
    fresh = max(1, round(batch * FRESH_SHARE))

    def losses(step: int) -> dict[str, Tensor]:
        if not pool.filled:
            log.info("filling the pool")
            for index in range(-(-options.prefill // 256)):
                # Steps below zero never occur otherwise; a resumed run fills with other scenes.
                pool.refill(2**40 + step * 4096 + index, min(256, options.prefill))
        pool.refill(step, fresh)
        torch.manual_seed(options.seed * 1_000_003 + step)
        generator = torch.Generator().manual_seed(options.seed * 1_000_033 + step)
        return lessons.losses(pool.draw(batch, generator), generator)

    def check(average: nn.Module) -> Mapping[str, float]:
        assert isinstance(average, Infinity)
        average.run_block = run_block
        rows: dict[str, float] = {}
        parts = max(1, options.checks // 64)
        for part in range(parts):
            held_out = encoder.batch(CHECK_SEED, part, min(64, options.checks), held_out=True)
            for name, edit in (("plain", False), ("edit", True)):
                for what, value in lessons.check(average, held_out, edit).items():
                    key = f"held-out {name}: {what}"
                    rows[key] = rows.get(key, 0.0) + value / parts
        return rows

    train(model, "transformer", losses, check, RECIPE, options, started, spread_unconditional)


if __name__ == "__main__":
    main()
