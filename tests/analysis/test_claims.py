"""The claims command and the report's chapter, on ledgers with planted differences and on a real one of digits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest
from made_up import cells
from reports import Page
from scipy import stats  # type: ignore[import-untyped]

from analysis import paper
from analysis.claims import main
from analysis.paper.claims import CLAIMS
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.report import make_report
from analysis.reporting.claims_section import Judged, judged_claims
from analysis.reporting.html import page
from analysis.reporting.latex_pdf import article
from analysis.reporting.snapshot import read_snapshot
from sweeps.request.arguments import parse
from sweeps.request.request import make_request
from trainables.recipes import CIFAR100_LT, Pair

pytestmark = pytest.mark.usefixtures("empty_pictures")
ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "docs" / "results" / "digits"
LONG_TAIL = Settings(dataset="cifar100_lt")
NOISE = (-0.1, 0.0, 0.1)
Plant = Callable[[str, Pair], float]


def ledger_of(results: Path, table: str, plant: Plant, settings: Settings, *, cost: bool = False) -> Path:
    """A ledger in which each row is so far above 70 points (or takes so many seconds an epoch); the seeds of all rows
    differ alike, and by a little noise that depends on the row."""
    results.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember([table], settings, f"python sweeps/run.py {table}", data_dir="images")
        for cell in cells(paper.find(table), settings):
            for spec in cell.specs:
                number = plant(cell.row, cell.pair) + draw.normal(0, 0.05)
                seconds = (9.0, *[number] * (spec.epochs - 1)) if cost else ()
                ledger.record(made_up.result(spec, 70 + 3 * spec.seed + (0 if cost else number), seconds=seconds))
    return results


def judged(results: Path, key: str, metric: str = "best") -> Judged:
    (found,) = judged_claims(read_snapshot(results, metric), [claim for claim in CLAIMS if claim.key == key])
    return found


def energy(gain: float, *, in_one: float | None = None) -> Plant:
    """Energy KD so far above the others, in the first pair otherwise."""

    def plant(row: str, pair: Pair) -> float:
        own = in_one if in_one is not None and pair == CIFAR100_LT.pairs[0] else gain
        return own if row == "energy_kd" else 0.0

    return plant


def test_a_planted_difference_is_found_in_all_pairs(tmp_path: Path) -> None:
    """By numpy: three seeds, the difference to the stronger opponent on average over four pairs."""
    results = ledger_of(tmp_path, "table8", energy(0.5), LONG_TAIL)
    found = judged(results, "long-tail")
    assert found.word == "supported"
    runs = read_snapshot(results).runs
    numbers = {
        (cell.row, cell.pair): np.array([runs[spec.run_id].best_top1 for spec in cell.specs])
        for cell in cells(paper.find("table8"), LONG_TAIL)
    }
    least = [
        min((numbers["energy_kd", pair] - numbers[row, pair] for row in ("dkd", "reviewkd")), key=np.mean)
        for pair in CIFAR100_LT.pairs
    ]
    assert found.finding is not None
    gains = {
        row: np.mean([numbers["energy_kd", pair] - numbers[row, pair] for pair in CIFAR100_LT.pairs])
        for row in ("dkd", "reviewkd")
    }
    assert any(found.finding.estimate.mean == pytest.approx(gain) for gain in gains.values())
    row = min(gains, key=lambda row: abs(gains[row] - found.finding.estimate.mean))
    label = {"dkd": "DKD", "reviewkd": "ReviewKD"}[row]
    assert f"of Energy KD over {label} on average over 4 pairs" in found.answer
    assert [one.unit.difference.summary.std for one in found.finding.measured] == pytest.approx(
        [np.std(one, ddof=1) for one in least]
    )
    assert stats.ttest_1samp(least[0], 0).pvalue == pytest.approx(
        found.finding.measured[0].unit.difference.estimate.p()
    )
    assert "3 seeds" in found.answer
    assert found.command == ""


@pytest.mark.parametrize(
    ("plant", "seeds", "word", "why"),
    [
        (energy(0.0), 3, "not shown", "significantly in 0"),
        (energy(0.5), 1, "not shown", "no test with one seed"),
        (energy(0.5, in_one=-9.0), 3, "contradicted", "significantly below in ResNet32x4/ResNet8x4"),
    ],
)
def test_not_found_too_few_seeds_and_contradicting(
    plant: Plant, seeds: int, word: str, why: str, tmp_path: Path
) -> None:
    found = judged(ledger_of(tmp_path, "table8", plant, replace(LONG_TAIL, seeds=seeds)), "long-tail")
    assert found.word == word
    assert why in found.answer


@pytest.mark.medium
def test_the_largest_gain_is_held_against_up_to(tmp_path: Path) -> None:
    """Of three claims about gains of HE-DA, 2.87 over KD, 0.71 over CutMix and 0.68 on DKD, with 3, 0.7 and -0.5."""
    gains = {"kd_he_da_50": 3.0, "kd_cutmix": 2.3, "dkd_he_da": -0.5}
    results = ledger_of(tmp_path, "table5", lambda row, pair: gains.get(row, 0.0), Settings())
    words = {key: judged(results, key) for key in ("he-da-gain-kd", "he-da-gain-all", "dkd-he-da-gain-all")}
    assert {key: one.word for key, one in words.items()} == {
        "he-da-gain-kd": "supported",
        "he-da-gain-all": "supported",
        "dkd-he-da-gain-all": "contradicted",
    }
    assert "no gain reaches 0.68" in words["dkd-he-da-gain-all"].answer
    assert "HE-DA (50%) over KD" in words["he-da-gain-kd"].answer
    assert judged(results, "he-da-best-rate").word == "supported"
    assert judged(results, "dkd-cutmix-worse").word == "not shown"


def test_cost_is_compared_as_an_increase_over_a_tenth(tmp_path: Path) -> None:
    seconds = {"kd_he_da_10": 10.0, "kd_he_da_40": 11.0, "kd_he_da_50": 11.5, "kd_cutmix": 14.0}
    found = judged(
        ledger_of(tmp_path, "table7", lambda row, pair: seconds.get(row, 10.0), Settings(), cost=True), "cost"
    )
    assert found.word == "supported"
    assert found.finding is not None
    assert found.finding.estimate.mean == pytest.approx(40 - 15, abs=1.5)
    assert "% of cost" in found.answer


def test_pairs_that_were_not_run_are_missing_and_the_command_runs_them(tmp_path: Path) -> None:
    results = ledger_of(tmp_path, "table8", energy(0.5), replace(LONG_TAIL, pairs=("vgg13/vgg8",)))
    found = judged(results, "long-tail")
    assert (found.word, found.why) == ("not shown", "3 of 4 pairs not run")
    command = f"ekd run table8 --rows energy_kd dkd reviewkd --data-dir images --results {results}"
    assert found.command == command


def test_the_commands_of_an_empty_ledger_run_exactly_what_the_claims_need(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    judged = judged_claims(read_snapshot(tmp_path))
    assert {(one.word, one.finding) for one in judged} == {("not run", None)}
    for one in {one.claim.tables: one for one in judged}.values():
        words = shlex.split(one.command)
        assert words[:2] == ["ekd", "run"]
        request = make_request(parse(words[2:]))
        assert tuple(table.key for table in request.tables) == one.claim.tables
        assert {cell.row for table in request.tables for cell in cells(table, request.settings)} == {*one.claim.rows}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Settings(dataset="digits"), "trained on digits, not on CIFAR-100"),
        (Settings(epochs=24), "epochs 24 instead of 240"),
        (Settings(pairs=("wrn_16_2/resnet8",)), "not a pair of the paper's table"),
    ],
)
def test_what_is_not_like_the_papers_is_shown_and_not_compared(settings: Settings, reason: str, tmp_path: Path) -> None:
    results = ledger_of(tmp_path, "table5", lambda row, pair: float(row == "dkd_he_da"), settings)
    found = judged(results, "dkd-he-da")
    assert found.word == "not comparable"
    assert found.unlike.startswith(reason)
    assert found.unlike.endswith(". There the claim is supported")
    assert "points [" in found.answer
    assert found.command.startswith("ekd run table5 --rows dkd_he_da dkd")


def test_runs_of_another_table_count(tmp_path: Path) -> None:
    """`methods` trains Energy KD and KD of Table 1's pairs; those of Table 2 alone are missing."""
    results = ledger_of(tmp_path, "methods", lambda row, pair: float(row == "energy_kd"), Settings())
    found = judged(results, "energy-kd")
    assert found.finding is not None
    assert (len(found.finding.measured), found.why[-21:]) == (6, "5 of 11 pairs not run")


def test_the_same_runs_in_two_tables_count_once(tmp_path: Path) -> None:
    settings = Settings(dataset="digits", rows=("kd", "energy_kd"))
    results = ledger_of(tmp_path, "table1", lambda row, pair: float(row == "energy_kd"), settings)
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember(["table1", "table2"], settings, "python sweeps/run.py table1 table2 --dataset digits")
    assert "on average over 2 pairs, 3 seeds" in judged(results, "energy-kd").answer


def test_the_last_epoch_and_a_chosen_sweep(tmp_path: Path) -> None:
    results = ledger_of(tmp_path, "table8", energy(0.5), LONG_TAIL)
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember(["table8"], replace(LONG_TAIL, epochs=3), "python sweeps/run.py table8 --epochs 3")
    known, claims = read_snapshot(results, "last"), [claim for claim in CLAIMS if claim.key == "long-tail"]
    words = [judged_claims(known, claims, sweep=sweep)[0].word for sweep in (None, 1, 2)]
    assert words == ["not run", "supported", "not run"]


def test_the_forms_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for form in ("text", "markdown", "json"):
        assert main(["--results", str(DIGITS), "--format", form]) == 0
        said[form] = capsys.readouterr().out
    facts = json.loads(said["json"])
    assert [fact["claim"] for fact in facts] == [claim.key for claim in CLAIMS]
    assert said["text"].count("\n  paper:   ") == said["text"].count("\n  ledger:  ") == len(CLAIMS)
    assert said["markdown"].count("| Section") + said["markdown"].count("| Abstract") == len(CLAIMS)
    one = next(fact for fact in facts if fact["claim"] == "he-da-gain-kd")
    assert one["ledger"]["word"] == "not comparable"
    best = max(one["ledger"]["comparisons"], key=lambda each: each["difference"])
    assert one["ledger"]["difference"] == best["difference"] == pytest.approx(np.mean([*best["by_seed"].values()]))
    for text in said.values():
        assert f"{best['difference']:+.2f}" in text or text is said["json"]


def test_the_power_of_a_ledger_and_of_a_given_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(DIGITS), "--power"]) == 0
    assert "from the ledger's runs on digits" in capsys.readouterr().out
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    assert main(["--results", str(tmp_path), "--power"]) == 0
    assert "0.60 points of a run, 0.85 points of a paired difference (an assumption" in capsys.readouterr().out
    assert main(["--power", "--std", "0.4", "--results", "/no/such/folder"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["0.3", "points", "30", "29"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--results", "/no/such/folder"], "/no/such/folder"),
        (["--results", str(DIGITS), "--metric", "worst"], "argument --metric: invalid choice: 'worst' (choose from"),
        (["--results", str(DIGITS), "--format", "latex"], "argument --format: invalid choice: 'latex' (choose from"),
        (["--results", str(DIGITS), "--sweep", "9"], "there is no sweep 9"),
        (["--power", "--std", "0"], "--std 0 must lie between 0 and 100 points"),
        (["--std", "1"], "--std is for --power"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


@pytest.mark.medium
def test_the_chapter_of_the_report(tmp_path: Path) -> None:
    results = ledger_of(tmp_path, "table8", energy(0.5), LONG_TAIL)
    document = make_report(read_snapshot(results), printed=False)
    shown = Page(page(document))
    lines = {line[0]: line[1:] for line in shown.table("Claim", "Where", "The paper's tables", "Ledger")}
    assert len(lines) == len(CLAIMS)
    where, printed, measured = lines["On the long tail, Energy KD is above DKD and ReviewKD"]
    assert (where, printed) == ("Section 4.8", "holds: in 4 of 4 pairs (differences +0.35 to +0.50)")
    assert measured.startswith("supported: +0.")
    failing = lines["Energy DKD is above DKD, whatever the networks"]
    assert failing[1].startswith("fails: in 10 of 11 pairs; not in ResNet110/ResNet32")
    assert failing[2] == "not run"
    assert f"ekd claims --results {results}" in shown.text
    assert "The paper's claims" in article(document)
