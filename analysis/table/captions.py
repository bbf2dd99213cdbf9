"""What must be said with a table's numbers: how they were made, what differs from the paper, and what they mean."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from analysis.record.settings import deviations
from analysis.table import names
from analysis.table.grid import Grid
from analysis.table.resolved import ResolvedTable
from analysis.table.stats import ALPHA
from analysis.table.titles import images, subject
from analysis.table.value import Value
from trainables.commands import count

SPREAD = "mean ± standard deviation"
SIGNIFICANT = "§"

OTHER_EPOCH = "‡"
"""Behind a number of the paper that is of another test epoch than the one shown."""
_EPOCHS = {"best": "the best", "last": "the last", "unknown": "not known"}


def caption(grid: Grid) -> str:
    """One paragraph: the table's own words, what its numbers are, and every deviation from the paper."""
    table, settings = grid.table, grid.settings
    epochs = names.epochs(*grid.epochs)
    numbers = table.kind.describe(grid.metric, settings.seeds, epochs, grid.devices, of_paper=table.of_paper)
    of_runs = (
        (_explain_differences(grid), _explain_near_best(grid), _explain_accuracies(grid), _explain_energies(grid))
        if grid.table.kind.trains
        else ()
    )
    sentences = [
        grid.table.caption,
        _say_left_out(grid),
        numbers,
        *of_runs,
        _protocol(grid),
        _explain_parentheses(grid),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _say_left_out(grid: Grid) -> str:
    """That the table has rows which --rows left out: its own words may name them."""
    own = {row.key for part in grid.table.parts for row in part.rows}
    left_out = own - {row.key for row in grid.resolved.rows} if grid.settings.rows else ()
    return "Rows that were not asked for (--rows) are left out." if left_out else ""


def short(grid: Grid) -> str:
    """What one reads above a table in a paper: what is compared, on which data, the mean of how many seeds."""
    table, settings = grid.table, grid.settings
    own = json.loads(settings.own_table) if settings.own_table else {}
    what = own.get("caption", "") if own.get("key") == table.key else ""
    what = what or subject(table, settings)
    what += "" if what.endswith((".", "?", "!")) else "."
    if not (table.kind.trains and grid.epochs):
        return what
    numbers = {part.part.number for part in grid.resolved.parts}
    measured = " and ".join(word for number, word in (("top1", "top-1"), ("top5", "top-5")) if number in numbers)
    shown = "seconds per epoch" if table.kind.timed else f"{measured} accuracy (%)"
    data = "" if images(settings) in what else f" on {images(settings)}"
    when = f"{grid.metric} epoch" if len(grid.epochs) > 1 else f"{grid.metric} of {names.epochs(*grid.epochs)}"
    if settings.train_fraction != 1:
        when += f" on {settings.train_fraction:.3g} of the training images"
    repeats = f"{SPREAD} over {settings.seeds} seeds" if settings.seeds > 1 else "one seed"
    parts = [f"{shown[0].upper()}{shown[1:]}{data}", *([] if table.kind.timed else [when]), repeats]
    words = [", ".join(parts)]
    if any(value.paper is not None for value in grid.values):
        words.append(f"in parentheses {_name_source(grid)} numbers")
    if any(value.of_another_epoch for value in grid.values):
        words.append(f"{OTHER_EPOCH} of another epoch")
    if any(value.kind == "difference" and value.p is not None and value.p < ALPHA for value in grid.values):
        words.append(f"{SIGNIFICANT} p < {ALPHA:g}, paired, with Holm's correction")
    if any(value.near_best for value in grid.values):
        words.append("italics: not told from the best")
    return f"{what} {'; '.join(words)}."


def notes(grid: Grid) -> tuple[str, ...]:
    """Assumptions of the rows shown and, where the paper's numbers stand beside, what is odd about those and where
    they come from."""
    found = (
        *_assumptions(grid),
        _say_changed(grid),
        _say_source(grid),
        _say_copied(grid),
        _epochs(grid),
        _say_outdated(grid),
    )
    return tuple(dict.fromkeys(note for note in found if note))


def _say_changed(grid: Grid) -> str:
    changed = grid.settings.overrides or grid.settings.tail_teachers
    return (
        "These notes describe the defaults; the caption says what was set otherwise."
        if changed and _assumptions(grid)
        else ""
    )


def _say_outdated(grid: Grid) -> str:
    if not grid.outdated:
        return ""
    return (
        f"The ledger also has {count(grid.outdated, 'run')} of an earlier version, in which the same settings meant "
        "something else. They are kept but not shown; the same sweep trains them again."
    )


def _assumptions(grid: Grid) -> tuple[str, ...]:
    paper = [grid.table.paper_note] if grid.comparable and grid.table.paper_note else []
    return (*(row.note for row in grid.resolved.rows if row.note), *paper)


def _say_source(grid: Grid) -> str:
    """Where the published numbers of a table stand that is not one of the paper's."""
    if not grid.table.published_in:
        return ""
    of_paper: dict[tuple[str, ...], list[str]] = {}
    others: dict[str, list[str]] = {}
    for label, values in _find_printed(grid).items():
        cited = {match[1] for value in values if (match := re.search(r"Table (\d+)", value.source))}
        if cited:
            of_paper.setdefault(tuple(sorted(cited)), []).append(label)
        for source in dict.fromkeys(value.source for value in values if not re.search(r"Table \d+", value.source)):
            others.setdefault(source, []).append(label)
    words = [
        f"in its Table{'s' * (len(numbers) > 1)} {names.listed(numbers)} ({', '.join(of)})"
        for numbers, of in of_paper.items()
    ]
    found = [f"The paper's numbers stand {names.listed(words)}."] if words else []
    found += [f"Those of {names.listed(of)}: {source}." for source, of in others.items()]
    return " ".join(found)


def _say_copied(grid: Grid) -> str:
    """Which of the paper's numbers are not of its own runs."""
    words = []
    for label, values in _find_printed(grid).items():
        own = dict.fromkeys(_pair(value) for value in values if not value.copied)
        if any(value.copied for value in values):
            words.append(f"{label} (but not of {names.listed(list(own))})" if own else label)
    return f"The paper has its numbers of {names.listed(words)} from earlier papers." if words else ""


def _epochs(grid: Grid) -> str:
    """Of which test epoch the paper's accuracies are."""
    rows: dict[str, dict[str, list[str]]] = {}
    for value in grid.values:
        if value.paper_epoch and value.kind != "difference":
            pairs = rows.setdefault(_unambiguous(grid, value), {}).setdefault(value.paper_epoch, [])
            pairs += [_pair(value)] if _pair(value) not in pairs else []
    said: dict[str, list[str]] = {}
    for label, epochs in rows.items():
        for epoch, pairs in epochs.items():
            said.setdefault(epoch, []).append(f"{label} of {names.listed(pairs)}" if len(epochs) > 1 else label)
    if len(said) == 1:
        words = [_EPOCHS[epoch] for epoch in said]
    else:
        words = [f"{word} for {names.listed(said[epoch])}" for epoch, word in _EPOCHS.items() if epoch in said]
    return f"Test epoch of {_name_source(grid)} numbers: {'; '.join(words).removesuffix('.')}." if words else ""


def _unambiguous(grid: Grid, value: Value) -> str:
    """The label of a row; where another row has the same one, with the first row of its block."""
    blocks = [block for part in grid.table.parts for block in part.blocks]
    labels = {row.key: row.label for block in blocks for row in block.rows}
    same = [key for key, label in labels.items() if label == labels.get(value.row)]
    own = next((block for block in blocks if value.row in [row.key for row in block.rows]), None)
    return f"{value.label} below {own.rows[0].label}" if own and len(same) > 1 else value.label


def _find_printed(grid: Grid) -> dict[str, list[Value]]:
    """The entries that have a number of the paper, by the labels of their rows."""
    labels = dict.fromkeys(value.label for value in grid.values)
    found = {label: [value for value in grid.values if value.label == label and value.source] for label in labels}
    return {label: values for label, values in found.items() if values}


def _name_source(grid: Grid) -> str:
    """Whose the numbers in parentheses are: `the paper's`, or `the published` where some are of others."""
    of_paper = all("Energy KD paper" in value.source for value in grid.values if value.source)
    return "the paper's" if of_paper else "the published"


def _pair(value: Value) -> str:
    return f"{names.network(value.pair.teacher)}/{names.network(value.pair.student)}"


def training(grid: Grid) -> str:
    """The data set and the training in a few words, for a title: `CIFAR-100, 240 epochs, 3 seeds`."""
    settings = grid.settings
    words = [names.dataset(settings.dataset), names.epochs(*grid.epochs)]
    if settings.train_fraction != 1:
        words.append(f"{settings.train_fraction:.3g} of the training images")
    return ", ".join([*words, count(settings.seeds, "seed")])


def protocol(grid: Grid) -> list[str]:
    """The deviations that matter for this table: a cost table's epochs only lengthen its measurement."""
    settings = replace(grid.settings, epochs=None) if grid.table.kind.timed else grid.settings
    if not grid.table.of_paper:
        return deviations(replace(settings, data=""), settings.dataset, _find_own_lengths(grid))
    return deviations(settings, grid.table.dataset, _find_own_lengths(grid))


def asides(resolved: ResolvedTable, *, shortened: bool) -> list[str]:
    """What a picture's title must say of its data and training."""
    if not resolved.table.of_paper:
        return ["shortened"] if shortened else []
    other = [] if resolved.on_paper_data else [f"not the paper's data ({names.dataset(resolved.table.dataset)})"]
    return other + (["shortened, not the paper's schedule"] if shortened else [])


def _find_own_lengths(grid: Grid) -> dict[str, set[int]]:
    """By row, the epochs of its pairs that have a schedule of their own."""
    settings = grid.settings
    found: dict[str, set[int]] = {}
    for part in grid.resolved.parts:
        for row in part.rows:
            treatments = [row.treat(settings.recipe, pair) for pair in part.pairs]
            if lengths := {treatment.schedule.epochs for treatment in treatments if treatment.schedule}:
                found[row.label] = found.get(row.label, set()) | lengths
    return found


def _explain_differences(grid: Grid) -> str:
    """How differences of rows were made, and what a mark behind one means."""
    made = [value for value in grid.values if value.kind == "difference" and value.std is not None]
    if not made:
        return ""
    words = "Differences are paired over seeds: their mean ± their standard deviation."
    if any(value.p is not None and value.p < ALPHA for value in made):
        words += (
            f" {SIGNIFICANT}: p < {ALPHA:g} in a paired t-test, with Holm's correction over all rows that could have "
            "been the best and all columns."
        )
    return words


def _explain_near_best(grid: Grid) -> str:
    if not any(value.near_best for value in grid.values):
        return ""
    return (
        "Marked of each block: the best, and those that a paired t-test with Holm's correction does not tell from it "
        f"(p >= {ALPHA:g})."
    )


def _explain_energies(grid: Grid) -> str:
    """By which reading of r the rows are trained; nothing where a table sets both side by side."""
    if len(grid.memberships) != 1:
        return ""
    return {
        "view": "Low and high energy: each augmented image against thresholds on augmented images.",
        "image": "Low and high energy: by the rank of the unaugmented image, once for all epochs.",
    }[grid.memberships[0]]


def _explain_accuracies(grid: Grid) -> str:
    if not any(part.part.accuracies for part in grid.resolved.parts):
        return ""
    return "Teacher Acc.: of the weights that taught. Student Acc.: of the student without a teacher."


def _protocol(grid: Grid) -> str:
    different = "; ".join(protocol(grid))
    if not grid.table.of_paper:
        data = grid.settings.data and f" (fingerprint {grid.settings.data})"
        return f"Data: {images(grid.settings)}{data}{f'; {different}' if different else ''}."
    if not grid.comparable:
        trained = f" ({names.epochs(*grid.epochs)})" if not grid.table.kind.timed else ""
        return f"Not the paper's data and schedule{trained}: {different}. The paper's numbers do not apply."
    if grid.shortened:
        return f"Shortened, not the paper's schedule: {different}."
    if different:
        return f"Differs from the paper's protocol: {different}."
    if grid.table.kind.timed:
        return ""
    return f"Data and schedule as in the paper{', except as noted below' if _assumptions(grid) else ''}."


def _explain_parentheses(grid: Grid) -> str:
    """What the numbers in parentheses are, with a warning where some are of another test epoch than ours."""
    if not any(value.paper is not None for value in grid.values):
        return ""
    sentences = [f"In parentheses: {_name_source(grid)} numbers."]
    others = {value.paper_epoch for value in grid.values if value.of_another_epoch}
    if other := others & {"best", "last"}:
        sentences.append(
            f"{OTHER_EPOCH}: {_name_source(grid)} number is of the {other.pop()} epoch, ours of the {grid.metric} one; "
            "the best is never below the last, so this difference is not the method's alone."
        )
    if "mixed" in others:
        sentences.append(
            f"{OTHER_EPOCH} in a difference: the paper subtracts a number of the last epoch from one of the best."
        )
    return " ".join(sentences)
