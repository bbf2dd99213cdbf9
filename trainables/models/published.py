"""ImageNet weights that torchvision publishes: where they are, and their download."""

from __future__ import annotations

import re
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

import torch

from trainables.errors import UserError
from trainables.models import imagenet_resnet
from trainables.models.checkpoint import sha256

PREFIX = "imagenet_"
# The recipe of the paper's teachers: ResNet34 73.31, ResNet50 76.13 top-1.
EDITION = "IMAGENET1K_V1"
HASH = re.compile(r"-([a-f0-9]+)\.")
"""The start of a file's SHA-256, in its name."""


def find_published(name: str) -> tuple[str, str] | None:
    """The address of a network's weights and the start of the file's SHA-256, or None where there are none."""
    if name not in imagenet_resnet.NETWORKS:
        return None
    from torchvision.models import get_model_weights

    url: str = get_model_weights(name.removeprefix(PREFIX))[EDITION].url
    found = HASH.search(_file_name(url))
    assert found is not None
    return url, found[1]


def find_fetched(name: str, folder: Path) -> Path | None:
    """The file of a network's published weights in `folder`, if it has been downloaded there."""
    if name not in imagenet_resnet.NETWORKS or not folder.is_dir():
        return None
    source = find_published(name)
    path = folder / _file_name(source[0]) if source else folder
    return path if source and path.is_file() and sha256(path).startswith(source[1]) else None


def fetch(name: str, folder: Path) -> Path:
    """The file of a network's published weights in `folder`; downloaded, whole or not at all, unless it is there."""
    source = find_published(name)
    if source is None:
        with_weights = ", ".join(imagenet_resnet.NETWORKS)
        raise UserError(f"no weights of {name} are published (of {with_weights} they are): train it or give a file")
    url, digest = source
    there = find_fetched(name, folder)
    if there is not None:
        return there
    path = folder / _file_name(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot download the weights of {name} ({reason}): try again, or fetch {url} by hand into {folder}"
        ) from error
    return path


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]
