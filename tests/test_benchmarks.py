"""Every benchmark runs and measures what it says; how fast anything is, is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import Numbers, flops, in_turns, ratios

ROOT = Path(__file__).resolve().parents[1]


def measured(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_students_against_plain_runs() -> None:
    options = ("--pair", "resnet14/resnet8", "--rows", "kd", "kd_he_da_50", "--turns", "2", "--steps", "2")
    found = measured("pack", *options, "--threads", "1")
    sides = {f"{teacher} {precision}" for teacher in ("live", "bank") for precision in ("fp32", "bf16")}
    assert found["students"] == 2
    assert found["ratios"].keys() == found["teacher"].keys() == found["peak"].keys() == sides
    assert found["rates"].keys() == sides | {"plain"}
    assert all(numbers["n"] == 2 and numbers["median"] > 0 for numbers in found["ratios"].values())
    assert found["teacher"]["bank fp32"] < found["teacher"]["live fp32"]
    assert all(0 < share < 1 for share in found["peak"].values())


def test_students_together() -> None:
    found = measured("together", "--student", "resnet8", "--students", "2", "--turns", "2", "--threads", "1")
    for precision in ("fp32", "bf16"):
        assert found[precision]["ratios"].keys() == {"beside", "vmap"}
        assert all(numbers["n"] == 2 and numbers["median"] > 0 for numbers in found[precision]["rates"].values())


def test_students_together_learn_as_one_by_one() -> None:
    import torch

    from benchmarks.together import Students, beside, stacked

    weights = []
    for way in ("loop", "beside", "vmap"):
        torch.manual_seed(0)
        students = Students("resnet8", 2, "cpu", "fp32")
        if way == "vmap":
            work, found = stacked(students)
        else:
            work = students.loop if way == "loop" else beside(students)
        work()
        work()
        if way != "vmap":
            found = {
                name: torch.stack([dict(network.named_parameters())[name].detach() for network in students.networks])
                for name, _ in students.networks[0].named_parameters()
            }
        weights.append(found)
    for other in weights[1:]:
        for name, expected in weights[0].items():
            torch.testing.assert_close(other[name], expected, rtol=1e-3, atol=1e-4)


def test_the_sweep_layer() -> None:
    found = measured("sweep_overhead", "--runs", "4", "--seconds", "0.2", "--at-once", "2")
    assert found["wall"] > found["ideal"] == 0.4


def test_a_large_ledger() -> None:
    found = measured("ledger", "--runs", "300", "--turns", "1")
    assert found["table5"]["median"] > 0
    assert found["bytes"] > 300 * 5000


@pytest.mark.parametrize(
    ("script", "options"), [("pack", ("--rows", "nonsense")), ("pack", ("--steps", "1")), ("ledger", ("--runs", "0"))]
)
def test_impossible_options(script: str, options: tuple[str, ...]) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_sides_take_turns_and_ratios_are_within_a_turn() -> None:
    order: list[str] = []

    def side(name: str, amount: int) -> int:
        order.append(name)
        return amount

    rates = in_turns({"a": lambda: side("a", 1), "b": lambda: side("b", 10**6)}, 3)
    assert order == ["a", "b"] * 3
    assert ratios(rates, "a")["b"].values == tuple(
        two / one for one, two in zip(rates["a"].values, rates["b"].values, strict=True)
    )
    assert f"{Numbers((1.0, 2.0, 4.0)):.1f}" == "2.0 (1.0 to 4.0, std 1.5, n = 3)"


def test_operations_are_counted() -> None:
    import torch

    matrix = torch.ones(8, 4, requires_grad=True)
    assert flops(lambda: (matrix @ torch.ones(4, 5)).sum().backward()) == 2 * 2 * 8 * 4 * 5
