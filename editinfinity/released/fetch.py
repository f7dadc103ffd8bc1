"""Download released files from the Hugging Face hub into its cache, and check them.

Downloads are resumed, and work offline if the files are in the cache. They use ``huggingface_hub``,
and so honour ``HF_HOME``, ``HF_ENDPOINT`` (a mirror), ``HF_HUB_OFFLINE`` and ``HF_TOKEN``. That
library checks only sizes; this module checks checksums.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.state_dicts import find_weight_files
from editinfinity.released.catalogue import INFINITY, ReleasedPart, release

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(
    model: str, into: Path | None = None, revision: str | None = None
) -> dict[str, list[Path]]:
    """Download the missing files of a released model, and check all of them.

    Args:
        model: a key of the catalogue.
        into: a plain folder for the files; None for the hub's cache.
        revision: commit or tag of the Infinity repository; None for the newest.

    Returns:
        Part → its weight files, as ``convert`` takes them.

    Raises:
        UserError: if the hub cannot be reached or has no such files, the disk is full, or a file
            is damaged (it is deleted, so that the next call downloads it again).
    """
    found = {}
    for part, source in release(model).items():
        log.info("%s: %s of %s", part, ", ".join(source.files), source.repository)
        target = None if into is None else into / source.folder
        wanted = revision if source.repository == INFINITY else None
        snapshot = fetch_part(source, target, wanted)
        sharded = source.folder != "."  # the shards are in the root of the repository
        folder, glob = (snapshot.parent, snapshot.name) if sharded else (snapshot, source.pattern)
        found[part] = find_weight_files(folder, glob, f"{model}'s {part}")
    return found


def fetch_part(source: ReleasedPart, target: Path | None, revision: str | None = None) -> Path:
    """Download the missing files of one part, and check all of them.

    Args:
        source: the repository and the globs for its files.
        target: a plain folder for the files; None for the hub's cache.
        revision: commit or tag; None for the newest.

    Returns:
        The folder that contains the files.

    Raises:
        UserError: in the same cases as ``fetch``.
    """
    from huggingface_hub import errors, snapshot_download

    repository = source.repository
    # The base error of the hub's HTTP library, which differs between versions of the hub.
    http_error: type[Exception] = vars(errors).get("HTTPError", errors.HfHubHTTPError)
    try:
        snapshot = snapshot_download(
            repository, revision=revision, allow_patterns=list(source.files), local_dir=target
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UserError(
            f"{repository}: the hub has no such repository or revision ({first_sentence(error)})"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise UserError(
            f"{repository}: cannot be reached, and the local files are incomplete; go online (and "
            "unset HF_HUB_OFFLINE), set HF_ENDPOINT to a mirror, or give the files with "
            "`editinfinity weights convert MODEL --from FOLDER`"
        ) from None
    except (http_error, ConnectionError, TimeoutError) as error:
        raise UserError(
            f"{repository}: the download stopped ({first_sentence(error)}); run again to resume it"
        ) from None
    except OSError as error:
        raise UserError(
            f"{repository}: cannot be stored ({first_sentence(error)}); free disk space, or set "
            "HF_HOME to another disk"
        ) from None
    folder = Path(snapshot)
    files = [path for glob in source.files for path in sorted(folder.glob(glob))]
    if not files:
        raise UserError(
            f"{repository}: has no {', '.join(source.files)}; look at its page for new names"
        )
    for path in files:
        _check(path, folder)
    return folder


def _check(path: Path, snapshot: Path) -> None:
    """Compare a file with the checksum that the hub gave for it, if any.

    The hub gives the SHA-256 of large files. In the cache it is the name of the blob that the
    file's symbolic link points to. In a plain folder it is in the metadata file that the library
    writes.
    """
    expected = path.resolve().name
    metadata = snapshot / ".cache/huggingface/download" / f"{path.relative_to(snapshot)}.metadata"
    if metadata.is_file():
        lines = metadata.read_text(encoding="utf-8").splitlines()
        expected = lines[1] if len(lines) > 1 else ""
    if not _SHA256.fullmatch(expected):
        return  # a small file, for which the hub gives no SHA-256
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if digest.hexdigest() != expected:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path}: was downloaded damaged (its checksum differs) and deleted; run again"
        )
