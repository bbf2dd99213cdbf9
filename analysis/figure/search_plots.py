"""Pictures of a search: its history, each field by itself, all fields of each trial, how much each field matters, and
what a high score costs.

Only trials with a score are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figure.style import BLUE, GRAPH, RED, WIDTH, plain, set_title
from analysis.record.trial import COSTS, TrialRecord

SCORE = "Held-out top-1 (%)"
KNOWN = "published points"
MARKS = {"complete": ("o", BLUE), "pruned": ("x", "#777777"), KNOWN: ("D", RED)}
"""By a trial's state, or KNOWN where it was not Optuna's idea."""
ACROSS = 5
MOST_LETTERS = 15
"""Of the words that stand below a panel side by side."""


@rc_context(GRAPH)
def history(trials: Sequence[TrialRecord], title: str, score: str = SCORE) -> Figure:
    """Scores in the order of the trials, and the best so far."""
    figure, axes = _figure(title, 3.2)
    _points(axes, trials, [trial.number for trial in trials])
    complete = [trial for trial in trials if trial.state == "complete"]
    best = np.maximum.accumulate(np.array([trial.score for trial in complete], dtype=float))
    axes.step([trial.number for trial in complete], best, where="post", color="black", linewidth=1, label="best so far")
    axes.set_xlabel("Trial")
    axes.set_ylabel(score)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@rc_context(GRAPH)
def slices(trials: Sequence[TrialRecord], title: str, score: str = SCORE) -> Figure:
    """The score over each field."""
    names = _names(trials)
    lines = -(-len(names) // ACROSS)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * lines), layout="constrained")
    set_title(figure, [title])
    panels = figure.subplots(lines, min(ACROSS, len(names)), squeeze=False, sharey=True).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        among = [trial for trial in trials if name in trial.fields]
        values, words = _places(among, name)
        _points(axes, among, values)
        if words:
            narrow = {"rotation": 30, "ha": "right"} if sum(map(len, words)) > MOST_LETTERS else {}
            axes.set_xticks(range(len(words)), words, **narrow)
            axes.set_xlim(-0.5, len(words) - 0.5)
        axes.set_xlabel(plain(name))
        if number % ACROSS == 0:
            axes.set_ylabel(score)
    return figure


@rc_context(GRAPH)
def parallel(trials: Sequence[TrialRecord], title: str, score: str = SCORE) -> Figure:
    """A line for each trial through all fields, each scaled to its range: darker is better, the best three thick. A
    trial without a field has a gap there."""
    names = _names(trials)
    figure, axes = _figure(title, 3.4)
    scores = np.array([trial.score for trial in trials], dtype=float)
    norm = Normalize(scores.min(), scores.max() if scores.max() > scores.min() else scores.min() + 1)
    shades = colormaps["viridis_r"]
    columns = []
    for place, name in enumerate(names):
        values, words = _places(trials, name)
        low, high = (0.0, max(1.0, len(words) - 1.0)) if words else (np.nanmin(values), np.nanmax(values))
        columns.append((np.array(values) - low) / (high - low or 1))
        ends = (words[0], words[-1]) if words else (f"{low:.3g}", f"{high:.3g}")
        for height, word, side in ((-0.04, ends[0], "top"), (1.04, ends[1], "bottom")):
            axes.text(place, height, plain(word), ha="center", va=side, fontsize=7)
        for number, word in enumerate(words[1:-1], 1):
            axes.text(place - 0.05, number / (len(words) - 1), plain(word), ha="right", va="center", fontsize=7)
        axes.axvline(place, color="#777777", linewidth=0.8, zorder=0)
    lines = np.stack(columns, axis=1)
    marker = "." if np.isnan(lines).any() else ""
    first = set(np.argsort(-scores, kind="stable")[:3].tolist())
    for index in np.argsort(scores, kind="stable"):
        width = 2.2 if index in first else 0.8
        axes.plot(range(len(names)), lines[index], color=shades(norm(scores[index])), linewidth=width, marker=marker)
    axes.set_xticks(range(len(names)), [plain(name) for name in names])
    axes.tick_params(axis="x", length=0, pad=12)
    axes.set_yticks([])
    axes.set_ylim(-0.02, 1.02)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, pad=0.02)
    bar.set_label(score)
    return figure


@rc_context(GRAPH)
def front(trials: Sequence[TrialRecord], shown: Sequence[int], title: str, score: str = SCORE) -> Figure:
    """The score over each cost; a line through the trials that no other beats in this cost. shown: the numbers of the
    trials that have their number beside them."""
    among = [trial for trial in trials if trial.costs]
    names = list(among[0].costs)
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    set_title(figure, [title])
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    ranked = sorted(among, key=lambda trial: -(trial.score or 0))
    for axes, name in zip(panels, names, strict=True):
        _points(axes, among, [trial.costs[name] for trial in among])
        ordered = sorted(ranked, key=lambda trial: trial.costs[name])
        best = np.maximum.accumulate(np.array([trial.score for trial in ordered], dtype=float))
        axes.step([trial.costs[name] for trial in ordered], best, where="post", color="black", linewidth=1)
        for trial in among:
            if trial.number in shown:
                place = (trial.costs[name], trial.score or 0)
                axes.annotate(str(trial.number), place, (3, 3), textcoords="offset points", fontsize=7)
        axes.set_xlabel(COSTS[name])
    panels[0].set_ylabel(score)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@rc_context(GRAPH)
def importances(shares: Mapping[str, float], title: str) -> Figure:
    """Bars, the most important field at the top."""
    figure, axes = _figure(title, 0.9 + 0.32 * len(shares))
    names = sorted(shares, key=lambda name: shares[name])
    bars = axes.barh(range(len(names)), [shares[name] for name in names], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.2f", fontsize=7.5, padding=2)
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_xlim(0, 1.1 * max(shares.values()))
    axes.set_xlabel("Share of the variance of the scores (fANOVA)")
    return figure


def _figure(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    set_title(figure, [title])
    return figure, figure.subplots()


def _names(trials: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.fields))


def _places(trials: Sequence[TrialRecord], name: str) -> tuple[list[float], list[str]]:
    """Where each trial stands on a field's axis, nan if it has no such field, and the words of an axis of words."""
    values = [trial.fields.get(name, math.nan) for trial in trials]
    if not any(isinstance(value, str) for value in values):
        return [float(value) for value in values], []
    words = sorted({str(value) for value in values if value == value})
    return [float(words.index(str(value))) if value == value else math.nan for value in values], words


def _points(axes: Axes, trials: Sequence[TrialRecord], places: Sequence[float]) -> None:
    """The trials' scores at `places`, by state, those of known points marked."""
    for name, (marker, color) in MARKS.items():
        shown = [
            (place, trial.score)
            for place, trial in zip(places, trials, strict=True)
            if (KNOWN if trial.origin else trial.state) == name
        ]
        if shown:
            x, y = zip(*shown, strict=True)
            axes.scatter(x, y, s=22, marker=marker, color=color, linewidths=1, label=name)
