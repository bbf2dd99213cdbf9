"""Pictures of images, predictions, features and correlations, drawn from arrays. They need neither colour nor torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.figure.embedding import ClassGroup, ClassMap
from analysis.figure.letters import note, prepare_names
from analysis.figure.style import BLUE, GRAPH, RED, TEXT, WIDTH, plain, set_title
from trainables.commands import count
from trainables.errors import UserError

ACROSS = 8
NAMED = 6
ENDS: dict[str, dict[str, Any]] = {
    "low": {"label": "certain (low energy)", "color": BLUE, "linestyle": "-", "hatch": ""},
    "high": {"label": "uncertain (high energy)", "color": RED, "linestyle": "--", "hatch": "////"},
}
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")


@rc_context(TEXT)
def images(arrays: Mapping[str, np.ndarray], ranks: range, title: Sequence[str]) -> Figure:
    """Images of the low and of the high end at some ranks, each with class, predicted class, probability, energy."""
    lines = math.ceil(max(len(_pick_shown(arrays, end, ranks)) for end in ENDS) / ACROSS)
    if not lines:
        raise UserError(
            f"it shows the images of rank {ranks.start + 1} to {ranks.stop} by energy, and there are "
            f"{count(len(arrays['labels']), 'training image')}: use more"
        )
    classes = [str(name) for name in arrays["classes"]]
    names = prepare_names(classes)
    tight = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.05, wspace=0, hspace=0)
    figure = Figure(figsize=(WIDTH, 0.7 + 2 * (0.3 + 1.23 * lines)), layout=tight)
    set_title(figure, [*title, note(classes, names)])
    for part, (end, style) in zip(figure.subfigures(2, 1, squeeze=False)[:, 0], ENDS.items(), strict=True):
        index = _pick_shown(arrays, end, ranks)
        part.suptitle(style["label"].capitalize().replace(" (", " images ("), fontsize=8.5)
        panels = part.subplots(lines, ACROSS, squeeze=False).ravel()
        for axes in panels[len(index) :]:
            axes.set_axis_off()
        for axes, image, pixels in zip(panels, index, arrays[f"{end}_pixels"][ranks.start : ranks.stop], strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set(xticks=[], yticks=[], anchor="N")
            axes.spines[:].set(color=style["color"], linestyle=style["linestyle"], linewidth=1.3)
            _draw_beneath(axes, arrays, int(image), names)
    return figure


def _pick_shown(arrays: Mapping[str, np.ndarray], end: str, ranks: range) -> np.ndarray:
    return arrays[f"{end}_index"][ranks.start : ranks.stop]


def _draw_beneath(axes: Axes, arrays: Mapping[str, np.ndarray], image: int, classes: Sequence[str]) -> None:
    label, predicted = (int(arrays[name][image]) for name in ("labels", "predicted"))
    names = [_words(classes[number]) for number in (label, predicted)]
    numbers = f"{arrays['confidence'][image]:.2f}, E {arrays['energies'][image]:.1f}".replace("-", "−")
    mark = "✓" if label == predicted else "✗"
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "fontsize": 6}
    for line, text in enumerate((names[0], f"{mark} {names[1]}", numbers), 1):
        axes.annotate(text, (0.5, 0), xytext=(0, -7 * line), va="baseline", **style)


def _words(name: str) -> str:
    return plain(name.replace("_", " "))


@rc_context(GRAPH)
def predictions(arrays: Mapping[str, np.ndarray], rate: float, title: Sequence[str]) -> Figure:
    """Mean probabilities by rank at both ends, and of one class by class."""
    for end in ENDS:
        if not arrays[f"{end}_count"].any():
            raise UserError(f"no training image has so {end} an energy (r = {rate:g}): use more images")
    classes = [str(name) for name in arrays["classes"]]
    names = prepare_names(classes)
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    ranked, named = figure.subplots(1, 2, width_ratios=(1, 1.15))
    ranks = np.arange(1, 1 + len(arrays["low_by_rank"]))
    for end, style in ENDS.items():
        marker = {"low": "o", "high": "^"}[end]
        count = int(arrays[f"{end}_count"].sum())
        ranked.plot(
            ranks,
            arrays[f"{end}_by_rank"],
            color=style["color"],
            linestyle=style["linestyle"],
            marker=marker,
            markersize=3.5,
            markevery=0.08,
            linewidth=1.3,
            label=f"{style['label']}, {count:,} images",
        )
    least = min(float(means[means > 0].min()) for means in (arrays[f"{end}_by_rank"] for end in ENDS))
    ranked.set(xscale="log", yscale="log", ylim=(least**1.25, 2))
    ranked.xaxis.set_major_formatter("{x:g}")
    ranked.set_xlabel("Rank of the class in an image's own prediction")
    ranked.set_ylabel("Mean probability")
    ranked.set_title(f"Both ends of the training images (r = {rate:g})")
    ranked.legend(loc="lower left")
    named.grid(False)
    _bars(named, arrays, names)
    set_title(figure, [*title, note(classes, names)])
    return figure


def common_class(arrays: Mapping[str, np.ndarray]) -> int:
    """The class of which both ends have most images: the one whose poorer end is richest."""
    return int(np.minimum(arrays["low_count"], arrays["high_count"]).argmax())


def _bars(axes: Axes, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """The mean predictions for one class's images: those classes that get most at either end."""
    own = common_class(arrays)
    means = {end: arrays[f"{end}_by_class"][own] for end in ENDS}
    order = np.argsort(-(means["low"] + means["high"]), kind="stable")[:NAMED]
    for offset, (end, style) in zip((-0.2, 0.2), ENDS.items(), strict=True):
        counted = int(arrays[f"{end}_count"][own])
        face = style["color"] if end == "low" else "white"
        bars = axes.barh(
            np.arange(len(order)) + offset,
            means[end][order],
            height=0.36,
            facecolor=face,
            edgecolor=style["color"],
            hatch=style["hatch"],
            linewidth=0.8,
            label=f"{style['label'].partition(' (')[0]}, {count(counted, 'image')}",
        )
        axes.bar_label(bars, fmt="%.3f", fontsize=7, padding=2)
    axes.set_yticks(np.arange(len(order)), [_words(names[place]) for place in order])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("Mean probability")
    axes.set_title(f"Images of the class “{_words(names[own])}”")
    axes.legend(loc="lower right")


@rc_context(TEXT)
def embedding(columns: Mapping[str, Sequence[tuple[ClassGroup, ClassMap]]], title: Sequence[str]) -> Figure:
    """A line for each group of classes, a column for each student; a class has a marker and a shade of its own."""
    lines = [group for group, _ in next(iter(columns.values()))]
    classes = list(dict.fromkeys(name for group in lines for name in group.classes))
    names = dict(zip(classes, prepare_names(classes), strict=True))
    figure = Figure(figsize=(WIDTH, 0.75 + 2.5 * len(lines)), layout="constrained")
    set_title(figure, [*title, note(classes, list(names.values()))])
    parts = figure.subfigures(len(lines), 1, squeeze=False)[:, 0]
    for number, (part, group) in enumerate(zip(parts, lines, strict=True)):
        part.suptitle(plain(group.title), fontsize=8.5)
        for axes, (name, panels) in zip(part.subplots(1, len(columns), squeeze=False)[0], columns.items(), strict=True):
            _points(axes, group, panels[number][1], name, names)
        handles, labels = part.axes[0].get_legend_handles_labels()
        part.legend(handles, labels, loc="outside right center", handletextpad=0.2, markerscale=1.6)
    return figure


def _points(axes: Axes, group: ClassGroup, panel: ClassMap, name: str, names: Mapping[str, str]) -> None:
    shades = colormaps["viridis"](np.linspace(0, 0.88, len(group.classes)))
    for place, label in enumerate(group.classes):
        x, y = panel.points[panel.labels == place].T
        marker = MARKERS[place % len(MARKERS)]
        axes.scatter(x, y, s=9, marker=marker, color=shades[place], linewidths=0, label=_words(names[label]))
    scores = f"silhouette: map {panel.map_silhouette:.2f}, features {panel.feature_silhouette:.2f}"
    axes.set_title(f"{plain(name)}\n{scores}".replace("-", "−"), fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")


def correlation_gap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|corr(one) - corr(other)|, class by class (C, C), of logits (N, C) on the same images."""
    gap: np.ndarray = np.abs(np.corrcoef(one.astype(np.float64).T) - np.corrcoef(other.astype(np.float64).T))
    return gap


def mean_gap(gap: np.ndarray) -> float:
    """Over all pairs of different classes."""
    return float(gap[~np.eye(len(gap), dtype=bool)].mean())


@rc_context(TEXT)
def correlation(gaps: Mapping[str, np.ndarray], title: Sequence[str]) -> Figure:
    """A matrix for each student, darker where it differs more from the teacher, all on one scale."""
    figure = Figure(figsize=(WIDTH, 1.35 + 5.8 / len(gaps)), layout="constrained")
    panels = figure.subplots(1, len(gaps), squeeze=False)[0]
    largest = max(float(gap.max()) for gap in gaps.values())
    for axes, (name, gap) in zip(panels, gaps.items(), strict=True):
        shown = axes.imshow(gap, cmap="Greys", vmin=0, vmax=largest, interpolation="nearest")
        axes.set_title(f"{plain(name)}\nmean {mean_gap(gap):.4f}, largest {gap.max():.3f}")
        axes.set_xlabel("Class")
    panels[0].set_ylabel("Class")
    bar = figure.colorbar(shown, ax=panels.tolist(), shrink=0.8, pad=0.02)
    bar.set_label("|correlation of student − of teacher|")
    set_title(figure, title)
    return figure
