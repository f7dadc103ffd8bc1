"""One photograph taken through the stages of the ``tiny`` preset, shared by all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editinfinity.settings.groups import ModelSettings, TrainingSettings
from editinfinity.stages.attention_map import collect_attention
from editinfinity.stages.image_features import extract_image_features
from editinfinity.stages.kernel import make_kernel
from editinfinity.stages.text_features import extract_text_features
from editinfinity.stages.train_lora import train_lora
from editinfinity.stages.train_textembedding import train_textembedding

PROMPT = "a red cup on a wooden table"
TINY = ModelSettings(model="tiny", device="cpu", threads=1)
FAST = TrainingSettings(embedding_learning_rate=1e-3, lora_learning_rate=1e-3, batch_size=1)


@dataclass(frozen=True)
class Worked:
    """Files of a case that went through the stages."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name

    @property
    def photograph(self) -> Path:
        return self.folder / "photo ü.jpg"

    @property
    def mask(self) -> Path:
        return self.folder / "mask.png"


def draw_photograph(path: Path, size: tuple[int, int] = (320, 256)) -> Path:
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width] / 40.0
    channels = [np.sin(rows + i) * np.cos(columns * (i + 1)) for i in range(3)]
    Image.fromarray((np.stack(channels, -1) * 110 + 128).astype(np.uint8)).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    case = Worked(tmp_path_factory.mktemp("case"))
    draw_photograph(case.photograph)
    mask = Image.new("L", (320, 256), 255)
    mask.paste(0, (100, 80, 180, 160))
    mask.save(case.mask)
    extract_image_features(image=case.photograph, output=case.image, model=TINY)
    extract_text_features(prompt=PROMPT, output=case.text, model=TINY)
    extract_text_features(prompt="a blue cup", output=case.edit_text, model=TINY)
    features = {"image_features": case.image, "text_features": case.text}
    train_textembedding(
        **features,
        output=case.embedding,
        state=case.embedding_state,
        losses=case.embedding_losses,
        iterations=3,
        model=TINY,
        training=FAST,
    )
    train_lora(
        **features,
        embedding=case.embedding,
        output_dir=case.lora,
        losses=case.lora_losses,
        iterations=4,
        model=TINY,
        training=FAST,
    )
    collect_attention(**features, target_word="cup", output=case.attention, model=TINY)
    make_kernel(image_features=case.image, mask=case.mask, output=case.kernel)
    return case
