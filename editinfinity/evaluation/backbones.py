"""The backbones (pretrained networks) of some metrics: where to find or fetch their weights.

They are the ones that the benchmark uses. They are published elsewhere and not part of this
package. Each can be given as a path (``clip_weights: FOLDER`` in config.yaml) or fetched once
(``editinfinity weights fetch clip``). If weights are missing, the metric's cell in the tables says
so. Does not import torch.
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
    """A pretrained network that one or two metrics use.

    Attributes:
        name: NAME in ``editinfinity weights fetch NAME``; its setting is ``NAME_weights``.
        title: the network's full name, for messages.
        metrics: names of the metrics that need it.
        repository: its repository on the Hugging Face hub; None if it is published as a plain file.
        files: globs for the files to fetch.
        needed: required files: each a glob, or alternative globs joined by |.
        url: address of the plain file, if there is no repository.
        vocabulary: another repository, and globs for its files, to fetch into the same folder.
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
        """Its key in config.yaml."""
        return f"{self.name}_weights"

    @property
    def default_folder(self) -> Path:
        """The folder into which ``weights fetch`` downloads it."""
        return hub_home() / "editinfinity" / self.name

    def missing_file(self, folder: Path) -> str | None:
        """Return the first required file that is missing in a folder; None if it is complete."""
        for alternatives in self.needed:
            if not any(any(folder.glob(pattern)) for pattern in alternatives.split("|")):
                return alternatives.replace("|", " or ")
        return None

    def locate(self, configured: Path | None) -> Path | None:
        """Return the folder of its weights; None if they are not available.

        Args:
            configured: the folder from the settings; None for ``default_folder``.

        Raises:
            UserError: if the settings name a folder that does not exist or is not complete.
        """
        folder = self.default_folder if configured is None else configured
        if is_folder(folder) and self.missing_file(folder) is None:
            return folder
        if configured is None:
            return None
        if not is_folder(folder):
            raise UserError(
                f"{self.setting}: {folder} is not a folder; give the one with the weights of "
                f"{self.title}"
            )
        raise UserError(
            f"{self.setting}: {folder} contains no {self.missing_file(folder)} of {self.title}; "
            f"give its folder, or run `editinfinity weights fetch {self.name}`"
        )

    def files_in(self, folder: Path) -> list[Path]:
        """Return the files of a folder that belong to it."""
        return sorted({path for glob in self.files for path in folder.glob(glob)})

    @property
    def missing_message(self) -> str:
        """Text for the metric's cell in the tables if the weights are missing."""
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


def backbone_folders(settings: Mapping[str, Any]) -> dict[str, Path | None]:
    """Return the folder of each backbone, by name; None for one that is not available.

    Args:
        settings: the settings of the configuration.

    Raises:
        UserError: if a setting names a folder that does not exist or is not complete.
    """
    folders = {}
    for backbone in BACKBONES.values():
        path = settings[backbone.setting]
        folders[backbone.name] = backbone.locate(None if path is None else Path(str(path)))
    return folders
