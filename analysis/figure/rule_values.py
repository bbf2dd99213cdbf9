"""What the rules of a table's rows give to the training images of some weights, image by image and as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.figure.observations import Folders, Weights, certainty, training_logits
from analysis.table.layout import Row
from analysis.table.protocol import describe_rule
from analysis.table.resolved import ResolvedTable
from trainables.commands import count
from trainables.errors import UserError
from trainables.spec import RunSpec, Temperature

TENTHS = 10
SPREAD = (10, 50, 90)
"""Percentiles."""
PARTS = ("teacher", "student", "factor")


@dataclass(frozen=True)
class RuleValues:
    """What a rule gives to each image; a part that needs a student, and has none, is missing.

    row: the first of the rows with this rule and these numbers. parts: of PARTS, (N,) each.
    """

    row: str
    label: str
    numbers: str
    parts: Mapping[str, np.ndarray]

    @property
    def share(self) -> np.ndarray | None:
        """(N,) each image's factor over the sum of all; None where factors are not known or sum to 0."""
        factor = self.parts.get("factor", np.zeros(0)).astype(np.float64)
        return factor / total if (total := factor.sum()) else None


def values_of(
    resolved: ResolvedTable, teacher: Weights, student: Weights | None, place: Folders
) -> tuple[np.ndarray, list[RuleValues]]:
    """The energies of the training images as training sees them, and what each rule of the rows gives to them."""
    rows = {(part.key, row.key): row for part in resolved.parts for row in part.rows}
    chosen: dict[tuple[Temperature, str], tuple[Row, RunSpec]] = {}
    for (part, key, _), (spec, *_) in resolved.cells.items():
        if spec.teacher is not None and spec.temperature is not None:
            chosen.setdefault((spec.temperature, spec.membership), (rows[part, key], spec))
    if not chosen:
        raise UserError(f"no row of {resolved.table.key} has a temperature: choose another table or other --rows")
    spec = next(iter(chosen.values()))[1]
    answers = training_logits(teacher, resolved.settings, spec, place)
    if len(answers["labels"]) < TENTHS:
        raise UserError(f"there are {count(len(answers['labels']), 'training image')}: use {TENTHS} or more")
    taught = training_logits(student, resolved.settings, spec, place)["logits"] if student is not None else None
    from trainables.rule_values import energies_of, rule_values

    found = []
    for (temperature, membership), (row, _) in chosen.items():
        images = certainty(teacher, resolved.settings, place)["energies"] if membership == "image" else None
        parts = rule_values(temperature, answers["logits"], answers["labels"], student=taught, as_they_are=images)
        found.append(RuleValues(row.key, row.label, describe_rule(temperature), parts))
    return energies_of(answers["logits"]), found


def tenths(energies: np.ndarray, parts: int = TENTHS) -> list[np.ndarray]:
    """The places of the images in parts of equal size, the lowest energies first."""
    return np.array_split(np.argsort(energies, kind="stable"), parts)


def write_csv(energies: np.ndarray, values: Sequence[RuleValues]) -> str:
    """A line for each rule and tenth of the images by energy; a part that needs a student is empty."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    spread = [f"{part}_{name}" for part in PARTS for name in ("p10", "median", "p90")]
    out.writerow(["row", "label", "numbers", "tenth", "images", "energy_from", "energy_to", *spread, "share_of_factor"])
    for one in values:
        share = one.share
        for number, places in enumerate(tenths(energies), 1):
            ends = energies[places[[0, -1]]]
            numbers = [x for part in PARTS for x in _spread(one.parts.get(part), places)]
            total = "" if share is None else f"{share[places].sum():.6g}"
            out.writerow(
                [one.row, one.label, one.numbers, number, len(places), *(f"{x:.6g}" for x in ends), *numbers, total]
            )
    return text.getvalue()


def _spread(part: np.ndarray | None, places: np.ndarray) -> list[str]:
    if part is None:
        return [""] * len(SPREAD)
    return [f"{x:.6g}" for x in np.percentile(part[places].astype(np.float64), SPREAD)]
