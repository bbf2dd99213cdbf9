"""A search: its best trials, those under way, all others, and its pictures, which are the report's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from analysis.figure.style import render_figure
from analysis.record.trial import COSTS, Scalar, TrialRecord
from analysis.reporting.document import BAD, CODE, QUIET, Block, Column, Picture, Styled, Words, listing, paragraph
from analysis.reporting.search_results import Finalist, Searched, pictures_of
from analysis.watching.cell_page import number
from analysis.watching.follower import Seen
from analysis.watching.page import Page, drawing, href, link, section
from trainables.commands import count

if TYPE_CHECKING:
    from analysis.record.study import StudyRecord

MOST_LINES, MOST_BEST = 200, 5
_STYLES = {"failed": BAD, "retried": QUIET, "lost": QUIET, "pruned": QUIET}


def find_study(view: Seen, name: str) -> StudyRecord | None:
    return next((study for study in view.searches if study.name == name), None)


def searched(study: StudyRecord) -> Searched:
    """What the report's pictures are made of."""
    trials = {trial.number: trial for trial in study.trials}
    front = tuple(Finalist("", trials[best].fields, trials[best], ()) for best in study.best if best in trials)
    gains = "gain" in next(iter(study.goals.values()), "")
    pairs = ("", "") if gains else ("",)
    return Searched(
        study.name, "", study.trials, 0, 0, front, study.importances, pairs=pairs, costs=study.costs if front else ()
    )


def draw_picture(study: StudyRecord, name: str) -> bytes | None:
    """SVG."""
    make = pictures_of(searched(study)).get(name)
    if make is None:
        return None
    with drawing:
        return render_figure(make(), "svg", name)


def list_searches(view: Seen) -> Iterator[Block]:
    if not view.searches:
        return
    columns = [Column("Search"), *(Column(head, right=True) for head in ("Trials", "Under way", "Best so far"))]
    lines: list[list[Words]] = [
        [
            link(study.name, href("search", name=study.name), CODE),
            _say_states(study),
            str(len(study.under_way)),
            number(max((trial.score for trial in _complete(study) if trial.score is not None), default=None)),
        ]
        for study in view.searches
    ]
    yield listing(columns, lines)


def search_page(view: Seen, study: StudyRecord) -> Page:
    found = searched(study)
    axis = found.axis
    best = _pick_best(study)
    at = str(len(study.trials))
    links = {name: href("search-picture", name=study.name, kind=name, at=at) for name in pictures_of(found)}
    pictures = [Picture(name, f"{study.name}: {name}", None, href=to) for name, to in links.items()]
    last = list(reversed(study.trials[-MOST_LINES:]))
    sections = (
        section("best", "The front" if found.costs else "Best so far", _list_trials(study, best, axis)),
        section("now", "Under way", _list_trials(study, study.under_way, axis)),
        section("pictures", "", pictures),
        section("trials", "Trials", _list_trials(study, last, axis), folded=False, aside=_say_states(study)),
    )
    return Page(f"Search {study.name}", _say_states(study), tuple(each for each in sections if each.blocks))


def _complete(study: StudyRecord) -> list[TrialRecord]:
    return [trial for trial in study.trials if trial.state == "complete"]


def _pick_best(study: StudyRecord) -> list[TrialRecord]:
    """The front where there are costs."""
    ranked = sorted(_complete(study), key=lambda trial: -(trial.score or 0))
    return [one for one in ranked if one.number in study.best] if study.costs else ranked[:MOST_BEST]


def _list_trials(study: StudyRecord, trials: list[TrialRecord], axis: str) -> Iterator[Block]:
    if not trials:
        return
    numbers = [Column(head, right=True) for head in (axis, *(COSTS[name] for name in study.costs))]
    columns = [Column("Trial", right=True), *numbers, Column("Point", 0.4), Column("State"), Column("", 0.25)]
    yield listing(columns, [_describe(trial, study.costs) for trial in trials])
    if len(study.trials) > len(trials) == MOST_LINES:
        yield paragraph(f"The last {MOST_LINES} of {count(len(study.trials), 'trial')}.")


def _describe(trial: TrialRecord, costs: tuple[str, ...]) -> list[Words]:
    score = number(trial.score)
    runs = href("run", id=trial.runs[0]) if trial.runs else ""
    state = f"{trial.state} by {trial.pruner}, {trial.saved} epochs saved" if trial.pruner else trial.state
    words = ", ".join(filter(None, (trial.origin and f"the {trial.origin}'s point", trial.reason)))
    return [
        link(str(trial.number), runs) if runs else str(trial.number),
        score,
        *(f"{trial.costs[name]:g}" if name in trial.costs else "" for name in costs),
        _say(trial.fields),
        Styled(state, _STYLES[trial.state]) if trial.state in _STYLES else state,
        words,
    ]


def _say(fields: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in fields.items())


def _say_states(study: StudyRecord) -> str:
    states = Counter(trial.state for trial in study.trials)
    return ", ".join(f"{times} {state}" for state, times in states.items()) or "none has ended"
