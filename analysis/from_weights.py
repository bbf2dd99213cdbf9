"""The figures that are drawn from weights and images rather than from the ledger's numbers: Figures 4 to 8."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from analysis import drawings, names
from analysis.drawings import Figure
from analysis.layout import Part, Table, chosen_pairs, chosen_rows, settings_for, taught_parts
from analysis.ledger import Ledger
from analysis.observations import (
    SHOWN,
    Place,
    Weights,
    answers,
    certainty,
    digest,
    embedded,
    given,
    predictions,
    student,
    teacher,
)
from analysis.settings import Settings
from analysis.tables import ledger_path, settings_of_sweep, write
from trainables.data.facts import check_name, fingerprinted
from trainables.errors import UserError
from trainables.recipes import Pair

FIRST = 16
RANKS = {"figure4": range(FIRST), "figure8": range(FIRST, SHOWN)}


def write_figure_from_runs(
    table: Table,
    settings: Settings,
    results: Path,
    data_dir: Path | None,
    teachers: Sequence[tuple[str, str]],
    folder: Path,
) -> list[Path]:
    """Draw a table of PICTURES into `folder` as PNG and PDF, by the weights of the first seed in `results`.

    teachers: (sha256, path) of weights files that were given. The first pair is `TABLE.png`, any other
    `TABLE-TEACHER-STUDENT.png`. Nothing where no row was asked for. What a network answers on `data_dir` is computed
    once and kept in `results/observations`. Raises UserError where weights are missing.
    """
    place = Place(results, data_dir, tuple(teachers))
    paths = []
    for name, figure in figures(table, settings, place).items():
        for form in ("png", "pdf"):
            paths.append(folder / f"{name}.{form}")
            write(paths[-1], drawings.saved(figure, form, table.key))
    return paths


def figures(table: Table, settings: Settings, place: Place) -> dict[str, Figure]:
    """A picture for each pair (for each teacher where there is no student), by the names of their files."""
    settings = settings_for(table, settings)
    drawn: dict[str, Figure] = {}
    for part in taught_parts(table, settings):
        pairs = chosen_pairs(part, settings)
        if not part.rows:
            pairs = tuple({pair.teacher: pair for pair in reversed(pairs)}.values())[::-1]
        for pair in pairs[:1] if place.teacher else pairs:
            networks = (pair.teacher, pair.student) if part.rows else (pair.teacher,)
            name = "-".join((table.key, *networks)) if drawn else table.key
            drawn[name] = _DRAW[table.plot](table, part, settings, pair, place)
    return drawn


def _images(table: Table, part: Part, settings: Settings, pair: Pair, place: Place) -> Figure:
    weights = teacher(table, settings, pair, place)
    arrays = certainty(weights, settings, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    return drawings.images(arrays, RANKS[table.key], _title(table, settings, "training images", said, [weights]))


def _predictions(table: Table, part: Part, settings: Settings, pair: Pair, place: Place) -> Figure:
    weights = teacher(table, settings, pair, place)
    arrays, rate = predictions(weights, settings, pair, place)
    said = f"teacher {_network(weights)}" if place.teacher is None else _network(weights)
    shown = "training images, augmented"
    return drawings.predictions(arrays, rate, _title(table, settings, shown, said, [weights]))


def _embedding(table: Table, part: Part, settings: Settings, pair: Pair, place: Place) -> Figure:
    taught = _students(table, part, settings, pair, place)
    columns = {label: embedded(weights, settings, place) for label, weights in taught.items()}
    said = _taught(settings, pair, taught)
    return drawings.embedding(columns, _title(table, settings, "test images", said, list(taught.values())))


def _correlation(table: Table, part: Part, settings: Settings, pair: Pair, place: Place) -> Figure:
    taught = _students(table, part, settings, pair, place)
    own = teacher(table, settings, pair, place)
    wanted = answers(own, settings, place)["logits"]
    gaps = {
        label: drawings.correlation_gap(answers(weights, settings, place)["logits"], wanted)
        for label, weights in taught.items()
    }
    said = f"{_taught(settings, pair, taught)}; teacher {own.training}"
    return drawings.correlation(gaps, _title(table, settings, "test images", said, [*taught.values(), own]))


_DRAW: dict[str, Callable[[Table, Part, Settings, Pair, Place], Figure]] = {
    "images": _images,
    "predictions": _predictions,
    "embedding": _embedding,
    "correlation": _correlation,
}


def _students(table: Table, part: Part, settings: Settings, pair: Pair, place: Place) -> dict[str, Weights]:
    """By the labels of their rows."""
    return {row.label: student(table, settings, pair, row, place) for row in chosen_rows(part, settings)}


def _network(weights: Weights) -> str:
    return f"{names.network(weights.network)}, {weights.training}"


def _taught(settings: Settings, pair: Pair, students: dict[str, Weights]) -> str:
    """The pair, and how its students were trained: once where it is the same for all."""
    who = f"{names.network(pair.teacher)} / {names.network(pair.student)}"
    ways = {weights.training for weights in students.values()}
    if len(ways) == 1:
        return f"{who}, {ways.pop()}"
    return f"{who}, " + ", ".join(f"{label} {weights.training}" for label, weights in students.items())


def _title(table: Table, settings: Settings, split: str, said: str, weights: Sequence[Weights]) -> list[str]:
    fraction = "" if settings.train_fraction == 1 else f"{settings.train_fraction:.3g} of the "
    asides = [
        "" if settings.dataset == table.dataset else f"not the paper's data ({names.dataset(table.dataset)})",
        "shortened, not the paper's schedule" if any(one.shortened for one in weights) else "",
    ]
    shown = f"{names.dataset(settings.dataset)}, {fraction if split == 'training images' else ''}{split}"
    return [table.title, f"{shown}; {said}", "; ".join(aside for aside in asides if aside)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command of the figures needs for those drawn here."""
    add = parser.add_argument_group("figures of weights and images (figure4 to figure8)").add_argument
    add("--data-dir", type=Path, metavar="DIR", help="folder of the images")
    add("--teachers", type=Path, metavar="DIR|FILE", help="weights of teachers that were given to the sweep")
    add("--dataset", metavar="NAME", help="without a sweep: the data set (default: the one of the paper's figure)")
    add("--weights", type=Path, metavar="FILE", help="show these weights as the teacher; needs no sweep")
    add("--network", metavar="NAME", help="with --weights: their network (default: the paper's first teacher)")


def command(table: Table, options: argparse.Namespace) -> dict[str, Figure]:
    """The figures that the arguments ask for."""
    known = ledger_path(options.results).exists()
    file = options.weights or (None if known else options.teachers)
    if file is None and not known:
        raise UserError(
            f"there is no sweep in {options.results}: run python sweeps/run.py {table.key} first, or name a teacher's "
            "weights with --weights FILE (figures 4, 5 and 8)"
        )
    if file is not None:
        return _of_file(table, file, options)
    with Ledger.open(ledger_path(options.results), readonly=True) as ledger:
        settings = settings_for(table, settings_of_sweep(ledger, table, options.sweep, options.results))
    if options.dataset not in (None, settings.dataset):
        raise UserError(
            f"--dataset {options.dataset}: the sweep in {options.results} is on {settings.dataset}; choose another "
            "with --sweep, or other --results"
        )
    teachers = _by_content(options.teachers, {sha256 for _, sha256 in settings.teachers})
    found = figures(table, settings, Place(options.results, options.data_dir, teachers))
    if not found:
        raise UserError(f"no row of {table.key} was asked for in that sweep: choose another by --sweep")
    return found


def _of_file(table: Table, file: Path, options: argparse.Namespace) -> dict[str, Figure]:
    """One figure of weights that no run here has trained."""
    if any(part.rows for part in table.parts):
        raise UserError(f"{table.key} shows students, which a sweep must train: python sweeps/run.py {table.key}")
    dataset = options.dataset or table.dataset
    check_name(dataset)
    settings = Settings(dataset=dataset)
    if fingerprinted(dataset, options.data_dir):
        from trainables.data import load

        settings = replace(settings, data=load(dataset, options.data_dir).fingerprint[:16])
    network = options.network or chosen_pairs(table.parts[0], settings)[0].teacher
    return figures(table, settings, Place(options.results, options.data_dir, teacher=given(network, file)))


def _by_content(place: Path | None, wanted: set[str]) -> tuple[tuple[str, str], ...]:
    """The files, among those in a folder or the one given, whose SHA-256 a sweep has noted."""
    if place is None or not wanted:
        return ()
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    found = {sha256: str(path) for path in files if (sha256 := digest(path)) in wanted}
    return tuple(found.items())
