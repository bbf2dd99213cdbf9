"""Downloads of published files."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from trainables.errors import UserError


def fetch(url: str, folder: Path, name: str, md5: str, *, title: str, otherwise: str) -> Path:
    """Download a file with torchvision, which checks its sum; nothing is fetched where it is already whole."""
    from torchvision.datasets.utils import download_url

    try:
        download_url(url, folder, name, md5)
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot download {title} ({reason}): fetch {url} by hand into {folder}, or {otherwise}"
        ) from error
    return folder / name
