"""The bundled model as users run it (package loaders, full text encoder), for studies."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from editinfinity.compute import reseed
from editinfinity.editing.blend import Editor, keep_generated
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.files.text_encoder_weights import load_text_encoder
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import (
    InversionLoss,
    Source,
    train,
)
from editinfinity.models import bsq
from editinfinity.models.text_encoder import TextEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.prompts import caption_suffix
from editinfinity.scales import ScaleSchedule, schedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings
from training.forcing import LEARNED_ROWS

DROP_PATH = 0.1
_METHOD = SamplingSettings()


@dataclass(frozen=True)
class Photograph:
    """An encoded picture: raw features, codes of every scale, and the tokenizer's rendering."""

    raw: Tensor
    codes: list[Tensor]
    rendering: Tensor


@dataclass(frozen=True)
class Inverted:
    """Result of inverting one picture: learned vectors, adapted transformer, losses."""

    transformer: Infinity
    learned: Tensor | None
    losses: list[float]


@dataclass(frozen=True)
class Bundled:
    """Tokenizer, transformer and text encoder of the bundled model on one device."""

    tokenizer: Tokenizer
    transformer: Infinity
    text: TextEncoder
    plan: ScaleSchedule
    device: torch.device

    @classmethod
    def load(cls, device: torch.device) -> Bundled:
        """Load the weights that are shipped with the package."""
        found = preset("bundled")
        return cls(
            load_tokenizer(found, device), load_transformer(found, device),
            load_text_encoder(found, device), schedule(1.0, found.pixel_budget), device,
        )  # fmt: skip

    def features(self, prompt: str, learned: Tensor | None = None) -> TextFeatures:
        """Return the features of a prompt, followed by the suffix and learned vectors if any."""
        text = prompt + caption_suffix(learned is not None)
        features = TextFeatures(self.text.encode(text).features.to(self.device))
        return features if learned is None else features.append(learned)

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Photograph:
        """Encode a picture (1, 3, 256, 256) in [−1, 1]."""
        raw = self.tokenizer.encode(picture)
        quantized = bsq.quantize(raw, self.plan.tokenizer_scales)
        codes = bsq.upsampled_codes(quantized.bits, self.plan.tokenizer_grid)
        return Photograph(raw, codes, self.tokenizer.decode(quantized.total.clone()))

    def draw(
        self, prompt: str, inverted: Inverted | None = None, edit: Editor = keep_generated,
        seed: int = 42, settings: SamplingSettings = _METHOD,
    ) -> Tensor:  # fmt: skip
        """Generate a picture (1, 3, 256, 256) in [−1, 1] from a prompt."""
        model = inverted.transformer if inverted else self.transformer
        text = self.features(prompt, inverted.learned if inverted else None)
        drawn = sample(model, text, self.plan, settings, torch.Generator().manual_seed(seed), edit)
        with torch.no_grad():
            return self.tokenizer.decode(drawn.code.clone())

    def invert(
        self, photograph: Photograph, prompt: str, vectors_rate: float, lora_rate: float,
        vectors: int = 10, lora: int = 50,
    ) -> Inverted:  # fmt: skip
        """Run both stages of the inversion, as the workflow does."""
        model = copy.deepcopy(self.transformer)
        batch = preset("bundled").training.lora_batch_size
        whole = self.text.encode(prompt + caption_suffix(vectors > 0))
        text = TextFeatures(whole.features.to(self.device))
        losses: list[float] = []
        learned: Tensor | None = None
        note = lambda _, loss: losses.append(loss)  # noqa: E731
        model.train().set_drop_path(DROP_PATH)
        if vectors:
            rows = torch.nn.Parameter(
                torch.zeros_like(text.features[0, :1]).repeat(LEARNED_ROWS, 1)
            )
            source = Source(photograph.raw, text, self.plan, rows)
            train(
                [rows], InversionLoss(model, model, source, TrainingSettings(), batch),
                TrainingSettings(), vectors_rate, range(1, vectors + 1),
                lambda i: reseed(42, "embedding", i), None, note,
            )  # fmt: skip
            learned = rows.detach()
        if lora:
            reseed(42, "lora", 0)
            adapted = add_lora(model, LoraSettings()).train()
            source = Source(photograph.raw, text, self.plan, learned)
            train(
                [p for p in adapted.parameters() if p.requires_grad],
                InversionLoss(adapted, model, source, TrainingSettings(), batch, 2e-7),
                TrainingSettings(), lora_rate, range(1, lora + 1),
                lambda i: reseed(42, "lora", i), None, note,
            )  # fmt: skip
            model = adapted.merge_and_unload()  # type: ignore[operator]
        return Inverted(model.eval(), learned, losses)

    def loss(self, photograph: Photograph, prompt: str, inverted: Inverted | None = None) -> float:
        """Return the noise-free teacher-forced loss on the source picture."""
        model = inverted.transformer if inverted else self.transformer
        text = self.features(prompt, inverted.learned if inverted else None)
        source = Source(photograph.raw, text, self.plan)
        with torch.no_grad():
            return float(
                InversionLoss(
                    model, model, source, TrainingSettings(noise_strength=0, cond_drop=0), 1
                )()
            )
