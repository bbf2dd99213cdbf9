"""The picture of rules: its numbers against the formulas, what it leaves out, what it refuses. Untrained networks."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from untrained import make_weights

from analysis import figures
from analysis.figure import rule_drawing
from analysis.figure.rule_values import RuleValues, write_csv
from trainables.observe import Images, certainty, training_logits

IMAGES = Images("digits", augmentation="crop", seed=1)
TAU = 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of a ResNet14 and a ResNet8."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("resnet14", "resnet8")):
        make_weights(name, folder / name, seed)
    return folder / "resnet14", folder / "resnet8"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = figures.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def read(path: Path) -> dict[str, list[dict[str, str]]]:
    """The lines of each row."""
    found: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["row"], []).append(line)
    return found


@pytest.mark.medium
def test_the_numbers_are_those_of_the_formulas(
    weights: tuple[Path, Path], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, student = weights
    common = ("--weights", teacher, "--network", "resnet14", "--dataset", "digits", "--results", results)
    others = ("--student", student, "--set", f"temperature.tau={TAU}")
    rows = ("kd", "energy_kd_240", "energy_kd_240_by_image", "lskd", "normkd", "dtkd_energy")
    status, out, err = run(capsys, "temperatures", *common, *others, "--rows", *rows)
    tables = results / "tables"
    paths = [tables / f"temperatures-rules.{form}" for form in ("png", "pdf", "csv")]
    assert (status, out.split(), err) == (0, [str(path) for path in paths], "")
    assert paths[0].read_bytes().startswith(b"\x89PNG")

    found = read(paths[2])
    assert [*found] == [*rows]
    of_teacher, of_student = (
        training_logits(path.name, path, IMAGES)["logits"].astype(np.float64) for path in (teacher, student)
    )
    energies = -4 * np.log(np.exp(of_teacher / 4).sum(axis=1))
    order = np.argsort(energies, kind="stable")
    places = np.array_split(order, 10)
    size = len(energies)
    edges = np.sort(energies)[[int(0.2 * size), size - 1 - int(0.2 * size)]]
    ends = np.where(energies < edges[0], 6.0, np.where(energies > edges[1], 2.0, 4.0))
    as_they_are = certainty("resnet14", teacher, IMAGES, count=1)["energies"]
    rank = np.argsort(np.argsort(as_they_are, kind="stable"), kind="stable")
    by_image = np.where(rank < int(0.2 * size), 6.0, np.where(rank >= size - int(0.2 * size), 2.0, 4.0))
    sigma, own = (each.std(axis=1, ddof=1) for each in (of_teacher, of_student))
    sharp, blunt = (np.log(np.exp(each).sum(axis=1)) for each in (of_teacher, of_student))
    assert blunt.min() > 0
    double = 8 / (sharp + blunt)
    wanted = {
        "kd": (np.full(size, 4.0), np.full(size, 4.0), np.full(size, 16.0)),
        "energy_kd_240": (ends, ends, ends**2),
        "energy_kd_240_by_image": (by_image, by_image, by_image**2),
        "lskd": (TAU * sigma, TAU * own, np.full(size, float(TAU**2))),
        "normkd": (TAU * sigma, TAU * own, (TAU * sigma) ** 2),
        "dtkd_energy": (double * sharp, double * blunt, double**2 * sharp * blunt),
    }
    for row, lines in found.items():
        factor = wanted[row][2]
        for number, (line, inside) in enumerate(zip(lines, places, strict=True), 1):
            assert (int(line["tenth"]), int(line["images"])) == (number, len(inside))
            values = [energies[inside].min(), energies[inside].max(), factor[inside].sum() / factor.sum()]
            np.testing.assert_allclose(
                [float(line[name]) for name in ("energy_from", "energy_to", "share_of_factor")], values, rtol=1e-4
            )
            for part, each in zip(("teacher", "student", "factor"), wanted[row], strict=True):
                numbers = [float(line[f"{part}_{name}"]) for name in ("p10", "median", "p90")]
                np.testing.assert_allclose(numbers, np.percentile(each[inside], (10, 50, 90)), rtol=1e-4)
    assert found["lskd"][0]["numbers"] == "tau 3"


@pytest.mark.medium
def test_without_a_student_the_teachers_part_is_shown(
    weights: tuple[Path, Path], results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--weights", weights[0], "--network", "resnet14", "--dataset", "digits", "--results", results)
    out = tmp_path / "mine.pdf"
    status, printed, err = run(capsys, "temperatures", *common, "--out", out)
    assert (status, printed) == (0, f"{out}\n{out.with_suffix('.csv')}\n")
    assert err == "left out, as all of it depends on the student (--student FILE): DTKD, DTKD, by energy\n"
    found = read(out.with_suffix(".csv"))
    assert not {"dtkd", "dtkd_energy"} & {*found}
    assert Counter(len(lines) for lines in found.values()) == {10: 11}
    line = found["lskd"][0]
    assert (line["student_median"], line["factor_median"], line["share_of_factor"]) == ("", "4", "0.1")
    assert float(line["teacher_median"]) > 0


def test_what_is_refused(weights: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--weights", weights[0], "--network", "resnet14", "--dataset", "digits", "--results", tmp_path)
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        (("temperatures", "--student", weights[1], "--results", tmp_path), "--student is for rules: name a table"),
        (("figure4", *given, "--rows", "kd"), "--rows is for rules: name a table"),
        (("table7", *given), "table7 is no table of accuracies"),
        (("temperatures", *given, "--rows", "lskdd"), "unknown row lskdd"),
        (("temperatures", *given, "--set", "temperature.tauu=3"), "no rule of temperatures would change"),
        (("temperatures", *given, "--rows", "lskd", "--set", "temperature.tau=0"), "tau is 0.0; it must be above 0"),
        (("temperatures", *given, "--rows", "kd", "--set", "lr=0.1"), "no rule of kd would change"),
        (
            ("temperatures", *given, "--rows", "dtkd"),
            "DTKD gives depends on the student: name its weights by --student",
        ),
        (("temperatures", *given, "--student", tmp_path / "gone"), "no such file"),
        (("temperatures", *given, "--student", weights[0]), "does not fit resnet8"),
        (("temperatures", *given, "--out", "rules.gif"), "rules.gif should end in .png"),
    )
    for arguments, words in cases:
        status, _, err = run(capsys, *arguments)
        assert (status, err.count("\n")) == (2, 1), (arguments, err)
        assert words in err


def test_factors_of_few_images_and_of_none_are_drawn() -> None:
    energies = np.linspace(-9, -1, 23)
    parts = {"teacher": np.full(23, 4.0), "factor": np.zeros(23)}
    one = RuleValues("mine", "Mine", "a $1", parts)
    figure = rule_drawing.rules(energies, [one], ["A title"])
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["4 for all", "needs a student", "0 for all", "no image has any"]
    lines = write_csv(energies, [one]).splitlines()
    assert lines[1].split(",")[4:] == ["3", "-9", "-8.27273", "4", "4", "4", "", "", "", "0", "0", "0", ""]
