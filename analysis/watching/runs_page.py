"""Any set of runs, chosen by their fields: their curves and their numbers; and one run by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from analysis.record.entry import FAILED, NUMBERS, Entry, read_entry
from analysis.record.settings import SHORT
from analysis.reporting.document import BAD, CODE, QUIET, Block, Column, Styled, Words, listing, paragraph
from analysis.reporting.provenance import minute
from analysis.table import names
from analysis.watching.cell_page import CHARTS, curve_of, fields_of, number
from analysis.watching.chart import Chart
from analysis.watching.follower import Follower, Seen
from analysis.watching.page import CHOICE, Field, Form, Page, href, link, section
from analysis.watching.status import RunUnderWay
from analysis.watching.status_section import runs_of
from trainables import shares
from trainables.commands import count, did_you_mean
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import flatten
from trainables.storage.runs import weights_path

MOST_CURVES, MOST_LINES = 40, 200
Y = {**CHARTS, "top5": "Top-5 on the test images (%)", "test_loss": "Test loss"}
TERM = re.compile(r"([^=<>!]+)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
OWN = {
    "epochs_finished": attrgetter("epochs"),
    "treatment": attrgetter("spec.treatment"),
    **{name: attrgetter(name) for name in ("name", "status", "reason", "run_id", *(NUMBERS.keys() - {"epochs"}))},
}
"""Fields of a run that are not of its spec."""
RUNNING = "running"
"""The status of a run under way."""
EXAMPLE = "method=kd student=resnet8 T+=2 seed<=2 best_top1>70"


def runs_page(follower: Follower, view: Seen, where: str, y: str) -> Page:
    """where: see `choose`. y: one of Y."""
    found = choose([*view.snapshot.runs.values(), *_find_under_way(view)], where)
    shown = found[-MOST_CURVES:]
    entries = follower.entries(entry.run_id for entry in shown)
    whole = [entry if entry.status == RUNNING else entries.get(entry.run_id, entry) for entry in shown]
    curves = tuple(curve_of(entry, y, group_of(entry), f"seed {entry.spec.seed}") for entry in whole)
    fields = (
        Field("where", f"Which runs, for example: {EXAMPLE}", chosen=(where,)),
        Field("y", "Curves", CHOICE, (y,), tuple(Y.items())),
    )
    more = f"the curves of the last {MOST_CURVES}" if len(found) > MOST_CURVES else ""
    sections = (
        section("choice", "", [Form(fields, "Show")]),
        section("curves", "", [Chart(f"{Y[y]} by epoch", "Epoch", Y[y], curves)] if curves else [], aside=more),
        section("runs", count(len(found), "run"), _runs(found), aside=more),
    )
    return Page("Runs and curves", str(view.snapshot.results), tuple(each for each in sections if each.blocks))


def _find_under_way(view: Seen) -> Iterator[Entry]:
    """The runs under way that a table asks for, as far as they are; one that is tried again is in the ledger too."""
    chapters = [chapter for chapter in view.snapshot.chapters if chapter.grid and view.running]
    specs = {run_id: spec for chapter in chapters for run_id, spec in runs_of(chapter).items()}
    for run_id, run in view.running.items():
        if run_id in specs and run_id not in view.snapshot.runs:
            curve = [(epoch, loss, top1, None, None) for epoch, loss, top1 in run.curve]
            known = {"spec": specs[run_id].as_dict(), "run_id": run_id, "status": FAILED}
            yield replace(read_entry({**known, "epochs": run.epoch, "curve": curve}), status=RUNNING)


def group_of(entry: Entry) -> str:
    spec = entry.spec
    networks = names.pair(Pair(spec.teacher, spec.student)) if spec.teacher else names.network(spec.student)
    return f"{networks}, {spec.treatment}"


def choose(entries: Sequence[Entry], where: str) -> list[Entry]:
    """The runs that fit every word: `field=value`, `field!=value`, `field<number` ..., or a part of their names."""
    if not entries:
        return []
    tests = [_test(word, entries) for word in where.split()]
    return [entry for entry in entries if all(test(entry) for test in tests)]


def _test(word: str, entries: Sequence[Entry]) -> Callable[[Entry], bool]:
    found = TERM.fullmatch(word)
    if found is None:
        return lambda entry: word.casefold() in entry.name.casefold()
    name, sign, text = SHORT.get(found[1], found[1]), found[2], found[3]
    known = _fields(entries)
    if name not in known:
        near = did_you_mean(name, known)
        raise UserError(f"no run has a field {name!r}{near and f' ({near})'}: a run's page lists them all")
    if sign in ("=", "!="):
        return lambda entry: (_word(_value(entry, name)) == _plain(text)) is (sign == "=")
    try:
        limit = float(text)
    except ValueError:
        raise UserError(f"{word!r} compares with {text!r}, which is no number") from None
    compare = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}[sign]

    def fits(entry: Entry) -> bool:
        value = _value(entry, name)
        return isinstance(value, int | float) and compare(float(value), limit)

    return fits


def _fields(entries: Sequence[Entry]) -> frozenset[str]:
    """Of one run for each method and rule, which decide what fields there are."""
    kinds = {(entry.spec.method, entry.spec.temperature and entry.spec.temperature.rule): entry for entry in entries}
    return frozenset(OWN).union(*(flatten(entry.spec) for entry in kinds.values()))


def _value(entry: Entry, name: str) -> Any:
    """One of `_fields`."""
    if name in OWN:
        return OWN[name](entry)
    outer, dot, inner = name.partition(".")
    part = getattr(entry.spec, outer)
    if not dot:
        return part
    if outer == "params":
        return dict(part).get(inner)
    return getattr(part, inner, dict(getattr(part, "numbers", ())).get(inner))


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_word, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value).casefold()


def _plain(text: str) -> str:
    """A value as `_word` writes it: 0.10 is 0.1."""
    try:
        return f"{float(text):g}" if "," not in text else ",".join(map(_plain, text.split(",")))
    except ValueError:
        return text.casefold()


def _runs(entries: Sequence[Entry]) -> Iterator[Block]:
    numbers = [Column(head, right=True) for head in ("Best top-1", "Last top-1", "Epochs")]
    lines = [_run(entry) for entry in reversed(entries[-MOST_LINES:])]
    yield listing([Column("Run", 0.4), Column("State"), *numbers, Column("Ended (UTC)")], lines)
    if len(entries) > MOST_LINES:
        yield paragraph(f"The last {MOST_LINES} of {len(entries)}.")


def _run(entry: Entry) -> list[Words]:
    return [
        link(entry.name, href("run", id=entry.run_id), CODE),
        entry.status if entry.done or entry.status == RUNNING else Styled("failed", BAD),
        number(entry.best_top1),
        number(entry.last_top1),
        f"{entry.epochs or 0} of {entry.spec.epochs}",
        minute(str(entry.provenance.get("ended") or "")),
    ]


def run_page(follower: Follower, view: Seen, run_id: str) -> Page | None:
    """None where there is no such run."""
    entry = follower.entries([run_id]).get(run_id)
    if entry is None:
        return _page_under_way(view.running[run_id]) if run_id in view.running else None
    weights = weights_path(view.snapshot.results, run_id)
    teacher = entry.spec.teacher_run
    facts: list[tuple[Words, Words]] = [
        ("State", "done" if entry.done else Styled(f"failed: {entry.reason}", BAD)),
        *((name, f"{getattr(entry, name):g}") for name in NUMBERS if getattr(entry, name) is not None),
        ("Weights", Styled(str(weights), CODE) if weights.is_file() else Styled("not here", QUIET)),
        ("SHA-256 of the weights", Styled(entry.weights_sha256 or "", CODE)),
        ("Teacher", link(teacher, href("run", id=teacher), CODE) if teacher else ""),
        ("Shares", shares.in_words([shares.means(entry.shares)])),
    ]
    places = [(Styled(name, CODE), str(value)) for name, value in entry.provenance.items() if value not in (None, "")]
    curves = [
        Chart(f"{words} by epoch", "Epoch", words, (curve_of(entry, name, words, entry.name),))
        for name, words in CHARTS.items()
        if entry.curve
    ]
    columns = [Column(""), Column("", 0.7)]
    sections = (
        section("facts", "", [listing(columns, [fact for fact in facts if fact[1]])]),
        section("curves", "", curves),
        section("fields", "Fields", fields_of([entry.spec]), folded=False),
        section("provenance", "Provenance", [listing(columns, places)] if places else [], folded=False),
    )
    return Page(entry.name, entry.run_id, tuple(each for each in sections if each.blocks))


def _page_under_way(run: RunUnderWay) -> Page:
    charts = [
        Chart(f"{words} by epoch", "Epoch", words, (curve_of(run, name, words, run.name),))
        for name, words in CHARTS.items()
        if run.curve
    ]
    state = section("facts", "", [paragraph(f"Under way: epoch {run.epoch} of {run.epochs}.")])
    return Page(run.name, run.id, (state, *([section("curves", "", charts)] if charts else [])))
