"""Train the bundled model's transformer (preset ``bundled``) on made scenes.

    python -m training.train_transformer --tokenizer build/weights --seconds 690 --compile \
        --export build/weights

Muon for the blocks' matrices and AdamW for the rest, cosine over time with warm-up, batch 128,
bitwise self-correction noise up to 0.25, condition dropped for 10 % of the samples, averaged
weights. Half of the samples are edits, whose inputs have the source's codes outside the mask,
as in blended sampling.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from editinfinity.inversion.teacher_forcing import SelfCorrectionNoise, bit_loss, training_batch_of
from editinfinity.models.block import BlockRunner, run_block
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule
from training.captured import SideStream
from training.forcing import append_rows, bit_losses, blended, drop_condition, region_weights
from training.loop import Recipe, add_options, set_up, train
from training.pool import TEXT_ROWS, Encoded, Pool, SceneEncoder, turned
from training.scenes import load_maker
from training.state import Average, build_upon, progress_of, read_weights
from training.text import PrunedEncoder

RECIPE = Recipe(
    learning_rate=1e-3, matrices_rate=2e-3, warm_up=300, betas=(0.9, 0.97), weight_decay=0.02,
    clip=1.0, decay=0.9995,
)  # fmt: skip
BATCH = 128
POOL, PREFILL = 131_072, 12_288
REFILL, REFILL_EVERY = 32, 8
"""Number of new scenes, and number of updates between their additions to the pool."""
EDIT_SHARE = 0.5
NOISE_STRENGTH = 0.25
CONDITION_DROP = 0.1
EMPHASIS = 1.0
FIRST_TEMPERATURE = 10.0
CHECK_SEED = 10_002


def initialise(model: Infinity) -> None:
    """Set small weights and open gates, to start training from a plain pre-norm transformer."""
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
            # √(head width) would be plain attention's; the released models begin at 4.
            block.sa.scale_mul_1H11.fill_(math.log(FIRST_TEMPERATURE))


def spread_unconditional(model: nn.Module) -> None:
    """Copy trained rows of ``cfg_uncond`` to the untrained ones, which only long prompts use."""
    with torch.no_grad():
        rows = model.cfg_uncond
        for index in range(TEXT_ROWS, len(rows)):
            rows[index] = rows[TEXT_ROWS // 2 + index % (TEXT_ROWS // 2)]


class TransformerCourse:
    """Course of the transformer: its encoded scenes and losses."""

    def __init__(self, model: Infinity, encoder: SceneEncoder, options: argparse.Namespace) -> None:
        self.model = model
        self.encoder = encoder
        self.options = options
        self.device = next(model.parameters()).device
        self.plan = schedule(1.0, preset("bundled").pixel_budget)
        size = options.batch or BATCH
        self.index = torch.zeros(size, dtype=torch.long, device=self.device)
        self.turn = torch.zeros(size, dtype=torch.bool, device=self.device)
        self.fresh = SideStream(self._encode, self.device)
        self.pool = self._prefilled()
        self.runner: BlockRunner = run_block
        if options.compile:
            self.runner = torch.compile(run_block, dynamic=False)
        model.run_block = self.runner

    def _prefilled(self) -> Pool:
        """Return a pool with scenes of steps that training never reaches; they differ by run."""
        options = self.options
        part = min(256, options.prefill)
        offset = 2**40 + 4096 * progress_of(options.state).step
        pool = Pool(options.pool, self.encoder.batch(options.seed, offset, part))
        for index in range(1, -(-options.prefill // part)):
            pool.add(self.encoder.batch(options.seed, offset + index, part))
        return pool

    def _encode(self, step: int) -> tuple[Tensor, ...]:
        return self.encoder.batch(self.options.seed, step, REFILL).tensors()

    def feed(self, step: int) -> None:
        if step % REFILL_EVERY == 0:
            self.pool.add(Encoded(*self.fresh.take(step)))
        torch.manual_seed(self.options.seed * 1_000_033 + step)
        self.index.random_(self.pool.filled)
        self.turn.bernoulli_(0.5)

    def prepare(self, step: int) -> None:
        if step % REFILL_EVERY == 0:
            self.fresh.start(step)

    def losses(self) -> dict[str, Tensor]:
        batch = turned(self.pool.kept[self.index], self.turn)
        blend_mask = batch.blend_mask.float()
        edited = torch.rand(len(blend_mask), device=self.device) < EDIT_SHARE
        kept = blend_mask * edited[:, None, None]
        noise = SelfCorrectionNoise(NOISE_STRENGTH)
        with torch.no_grad():
            raw = batch.raw.float()
            shown = blended(raw[:, 1], raw[:, 0], kept, self.plan, noise)
            training_batch = training_batch_of(shown, self.plan)
            text = append_rows(batch.states[:, 1].float(), batch.lengths[:, 1])
        text = drop_condition(text, self.model.cfg_uncond, CONDITION_DROP)
        logits = self._forward(self.model, training_batch.inputs, text)
        weights = region_weights(blend_mask, self.plan, EMPHASIS)
        loss = (bit_losses(logits, training_batch.targets).mean(-1) * weights).sum(1).mean()
        right = (logits[..., 1] > logits[..., 0]) == training_batch.targets
        return {"loss": loss, "accuracy": right.float().mean()}

    def plain(self) -> dict[str, Tensor]:
        self.model.run_block = run_block
        try:
            return self.losses()
        finally:
            self.model.run_block = self.runner

    def _forward(self, model: Infinity, inputs: Tensor, text: TextFeatures) -> Tensor:
        """Return logits, under bf16 autocast on a GPU, in fp32 elsewhere."""
        device = inputs.device.type
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            return model(inputs, text, self.plan).float()

    def check(self, average: nn.Module) -> Mapping[str, float]:
        assert isinstance(average, Infinity)
        average.run_block = run_block
        rows: dict[str, float] = {}
        parts = max(1, self.options.checks // 64)
        for part in range(parts):
            size = min(64, self.options.checks)
            held_out = self.encoder.batch(CHECK_SEED, part, size, held_out=True)
            for name, edit in (("plain", False), ("edit", True)):
                for what, value in self._measured(average, held_out, edit).items():
                    key = f"held-out {name}: {what}"
                    rows[key] = rows.get(key, 0.0) + value / parts
        return rows

    @torch.no_grad()
    def _measured(self, model: Infinity, batch: Encoded, edit: bool) -> dict[str, float]:
        """Return the noise-free loss (with the method's weights) and bit accuracies."""
        blend_mask = batch.blend_mask.float()
        kept = blend_mask if edit else torch.zeros_like(blend_mask)
        raw = batch.raw.float()
        training_batch = training_batch_of(
            blended(raw[:, 1], raw[:, 0], kept, self.plan, None), self.plan
        )
        position = torch.arange(TEXT_ROWS, device=blend_mask.device)[None]
        text = TextFeatures(batch.states[:, 1].float(), position < batch.lengths[:, 1:2])
        logits = self._forward(model, training_batch.inputs, text)
        right = ((logits[..., 1] > logits[..., 0]) == training_batch.targets).float().mean(-1)
        inside = region_weights(blend_mask, self.plan, 1e6)
        return {
            "loss": float(bit_loss(logits, training_batch.targets, self.plan).cross_entropy),
            "bit accuracy": float(right.mean()),
            "bit accuracy inside the mask": float((right * inside).sum(1).mean()),
        }


def load_tokenizer(folder: Path, device: torch.device) -> Tokenizer:
    """Load the frozen tokenizer from exported weights."""
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
    build_upon(options.state, options.tokenizer, "tokenizer")
    model = Infinity(preset("bundled").transformer)
    initialise(model)
    model.to(device)
    average = Average(model, RECIPE.decay)
    encoder = SceneEncoder(
        load_maker(options.carry, device, options.backgrounds, cache=Path("build")),
        load_tokenizer(options.tokenizer, device),
        PrunedEncoder(options.carry / "text", device),
    )
    course = TransformerCourse(model, encoder, options)
    train(model, average, "transformer", course, RECIPE, options, started, spread_unconditional)


if __name__ == "__main__":
    main()
