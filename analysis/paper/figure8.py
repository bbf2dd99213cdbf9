"""Figure 8: more images of low and of high energy, the ranks after those of Figure 4."""

from __future__ import annotations

from dataclasses import replace

from analysis.paper import figure4

TABLE = replace(
    figure4.TABLE,
    key="figure8",
    title="Figure 8: more images of low and of high energy",
    caption="The images that follow those of Figure 4: class, predicted class, its probability, energy E. "
    f"{figure4.RULE} Here: ranks 17 to 48.",
)
