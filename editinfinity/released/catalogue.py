"""The files of each released model, and where they are published. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from editinfinity.errors import UserError

INFINITY = "FoundationVision/Infinity"
TEXT_ENCODER = "google/flan-t5-xl"

PARTS = ("tokenizer", "transformer", "text_encoder")

_DTYPES = ("released", "bf16")
"""Data types of converted files (``editinfinity.released.convert``)."""


@dataclass(frozen=True)
class ReleasedPart:
    """One part of a released model.

    Attributes:
        repository: the Hugging Face repository that publishes it.
        pattern: glob for its file, or for the folder of its shards, in a folder of released files.
        files: globs for the files of the repository to fetch.
        folder: subfolder of the folder of released files into which the repository is downloaded.
    """

    repository: str
    pattern: str
    files: tuple[str, ...]
    folder: str = "."


T5 = ReleasedPart(
    TEXT_ENCODER,
    "flan-t5-xl*",
    # The repository also has pickles and weights for other frameworks: 35 GB of unused files.
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

_D14 = ReleasedPart(
    INFINITY, "infinity_vae_d56_f8_14_patchify*", ("infinity_vae_d56_f8_14_patchify.pth",)
)

RELEASES: dict[str, dict[str, ReleasedPart]] = {
    "infinity_125m": {
        "tokenizer": ReleasedPart(INFINITY, "infinity_vae_d16*", ("infinity_vae_d16.pth",)),
        "transformer": ReleasedPart(
            INFINITY, "infinity_125M_256x256*", ("infinity_125M_256x256.pth",)
        ),
        "text_encoder": T5,
    },
    "infinity_2b": {
        # The hub calls it d32reg, the original scripts d32_reg. The plain d32 does not fit.
        "tokenizer": ReleasedPart(INFINITY, "infinity_vae_d32*reg*", ("infinity_vae_d32reg.pth",)),
        "transformer": ReleasedPart(INFINITY, "infinity_2b_reg*", ("infinity_2b_reg.pth",)),
        "text_encoder": T5,
    },
    "infinity_8b": {
        "tokenizer": _D14,
        "transformer": ReleasedPart(INFINITY, "infinity_8b_weights*", ("infinity_8b_weights/*",)),
        "text_encoder": T5,
    },
    "infinity_8b_512": {
        "tokenizer": _D14,
        "transformer": ReleasedPart(
            INFINITY, "infinity_8b_512x512_weights*", ("infinity_8b_512x512_weights/*",)
        ),
        "text_encoder": T5,
    },
}
"""Model name → part name → the released part."""


def release(model: str) -> dict[str, ReleasedPart]:
    """Return the parts of a released model.

    Raises:
        UserError: if no released model has that name.
    """
    if model not in RELEASES:
        raise UserError(
            f"weights: no released model is called {model!r}; choose one of {', '.join(RELEASES)}"
        )
    return RELEASES[model]


def check_dtype(dtype: str) -> None:
    """Check the data type asked for converted files.

    Raises:
        UserError: if there is no such type.
    """
    if dtype not in _DTYPES:
        raise UserError(f"--dtype: must be {' or '.join(_DTYPES)}, got {dtype!r}")
