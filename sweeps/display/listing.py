"""What can be named on the command line, each with its state: tables, figures, methods, networks, data sets."""

from __future__ import annotations

import ast
import pkgutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.record.settings import Settings
from analysis.table import names as printed
from analysis.table.layout import Part, Table
from analysis.table.resolved import resolve
from sweeps.running.recovery import load_entries
from trainables import datasets
from trainables.additions import folders_of
from trainables.data.counts import ImageCounts
from trainables.errors import UserError
from trainables.mixing import OPERATIONS, SELECTIONS
from trainables.temperature import RULES

WIDTH = 110
DEFAULT = "cifar100"


def listing(tables: Sequence[Table], networks: Iterable[str], data_dir: Path, results: Path, dataset: str = "") -> str:
    """The answer to --list. States: of a table, how many of its runs (by its defaults) are done in `results`; of a
    data set, whether it is in `data_dir`. dataset: for whose images networks are measured, CIFAR-100's by default."""
    lines = ["TABLES AND FIGURES  each runs; done: of its runs at the paper's settings, in --results"]
    for table in tables:
        lines += ["", *_table(table, results)]
    lines += ["", "", "METHODS  each runs, in the tables' rows; their numbers can be changed with --set", ""]
    lines += _describe_modules(folders_of("trainables.methods"))
    lines += ["  takd                KD by an assistant that KD by the teacher has trained (rows with an assistant)"]
    lines += ["  A+B                 two of these at once: --rows A+B of the table ablation, A and B any two rows"]
    lines += [""]
    lines += _wrap("  mixing.operation    ", OPERATIONS)
    lines += _wrap("  mixing.selection    ", SELECTIONS)
    lines += ["", "", "RULES THAT SET TEMPERATURES  for kd, some for dkd too: --set temperature.rule=NAME", ""]
    lines += _describe_modules(folders_of(RULES))
    lines += ["", "", "PAIRS  each runs, by all methods that can serve it; any two networks make one: --pairs T/S", ""]
    lines += _pairs(tables)
    counts = datasets.find(dataset or DEFAULT).published or datasets.find(DEFAULT).published
    assert counts is not None
    what = f"parameters and multiply-adds at {counts.side}x{counts.side} pixels and {counts.num_classes} classes"
    lines += ["", "", f"NETWORKS  each runs; {what}", "", *(f"  {name:<19} {_cost(name, counts)}" for name in networks)]
    lines += ["  timm:NAME, torchvision:NAME    any classifier of theirs, with the features of its stages"]
    lines += ["", "", "DATA SETS  --dataset NAME (default: the one of the paper's table)", ""]
    width = max(map(len, datasets.names())) + 1
    lines += [f"  {name:<{width}}{_dataset(name, data_dir)}" for name in datasets.names()]
    return "\n".join(lines)


def _table(table: Table, results: Path) -> list[str]:
    lines = [f"{table.key}  {table.title}", f"    {_state(table, results)}"]
    for part in table.parts:
        lines += [f"  {part.title}"] if part.title else []
        lines += _wrap("    --rows              ", (row.key for row in part.rows)) if part.rows else []
        lines += _wrap(f"    {printed.dataset(table.dataset):<20}", _keys(table, part, table.dataset))
    return lines


def _state(table: Table, results: Path) -> str:
    if not table.kind.trains:
        return "printed from the specs of the other tables' runs"
    asked = [spec.run_id for spec in resolve(table, Settings(dataset="")).runs]
    done = sum(entry.done for entry in load_entries(results, asked).values())
    drawn = ", then drawn from their weights" if table.kind.needs_weights else ""
    return f"{done} of {len(asked)} runs done{drawn}"


def _keys(table: Table, part: Part, dataset: str) -> list[str]:
    return [pair.key for pair in part.pairs(datasets.find(dataset).recipe)]


def _pairs(tables: Sequence[Table]) -> list[str]:
    """By data set, the pairs of its tables; of a data set without tables those of its recipe."""
    lines = []
    for dataset in datasets.names():
        if datasets.find(dataset).published is None:
            continue
        own = [
            key
            for table in tables
            if table.dataset == dataset
            for part in table.parts
            for key in _keys(table, part, dataset)
        ]
        keys = dict.fromkeys(own or [pair.key for pair in datasets.find(dataset).recipe.pairs])
        lines += _wrap(f"  {printed.dataset(dataset):<20}", keys)
    return lines


def _cost(network: str, counts: ImageCounts) -> str:
    from trainables.models.cost import cost_of, in_words

    cost = cost_of(network, counts.num_classes, counts.side)
    return f"{in_words(cost.parameters):<10}{in_words(cost.multiply_adds)}"


def _describe_modules(folders: Iterable[Path]) -> list[str]:
    """Each module of the folders with the first sentence of its file; none is imported."""
    found = {
        module.name: folder / f"{module.name}.py"
        for folder in folders
        for module in pkgutil.iter_modules([str(folder)])
        if not module.name.startswith("_")
    }
    lines: list[str] = []
    for name, file in sorted(found.items()):
        words = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        lines += textwrap.wrap(f"  {name:<20}{words}", WIDTH, subsequent_indent=" " * 22)
    return lines


def _dataset(name: str, data_dir: Path) -> str:
    definition = datasets.find(name)
    if definition.published is None:
        return definition.obtain
    if definition.find is None:
        return f"{definition.obtain}: {_images(name, None)}"
    here = definition.find(data_dir) is not None
    state = f"in {data_dir}" if here else f"not in {data_dir}: {definition.obtain}"
    return f"{state}; {_images(name, data_dir if here else None)}"


def _images(name: str, data_dir: Path | None) -> str:
    try:
        return datasets.count_images(name, data_dir, imbalance=datasets.find(name).recipe.imbalance).in_words()
    except UserError as error:
        return f"cannot be used: {error}"


def _wrap(head: str, words: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        head + "  ".join(words),
        WIDTH,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
