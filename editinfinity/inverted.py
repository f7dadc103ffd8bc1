"""The result of inverting a photograph, in memory or saved in a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.checkpoints import Adapter, SoftPrompt
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.input_files import read_text
from editinfinity.files.photograph import Photograph, read_photograph
from editinfinity.files.provenance import Provenance
from editinfinity.files.writing import write_photograph
from editinfinity.presets import preset


@dataclass(frozen=True, repr=False)
class Inversion:
    """The result of inverting a photograph.

    Attributes:
        photograph: the original photograph.
        features: the photograph as encoded by the model's tokenizer.
        prompt: the photograph's prompt (source prompt) as encoded by the text encoder.
        embedding: the soft prompt, or None.
        adapter: the LoRA adapter in PEFT's format, or None.
        provenance: what made the inversion; its prompt is empty. None for inversions that earlier
            versions saved, whose edits record nothing.
    """

    photograph: Photograph
    features: ImageFeatures
    prompt: PromptFeatures
    embedding: SoftPrompt | None
    adapter: Adapter | None
    provenance: Provenance | None = None

    def __repr__(self) -> str:
        """Return one line: the arrays would fill many screens."""
        height, width = self.photograph.size
        learned = [
            name
            for name, part in (("embedding", self.embedding), ("adapter", self.adapter))
            if part is not None
        ]
        return (
            f"<Inversion of {width}×{height} pixels by {self.features.preset}, "
            f"prompt {self.prompt.prompt!r}, with {' and '.join(learned) or 'nothing learned'}>"
        )

    def save(self, folder: Path | str) -> None:
        """Save the inversion into a folder.

        The files have the formats that the workflow writes; PEFT can load ``lora/``.
        """
        folder = Path(folder)
        write_photograph(folder / "photograph.png", self.photograph)
        self.features.save(folder / "image.safetensors")
        self.prompt.save(folder / "text.safetensors")
        provenance = folder / "provenance.json"
        provenance.unlink(missing_ok=True)
        if self.provenance is not None:
            write_text(provenance, self.provenance.to_json())
        # An inversion saved here earlier may have left files that this one does not overwrite.
        (folder / "embedding.safetensors").unlink(missing_ok=True)
        shutil.rmtree(folder / "lora", ignore_errors=True)
        if self.embedding is not None:
            self.embedding.save(folder / "embedding.safetensors")
        if self.adapter is not None:
            self.adapter.save(folder / "lora")

    @classmethod
    def load(cls, folder: Path | str) -> Inversion:
        """Load an inversion that ``save`` wrote.

        Raises:
            UserError: ``save`` did not write this folder, or a file is damaged.
        """
        folder = Path(folder)
        if not (folder / "image.safetensors").is_file():
            raise UserError(
                f"{folder}: is no folder that Inversion.save wrote; correct the path, or invert "
                "the photograph again"
            )
        features = ImageFeatures.load(folder / "image.safetensors")
        embedding = folder / "embedding.safetensors"
        width = preset(features.preset).transformer.text_width
        return cls(
            read_photograph(folder / "photograph.png"),
            features,
            PromptFeatures.load(folder / "text.safetensors"),
            SoftPrompt.load(embedding, features.preset, width) if embedding.exists() else None,
            Adapter.load(folder / "lora") if (folder / "lora").exists() else None,
            _read_provenance(folder / "provenance.json"),
        )


def _read_provenance(path: Path) -> Provenance | None:
    """Return the provenance of an inversion; None if there is none that can be read."""
    try:
        read = Provenance.from_json(read_text(path, 2**22, "save the inversion again"))
    except UserError:
        return None
    if (
        read is None
        or not {"train_textembedding_iter", "train_lora_iter"} <= read[0].settings.keys()
    ):
        return None
    return read[0]
