"""The picture of rules: what each gives to the training images, over their energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figure.rule_values import PARTS, SPREAD, TENTHS, RuleValues, tenths
from analysis.figure.style import BLUE, GRAPH, RED, WIDTH, plain, set_title

LABELS = {"teacher": "Teacher's T", "student": "Student's T", "factor": "Factor"}
BINS = (70, 40)
STEPS, LEAST = 50, 50
"""Median and spread are drawn of so many parts of equal size, by energy, with so many images or more."""
SHOWN = (0.5, 99.5)
"""Percentiles between which axes reach."""
SMALL = {"xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "axes.labelsize": 7, "axes.titlesize": 8}


@rc_context(GRAPH | SMALL)
def rules(energies: np.ndarray, values: Sequence[RuleValues], title: Sequence[str]) -> Figure:
    """A line for each rule: temperatures and factor over the energy, and the share of the factors by tenth."""
    figure = Figure(figsize=(WIDTH, 1.2 + 1.08 * len(values)), layout="constrained")
    set_title(figure, title)
    lines = figure.subplots(len(values), len(PARTS) + 1, squeeze=False)
    for axes in lines[:-1, :].ravel():
        axes.tick_params(labelbottom=False)
    for line, one in zip(lines, values, strict=True):
        line[0].set_title(plain(f"{one.label}: {one.numbers}"), loc="left")
        for axes, part in zip(line, PARTS, strict=False):
            axes.set_ylabel(LABELS[part])
            _draw_part(axes, energies, one.parts.get(part))
        _draw_share(line[-1], energies, one)
    for axes in lines[-1, :-1]:
        axes.set_xlabel("Energy of the image")
    lines[-1, -1].set_xlabel("Tenth by energy")
    figure.legend(
        [
            Patch(color="#AAAAAA"),
            Line2D([], [], color=BLUE),
            Line2D([], [], color=RED, linestyle="--", linewidth=0.9),
            Line2D([], [], color="black", linestyle=":"),
        ],
        ["density of the images", "median", "10th and 90th percentile", "equal shares"],
        loc="outside lower center",
        ncols=4,
    )
    return figure


def _draw_part(axes: Axes, energies: np.ndarray, part: np.ndarray | None) -> None:
    axes.set_xlim(*np.percentile(energies, SHOWN))
    if part is None:
        _say(axes, "needs a student")
        return
    lowest, highest = np.percentile(part, SHOWN)
    margin = 0.15 * (highest - lowest) if highest > lowest else abs(highest) or 1
    axes.set_ylim(lowest - margin, highest + margin)
    if part.min() == part.max():
        axes.text(0.5, 0.62, f"{part[0]:.3g} for all", transform=axes.transAxes, ha="center", fontsize=6.5)
        axes.axhline(part[0], color=BLUE, linewidth=1.2)
        return
    axes.grid(False)
    limits = axes.get_xlim(), axes.get_ylim()
    density, _, _ = np.histogram2d(energies, part, BINS, limits)
    norm = PowerNorm(0.4, 0, 1.6 * density.max())
    extent = (*limits[0], *limits[1])
    axes.imshow(density.T, "Greys", norm, extent=extent, aspect="auto", origin="lower", interpolation="nearest")
    places = tenths(energies, max(1, min(STEPS, len(energies) // LEAST)))
    x = [float(np.median(energies[each])) for each in places]
    low, middle, high = np.array([np.percentile(part[each], SPREAD) for each in places]).T
    for edge in (low, high):
        axes.plot(x, edge, color=RED, linestyle="--", linewidth=0.7, drawstyle="steps-mid")
    axes.plot(x, middle, color=BLUE, linewidth=1.2, drawstyle="steps-mid")


def _draw_share(axes: Axes, energies: np.ndarray, one: RuleValues) -> None:
    axes.set_ylabel("Share (%)")
    axes.set_xlim(0.4, TENTHS + 0.6)
    axes.set_xticks([1, 5, TENTHS])
    share = one.share
    if share is None:
        _say(axes, "no image has any" if "factor" in one.parts else "needs a student")
        return
    numbers = np.arange(1, TENTHS + 1)
    shares = np.array([100 * share[places].sum() for places in tenths(energies)])
    bars = axes.bar(numbers, shares, width=0.8, color="#BBBBBB", edgecolor="#555555", linewidth=0.4)
    axes.bar_label(bars, fmt="%.0f", fontsize=5.5, padding=1)
    axes.axhline(100 / TENTHS, color="black", linestyle=":", linewidth=0.8)
    axes.set_ylim(0, 1.25 * max(shares.max(), 100 / TENTHS))


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=7, style="italic")
    axes.set_yticks([])
