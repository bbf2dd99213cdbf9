"""Teachers that were trained elsewhere: their files found by the networks' names, then checked (that needs torch).

In a folder a network's weights are `NETWORK.pth`, `NETWORK_anything.pth` or `NETWORK-anything` (any usual extension or
none), or lie in a folder of such a name, as in the community's `resnet56_vanilla/ckpt_epoch_240.pth`. Those of
`timm:resnet18` and the like are `timm_resnet18.pth` and so on, whatever its arguments and modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.counts import ImageCounts
from trainables.errors import UserError, reason_of
from trainables.network_names import file_name, parse
from trainables.storage.runs import hash_file

EXTENSIONS = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".safetensors")
PART = re.compile(r"-\d+-of-\d+\.")
"""In the names of files that are parts of one, as the hub has large weights."""
COMMUNITY = "ckpt_epoch_240.pth"
NAMING = "name a teacher's file NETWORK.pth, for example resnet56.pth"


@dataclass(frozen=True)
class TeacherWeights:
    """The weights of one teacher, for its students on one data set."""

    network: str
    path: Path
    sha256: str
    dataset: str

    def key(self, mixed: bool) -> str:
        """Its name in the settings of a sweep, of several data sets if it is mixed."""
        return f"{self.dataset}/{self.network}" if mixed else self.network


def find_each(place: Path, teachers: Mapping[str, Sequence[str]]) -> tuple[TeacherWeights, ...]:
    """The given weights for the teachers of each data set. Of several data sets each has its own folder in `place`."""
    if len(teachers) == 1:
        ((dataset, networks),) = teachers.items()
        own = place / dataset
        return find(own if own.is_dir() else place, networks, dataset)
    if not any((place / dataset).is_dir() for dataset in teachers):
        raise UserError(
            f"these tables need teachers of {len(teachers)} data sets: put their weights into {place}/DATASET/, "
            f"DATASET one of {', '.join(teachers)}"
        )
    return tuple(
        given
        for dataset, networks in teachers.items()
        if (place / dataset).is_dir()
        for given in find(place / dataset, networks, dataset)
    )


def published(folder: Path, networks: Sequence[str], *, download: bool) -> tuple[TeacherWeights, ...]:
    """torchvision's ImageNet weights among `networks`: those fetched into `folder` before, or now if that is asked."""
    from trainables.models.published import fetch, find_fetched

    paths = {network: fetch(network, folder) if download else find_fetched(network, folder) for network in networks}
    return tuple(
        TeacherWeights(network, path, _digest(path), "imagenet") for network, path in paths.items() if path is not None
    )


def find(place: Path, networks: Sequence[str], dataset: str) -> tuple[TeacherWeights, ...]:
    """The given weights among the teachers `networks`, by network; those that a folder has not will be trained."""
    if place.is_dir():
        found = {network: _in_folder(place, network) for network in sorted(networks)}
        if not any(found.values()):
            raise UserError(f"{place} has no weights of {', '.join(networks)}: {NAMING}")
    elif not place.exists():
        raise UserError(f"--teachers {place}: there is no such file or folder")
    elif len(networks) != 1:
        some = ", ".join(networks)
        raise UserError(f"{place} is one file, but these pairs have {len(networks)} teachers ({some}): give a folder")
    else:
        found = {networks[0]: place}
    return tuple(
        TeacherWeights(network, path, _digest(path), dataset) for network, path in found.items() if path is not None
    )


def _in_folder(folder: Path, network: str) -> Path | None:
    candidates = [path for entry in _list_files(folder) if _is_named(entry, network) for path in _weights(entry)]
    if len(candidates) > 1:
        two = " and ".join(str(path.relative_to(folder)) for path in candidates[:2])
        more = f" and {len(candidates) - 2} more" if len(candidates) > 2 else ""
        parts = all(PART.search(path.name) for path in candidates)
        how = "they are parts of one file: join them into one" if parts else "name one file or leave one"
        raise UserError(f"{folder} has several weights of {network} ({two}{more}): {how}")
    return candidates[0] if candidates else None


def _list_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {reason_of(error)}") from error


def _is_named(entry: Path, network: str) -> bool:
    """resnet8.pth and resnet8_best are resnet8's, resnet8x4.pth is not."""
    asked = parse(network)
    name = file_name(asked.base if asked else network)
    return re.match(rf"{re.escape(name)}(?![0-9A-Za-z])", entry.name, re.IGNORECASE) is not None


def _weights(entry: Path) -> list[Path]:
    """A file of weights itself, or those in a folder: the community's last epoch if it is there, else all."""
    if not entry.is_dir():
        return [entry] if _is_weights(entry) else []
    files = [path for path in _list_files(entry) if not path.is_dir() and _is_weights(path)]
    return [path for path in files if path.name == COMMUNITY] or files


def _is_weights(path: Path) -> bool:
    extension = path.suffix.lower()
    return extension in EXTENSIONS or re.fullmatch(r"\.[a-z]\w*", extension) is None


def _digest(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise UserError(f"cannot read the teacher's weights {path}: {reason_of(error)}") from error


def check(given: Sequence[TeacherWeights], counts: Mapping[str, ImageCounts]) -> None:
    """Refuse weights that are damaged or of another network or data set. counts: of each data set."""
    from trainables.models import build
    from trainables.models.checkpoint import load_weights

    for teacher in given:
        images = counts[teacher.dataset]
        load_weights(build(teacher.network, images.num_classes, images.side), teacher.path, teacher.network)
