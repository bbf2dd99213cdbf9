"""Lines above a table's rows that say how large its networks are."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.tables import main

DIGITS = str(Path(__file__).parents[3] / "docs" / "results" / "digits")


@pytest.mark.parametrize("form", ["text", "latex", "markdown", "html"])
def test_parameters_and_multiply_adds_stand_above_the_rows(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["table5", "--results", DIGITS, "--columns", "parameters", "flops", "--format", form]
    assert main(asked) == 0
    out = capsys.readouterr().out
    words = ["Student Acc.", "Teacher parameters", "Student multiply-adds", "HE-DA (20"]
    if form == "latex":
        words = ["\nTeacher &", "\nAcc. &", "\nParameters &", "\nMultiply-adds &", "\nStudent &", "HE-DA (20\\%)"]
    places = [out.index(word) for word in words]
    assert places == sorted(places)
    assert "0.272 M" in out
    assert main(asked[:3]) == 0
    assert "parameters" not in capsys.readouterr().out


def test_a_format_with_a_line_for_each_number_has_no_such_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table5", "--results", DIGITS, "--columns", "flops", "--format", "csv"]) == 2
    assert capsys.readouterr().err == "error: --columns: csv has a line for each number; use another --format\n"
