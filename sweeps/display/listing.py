"""What can be named on the command line, each with its state: tables, figures, methods, networks, data sets."""

from __future__ import annotations

import ast
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import trainables
from analysis.record.settings import Settings
from analysis.table import names as printed
from analysis.table.layout import Part, Table
from analysis.table.resolved import resolve
from sweeps.running.recovery import known
from trainables.data.facts import FETCHED, facts, in_words
from trainables.errors import UserError
from trainables.recipes import RECIPES, recipe
from trainables.spec import OPERATIONS, SELECTIONS, TEMPERATURE_RULES

WIDTH = 110
BUNDLED = ("digits",)


def listing(tables: Sequence[Table], networks: Iterable[str], data_dir: Path, results: Path) -> str:
    """The answer to --list. States: of a table, how many of its runs (by its defaults) are done in `results`; of a
    data set, whether it is in `data_dir`."""
    lines = ["TABLES AND FIGURES  each runs; done: of its runs at the paper's settings, in --results"]
    for table in tables:
        lines += ["", *_table(table, results)]
    lines += ["", "", "METHODS  each runs, in the tables' rows; their numbers can be changed with --set", ""]
    for name, words in _methods():
        lines += textwrap.wrap(f"  {name:<20}{words}", WIDTH, subsequent_indent=" " * 22)
    lines += ["  takd                KD by an assistant that KD by the teacher has trained (rows with an assistant)"]
    lines += [""]
    lines += _wrapped("  temperature.rule    ", TEMPERATURE_RULES)
    lines += _wrapped("  mixing.operation    ", OPERATIONS)
    lines += _wrapped("  mixing.selection    ", SELECTIONS)
    lines += ["", "", "PAIRS  each runs, by all methods that can serve it; any two networks make one: --pairs T/S", ""]
    lines += _pairs(tables)
    lines += ["", "", "NETWORKS  each runs", "", *_wrapped("  ", networks)]
    lines += ["", "", "DATA SETS  --dataset NAME (default: the one of the paper's table)", ""]
    lines += [f"  {name:<13}{_dataset(name, data_dir)}" for name in (*RECIPES, "imagefolder")]
    return "\n".join(lines)


def _table(table: Table, results: Path) -> list[str]:
    lines = [f"{table.key}  {table.title}", f"    {_state(table, results)}"]
    for part in table.parts:
        lines += [f"  {part.title}"] if part.title else []
        lines += _wrapped("    --rows              ", (row.key for row in part.rows)) if part.rows else []
        lines += _wrapped(f"    {printed.dataset(table.dataset):<20}", _keys(table, part, table.dataset))
    return lines


def _state(table: Table, results: Path) -> str:
    if not table.kind.trains:
        return "printed from the specs of the other tables' runs"
    asked = [spec.run_id for spec in resolve(table, Settings(dataset="")).runs]
    done = sum(entry.done for entry in known(results, asked).values())
    drawn = ", then drawn from their weights" if table.kind.needs_weights else ""
    return f"{done} of {len(asked)} runs done{drawn}"


def _keys(table: Table, part: Part, dataset: str) -> list[str]:
    return [pair.key for pair in part.pairs(recipe(dataset))]


def _pairs(tables: Sequence[Table]) -> list[str]:
    """By data set, the pairs of its tables; of a data set without tables those of its recipe."""
    lines = []
    for dataset, usual in RECIPES.items():
        own = [
            key
            for table in tables
            if table.dataset == dataset
            for part in table.parts
            for key in _keys(table, part, dataset)
        ]
        keys = dict.fromkeys(own or [pair.key for pair in usual.pairs])
        lines += _wrapped(f"  {printed.dataset(dataset):<20}", keys)
    return lines


def _methods() -> list[tuple[str, str]]:
    """Each method with the first sentence of its file; nothing is imported."""
    folder = Path(trainables.__path__[0]) / "methods"
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_"))
    documents = [ast.get_docstring(ast.parse((folder / f"{name}.py").read_text())) or "" for name in names]
    return [(name, text.partition("\n")[0]) for name, text in zip(names, documents, strict=True)]


def _dataset(name: str, data_dir: Path) -> str:
    if name in BUNDLED:
        return f"comes with the program: {_words(name, None)}"
    if name == "imagefolder":
        return "your own images: DIR/train/CLASS/* and DIR/val/CLASS/* (or test/) with --data-dir DIR"
    here = _HERE[name](data_dir)
    how = (
        "--download fetches it" if name in FETCHED else "class folders train/CLASS/* and val/CLASS/* in --data-dir DIR"
    )
    state = f"in {data_dir}" if here else f"not in {data_dir}: {how}"
    return f"{state}; {_words(name, data_dir if here else None)}"


def _words(name: str, data_dir: Path | None) -> str:
    try:
        return in_words(facts(name, data_dir, imbalance=RECIPES[name].imbalance))
    except UserError as error:
        return f"cannot be used: {error}"


def _cifar_here(data_dir: Path) -> bool:
    from trainables.data.cifar100 import search

    return any(found.missing is None for found in search(data_dir))


def _tiny_here(data_dir: Path) -> bool:
    from trainables.data.tinyimagenet_folders import find

    return find(data_dir) is not None


def _imagenet_here(data_dir: Path) -> bool:
    from trainables.data.imagenet_folders import find

    return find(data_dir) is not None


_HERE: dict[str, Callable[[Path], bool]] = {
    "cifar100": _cifar_here,
    "cifar100_lt": _cifar_here,
    "tinyimagenet": _tiny_here,
    "imagenet": _imagenet_here,
}


def _wrapped(head: str, words: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        head + "  ".join(words),
        WIDTH,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
