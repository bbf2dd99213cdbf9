"""Pictures of tables: what is drawn where, from made-up records."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import made_up
import numpy as np
import pytest
from few import TABLES, fast
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from analysis import paper
from analysis.figure.charts import LEVELS, SERIES, draw, picture, write_figure
from analysis.figures import main
from analysis.record.settings import Settings
from analysis.table.grid import Grid, make_grid
from analysis.table.resolved import resolve
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
OF_NUMBERS = [name for name, table in paper.tables().items() if not table.kind.needs_weights and table.kind.trains]


def grid_of(name: str, settings: Settings) -> Grid:
    table = paper.find(name)
    return make_grid(resolve(table, settings), made_up.entries(table, settings))


def bars(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """x, y and the ends of the error bars of every curve, by its label; dots of one label together."""
    found: dict[str, tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (segments,) = container.lines
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        ends = [np.asarray(segment) for segment in segments.get_segments()]
        old = found.get(str(container.get_label()))
        new = (x, y, ends)
        found[str(container.get_label())] = (
            new if old is None else (np.append(old[0], x), np.append(old[1], y), [*old[2], *ends])
        )
    return found


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def test_figure_3_is_a_curve_for_each_selection_and_two_levels() -> None:
    grid = grid_of("figure3", Settings())
    figure = draw(grid)
    (axes,) = figure.axes
    (pair,) = grid.resolved.parts[0].pairs
    curves = bars(axes)
    assert set(curves) == {label for label, *_ in SERIES.values()}
    for word, selection in (("he", "high"), ("half", "half"), ("le", "low")):
        x, y, ends = curves[SERIES[selection][0]]
        values = [grid.cells["main", f"kd_{word}_da_{rate}", pair] for rate in (10, 20, 30, 40, 50)]
        assert np.abs(x - np.array([0.1, 0.2, 0.3, 0.4, 0.5])).max() < 0.01
        assert y == pytest.approx([value.mean for value in values])
        spread = [float(end[1, 1] - end[0, 1]) / 2 for end in ends]
        assert spread == pytest.approx([value.std for value in values])
    levels = {str(line.get_label()): line.get_ydata() for line in axes.lines if len(set(line.get_xdata())) == 2}
    assert {label: data[0] for label, data in levels.items()} == {
        "KD": grid.cells["main", "kd", pair].mean,
        "KD with CutMix (100%)": grid.cells["main", "kd_cutmix", pair].mean,
    }
    assert title(figure).splitlines()[1:] == [
        "CIFAR-100, 240 epochs, 3 seeds, best test epoch",
        "mean ± standard deviation",
    ]


def test_curves_can_be_told_apart_without_colour() -> None:
    styles = [str(style) for _, _, _, style in SERIES.values()] + [str(style) for _, style in LEVELS]
    assert len(set(styles)) == len(styles)
    assert len({marker for _, _, marker, _ in SERIES.values()}) == len(SERIES)
    colours = [colour for _, colour, _, _ in SERIES.values()] + [colour for colour, _ in LEVELS]
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(np.subtract(to_rgb(one), to_rgb(other))) > 0.25


def test_a_dot_for_each_row_and_pair_and_the_papers_number_hollow() -> None:
    grid = grid_of("table5", Settings())
    figure = draw(grid)
    pairs = grid.resolved.parts[0].pairs
    assert figure.axes[0].get_title() == "WRN-40-2 / WRN-16-2"
    assert len(figure.axes) == len(pairs) == 6
    labels = [row.label for row in grid.table.parts[0].rows]
    for number, (axes, pair) in enumerate(zip(figure.axes, pairs, strict=True)):
        rows = [grid.cells["main", row.key, pair] for row in grid.table.parts[0].rows]
        x, y, ends = bars(axes)["measured"]
        assert x == pytest.approx([value.mean for value in rows])
        assert [float(end[1, 0] - end[0, 0]) / 2 for end in ends] == pytest.approx([value.std for value in rows])
        assert list(y) == list(axes.get_yticks())
        hollow = [line for line in axes.lines if str(line.get_label()).startswith("paper")]
        others = {line.get_xdata()[0] for line in hollow if line.get_label() == "paper (last epoch)"}
        assert others == {value.paper for value in rows if value.row in ("kd", "kd_cutmix")}
        assert [line.get_xdata()[0] for line in hollow] == [value.paper for value in rows]
        assert [line.get_ydata()[0] for line in hollow] == list(y)
        assert {line.get_markerfacecolor() for line in hollow} == {"none"}
        shown = [tick.get_text() for tick in axes.get_yticklabels()]
        assert shown == (labels if number % 3 == 0 else [""] * len(labels))
        low, high = axes.get_ylim()
        assert low > high, "the first row is at the top"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "paper (last epoch)",
        "paper",
        "measured",
    ]


def test_a_part_begins_a_line_of_panels() -> None:
    figure = draw(grid_of("table4", Settings()))
    lines = [axes.get_subplotspec().rowspan.start for axes in figure.axes if axes.get_subplotspec()]  # type: ignore[union-attr]
    assert lines == [0, 0, 1, 1, 1, 1]


def test_cost_against_the_rate_with_the_papers_increase() -> None:
    grid = grid_of("table7", Settings())
    (axes,) = draw(grid).axes
    (pair,) = grid.resolved.parts[0].pairs
    x, y, _ = bars(axes)["measured"]
    assert list(x) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]
    assert y == pytest.approx([grid.cells["main", row.key, pair].mean for row in grid.table.parts[0].rows])
    (hollow,) = [line for line in axes.lines if str(line.get_label()).startswith("paper")]
    base = grid.cells["main", "kd_he_da_10", pair].mean
    assert base is not None
    factors = np.array([0.0, 3.94, 5.52, 8.78, 14.17, 33.26]) / 100 + 1
    assert np.asarray(hollow.get_ydata()) == pytest.approx(base * factors)
    assert axes.get_ylim()[0] == 0


def test_other_data_and_shortened_schedules_are_in_the_title_and_lose_or_keep_the_papers_numbers() -> None:
    digits = draw(grid_of("table5", Settings(dataset="digits", seeds=1)))
    assert "digits, 12 epochs, 1 seed" in title(digits)
    assert "not the paper's data" in title(digits)
    assert "standard deviation" not in title(digits)
    assert not [line for axes in digits.axes for line in axes.lines if line.get_label() == "paper"]
    short = draw(grid_of("table5", Settings(epochs=2, pairs=("wrn_40_2/wrn_16_2",))))
    assert "shortened, not the paper's schedule" in title(short)
    assert [line for axes in short.axes for line in axes.lines if line.get_label() == "paper"]


@pytest.mark.parametrize("name", fast(OF_NUMBERS, *TABLES))
def test_no_title_or_legend_is_wider_than_its_picture(name: str) -> None:
    for settings in (Settings(dataset="digits"), Settings(epochs=120, train_fraction=0.123, pairs=("vgg13/vgg8",))):
        figure = draw(make_grid(resolve(paper.find(name), settings), {}))
        figure.draw_without_rendering()
        words = [text for text in figure.texts if text.get_text()]
        boxes = [text.get_window_extent() for text in [*words, *(t for one in figure.legends for t in one.texts)]]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes), (name, settings)


def test_what_is_missing_is_written_where_the_dot_would_be() -> None:
    settings = Settings(pairs=("wrn_16_2/resnet8",))
    table = paper.find("table5")
    records = made_up.entries(table, settings)
    grid = make_grid(resolve(table, settings), records)
    kd, cutmix = (grid.cells["main", row, grid.values[0].pair] for row in ("kd", "kd_cutmix"))
    gone = {*kd.runs, cutmix.runs[0]}
    (axes,) = draw(make_grid(resolve(table, settings), {k: v for k, v in records.items() if k not in gone})).axes
    assert [text.get_text() for text in axes.texts] == ["— 0/3", "2/3 seeds"]
    (empty,) = draw(make_grid(resolve(paper.find("figure3"), settings), {})).axes
    assert empty.get_xlabel().splitlines()[-1] == "17 of 17 entries incomplete"


def test_a_dollar_sign_is_no_formula() -> None:
    from analysis.figure.style import plain

    figure = Figure()
    figure.suptitle(plain("lr = $0.1$ and $"))
    figure.savefig(Path("/dev/null"), format="png")


@pytest.mark.parametrize("name", fast(OF_NUMBERS, "table4"))
def test_a_table_without_any_number_can_be_drawn(name: str) -> None:
    assert draw(make_grid(resolve(paper.find(name), Settings()), {})).axes
    assert picture(make_grid(resolve(paper.find(name), Settings(dataset="digits")), {}), "png").startswith(b"\x89PNG")


@pytest.mark.medium
def test_the_same_numbers_give_the_same_bytes() -> None:
    grid = grid_of("figure3", Settings())
    for form in ("png", "pdf", "svg"):
        assert picture(grid, form) == picture(grid, form)
    assert b"/Type3" not in picture(grid, "pdf"), "publishers refuse bitmap-like Type 3 fonts"


def test_a_picture_has_a_format_that_its_name_ends_in(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"should end in \.png, \.pdf, \.svg"):
        write_figure(grid_of("figure3", Settings()), tmp_path / "figure.jpeg")
    with pytest.raises(UserError, match="nothing to draw"):
        draw(make_grid(resolve(paper.find("table13"), Settings(rows=("dkd",))), {}))


@pytest.mark.medium
def test_the_command_writes_beside_the_tables_or_where_it_is_told(tmp_path: Path) -> None:
    settings = Settings(seeds=1)
    results = made_up.write_ledger(tmp_path / "results", [paper.find("figure3")], settings)
    command = [sys.executable, str(ROOT / "analysis" / "figures.py"), "figure3", "--results", str(results)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    files = [results / "tables" / f"figure3.{form}" for form in ("png", "pdf")]
    assert done.stdout.split() == [str(path) for path in files]
    assert files[0].read_bytes() == picture(grid_of("figure3", settings), "png")
    assert files[1].read_bytes().startswith(b"%PDF")


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made_up.write_ledger(tmp_path / "results", [paper.find("figure3")], Settings(seeds=1))
    for arguments, words in (
        (["figure33"], "unknown table 'figure33' (did you mean figure3?): there is direction"),
        (["figure3", "--out", "figure.gif"], "figure.gif should end in .png"),
        (["figure3", "--out", ".png"], ".png should have a name and end in .png"),
        ([], "name a table"),
    ):
        assert main([*arguments, "--results", str(results)]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_what_a_sweep_varied_is_not_asked_of_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    varied = (("temperature.plus", ("1", "2")),)
    settings = Settings("digits", pairs=("resnet20/resnet8",), rows=("energy_kd",), seeds=1, vary=varied)
    made_up.write_ledger(tmp_path / "results", [paper.ablation()], settings)
    assert main(["figure7", "--results", str(tmp_path / "results")]) == 2
    told = capsys.readouterr().err
    assert "figure7 needs the weights of" in told
    assert "--vary" not in told
