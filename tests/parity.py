"""Compare the model with recordings of a reference run.

    python tests/parity.py DIR [DIR…] [--device cuda]

Each folder holds ``config.json``, ``tensors.safetensors`` and, there or in the folder its config
names, ``infinity.safetensors`` and ``vae.safetensors``. Prints every check's largest error beside
its tolerance; checks whose tensors a folder lacks are listed as absent. Exit status 1 if any fails.
A folder of masks and their kernels (``weights.safetensors`` beside PNGs) must be matched exactly.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import Editor, MaskBlend, ReplaySource, keep_generated
from editinfinity.editing.blend_mask import make_blend_mask, resample_blend_mask
from editinfinity.editing.sampler import Sample, SamplingSettings, sample
from editinfinity.files.mask_pictures import MASK_THRESHOLD
from editinfinity.inversion.lora import LoraSettings, add_lora
from editinfinity.inversion.teacher_forcing import BitLoss, bit_loss, make_training_batch
from editinfinity.models import bsq
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.released import (
    released_transformer_key,
    tokenizer_state,
    transformer_state,
)
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import TokenizerConfig, TransformerConfig
from editinfinity.scales import ScaleSchedule, schedule

RELATIVE = 1e-4
"""Logits, losses, gradients and images: largest error over the recording's range."""
TIE = 1e-5
"""A bit may differ where the interpolated residual is smaller than this."""
FREE_BITS = 1e-3
"""Share of greedy bits that may differ when the model runs freely (a tie spreads)."""
FREE_IMAGE = 2.0
"""Mean error of a freely drawn picture, in steps of 1/255."""
ATTENTION = 1e-6
KL_WEIGHT = 2e-7


@dataclass
class Result:
    name: str
    error: float | None
    tolerance: float
    unit: str

    @property
    def verdict(self) -> str:
        if self.error is None:
            return "absent"
        return "ok" if self.error <= self.tolerance else "FAIL"  # nan compares false

    def line(self) -> str:
        error = "-" if self.error is None else f"{self.error:.2e}"
        return f"  {self.verdict:7}{self.name:34}{error:>10}  ≤ {self.tolerance:.0e} {self.unit}"


def relative(ours: Tensor, recorded: Tensor) -> float:
    """Largest error over the range of the recording (its size, for a single number)."""
    recorded = recorded.to(ours.device).float()
    span = (recorded.max() - recorded.min()).item() or recorded.abs().max().item() or 1.0
    return ((ours.float().reshape(recorded.shape) - recorded).abs().max() / span).item()


def differing(ours: list[Tensor], recorded: list[Tensor]) -> float:
    """Share of differing bits."""
    wrong = sum((a != b.to(a.device)).sum().item() for a, b in zip(ours, recorded, strict=True))
    return wrong / sum(b.numel() for b in recorded)


@dataclass
class Recording:
    """A folder's tensors and the model built from its config."""

    folder: Path
    device: torch.device
    config: dict = field(init=False)
    tensors: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.config = json.loads((self.folder / "config.json").read_text())
        self.tensors = load_file(self.folder / "tensors.safetensors", device=str(self.device))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise Absent(name)
        return self.tensors[name]

    def numbered(self, prefix: str) -> list[Tensor]:
        """Tensors ``prefix.0``, ``prefix.1``, … of all scales."""
        return [self[f"{prefix}.{k}"] for k in range(len(self.schedule.scales))]

    @functools.cached_property
    def weights(self) -> Path:
        return self.folder / self.config.get("weights", ".")

    @functools.cached_property
    def schedule(self) -> ScaleSchedule:
        found = schedule(
            self.config["h_div_w"], self.config["pn"], bool(self.config.get("patchify"))
        )
        if "scale_schedule" in self.config:
            recorded = tuple((h, w) for _, h, w in self.config["scale_schedule"])
            assert found.scales == recorded, f"{self.folder}: another scale schedule"
        return found

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        state = tokenizer_state(load_file(self.weights / "vae.safetensors"))
        model = Tokenizer(
            TokenizerConfig(
                bits=len(state["encoder.conv_out.bias"]),
                base_width=self.config["vae_ch"],
                multipliers=(1, 2, 4, 4) if self.config.get("patchify") else (1, 2, 4, 4, 4),
                blocks=self.config["vae_blocks"],
            )
        )
        model.load_state_dict({k: v.float() for k, v in state.items()})
        return fastest(model.eval().requires_grad_(False).to(self.device))

    @functools.cached_property
    def transformer_config(self) -> TransformerConfig:
        return TransformerConfig(
            width=self.config["embed_dim"],
            depth=self.config["depth"],
            heads=self.config["num_heads"],
            chunks=self.config["block_chunks"],
            bits=self.tokenizer.config.bits,
            text_width=self.config["text_channels"],
            text_length=self.config["text_maxlen"],
            patchify=bool(self.config.get("patchify")),
            attention_bias=self.config["attention_bias"],
        )

    def fresh_transformer(self) -> Infinity:
        config = self.transformer_config
        model = Infinity(config)
        state = transformer_state(load_file(self.weights / "infinity.safetensors"), config)
        model.load_state_dict({k: v.float() for k, v in state.items()})
        if not config.attention_bias:
            model.zero_attention_bias()
        return fastest(model.eval().requires_grad_(False).to(self.device))

    @functools.cached_property
    def transformer(self) -> Infinity:
        return self.fresh_transformer()

    def text(self, learned: Tensor | None = None) -> TextFeatures:
        vectors = self["text.learnable"] if learned is None else learned
        return TextFeatures(self["text.features"][None]).append(vectors)

    @functools.cached_property
    def source_bits(self) -> list[Tensor]:
        """Bits (1, h, w, d) of every tokenizer scale."""
        return [bits[:, 0].bool() for bits in self.numbered("vae.bits")]

    def token_bits(self, prefix: str) -> list[Tensor]:
        """Recorded greedy bits as tokens, (1, h·w, d') of every scale."""
        tokens = []
        for bits, grid in zip(self.numbered(prefix), self.schedule.scales, strict=True):
            if tuple(bits.shape[2:4]) == grid:
                tokens.append(bits.flatten(0, 3)[None].bool())
            else:  # recorded on the tokenizer's grid
                cells = bits[:, 0].permute(0, 3, 1, 2).float()
                tokens.append(bsq.fold(cells, patchify=True) > 0.5)
        return tokens


Model = TypeVar("Model", Tokenizer, Infinity)


def fastest(model: Model) -> Model:
    """The model as it would be loaded for its device: what is compared is what runs."""
    model.use_operations(choose_operations(next(model.parameters()).device).result())
    return model


class Absent(Exception):
    """The folder lacks a tensor a check needs."""


class Replay:
    """Forces recorded greedy bits into the running sum, then edits as ``edit`` would."""

    def __init__(self, tokens: list[Tensor], schedule: ScaleSchedule, edit: Editor) -> None:
        self.tokens, self.schedule, self.edit = tokens, schedule, edit

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        cells = bsq.unfold(
            self.tokens[scale].float(), self.schedule.scales[scale], self.schedule.patchify
        )
        code = bsq.code_of(cells.permute(0, 2, 3, 1) > 0.5)
        return self.edit(scale, bsq.resized(code, generated.shape[-2:]))


def as_picture(recording: Recording, code: Tensor) -> Tensor:
    """Decoded BGR bytes (1, H, W, 3)."""
    image = recording.tokenizer.decode(code)
    return ((image + 1) / 2 * 255).to(torch.uint8).permute(0, 2, 3, 1).flip(-1)


# --- checks: each yields (name, error, tolerance, unit) or raises Absent -------------------------


def check_features(r: Recording) -> float:
    return relative(r.tokenizer.encode(r["image"]), r["vae.raw_features"])


def check_bits(r: Recording) -> float:
    """Largest |residual| at which a bit of our own features differs from the recorded one."""
    recorded = iter(r.source_bits)
    worst = 0.0
    residual = r.tokenizer.encode(r["image"])
    for grid, bits in zip(r.schedule.tokenizer_scales, recorded, strict=True):
        small = bsq.resized(residual, grid, "area").permute(0, 2, 3, 1)
        wrong = (small > 0) != bits
        worst = max(worst, small[wrong].abs().max().item() if wrong.any() else 0.0)
        residual = residual - bsq.resized(bsq.code_of(bits), r.schedule.tokenizer_grid)
    return worst


def check_codes(r: Recording) -> float:
    codes = bsq.upsampled_codes(r.source_bits, r.schedule.tokenizer_grid)
    return max(map(relative, codes, r.numbered("vae.upsampled_code")))


def check_quantized(r: Recording) -> float:
    return relative(
        torch.stack(bsq.upsampled_codes(r.source_bits, r.schedule.tokenizer_grid)).sum(0),
        r["vae.quantized"],
    )


def check_reconstruction(r: Recording) -> float:
    return relative(r.tokenizer.decode(r["vae.quantized"]), r["vae.reconstruction"])


def check_inputs(r: Recording) -> float:
    return relative(
        make_training_batch(r["vae.raw_features"], r.schedule).inputs, r["transformer.input"]
    )


def check_targets(r: Recording) -> float:
    targets = make_training_batch(r["vae.raw_features"], r.schedule).targets
    return differing([targets], [r["transformer.target_bits"].bool()])


def teacher_forced(r: Recording, model: torch.nn.Module, text: TextFeatures) -> Tensor:
    return model(r["transformer.input"], text, r.schedule)


@functools.cache
def forward_pass(folder: Path, device: torch.device) -> tuple[Tensor, BitLoss, Tensor]:
    """Logits, loss and gradient of the the soft prompt."""
    r = load(folder, device)
    learned = r["text.learnable"].clone().requires_grad_()
    logits = teacher_forced(r, r.transformer, r.text(learned))
    loss = bit_loss(logits, r["transformer.target_bits"].bool(), r.schedule)
    (gradient,) = torch.autograd.grad(loss.cross_entropy, learned)
    return logits.detach(), loss, gradient


def check_logits(r: Recording) -> float:
    recorded = r["forward.logits"]
    return relative(forward_pass(r.folder, r.device)[0], recorded)


def check_loss(r: Recording) -> float:
    recorded = r["forward.loss"]
    return relative(forward_pass(r.folder, r.device)[1].cross_entropy.detach(), recorded)


def check_gradient(r: Recording) -> float:
    recorded = r["forward.grad_learnable"]
    return relative(forward_pass(r.folder, r.device)[2], recorded)


@functools.cache
def lora_pass(folder: Path, device: torch.device) -> dict[str, Tensor]:
    """``logits``, ``loss_ce``, ``loss_kl``, ``loss`` and the gradient of every LoRA matrix."""
    r = load(folder, device)
    given = {k.removeprefix("lora.param."): v for k, v in r.tensors.items() if "lora.param." in k}
    if not given:
        raise Absent("lora.param")
    lora = r.config["lora"]
    adapted = add_lora(
        r.fresh_transformer(), LoraSettings(lora["r"], lora["alpha"], lora["dropout"])
    ).eval()
    matrices = {}
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            key = re.sub(r"^base_model\.model\.|\.default\.weight$", "", name)
            key = released_transformer_key(key, r.transformer_config)
            parameter.data.copy_(given[key])
            matrices[key] = parameter
    assert matrices.keys() == given.keys(), "the recording adapts other layers"
    logits = teacher_forced(r, adapted, r.text())
    losses = bit_loss(logits, r["transformer.target_bits"].bool(), r.schedule)
    loss = losses.cross_entropy + KL_WEIGHT * losses.divergence
    gradients = torch.autograd.grad(loss, list(matrices.values()))
    return {
        "logits": logits.detach(),
        "loss_ce": losses.cross_entropy.detach(),
        "loss_kl": losses.divergence.detach(),
        "loss": loss.detach(),
        **dict(zip(matrices, gradients, strict=True)),
    }


def check_lora_logits(r: Recording) -> float:
    recorded = r["lora.logits"]
    return relative(lora_pass(r.folder, r.device)["logits"], recorded)


def check_lora_losses(r: Recording) -> float:
    names = ("loss_ce", "loss_kl", "loss")
    recorded = [r[f"lora.{name}"] for name in names]
    ours = lora_pass(r.folder, r.device)
    return max(relative(ours[n], want) for n, want in zip(names, recorded, strict=True))


def check_lora_gradients(r: Recording) -> float:
    recorded = {k.removeprefix("lora.grad."): v for k, v in r.tensors.items() if "lora.grad." in k}
    if not recorded:
        raise Absent("lora.grad")
    ours = lora_pass(r.folder, r.device)
    return max(relative(ours[key], gradient) for key, gradient in recorded.items())


def editor(r: Recording, mode: int) -> Editor:
    """The editing object of an ``infer_function``."""
    if mode == 0:
        return keep_generated
    grid = r.schedule.tokenizer_grid
    codes = bsq.upsampled_codes(r.source_bits, grid)
    if mode == 1:
        return ReplaySource(codes)
    kernel = torch.from_numpy(resample_blend_mask(r["infer.weight"].cpu().numpy(), grid))
    return MaskBlend(codes, kernel.to(r.device))


@dataclass(frozen=True)
class Run:
    sample: Sample
    logits: list[Tensor]
    attention: Tensor


@functools.cache
def inference(folder: Path, device: torch.device, mode: int, forced: bool) -> Run:
    """Greedy sampling, freely or given the recorded bits of earlier scales."""
    r = load(folder, device)
    edit = editor(r, mode)
    if forced:
        edit = Replay(r.token_bits(f"infer{mode}.bits"), r.schedule, edit)
    start, end = r.config["target_token_span"]
    collector = AttentionCollector(r.schedule, (start, end))
    logits: list[Tensor] = []
    drawn = sample(
        r.transformer,
        r.text(),
        r.schedule,
        SamplingSettings(cfg=r.config["cfg"], tau=r.config["tau"], top_k=1),
        torch.Generator(),
        edit,
        watcher=collector,
        on_logits=lambda scale, scale_logits: logits.append(scale_logits),
    )
    return Run(drawn, logits, collector.mean)


def check_infer_logits(mode: int, r: Recording) -> float:
    recorded = r.numbered(f"infer{mode}.logits_2B")
    ours = inference(r.folder, r.device, mode, forced=True).logits
    return max(relative(a.flatten(2), b) for a, b in zip(ours, recorded, strict=True))


def check_infer_bits(mode: int, r: Recording) -> float:
    recorded = r.token_bits(f"infer{mode}.bits")
    return differing(inference(r.folder, r.device, mode, forced=False).sample.bits, recorded)


def check_infer_image(mode: int, r: Recording) -> float:
    recorded = r[f"infer{mode}.image_bgr_uint8"]
    code = inference(r.folder, r.device, mode, forced=False).sample.code
    picture = as_picture(r, code.clone())
    return (picture.float() - recorded.float()).abs().mean().item()


def check_attention(mode: int, r: Recording) -> float:
    recorded = r[f"infer{mode}.attention_map"]
    ours = inference(r.folder, r.device, mode, forced=True).attention
    return (ours - recorded).abs().max().item()


Check = Callable[[Recording], float]


def checks() -> Iterator[tuple[str, Check, float, str]]:
    """(name, check, tolerance, unit) of everything that is compared."""
    yield "features", check_features, RELATIVE, "of range"
    yield "bits", check_bits, TIE, "largest |residual| at a differing bit"
    yield "codes", check_codes, RELATIVE, "of range"
    yield "quantized", check_quantized, RELATIVE, "of range"
    yield "reconstruction", check_reconstruction, RELATIVE, "of range"
    yield "transformer inputs", check_inputs, RELATIVE, "of range"
    yield "transformer targets", check_targets, FREE_BITS, "of bits"
    yield "logits", check_logits, RELATIVE, "of range"
    yield "loss", check_loss, RELATIVE, "of value"
    yield "gradient of the soft prompt", check_gradient, RELATIVE, "of range"
    yield "LoRA logits", check_lora_logits, RELATIVE, "of range"
    yield "LoRA losses", check_lora_losses, RELATIVE, "of value"
    yield "LoRA gradients", check_lora_gradients, RELATIVE, "of range"
    for mode in (0, 1, 2):
        prefix = f"infer_function {mode}: "
        partial = functools.partial
        yield prefix + "logits", partial(check_infer_logits, mode), RELATIVE, "of range"
        yield prefix + "bits", partial(check_infer_bits, mode), FREE_BITS, "of bits"
        yield prefix + "image", partial(check_infer_image, mode), FREE_IMAGE, "of 255, mean"
    yield "infer_function 1: attention map", functools.partial(check_attention, 1), ATTENTION, ""


@functools.lru_cache(maxsize=1)
def load(folder: Path, device: torch.device) -> Recording:
    return Recording(folder, device)


def compare_kernels(folder: Path) -> list[Result]:
    """Kernels of a folder of masks; they are equal or not."""
    results = []
    for name, recorded in sorted(load_file(folder / "weights.safetensors").items()):
        with Image.open(folder / f"{name}.png") as picture:
            mask = np.asarray(picture.convert("L")) <= MASK_THRESHOLD
        ours = torch.from_numpy(make_blend_mask(mask, tuple(recorded.shape), "linear"))
        error = (ours - recorded).abs().max().item()
        results.append(Result(f"kernel of {name}", error, 0.0, "absolute"))
    return results


def missing_files(folder: Path) -> list[Path]:
    """Files without which nothing of a recording can be compared."""
    if not (folder / "config.json").exists():
        return []
    weights = folder / json.loads((folder / "config.json").read_text()).get("weights", ".")
    needed = [folder / "tensors.safetensors"]
    needed += [weights / f"{name}.safetensors" for name in ("infinity", "vae")]
    return [path for path in needed if not path.is_file()]


def compare(folder: Path, device: torch.device) -> list[Result]:
    """All checks of a folder."""
    if (folder / "weights.safetensors").is_file() and not (folder / "config.json").exists():
        return compare_kernels(folder)
    recording = load(folder, device)
    results = []
    for name, check, tolerance, unit in checks():
        try:
            error: float | None = check(recording)
        except Absent:
            error = None
        results.append(Result(name, error, tolerance, unit))
    return results


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--device", default="cpu", type=torch.device)
    options = parser.parse_args(arguments)
    for folder in options.folders:
        if not any((folder / name).is_file() for name in ("config.json", "weights.safetensors")):
            parser.error(f"{folder}: is no recording; it has no config.json")
        for path in missing_files(folder):
            parser.error(f"{path}: is missing from the recording")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    failed = False
    for folder in options.folders:
        print(f"{folder} ({options.device})")
        for result in compare(folder.resolve(), options.device):
            failed |= result.verdict == "FAIL"
            print(result.line(), flush=True)
    print("FAILED" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
