"""Tables while they fill: means where all seeds are done, epochs where runs are under way, counts elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.text import Text

from analysis.table import names
from analysis.table.grid import Grid
from analysis.table.resolved import ResolvedPart
from analysis.table.sheet import show
from analysis.table.value import Value
from sweeps.display.rich_table import make_table
from sweeps.running.progress import RunProgress

STYLES = {"done": "bold", "running": "cyan", "failed": "red", "waiting": "dim"}
UNLIMITED = 10_000
FRAME = 5
"""Lines of a part that are no rows: its title, two of heads, a rule, an empty one."""
KINDS = ("teacher", "student", "row")


Running = Mapping[str, RunProgress]
Line = Sequence[str | Text]
EntryText = Callable[[Value, Running], Text]


def full(value: Value, running: Running) -> Text:
    """`74.92 ± 0.11`, `1/3 ep 12/240`, `2/3`, `failed`."""
    state = _state(value, running)
    if state == "done":
        shown = show(value)
        return Text(f"{shown.text} ± {shown.spread}" if shown.spread else shown.text, STYLES[state])
    words = [f"{value.n}/{value.asked}"] if value.n or state == "waiting" else []
    if state == "running":
        step = _slowest(value, running)
        words.append(f"ep {step.epoch}/{step.epochs}")
    if value.failed:
        words.append("failed" if value.failed == value.asked else f"{value.failed} failed")
    return Text(" ".join(words), STYLES[state])


def short(value: Value, running: Running) -> Text:
    """`74.92`, `ep 12`, `2/3`, `failed`."""
    state = _state(value, running)
    if state == "done":
        return Text(show(value).text, STYLES[state])
    if state == "running":
        return Text(f"ep {_slowest(value, running).epoch}", STYLES[state])
    return Text("failed" if state == "failed" else f"{value.n}/{value.asked}", STYLES[state])


def _state(value: Value, running: Running) -> str:
    if value.mean is not None and value.state == "done":
        return "done"
    if any(run in running for run in value.runs):
        return "running"
    return "failed" if value.failed else "waiting"


def _slowest(value: Value, running: Running) -> RunProgress:
    return min((running[run] for run in value.runs if run in running), key=lambda step: step.epoch)


def board(grid: Grid, running: Running, console: Console, width: int, *, derived: bool) -> RenderableType:
    """The table in the best form that `width` allows: in full, in short, or as one count for each row.

    derived: with the rows of differences.
    """
    parts = [part for part in grid.resolved.parts if part.rows]
    return Group(*(_part(grid, part, running, console, width, _kinds(derived)) for part in parts))


def _kinds(derived: bool) -> tuple[str, ...]:
    return (*KINDS, "difference") if derived else KINDS


def _part(
    grid: Grid, part: ResolvedPart, running: Running, console: Console, width: int, kinds: tuple[str, ...]
) -> RenderableType:
    values = [value for value in grid.values if value.part == part.key and value.kind in kinds]
    pairs = list(dict.fromkeys(value.pair for value in values))
    title = grid.resolved.title if len(grid.table.parts) == 1 else f"{grid.resolved.title}: {part.part.title}"
    head = Text(title, "bold", no_wrap=True, overflow="ellipsis")
    heads = [f"{names.network(pair.teacher)}\n{names.network(pair.student)}" for pair in pairs]
    rows = list(dict.fromkeys((value.row, value.label) for value in values))
    at = {(value.row, value.pair): value for value in values}
    for entry in (full, short):
        lines: list[Line] = [[label, *(_cell(at[row, pair], running, entry) for pair in pairs)] for row, label in rows]
        table = make_table(["Teacher\nStudent", *heads], lines, justify="center", no_wrap=True)
        if Measurement.get(console, console.options.update(max_width=UNLIMITED), table).maximum <= width:
            return Group(head, table, "")
    counts: list[Line] = [[label, _count([at[row, pair] for pair in pairs], running)] for row, label in rows]
    return Group(head, make_table(["", f"{len(pairs)} pairs"], counts, justify="center", no_wrap=True), "")


def _cell(value: Value, running: Running, entry: EntryText) -> Text:
    if value.kind == "difference":
        return Text(show(value).text, "" if value.state == "done" else "dim")
    return entry(value, running)


def _count(values: Sequence[Value], running: Running) -> Text:
    """Of one row: cells done, and those with runs under way."""
    states = [_state(value, running) for value in values]
    words = [f"{states.count('done')} done"]
    words += [f"{states.count(state)} {state}" for state in ("running", "failed") if state in states]
    worst = next((state for state in ("failed", "running", "waiting") if state in states), "done")
    return Text(", ".join(words), STYLES[worst])


def height(grid: Grid, *, derived: bool) -> int:
    """Lines of the terminal that `board` takes in its longer forms."""
    rows = {(value.part, value.row) for value in grid.values if value.kind in _kinds(derived)}
    return len(rows) + FRAME * sum(bool(part.rows) for part in grid.resolved.parts)


def summary(grid: Grid, running: Running) -> Text:
    """The table in one line, where there is no room for more."""
    values = [value for value in grid.values if value.kind == "row"]
    return Text(f"{grid.table.key}  {len(values)} cells: ") + _count(values, running)
