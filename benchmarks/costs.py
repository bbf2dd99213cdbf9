"""Count the parameters and multiply-adds of this program's networks, for all data sets: trainables/models/costs.csv.

python benchmarks/costs.py

To be run after a network or a data set is added; it takes a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trainables import datasets
from trainables.models import names
from trainables.models.cost import FILE, count_cost

HEAD = "network,classes,side,parameters,multiply_adds"


def sizes() -> list[tuple[int, int]]:
    """The numbers of classes and the sides of the published data sets."""
    published = (datasets.find(name).published for name in datasets.names())
    return sorted({(counts.num_classes, counts.side) for counts in published if counts is not None})


def lines() -> Iterator[str]:
    """The lines of the file behind its head."""
    return (line_of(name, classes, side) for classes, side in sizes() for name in names())


def line_of(name: str, classes: int, side: int) -> str:
    return ",".join(map(str, (name, classes, side, *count_cost(name, classes, side))))


if __name__ == "__main__":
    FILE.write_text("\n".join([HEAD, *lines(), ""]), encoding="utf-8")
