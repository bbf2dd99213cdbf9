"""The report as a page: what stands in it, from made-up and from real ledgers, and that nothing in it is code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import pytest
import reports
from few import fast
from made_up import cells
from reports import HOSTILE, Page, image

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.report import TITLE, main, make_report
from analysis.reporting.document import Document
from analysis.reporting.html import page
from analysis.reporting.missing_section import missing_section
from analysis.reporting.snapshot import read_snapshot
from trainables.commands import as_called
from trainables.errors import UserError

pytestmark = pytest.mark.usefixtures("empty_pictures")
ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "docs" / "results" / "digits"
SHORT = ROOT / "docs" / "results" / "cifar100-wrn_16_2-resnet8"
BESIDE = ("Row", "Epoch", "Measured", "Runs", "Paper", "Its runs", "Difference", "Noise", "p", "Verdict")
PROVENANCE = ("PyTorch", "Runs", "Failed", "Hours", "Last run (UTC)")
NOT_RUN = ("Table", "Complete", "Missing")


def page_of(results: Path, title: str = TITLE) -> Page:
    return Page(page(make_report(read_snapshot(results), title, printed=False)))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_ledger(tmp_path_factory.mktemp("report") / "results")


@pytest.fixture(scope="module")
def made(results: Path) -> Page:
    return page_of(results, HOSTILE)


def test_names_that_want_to_be_code_are_words(made: Page) -> None:
    assert made.title == HOSTILE
    assert made.text.count(HOSTILE) == 2, "the title and the reason of the failed run"
    assert not made.tags & {"script", "iframe", "link", "object", "base"}


def test_every_image_is_inside_and_every_link_leads_to_a_section(made: Page) -> None:
    assert len(made.images) == 2
    for attributes in made.images:
        assert image(attributes).startswith((b"<?xml", b"\x89PNG"))
        assert attributes["alt"]
    assert made.links == [f"#{name}" for name in made.ids]
    assert len(set(made.ids)) == len(made.ids) >= 6


def test_what_ran_when_and_on_what(made: Page, results: Path) -> None:
    runs = read_snapshot(results).runs.values()
    facts = {line[0]: line[1] for line in made.table("Ledger", "")}
    assert facts["Runs"] == f"{len(runs) - 1} done, 1 failed"
    hours = sum(entry.seconds or 0 for entry in runs) / 3600
    assert facts["Device-hours"].startswith(f"{hours:.2f} ")
    assert facts["Trained"] == "2026-01-02 03:04 to 2026-01-03 04:05 UTC"
    assert facts["Devices"].startswith(f"NVIDIA MADE-UP: {len(runs)} runs")
    assert facts["Commits"].startswith("0123456789ab + local changes: ")
    assert facts["PyTorch"].startswith("2.9.0+made: ")
    sweeps = made.table("Sweep", "First asked (UTC)", "Last asked", "Times", "Command")
    assert [(line[0], line[3], line[4]) for line in sweeps] == [
        ("1", "1", "ekd run (an earlier one)"),
        ("2", "2", as_called(reports.COMMAND)),
    ]


def test_each_cell_stands_beside_the_papers_number_with_its_verdict(made: Page) -> None:
    lines = {line[0]: line[1:] for line in made.table(*BESIDE) if len(line) == len(BESIDE)}
    # The last epochs of the runs are one point below their best ones: KD's number is one of last epochs.
    assert lines["KD*"] == ["last", "69.76 ± 0.20", "3", "70.66†", "5", "-0.90", "0.63", "0.025", "below"]
    assert lines["w/ HE-DA (20%)"][5:] == ["-3.00", "0.70", "0.003", "below"]
    assert lines["w/ HE-DA (30%)"] == [
        *("best", "71.15 ± 0.20", "3", "71.15", "3", "+0.00", "0.70", "1.000", "within noise")
    ]
    assert lines["w/ HE-DA"][:4] == ["best", "72.11 ± 0.14", "2 of 3", "72.21"]
    assert lines["Teacher Acc."] == [
        *("last", "91.25", "1", "72.34†", "1", "+18.91", "1.66", "", "one seed, above the band")
    ]
    assert lines["Student Acc."] == ["last", "—", "0 of 3", "69.06†", "5", "", "", "", "not run"]
    assert lines["w/ CutMix** (100%)"] == [
        *("?", "71.59 ± 0.20", "3", "71.59†", "?", "+0.00", "0.70", "1.000", "within noise, epoch not known")
    ]
    assert lines["DKD*"][-1] == "not run"


def test_a_number_from_an_earlier_paper_is_marked_and_what_that_means_is_said(made: Page) -> None:
    marked = {line[0]: line[4].endswith("†") for line in made.table(*BESIDE) if len(line) == len(BESIDE)}
    alone = {"Teacher Acc.", "Student Acc."}
    assert {row for row, mark in marked.items() if mark} == alone | {"KD*", "KD", "DKD*", "w/ CutMix** (100%)"}
    assert len(marked) > 8
    assert made.text.count("†: the paper has this number from earlier papers.") == 2
    assert "many that it copied are of the last († marks those from earlier papers)" in made.text
    unmarked = page_of(DIGITS).text
    assert "†:" not in unmarked


def test_of_which_epoch_and_of_how_many_runs_the_papers_numbers_are_is_said(made: Page) -> None:
    lines = [line for line in made.table(*BESIDE) if len(line) == len(BESIDE)]
    epochs, runs = Counter(line[1] for line in lines), Counter(line[5] for line in lines)
    assert (
        f"by test epoch: {epochs['best']} best, {epochs['last']} last, {epochs['?']} not known; by the number of runs "
        f"that they are means of: {runs['1']} of 1 run, {runs['3']} of 3 runs, {runs['5']} of 5 runs, {runs['?']} not "
        "known." in made.text
    )
    assert "?: not known, and ours is of the best one" in made.text
    assert "?: not known, and 3 are taken" in made.text


def test_the_verdicts_are_counted_and_what_chance_would_do_is_said(made: Page) -> None:
    lines = [line for line in made.table(*BESIDE) if len(line) == len(BESIDE)]
    heads, counts = made.tables[2][0], made.tables[2][1:]
    assert heads[:2] == ["Table", "Cells"]
    words = Counter(line[-1].partition(",")[0] for line in lines)
    for number, head in enumerate(heads[2:], 2):
        assert sum(int(line[number].replace("-", "0")) for line in counts) == words[head.lower()], head
    # KD stands in both tables, beside the same number, and is below it.
    tested = sum(words[word] for word in ("within noise", "above", "below")) - 1
    different = words["above"] + words["below"] - 1
    assert f"{tested} cells tested, each once however many tables show it: {different} differ" in made.text
    assert f"about {0.05 * tested:.1f} would differ by chance" in made.text


def test_protocol_and_provenance_of_each_table(made: Page) -> None:
    lines = made.table("Row", "Key", "method", "T", "mixing")
    assert ["w/ HE-DA (20%)", "kd_he_da_20", "kd, ce 0.1, kd 0.9", "4", "cutmix high 20 %, alpha 1"] in lines
    assert "epochs 240, lr 0.05, x 0.1, after 150 180 210, batch 64" in made.text
    heads = ("Source", "Device", "Commit", "PyTorch", "Runs", "Failed", "Hours", "Last run (UTC)")
    first = made.table(*heads)[0]
    assert first[:4] == ["1", "NVIDIA MADE-UP", "0123456789ab + local changes", "2.9.0+made"]
    assert first[5] == "1"
    assert first[7] == "2026-01-03 04:05"


def test_each_row_of_the_protocol_names_where_its_runs_were_trained(tmp_path: Path) -> None:
    table, settings = paper.find("table13"), replace(reports.SETTINGS, seeds=2)
    devices = {"kd": ("A", "A"), "kd_mixup": ("A", "B"), "kd_he_mixup_20": ("B", "B"), "kd_he_mixup_30": ("C", "A")}
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.remember(["table13"], settings, "python sweeps/run.py table13")
        for cell in cells(table, settings):
            for spec, device in zip(cell.specs, devices.get(cell.row, ()), strict=False):
                ledger.record(made_up.result(spec, 70.0, provenance=reports.PROVENANCE | {"device": device}))
    found = page_of(tmp_path)
    numbers = {line[1]: line[0] for line in found.table("Source", "Device", "Commit", *PROVENANCE)}
    assert sorted(numbers) == ["A", "B", "C"]
    assert sorted(numbers.values()) == ["1", "2", "3"]
    shown = {line[1]: line[-1] for line in found.table("Row", "Key", "mixing", "Source")}
    for row, places in devices.items():
        assert shown[row] == ", ".join(sorted({numbers[device] for device in places})), row
    assert shown["kd_he_mixup_50"] == "-", "nothing of it was run"
    assert "Source: by its number under Provenance." in found.text


def test_where_all_ran_at_one_place_the_protocol_has_no_column_for_it(made: Page) -> None:
    assert "Source: by its number" not in made.text
    assert made.table("Row", "Key", "mixing")


def test_captions_and_notes_with_misprints(made: Page) -> None:
    for name in reports.TABLES:
        assert paper.find(name).title in made.text
        assert paper.find(name).caption in made.text
    assert "DKD with HE-DA: the rate is lost in the paper's text" in made.text


def test_that_other_sweeps_asked_otherwise(made: Page, results: Path) -> None:
    assert f"ekd tables table5 --results {results} --sweep K" in made.text


def test_what_is_missing_with_the_commands_that_run_it(made: Page, results: Path) -> None:
    lines = made.table("Rows", "Pairs", "Done", "Failed", "Asked")
    assert ["student, dkd", "ResNet56 / ResNet20", "0", "0", "3"] in lines
    assert ["dkd_he_da", "ResNet56 / ResNet20", "2", "1", "3"] in lines
    again = f"ekd run table5 table13 --data-dir 'my data' --teachers T --results {results} --retry"
    assert again in made.text
    missing = {line[0]: line[1:] for line in made.table(*NOT_RUN)}
    assert missing[paper.find("table4").title] == ["0 of 18", "all of it"]
    complete, words = missing[paper.find("table5").title]
    assert complete == "7 of 54"
    assert words.endswith("; dkd_he_da (ResNet56 / ResNet20)")
    assert "dkd (WRN-40-2 / WRN-16-2, ResNet56 / ResNet20, " in words
    assert f"--data-dir 'my data' --teachers T --results {results}" in made.text


def test_failed_runs_with_their_reasons(made: Page) -> None:
    ((name, _, reason),) = made.table("Run", "Epochs", "Reason")
    assert name.startswith("cifar100-resnet56-resnet20-dkd-he_cutmix40-e240-s3-")
    assert reason == HOSTILE


def test_the_digits_are_shown_and_not_compared() -> None:
    found = page_of(DIGITS)
    assert {line[0]: line[1] for line in found.table("Ledger", "")}["Runs"] == "59 done, 0 failed"
    assert "98.16 ± 0.84" in found.text
    assert "Not comparable (22 cells): trained on digits, not on CIFAR-100." in found.text
    assert found.table(*BESIDE) == []
    assert "No cell could be tested" in found.text
    assert "Failed runs" not in found.text
    assert "Asked for and not finished" not in found.text
    assert len(found.images) == 1


def test_a_short_schedule_is_not_the_papers() -> None:
    found = page_of(SHORT)
    assert "epochs 4 instead of 240, milestones 2 3 instead of 150 180 210" in found.text
    assert "3 kd-he_cutmix40-revision1: kept but shown in no table" in found.text
    assert "4c4256c" in found.text


@pytest.mark.medium
def test_the_last_epoch_on_request(results: Path) -> None:
    found = Page(page(make_report(read_snapshot(results, "last"), printed=False)))
    shown = {line[0]: line[1:] for line in found.table(*BESIDE)}
    assert shown["KD*"][:6] == ["last", "69.76 ± 0.20", "3", "70.66†", "5", "-0.90"]
    assert shown["w/ HE-DA (30%)"][:6] == ["best", "71.15 ± 0.20", "3", "71.15", "3", "+0.00"]
    assert "71.15 ± 0.20" not in next(line for table in found.tables for line in table if line[0] == "w/ HE-DA (30%)")


@pytest.mark.medium
def test_figures_that_a_sweep_has_drawn_are_taken_along(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir(parents=True)
    (folder / "figure99.png").write_bytes(b"\x89PNG\r\n made up")
    (folder / "figure98.png").write_bytes(b"not a picture")
    (folder / "figure97<b>.png").write_bytes(b"\x89PNG\r\n made up")
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    found = page_of(tmp_path)
    assert [image(each) for each in found.images] == [b"\x89PNG\r\n made up"]
    assert [each["alt"] for each in found.images] == ["Figure 99"]


@pytest.mark.medium
def test_a_ledger_of_which_nothing_was_asked_and_one_that_knows_other_tables(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert "No sweep of this ledger has asked for a table" in page_of(tmp_path).text
        ledger.remember(["table99"], Settings(), "python sweeps/run.py table99")
    assert "0 done, 0 failed" in page_of(tmp_path).text


@pytest.mark.medium
def test_a_table_that_cannot_be_made_does_not_spoil_the_others(tmp_path: Path) -> None:
    settings = Settings(pairs=("resnet56/resnet20",), seeds=1, epochs=1)
    made_up.write_ledger(tmp_path, [paper.find("table13")], settings)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.remember(["table7"], settings, "python sweeps/run.py table7 --epochs 1")
    text = page_of(tmp_path).text
    assert "This table cannot be drawn: table7 measures seconds per epoch without the first" in text
    assert "epochs 1 instead of 240" in text


def test_numbers_of_another_machine_are_not_compared(tmp_path: Path) -> None:
    made_up.write_ledger(tmp_path, [paper.find("table7")], Settings(seeds=2))
    found = page_of(tmp_path)
    assert {line[-1] for line in found.table(*BESIDE) if len(line) > 1} == {"not comparable"}
    assert "seconds depend on the machine" in found.text


def test_one_seed_and_other_precision_are_compared_as_such(tmp_path: Path) -> None:
    settings = replace(reports.SETTINGS, seeds=1, precision="bf16")
    reports_of = made_up.write_ledger(tmp_path, [paper.find("table13")], settings)
    lines = [line for line in page_of(reports_of).table(*BESIDE) if len(line) > 1]
    assert {line[0]: line[-1] for line in lines} == {
        row.label: "one seed, below the band (bf16; the paper: fp32)" for row in paper.find("table13").parts[0].rows
    }


def drawn(results: Path, *names: str) -> Path:
    """Pictures as a sweep leaves them."""
    (results / "tables").mkdir(parents=True, exist_ok=True)
    for name in names:
        (results / "tables" / f"{name}.png").write_bytes(b"\x89PNG\r\n made up")
    return results


def missing_of(results: Path) -> Page:
    """The end of the report alone."""
    return Page(page(Document(TITLE, "", tuple(missing_section(read_snapshot(results))))))


def not_run(results: Path) -> dict[str, list[str]]:
    titles = {table.title: key for key, table in paper.tables().items()}
    return {titles[line[0]]: line[1:] for line in missing_of(results).table(*NOT_RUN)}


@pytest.mark.medium
def test_a_picture_that_is_not_drawn_is_missing_though_it_needs_no_run(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    before = not_run(tmp_path)
    assert [before[name] for name in ("figure4", "figure5", "figure8")] == [["-", "the picture"]] * 3
    assert before["figure6"] == ["0 of 2", "all of it"]
    assert re.search(r"ekd run [\w ]*figure4 figure5 [\w ]*figure8", missing_of(tmp_path).text)
    after = not_run(drawn(tmp_path, "figure4", "figure8-resnet34"))
    assert set(before) - set(after) == {"figure4", "figure8"}


@pytest.mark.medium
@pytest.mark.parametrize("changes", fast([{"dataset": "digits"}, {"dataset": "", "epochs": 2}], {"dataset": "digits"}))
def test_a_picture_is_the_papers_if_its_runs_are_done_and_it_is_drawn_of_them(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """Not of other data nor of a shorter training."""
    own = Settings(dataset="")
    for name, complete in (("figure4", "-"), ("figure6", "2 of 2")):
        table, results = paper.find(name), tmp_path / name
        made_up.write_ledger(results, [table], own)
        assert not_run(results)[name] == [complete, "the picture"]
        assert name not in not_run(drawn(results, name))
        made_up.write_ledger(results, [table], replace(own, **changes))
        assert not_run(results)[name] == [complete, "the picture"]


@pytest.mark.medium
def test_the_same_ledger_gives_the_same_page(results: Path) -> None:
    one, two = (page(make_report(read_snapshot(results), printed=False)) for _ in range(2))
    assert one == two


@pytest.mark.medium
def test_the_command_writes_the_page_alone_on_request(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "analysis" / "report.py"), "--results", str(DIGITS), "--no-pdf"]
    out = tmp_path / "new" / "out"
    done = subprocess.run(
        [*command, "--out", str(out), "--title", "Mine & yours\udce9"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out / 'report.html'}\n", "")
    assert [path.name for path in out.iterdir()] == ["report.html"]
    assert "<h1>Mine &amp; yours?</h1>" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--results", "/no/such/folder"], "/no/such/folder"),
        (["--results", str(DIGITS), "--metric", "worst"], "argument --metric: invalid choice: 'worst' (choose from"),
        (["--results", str(DIGITS), "--out", "/proc/nowhere", "--no-pdf"], "cannot write /proc/nowhere/report.html"),
        (["table5"], "unrecognized arguments: table5"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_a_damaged_ledger_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no ledger"):
        read_snapshot(tmp_path)
