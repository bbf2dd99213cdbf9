"""Trackers: each epoch once, whoever was killed in between; one that fails or is slow costs the sweep one line."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_job import result, spec

from analysis.record.entry import entry_of
from analysis.record.ledger import Ledger
from analysis.record.trackers import Tracker, check_tracker, tags_of
from sweeps.request.arguments import parse
from sweeps.running import trackers
from sweeps.running.trackers import Trackers
from trainables import time_limits
from trainables.errors import UserError
from trainables.job import EpochReport
from trainables.spec import RunSpec

ONE = spec("one")


class Remembering(Tracker):
    """What a server would have; it outlives those who write to it."""

    server: dict[str, dict[int, Mapping[str, float]]]
    ends: list[tuple[str, str]]

    def unfinished(self) -> list[str]:
        return [run_id for run_id in self.server if run_id not in dict(self.ends)]

    def _open(self, spec: RunSpec) -> set[int]:
        return {*self.server.setdefault(spec.run_id, {})}

    def _write(self, spec: RunSpec, epochs: Mapping[int, Mapping[str, float]]) -> None:
        assert not self.server[spec.run_id].keys() & epochs.keys()
        self.server[spec.run_id] |= epochs

    def _finish(self, spec: RunSpec, status: str, numbers: Mapping[str, float]) -> None:
        self.ends.append((spec.run_id, status))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Remembering]:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    monkeypatch.setattr(Remembering, "server", {}, raising=False)
    monkeypatch.setattr(Remembering, "ends", [], raising=False)
    monkeypatch.setitem(trackers.MADE, "mlflow", lambda results, tags: Remembering(tags))
    return Remembering


def report(epoch: int, *, stopped: bool = False) -> EpochReport:
    numbers = {"top1": 10.0 * epoch, "test_loss": math.nan}
    return EpochReport(epoch, 3, {ONE.run_id: numbers}, stopped=(ONE.run_id,) if stopped else ())


def test_a_later_sweep_goes_on_in_the_same_run_and_each_epoch_is_told_once(
    server: type[Remembering], tmp_path: Path
) -> None:
    first = Trackers(("mlflow",), tmp_path)
    first.add([ONE], report(1))
    assert not list(first.close())
    second = Trackers(("mlflow",), tmp_path)
    for epoch in (1, 3):
        second.add([ONE], report(epoch))
    second.end(entry_of(result(ONE)))
    assert not list(second.close())
    (epochs,) = server.server.values()
    assert sorted(epochs) == [1, 2, 3]
    assert epochs[1] == {"epoch": 1, "top1": 10}
    assert server.ends == [(ONE.run_id, "FINISHED")]


def test_the_end_that_a_killed_sweep_did_not_tell_is_told_by_the_next(
    server: type[Remembering], tmp_path: Path
) -> None:
    server.server[ONE.run_id] = {1: {}}
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(result(ONE))
    assert not list(Trackers(("mlflow",), tmp_path).close())
    assert sorted(server.server[ONE.run_id]) == [1, 2, 3]
    assert server.ends == [(ONE.run_id, "FINISHED")]


def test_a_run_that_is_given_up_has_ended(server: type[Remembering], tmp_path: Path) -> None:
    one = Trackers(("mlflow",), tmp_path)
    one.add([ONE], report(2, stopped=True))
    assert not list(one.close())
    assert server.ends == [(ONE.run_id, "KILLED")]


@pytest.mark.parametrize("fault", ["is not there", "hangs", "is behind"])
def test_a_tracker_that_does_not_answer_costs_one_line_and_no_time(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = threading.Event()

    def make(*_: object) -> Tracker:
        if fault == "is not there":
            raise ConnectionError("connection refused\nby the server")
        leave.wait(20)
        raise ConnectionError("too late")

    monkeypatch.setitem(trackers.MADE, "mlflow", make)
    monkeypatch.setattr(trackers, "MOST_WAITING", 50 if fault == "is behind" else 10_000)
    monkeypatch.setattr(time_limits, "TRACKER", 0.2)
    began = time.monotonic()
    one = Trackers(("tensorboard", "mlflow"), tmp_path)
    for epoch in range(1, 100):
        one.add([ONE], report(epoch))
    ((name, reason),) = [*one.lost(), *one.close()]
    words = {"is not there": "refused by the server", "hangs": "did not take all in 0.2 s", "is behind": "50 epochs"}
    assert words[fault] in reason
    assert name == "mlflow"
    assert not list(one.lost())
    assert time.monotonic() - began < 10
    assert list(tmp_path.glob("tune/curves/*/events*"))
    leave.set()


def test_what_is_asked_for_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match="--log none mlflow: none goes alone"):
        parse(["table5", "--log", "none", "mlflow"])
    with pytest.raises(UserError, match="--log x: the package nothing_such is missing: pip install nothing_such"):
        check_tracker("nothing_such", "--log x")
    assert parse(["table5"]).where.log == ("tensorboard",)


def test_a_run_names_its_pair_its_seed_and_where_it_stands() -> None:
    student = spec("two", 3, teacher=ONE)
    assert tags_of(student, lambda one: {"table": "table5"}) == {
        "run_id": student.run_id,
        "pair": "one/two",
        "seed": "3",
        "table": "table5",
    }
