"""The pictures of a report: a table's own for a screen, the same in parts that stay readable on a printed page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from analysis.figure.charts import picture
from analysis.reporting.document import Picture
from analysis.table.grid import Grid
from analysis.table.kept_files import kept_name
from trainables.storage.runs import read_file

ACROSS = 2
ALONE = 0.72
"""How much of a line the picture of one pair takes."""
_SIGNATURES = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-"}


def draw_picture(grid: Grid, *, printed: bool) -> Picture:
    """A table's picture from its numbers."""
    key = grid.table.key
    parts = list(_parts(grid)) if printed else []
    names = [key] if len(parts) == 1 else [f"{key}-{number}" for number in range(1, len(parts) + 1)]
    files = tuple((f"{name}.pdf", picture(part, "pdf"), _width(part)) for name, part in zip(names, parts, strict=True))
    return Picture(key, grid.resolved.title, picture(grid, "svg"), files)


def _parts(grid: Grid) -> Iterator[Grid]:
    """The same numbers, a few pairs of one part at a time."""
    for part in grid.resolved.parts:
        for start in range(0, len(part.pairs), ACROSS):
            own = replace(part, pairs=part.pairs[start : start + ACROSS])
            yield replace(grid, resolved=replace(grid.resolved, parts=(own,)))


def _width(grid: Grid) -> float:
    (part,) = grid.resolved.parts
    return 1.0 if len(part.pairs) > 1 else ALONE


def is_drawn(grid: Grid) -> bool:
    """Whether a table's picture is made of its numbers; else a sweep draws it, from weights and images."""
    return grid.table.kind.trains and not grid.table.kind.needs_weights


def find_pictures(folder: Path, key: str, title: str) -> list[Picture]:
    """The pictures that the latest sweep has drawn of `key`, one a pair, as far as they can be read."""
    names = {path.stem for path in folder.glob(f"{key}*") if re.fullmatch(rf"{key}(-\w+)*", path.stem, re.ASCII)}
    names = {name for name in names if not name.startswith(kept_name(key))}
    return [picture for name in sorted(names) if (picture := _read_picture(folder / name, title)) is not None]


def _read_picture(path: Path, title: str) -> Picture | None:
    png, pdf = (_read(path.with_name(path.name + ending)) for ending in _SIGNATURES)
    prints = ((f"{path.name}.pdf", pdf, 1.0),) if pdf else ((f"{path.name}.png", png, 1.0),) if png else ()
    return Picture(path.name, title, png, prints) if prints else None


def list_other_figures(folder: Path, known: set[str]) -> list[str]:
    """Figures in a folder that no table of that name stands for, by number."""
    names = {path.stem.partition("-")[0] for path in folder.glob("figure*") if path.suffix in _SIGNATURES} - known
    return sorted(
        (name for name in names if re.fullmatch(r"figure\d+", name, re.ASCII)), key=lambda name: int(name[6:])
    )


def _read(path: Path) -> bytes | None:
    try:
        content = read_file(path)
    except OSError:
        return None
    return content if content.startswith(_SIGNATURES[path.suffix]) else None
