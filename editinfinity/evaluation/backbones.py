"""The models that some metrics look through: where their weights lie, and what is said without.

They are the benchmark's own, published elsewhere and not carried here. Each can be named by a path
(``clip_weights: FOLDER`` in config.yaml) or fetched once (``editinfinity weights fetch clip``). A
metric whose weights are not there says so in its cell. Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder
from editinfinity.files.model_folder import hub_home


@dataclass(frozen=True)
class Backbone:
    """One model behind one or two metrics.

    Attributes:
        name: of ``editinfinity weights fetch NAME``; ``NAME_weights`` is its setting.
        title: what it is.
        metrics: what it is needed for.
        repository: on the Hugging Face hub; None for one that is published as a plain file.
        files: globs of what to fetch, of which ``needed`` must be there.
        needed: globs; each is one of several ways to have the weights, joined by |.
        url: of a plain file, where there is no repository.
        vocabulary: another repository, and its files, that go into the same folder.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    repository: str | None
    files: tuple[str, ...]
    needed: tuple[str, ...]
    url: str | None = None
    vocabulary: tuple[str, tuple[str, ...]] | None = None

    @property
    def setting(self) -> str:
        """Its key of config.yaml."""
        return f"{self.name}_weights"

    @property
    def default_folder(self) -> Path:
        """Where ``weights fetch`` puts it."""
        return hub_home() / "editinfinity" / self.name

    def lacks(self, folder: Path) -> str | None:
        """What a folder lacks of it; None where it is complete."""
        for ways in self.needed:
            if not any(any(folder.glob(way)) for way in ways.split("|")):
                return ways.replace("|", " or ")
        return None

    def found(self, given: Path | None) -> Path | None:
        """The folder of its weights, None where there is none.

        Args:
            given: the setting; None looks where ``weights fetch`` puts it.

        Raises:
            UserError: the setting names what is not there, or not it.
        """
        folder = self.default_folder if given is None else given
        if is_folder(folder) and self.lacks(folder) is None:
            return folder
        if given is None:
            return None
        if not is_folder(folder):
            raise UserError(
                f"{self.setting}: {folder} is no folder; give the one with the weights of "
                f"{self.title}"
            )
        raise UserError(
            f"{self.setting}: {folder} holds no {self.lacks(folder)} of {self.title}; give its "
            f"folder, or run `editinfinity weights fetch {self.name}`"
        )

    def files_in(self, folder: Path) -> list[Path]:
        """The files of a folder that it is read from."""
        return sorted({path for glob in self.files for path in folder.glob(glob)})

    @property
    def absence(self) -> str:
        """What the cell of a metric says without it."""
        return (
            f"no weights of {self.title}; run `editinfinity weights fetch {self.name}`, or set "
            f"{self.setting}"
        )


_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")
_BERT = ("vocab.txt", "tokenizer.json", "tokenizer_config.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            "lpips",
            "SqueezeNet 1.1",
            ("background_lpips",),
            None,
            ("squeezenet1_1*",),
            ("squeezenet1_1*.safetensors|squeezenet1_1*.pth",),
            url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        ),
        Backbone(
            "clip",
            "CLIP ViT-L/14",
            ("clip_whole", "clip_edited"),
            "openai/clip-vit-large-patch14",
            ("config.json", "model.safetensors", "preprocessor_config.json", *_TOKENIZER),
            ("config.json", "|".join(_WEIGHTS), "tokenizer.json|vocab.json"),
        ),
        Backbone(
            "dino",
            "DINO ViT-B/8",
            ("structure_distance",),
            "facebook/dino-vitb8",
            ("config.json", *_WEIGHTS),
            ("config.json", "|".join(_WEIGHTS)),
        ),
        Backbone(
            "image_reward",
            "ImageReward v1.0",
            ("image_reward",),
            "THUDM/ImageReward",
            ("ImageReward.pt", "ImageReward.safetensors", *_BERT),
            ("ImageReward.pt|ImageReward.safetensors", "tokenizer.json|vocab.txt"),
            vocabulary=("google-bert/bert-base-uncased", _BERT),
        ),
    )
}
"""Backbones by name."""


def found_backbones(settings: Mapping[str, Any]) -> dict[str, Path | None]:
    """Folder of each backbone, None where it is not there.

    Args:
        settings: of the configuration.

    Raises:
        UserError: a setting names what is not there.
    """
    found = {}
    for backbone in BACKBONES.values():
        given = settings[backbone.setting]
        found[backbone.name] = backbone.found(None if given is None else Path(str(given)))
    return found
