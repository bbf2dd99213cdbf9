"""What is known of CIFAR-10 and CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009)
before a file is opened. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.data.source import Channels

SIDE = 32


@dataclass
class CifarFiles:
    """One of the two, as published.

    name: of the data set here. per_class: images of a class in each split. archive, folder: what the archive is called,
    and the folder in it. parts: by split, the folder's files and their MD5 sums. labels: under which they stand in
    those files. columns: under which they may stand in parquet files.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    mean: Channels
    std: Channels
    url: str
    archive: str
    archive_md5: str
    folder: str
    parts: Mapping[str, Mapping[str, str]]
    labels: str
    columns: tuple[str, ...]

    @property
    def again(self) -> str:
        """What to do about a damaged copy."""
        return f"delete it, then copy {self.title} anew or add --download, or use --dataset digits"

    @property
    def how(self) -> str:
        """What to do where there is none."""
        return (
            f"add --download, or put {self.url} or the hub's train-*.parquet and test-*.parquet into --data-dir DIR, "
            "or use --dataset digits, which needs nothing"
        )

    @property
    def places(self) -> tuple[str, ...]:
        """Where in a data folder it may lie."""
        name = self.name
        inner = (f"data/{name}", f"{name}/{name}", f"{name}/data", f"{name}/plain_text", "plain_text")
        return (".", name, "data", *inner)
