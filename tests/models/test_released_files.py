"""Every key and shape of the released files has its place in our modules, and the reverse."""

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from editinfinity.models.released import tokenizer_state, transformer_state
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import preset

LISTS = Path(__file__).parents[1] / "parity_data" / "released"


def released(name: str) -> dict[str, Tensor]:
    """Tensors without values of a list's keys and shapes."""
    with (LISTS / f"state_dict_{name}.tsv").open() as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {
            row["key"]: torch.empty([int(n) for n in row["shape"].split("x")], device="meta")
            for row in rows
            if row["shape"]
        }


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def on_meta(build: type[nn.Module], config: object) -> nn.Module:
    with torch.device("meta"):
        return build(config)


@pytest.mark.parametrize("name", ["infinity_125m", "infinity_2b", "infinity_8b", "infinity_8b_512"])
def test_transformers(name: str) -> None:
    config = preset(name).transformer
    found = transformer_state(released(name.removesuffix("_512")), config)
    assert len(found) > 200
    assert shapes(found) == shapes(on_meta(Infinity, config).state_dict())


def test_the_derived_list_of_the_125m_has_the_size_of_its_file() -> None:
    """The released file, which the list does not come from, has 501 MB in fp32."""
    values = sum(tensor.numel() for tensor in released("infinity_125m").values())
    assert 500e6 < 4 * values < 502e6


@pytest.mark.parametrize(
    ("name", "list_name"),
    [("infinity_125m", "d16"), ("infinity_2b", "d32"), ("infinity_8b", "d14")],
)
def test_tokenizers(name: str, list_name: str) -> None:
    found = tokenizer_state(released(f"vae_{list_name}"))
    assert len(found) > 200
    assert shapes(found) == shapes(on_meta(Tokenizer, preset(name).tokenizer).state_dict())
