"""The paper's tables as data: one module a table, whose `TABLE` is found by looking into this folder; and `claims`."""

from __future__ import annotations

import pkgutil
import re
from functools import cache

from analysis.table.layout import Table
from trainables.additions import load
from trainables.commands import did_you_mean
from trainables.errors import UserError


def _natural(name: str) -> list[str | int]:
    """A sort key that puts table5 before table13."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@cache
def tables() -> dict[str, Table]:
    """Every table (and figure) by its name, which is its module's."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    names = sorted((name for name in modules if name != "claims" and not name.startswith("_")), key=_natural)
    return {name: load(__name__, name, "TABLE", Table) for name in names}


def find(name: str) -> Table:
    """The table of that name (in any case)."""
    known = tables()
    table = known.get(name.lower())
    if table is None:
        hint = f" ({near})" if (near := did_you_mean(name, known)) else ""
        raise UserError(f"unknown table {name!r}{hint}: there is {', '.join(known)}")
    return table
