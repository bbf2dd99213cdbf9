"""ImageNet weights that torchvision and timm publish: where they are, and their download.

Those of timm lie in the cache of the Hugging Face hub (HF_HOME), those of torchvision in a folder of the images' or in
torch's own cache (TORCH_HOME).
"""

from __future__ import annotations

import re
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

import torch

from trainables.errors import UserError
from trainables.models import imagenet_resnet, library
from trainables.models.checkpoint import sha256
from trainables.network_names import file_name, parse

PREFIX = "imagenet_"
# The recipe of the paper's teachers: ResNet34 73.31, ResNet50 76.13 top-1.
EDITION = "IMAGENET1K_V1"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
IMAGENET_CLASSES, IMAGENET_SIDE = 1000, 224
IMAGENET_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HASH = re.compile(r"-([a-f0-9]+)\.")
"""The start of a file's SHA-256, in its name."""


def find_published(name: str) -> tuple[str, str] | None:
    """The address of a network's weights at torchvision's and the start of the file's SHA-256, or None where there are
    none."""
    asked = parse(name)
    own = asked.name if asked and asked.library == "torchvision" and not asked.arguments else None
    theirs = name.removeprefix(PREFIX) if name in imagenet_resnet.NETWORKS else own
    if theirs is None:
        return None
    from torchvision.models import get_model_weights

    editions = get_model_weights(theirs).__members__
    found = HASH.search(_file_name(editions[EDITION].url)) if EDITION in editions else None
    return (editions[EDITION].url, found[1]) if found else None


def find_on_hub(name: str) -> str | None:
    """The repository of a network's weights on the Hugging Face hub, if they fit ImageNet as it is trained on here."""
    asked = parse(name)
    if asked is None or asked.library != "timm" or asked.arguments:
        return None
    timm = library.opened("timm")
    about = timm.get_pretrained_cfg(asked.name) if timm.is_model(asked.name) else None
    if about is None or not about.hf_hub_id or about.num_classes != IMAGENET_CLASSES:
        return None
    sized = about.input_size[-1] == IMAGENET_SIDE or not about.fixed_input_size
    return about.hf_hub_id if sized and (about.mean, about.std) == IMAGENET_STATISTICS else None


def find_fetched(name: str, folder: Path) -> Path | None:
    """The file of a network's published weights, if it is in `folder` or in its library's cache."""
    if (repository := find_on_hub(name)) is not None:
        from huggingface_hub import try_to_load_from_cache

        found = (try_to_load_from_cache(repository, file) for file in HUB_FILES)
        return next((Path(path) for path in found if isinstance(path, str)), None)
    places = (folder, Path(torch.hub.get_dir()) / "checkpoints")
    # To ask torchvision takes seconds.
    if not any(HASH.search(path.name) for place in places if place.is_dir() for path in place.iterdir()):
        return None
    source = find_published(name)
    paths = [place / _file_name(source[0]) for place in places] if source else []
    return next((path for path in paths if source and path.is_file() and sha256(path).startswith(source[1])), None)


def fetch(name: str, folder: Path) -> Path:
    """The file of a network's published weights; downloaded, whole or not at all, unless it is there."""
    if (repository := find_on_hub(name)) is not None:
        return find_fetched(name, folder) or _fetch_from_hub(name, repository)
    source = find_published(name)
    if source is None:
        with_weights = f"{', '.join(imagenet_resnet.NETWORKS)} and many networks of timm and torchvision they are"
        raise UserError(f"no weights of {name} are published (of {with_weights}): train it or give a file")
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


def _fetch_from_hub(name: str, repository: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, HUB_FILES[0]))
    # The hub's client has errors of its own, and those of what it uses.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"cannot download the weights of {name} from {repository} ({reason}): try again, or give the file as "
            f"--teachers {file_name(name)}.safetensors"
        ) from error


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]
