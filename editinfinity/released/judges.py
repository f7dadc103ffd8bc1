"""Download the models that some metrics need (:mod:`editinfinity.evaluation.backbones`)."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.error import URLError

from editinfinity.errors import UserError
from editinfinity.evaluation.backbones import Backbone
from editinfinity.files.atomic import atomic_path
from editinfinity.released.catalogue import ReleasedPart
from editinfinity.released.fetch import fetch_part

log = logging.getLogger(__name__)


def fetch_backbone(backbone: Backbone, into: Path | None = None) -> Path:
    """Download the missing files of a backbone, and check them.

    Args:
        backbone: a backbone of the evaluation's catalogue.
        into: folder for its files; None for the default folder, where the metrics look for them.

    Returns:
        The folder.

    Raises:
        UserError: if the files cannot be downloaded or stored, or are damaged.
    """
    folder = into or backbone.default_folder
    if folder.is_dir() and backbone.missing_file(folder) is None:
        return folder
    if backbone.url is not None:
        _download(backbone.url, folder / backbone.url.rpartition("/")[2])
    sources = [] if backbone.repository is None else [(backbone.repository, backbone.files)]
    for repository, files in [*sources, *filter(None, [backbone.vocabulary])]:
        log.info("%s: %s of %s", backbone.name, ", ".join(files), repository)
        fetch_part(ReleasedPart(repository, "*", files), folder)
    if missing := backbone.missing_file(folder):
        raise UserError(
            f"{folder}: has no {missing} of {backbone.title} after the download; check on the "
            f"page of {backbone.repository or backbone.url} whether its files were renamed"
        )
    return folder


def _download(url: str, target: Path) -> None:
    """Download a plain file, and check the digits of its SHA-256 that its name ends with."""
    from torch.hub import download_url_to_file

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise UserError(f"{url}: is not downloaded, and HF_HUB_OFFLINE is set; unset it")
    log.info("%s", url)
    try:
        with atomic_path(target) as temporary:
            hash_prefix = target.stem.rpartition("-")[2]
            download_url_to_file(url, str(temporary), hash_prefix=hash_prefix, progress=False)
    except RuntimeError:
        raise UserError(f"{url}: was downloaded damaged (checksum differs); run again") from None
    except (URLError, ConnectionError, TimeoutError) as error:
        reason = str(getattr(error, "reason", error))[:200]
        raise UserError(
            f"{url}: cannot be reached ({reason}); go online, or put the file into {target.parent}"
        ) from None
