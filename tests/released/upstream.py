"""A finished folder of the original EditInfinity, with random values, at any model's shapes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from editinfinity.presets import Preset
from tests.workflow.project import draw_image, draw_mask, write

RANK = 4
EMBEDDING = Path("trained_language_style_embedding", "embedding_it9.pth")
LORA = Path("lora_weight", "lora_weight_50iter.pt")
BLEND = Path("weight_tensor", "weighted_tensor.pt")


def random_embedding(preset: Preset, seed: int = 0) -> nn.Parameter:
    """A text embedding: only the first 20 of 512 rows were ever trained."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(1, 512, preset.transformer.text_width)
    rows[0, :20] = torch.randn(rows[0, :20].shape, generator=generator) * 4e-4
    return nn.Parameter(rows)


def random_lora(preset: Preset, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a LoRA, flat."""
    generator = torch.Generator().manual_seed(seed)
    config = preset.transformer
    per_chunk, width = config.depth // config.chunks, config.width
    return {
        f"block_chunks.{chunk}.module.{index}.ffn.{layer}.lora_{half}": torch.randn(
            RANK * size, generator=generator
        )
        * 0.05
        for chunk in range(config.chunks)
        for index in range(per_chunk)
        for layer, sizes in (("fc1", (width, 4 * width)), ("fc2", (4 * width, width)))
        for half, size in zip("AB", sizes, strict=True)
    }


def random_blend(seed: int = 0) -> Tensor:
    return torch.rand(64, 64, generator=torch.Generator().manual_seed(seed))


def save(value: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


def finished_folder(folder: Path, preset: Preset, *, word: str | None = None) -> Path:
    """A case folder as the scripts of the original leave it; with a word, as Example3's do."""
    draw_image(folder / "image" / "original_image.jpg", seed=3, size=(64, 64))
    draw_mask(folder / "image" / "mask.png", side=24, size=(64, 64))
    write(folder / "prompt" / "original_image_prompt.txt", "a dog on a hill")
    write(folder / "prompt" / "edit_image_prompt.txt", "a cat on a hill")
    if word:
        write(folder / "prompt" / "target_word.txt", word)
    write(folder / "splits" / "1.000_000001000.jsonl", "{}")
    save(torch.zeros(1), folder / "each_scale_code" / "each_scale_code_0.pt")
    save(random_embedding(preset), folder / EMBEDDING)
    for name in (10, 50):
        save(random_lora(preset, name), folder / LORA.parent / f"lora_weight_{name}iter.pt")
    save(random_blend(), folder / BLEND)
    return folder


SETTINGS = {
    "method": "inversion",
    "attention_bias": 0,
    "train_textembedding": 0,
    "train_lora": 0,
    "use_textembedding": 1,
    "use_concat_embedding": 1,
    "use_textembedding_iter": 9,
    "use_embedding_iter": 9,
    "use_lora": 1,
    "use_lora_iter": 49,
}
"""Settings with which the trainings of ``finished_folder`` are used."""
