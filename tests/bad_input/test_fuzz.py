"""Readers fed with files that were damaged at random: a result or one line, never anything else.

Each example takes a sound file and cuts, overwrites, repeats or inserts bytes. The examples are the
same in every run; ``EDITINFINITY_FUZZ=100000`` draws so many new ones.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from editinfinity.cases.table import read_table
from editinfinity.config.config_file import check_yaml
from editinfinity.config.load import ConfigError, load_config
from editinfinity.errors import UserError
from editinfinity.files.blends import read_blend
from editinfinity.files.checkpoints import OptimizerState, SoftPrompt
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import read_image
from editinfinity.files.maps import KERNEL, load_map, save_map
from editinfinity.files.masks import read_mask
from editinfinity.files.prompts import read_prompt, read_target_word
from editinfinity.files.state_dicts import read_state_dict
from tests.bad_input.corpus import SIZE, photograph
from tests.bad_input.pictures import deep_rgb, encoded, palette_with_transparency, turned

pytestmark = pytest.mark.slow

ASKED = int(os.environ.get("EDITINFINITY_FUZZ", "0"))
PICTURES: tuple[Callable[[], bytes], ...] = (
    lambda: encoded("JPEG"),
    lambda: encoded("JPEG", progressive=True),
    lambda: encoded("JPEG", photograph().convert("CMYK")),
    turned,
    lambda: encoded("PNG"),
    lambda: encoded("PNG", photograph().convert("RGBA")),
    deep_rgb,
    palette_with_transparency,
    lambda: encoded("WEBP"),
    lambda: encoded("WEBP", lossless=True),
    lambda: encoded("GIF"),
    lambda: encoded("BMP"),
    lambda: encoded("PPM"),
    lambda: encoded("TIFF"),
    lambda: encoded("TIFF", compression="tiff_lzw"),
)


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=ASKED or count,
        derandomize=not ASKED,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@cache
def sound(index: int) -> bytes:
    return PICTURES[index]()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A file's bytes with a few accidents."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        if not spoilt:
            break
        # Headers are short and matter most.
        last = len(spoilt) - 1
        start = draw(st.one_of(st.integers(0, min(last, 80)), st.integers(0, last)))
        length = draw(st.integers(1, 16))
        match draw(st.integers(0, 4)):
            case 0:
                del spoilt[start:]
            case 1:
                spoilt[start : start + length] = draw(st.binary(min_size=1, max_size=16))
            case 2:
                spoilt[start:start] = spoilt[start : start + length] * draw(st.integers(1, 50))
            case 3:
                del spoilt[start : start + length]
            case 4:
                spoilt[start] ^= 1 << draw(st.integers(0, 7))
    return bytes(spoilt)


@st.composite
def damaged_picture(draw: st.DrawFn) -> bytes:
    return draw(damaged(sound(draw(st.integers(0, len(PICTURES) - 1)))))


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def survives(read: Callable[[Path], object], path: Path, data: bytes) -> None:
    """Read it: a result, or one line that names the file."""
    path.write_bytes(data)
    try:
        read(path)
    except UserError as fault:
        lines = fault.lines if isinstance(fault, ConfigError) else (str(fault),)
        for line in lines:
            assert "\n" not in line
            assert path.name in line or "--" in line or path.suffix in (".yaml", ".tsv"), line


@examples(300)
@given(data=damaged_picture())
def test_photographs(data: bytes, place: Path) -> None:
    survives(read_image, place / "photo.jpg", data)


@examples(150)
@given(data=damaged_picture())
def test_masks(data: bytes, place: Path) -> None:
    survives(lambda path: read_mask(path, (SIZE[1], SIZE[0])), place / "mask.png", data)


GRID = (16, 16)


@cache
def blends() -> dict[str, bytes]:
    """A sound blend mask of each format."""
    files = {name: io.BytesIO() for name in ("blend.npy", "blend.png")}
    np.save(files["blend.npy"], np.ones(GRID, np.float32))
    Image.new("L", GRID, 255).save(files["blend.png"], "PNG")
    tensor = {"blend.safetensors": save({"blend": np.ones(GRID, np.float32)})}
    return {**{name: file.getvalue() for name, file in files.items()}, **tensor}


@pytest.mark.parametrize("name", ["blend.npy", "blend.png", "blend.safetensors"])
def test_blend_masks(name: str, place: Path) -> None:
    @examples(150)
    @given(data=damaged(blends()[name]))
    def run(data: bytes) -> None:
        survives(lambda path: read_blend(path, GRID), place / name, data)

    run()


@examples(150)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode())))
def test_texts(data: bytes, place: Path) -> None:
    survives(read_prompt, place / "prompt.txt", data)
    survives(read_target_word, place / "word.txt", data)


YAML = (Path(__file__).parents[2] / "config.yaml").read_bytes()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*yaml.safe_load(YAML), "lora_rank", "betas", "device", "overrides", "cases", "nonsense"]
)


@examples(150)
@given(data=st.one_of(damaged(YAML), st.text(max_size=80).map(lambda t: t.encode())))
def test_configuration_files(data: bytes, place: Path) -> None:
    def read(path: Path) -> None:
        check_yaml(path)
        load_config(yaml.safe_load(path.read_text("utf-8")) or {})

    survives(read, place / "config.yaml", data)


@examples(200)
@given(raw=st.dictionaries(KEYS, VALUES, max_size=4))
def test_configuration_values(raw: dict[str, object]) -> None:
    try:
        load_config(raw)
    except ConfigError as fault:
        assert all("\n" not in line and line for line in fault.lines)


TABLE = b"case\timage\tedit_prompt\tcfg\na\ta.jpg\ta cat\t3\nb\tb.jpg\ta dog\t[3, 4]\n"


@examples(100)
@given(data=st.one_of(damaged(TABLE), st.binary(max_size=80)))
def test_tables(data: bytes, place: Path) -> None:
    config = load_config({"cases": "cases.tsv"})
    survives(lambda path: read_table(path, config), place / "cases.tsv", data)


@cache
def tensor_files() -> dict[str, bytes]:
    """A sound file of each kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SoftPrompt(torch.ones(20, 128), 3, "tiny").save(folder / "embedding")
        state = {"step": torch.ones(()), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)}
        OptimizerState([state], 3, "tiny").save(folder / "state")
        ones = np.ones((7, 128), np.float32)
        PromptFeatures("tiny", "a cat", ones, [(0, 1)] * 7).save(folder / "text")
        save_map(folder / "kernel", KERNEL, np.ones(GRID, np.float32), {})
        return {path.name: path.read_bytes() for path in folder.iterdir()}


READERS: dict[str, Callable[[Path], object]] = {
    "embedding": lambda path: SoftPrompt.load(path, "tiny", 128),
    "state": lambda path: OptimizerState.load(path, "tiny", [torch.Size([4])]),
    "text": PromptFeatures.load,
    "kernel": lambda path: load_map(path, KERNEL, GRID),
}


@pytest.mark.parametrize("kind", READERS)
def test_checkpoints_and_features(kind: str, place: Path) -> None:
    @examples(100)
    @given(data=damaged(tensor_files()[kind]))
    def run(data: bytes) -> None:
        for read in (READERS[kind], ImageFeatures.load):
            survives(read, place / kind, data)
        survives(lambda path: read_state_dict([path]), place / f"{kind}.safetensors", data)

    run()


@cache
def pickled_weights() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        torch.save({"trainer": {"gpt_fsdp": {"a": torch.ones(5)}}}, Path(name) / "w.pth")
        return (Path(name) / "w.pth").read_bytes()


@examples(150)
@given(data=damaged(pickled_weights()))
def test_pickled_weights(data: bytes, place: Path) -> None:
    survives(lambda path: read_state_dict([path]), place / "weights.pth", data)
