"""What all pictures have in common: sizes of text, how axes look, and how a figure becomes a file."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "pdf", "svg")
WIDTH = 7.0
# Okabe and Ito's colours. Markers and line styles differ as well, so that nothing depends on colour.
BLUE, GREEN, RED = "#0072B2", "#009E73", "#D55E00"

DEFAULTS: dict[Any, Any] = {
    name: value for name, value in rcParamsDefault.items() if name not in ("backend", "backend_fallback", "interactive")
}
"""matplotlib's own settings: pictures take none of the user's."""
TEXT: dict[Any, Any] = DEFAULTS | {
    "figure.titlesize": 9,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
}
"""Settings of matplotlib, for `rc_context`."""
GRAPH: dict[Any, Any] = TEXT | {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
}
"""The same for axes with numbers on them."""


def render_figure(figure: Figure, form: str, key: str, dpi: int = 300) -> bytes:
    """The figure's file in one of FORMATS; the same drawing gives the same bytes. Fonts as publishers want them."""
    undated: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    buffer = io.BytesIO()
    with rc_context(DEFAULTS | {"pdf.fonttype": 42, "svg.hashsalt": key}), _no_date():
        figure.savefig(buffer, format=form, dpi=dpi, metadata=undated.get(form))
    return buffer.getvalue()


@contextmanager
def _no_date() -> Iterator[None]:
    """Hide the date of builds, which matplotlib reads for an undated file too, and ends where it is no number."""
    date = os.environ.pop("SOURCE_DATE_EPOCH", None)
    try:
        yield
    finally:
        if date is not None:
            os.environ["SOURCE_DATE_EPOCH"] = date


def plain(text: str) -> str:
    """Text in which matplotlib looks for no formula."""
    return text.replace("$", r"\$")


def set_title(figure: Figure | SubFigure, lines: Sequence[str], width: int = 105) -> None:
    """The title of a figure; lines of more than `width` letters are wrapped."""
    figure.suptitle(plain("\n".join(textwrap.fill(line, width) for line in lines if line)))
