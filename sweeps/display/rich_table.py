"""The form of all tables that a sweep prints on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def make_table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]], **columns: Any) -> Table:
    """A table with a rule below its heads, the first column to the left. columns: how rich makes the columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, head in enumerate(heads):
        table.add_column(Text(head), **(columns | ({"justify": "left"} if index == 0 else {})))
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table
