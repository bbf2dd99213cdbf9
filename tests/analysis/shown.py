"""Tables of made-up records, with holes in them, and a sheet whose every word is odd."""

from __future__ import annotations

import made_up
from made_up import cells

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.settings import Settings
from analysis.table.grid import Grid, make_grid
from analysis.table.resolved import resolve
from analysis.table.sheet import Line, Panel, Sheet, Shown

TABLE5 = paper.find("table5")
ONE = Settings(pairs=("wrn_40_2/wrn_16_2",))
NASTY = r"50% & {a}_b^c ~ #1 $x$ \ <i>|`*[0] \"quoted\" é ± —"


def grid_of(name: str, settings: Settings) -> Grid:
    return make_grid(resolve(paper.find(name), settings), made_up.entries(paper.find(name), settings))


def with_holes(settings: Settings = ONE) -> Grid:
    """Table 5 in which KD has two of three runs, CutMix none, HE-DA 20% failed, HE-DA 30% one run and one failed."""
    records = made_up.entries(TABLE5, settings)
    runs = {cell.row: cell.specs for cell in cells(TABLE5, settings)}
    gone = [runs["kd"][2], *runs["kd_cutmix"], runs["kd_he_da_30"][0]]
    lost = [*runs["kd_he_da_20"], runs["kd_he_da_30"][1]]
    records |= {spec.run_id: entry_of(made_up.result(spec, 0.0, failed=True)) for spec in lost}
    return make_grid(
        resolve(TABLE5, settings), {key: entry for key, entry in records.items() if key not in {s.run_id for s in gone}}
    )


def nasty_sheet() -> Sheet:
    shown = (Shown(NASTY, NASTY, NASTY, NASTY, NASTY, best=True),)
    panel = Panel(
        NASTY, ((NASTY, NASTY), (NASTY, NASTY)), ((Line(NASTY, shown), Line("**", shown)), (Line("*", shown),))
    )
    return Sheet("table0", f"Table 0: {NASTY}", (panel,), NASTY + " 中", (NASTY,), NASTY + " 中")
