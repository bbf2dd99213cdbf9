"""What can be named on the command line, as text: tables with their rows and pairs, networks, methods, data sets."""

from __future__ import annotations

import pkgutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import trainables
from analysis import names as printed
from analysis.layout import Table
from trainables.recipes import RECIPES
from trainables.spec import OPERATIONS, SELECTIONS, TEMPERATURE_RULES

WIDTH = 110
DATASETS = {
    "cifar100": "60,000 images, 100 classes; --data-dir DIR (the original files or the Hub's parquet) or --download",
    "digits": "scikit-learn's 1,797 digits, 10 classes; comes with the program",
    "imagefolder": "your own images: DIR/train/CLASS/* and DIR/val/CLASS/* (or test/) with --data-dir DIR",
}


def listing(tables: Sequence[Table], networks: Iterable[str]) -> str:
    """The answer to --list."""
    lines = ["TABLES"]
    for table in tables:
        lines += ["", *_table(table)]
    methods = sorted(module.name for module in pkgutil.iter_modules([str(Path(trainables.__path__[0]) / "methods")]))
    lines += ["", "", "NETWORKS  any two make a pair: --pairs TEACHER/STUDENT", "", *_wrapped("  ", networks)]
    lines += ["", "", "METHODS  in the tables' rows; their numbers can be changed with --set", ""]
    lines += _wrapped("  methods             ", methods)
    lines += _wrapped("  temperature.rule    ", TEMPERATURE_RULES)
    lines += _wrapped("  mixing.operation    ", OPERATIONS)
    lines += _wrapped("  mixing.selection    ", SELECTIONS)
    lines += ["", "", "DATA SETS  --dataset NAME", ""]
    lines += [f"  {name:<13}{words}" for name, words in DATASETS.items()]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    lines = [f"{table.key}  {table.title}"]
    for part in table.parts:
        lines += [f"  {part.title}"] if part.title else []
        lines += _wrapped("    --rows              ", (row.key for row in part.rows))
        lines += [
            line
            for dataset, recipe in RECIPES.items()
            for line in _wrapped(f"    {printed.dataset(dataset):<20}", (pair.key for pair in part.pairs(recipe)))
        ]
    return lines


def _wrapped(head: str, words: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        head + "  ".join(words),
        WIDTH,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
