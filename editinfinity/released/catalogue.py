"""Which released files make a model, and where they are published. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from editinfinity.errors import UserError

INFINITY = "FoundationVision/Infinity"
TEXT_ENCODER = "google/flan-t5-xl"

PARTS = ("tokenizer", "transformer", "text_encoder")


@dataclass(frozen=True)
class ReleasedPart:
    """One part of a released model.

    Attributes:
        repository: where it is published, on the Hugging Face hub.
        pattern: glob of its file, or of the folder of its shards, below a folder of released files.
        files: globs of what to fetch of the repository.
        folder: folder, below that of the released files, that a whole repository goes into.
    """

    repository: str
    pattern: str
    files: tuple[str, ...]
    folder: str = "."


T5 = ReleasedPart(
    TEXT_ENCODER,
    "flan-t5-xl*",
    # The repository also has pickles and other frameworks' weights: 35 GB that nothing reads.
    (
        "config.json",
        "model*.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
    ),
    folder="flan-t5-xl",
)

RELEASES: dict[str, dict[str, ReleasedPart]] = {
    "infinity_2b": {
        "tokenizer": ReleasedPart(INFINITY, "infinity_vae_d32reg*", ("infinity_vae_d32reg.pth",)),
        "transformer": ReleasedPart(INFINITY, "infinity_2b_reg*", ("infinity_2b_reg.pth",)),
        "text_encoder": T5,
    },
    "infinity_8b": {
        "tokenizer": ReleasedPart(
            INFINITY,
            "infinity_vae_d56_f8_14_patchify*",
            ("infinity_vae_d56_f8_14_patchify.pth",),
        ),
        "transformer": ReleasedPart(INFINITY, "infinity_8b_weights*", ("infinity_8b_weights/*",)),
        "text_encoder": T5,
    },
}
"""Model → part → where it comes from."""


def release(model: str) -> dict[str, ReleasedPart]:
    """The parts of a released model.

    Raises:
        UserError: there is none of that name.
    """
    if model not in RELEASES:
        raise UserError(
            f"weights: no released model is called {model!r}; choose one of {', '.join(RELEASES)}"
        )
    return RELEASES[model]
