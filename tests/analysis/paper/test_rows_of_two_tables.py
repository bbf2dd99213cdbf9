"""A sweep of two tables whose --rows are partly of the one and partly of the other: each table draws its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.command_line import ledger_path
from analysis.tables import load_grid
from trainables.errors import UserError


def test_each_table_takes_its_own_rows(tmp_path: Path) -> None:
    with Ledger.open(ledger_path(tmp_path)) as ledger:
        ledger.remember(["table4", "table5"], Settings(rows=("energy_kd", "kd_he_da_50")), "run.py")
    rows = {name: {v.row for v in load_grid(name, tmp_path).values if v.kind == "row"} for name in ("table4", "table5")}
    assert rows == {"table4": {"energy_kd"}, "table5": {"kd_he_da_50"}}
    with pytest.raises(UserError, match="asked for no row of table13"):
        load_grid("table13", tmp_path)
