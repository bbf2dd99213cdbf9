"""Varied fields in a table and in a picture, from made-up numbers."""

from __future__ import annotations

import pytest
from made_up import entries

from analysis import paper
from analysis.figure.charts import draw
from analysis.record.settings import Settings
from analysis.table.grid import Grid, make_grid
from analysis.table.matrix import effect, varied_of
from analysis.table.render import render
from analysis.table.resolved import resolve
from analysis.table.sheet import make_panels
from analysis.table.varied import parse_varied
from trainables.spec import RunSpec

NOISE = (0.0, 0.3, -0.2)


def top1(spec: RunSpec) -> float:
    """Best at T+ = 2; T+ = 4 differs by a constant that hides in its noise, T+ = 1 is far below."""
    temperature = spec.temperature
    if spec.teacher is None or temperature is None or temperature.rule == "plain":
        return 60.0 + NOISE[spec.seed - 1]
    gain = {1.0: 0.0, 2.0: 5.0, 4.0: 4.9}[temperature.plus] - 2.0 * temperature.minus
    wobble = NOISE[::-1][spec.seed - 1] if temperature.plus == 4 else 0.01 * spec.seed * temperature.plus
    return 70.0 + gain + NOISE[spec.seed - 1] + wobble


def made(*vary: str) -> Grid:
    table = paper.ablation()
    asked = Settings("digits", pairs=("resnet20/resnet8",), rows=("energy_kd",), vary=tuple(map(parse_varied, vary)))
    return make_grid(resolve(table, asked), entries(table, asked, top1))


def test_two_fields_are_a_matrix_with_the_best_and_its_equals_marked() -> None:
    beside, matrix = make_panels(made("T+=1,2,4", "T-=-1,-2"))
    assert [line.label for line in beside.lines] == ["Teacher Acc.", "Student Acc.", "KD", "Energy KD"]
    assert matrix.heads == (("", "T- = -2", "T- = -1"),)
    assert [line.label for line in matrix.lines] == ["T+ = 1", "T+ = 2", "T+ = 4"]
    marks = [[(entry.best, entry.near_best) for entry in line.entries] for line in matrix.lines]
    assert marks == [[(False, False)] * 2, [(True, False), (False, False)], [(False, True), (False, False)]]


def test_every_form_shows_the_matrix() -> None:
    grid = made("T+=1,2,4", "T-=-1,-2")
    assert r"T+ = 2 & \textbf{79.0" in render(grid, "latex").replace(r"{\scriptsize ", "").replace("$", "")
    assert r"\textbf{79.0" in render(grid, "latex")
    assert r"\textit{" in render(grid, "latex")
    assert "| T+ = 2 |" in render(grid, "markdown")
    assert "<em>" in render(grid, "html")
    assert "[79.0" in render(grid, "text")
    assert "With ~: not told from it." in " ".join(render(grid, "text").split())


def test_main_effects_average_over_the_other_fields() -> None:
    grid = made("T+=1,2", "T-=-1,-2", "r=0.1,0.2")
    (part,) = grid.resolved.parts
    (varied,) = varied_of(grid, part, part.pairs[0])
    plus, minus, _ = varied.axes
    higher, lower = (effect(varied, minus, value).mean for value in minus.values)
    assert higher - lower == pytest.approx(2.0)
    means = [value.mean for point, value in varied.cells.items() if point[0] == "2"]
    assert effect(varied, plus, "2").mean == pytest.approx(sum(mean or 0.0 for mean in means) / 4)


@pytest.mark.parametrize(
    ("vary", "titles"),
    [
        (("T+=1,2,4",), ["ResNet20 / ResNet8"]),
        (("rule=energy,reversed",), ["ResNet20 / ResNet8"]),
        (("T+=1,2", "T-=-1,-2"), ["Energy KD"]),
        (
            ("T+=1,2", "T-=-1,-2", "r=0.1,0.2"),
            ["Energy KD"] * 2 + [f"Main effect of {name}" for name in ("T+", "T-", "r")],
        ),
    ],
)
def test_pictures(vary: tuple[str, ...], titles: list[str]) -> None:
    figure = draw(made(*vary))
    figure.canvas.draw()
    panels = [axes.get_title().partition("\n")[0] for axes in figure.axes if axes.get_title()]
    assert panels == titles


def test_a_heat_map_holds_the_numbers_and_a_missing_one_is_a_dash() -> None:
    table = paper.ablation()
    asked = Settings("digits", pairs=("resnet20/resnet8",), rows=("energy_kd",))
    asked = Settings(**{**vars(asked), "vary": tuple(map(parse_varied, ("T+=1,2", "T-=-1,-2")))})
    some = entries(
        table, asked, lambda spec: None if (t := spec.temperature) and t.plus == 1 and t.minus == -2 else top1(spec)
    )
    figure = draw(make_grid(resolve(table, asked), some))
    assert [text.get_text().partition("\n")[0] for text in figure.axes[0].texts] == ["—", "72.05", "79.07", "77.07"]
