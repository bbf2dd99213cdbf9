"""What the adapter relies on in Tune is still there. That it works is proved by test_engine.py, on a real Ray."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
import ray.tune
from ray import tune
from ray.exceptions import ActorDiedError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.util.placement_group import placement_group

from sweeps.running import tune_adapter
from sweeps.running.sweep import ProcessBusyError
from sweeps.running.tune_adapter import _CarriedError, _ExhaustedError, _Jobs, _NewestFirst, _read_error, _Reports
from trainables.ray_trial import JobFailedError


@pytest.mark.parametrize("name", [*tune_adapter.SETTINGS, *tune_adapter.QUIET])
def test_tune_reads_these_variables(name: str) -> None:
    folder = Path(ray.__path__[0])
    sources = [path for part in ("tune", "train", "air") for path in (folder / part).rglob("*.py")]
    assert any(name in path.read_text() for path in sources)


def test_names_of_trials_and_the_methods_that_tune_calls() -> None:
    assert isinstance(inspect.getattr_static(Trial, "pickled_error_file"), property)
    assert isinstance(inspect.getattr_static(Trial, "error_file"), property)
    assert {"trial_id", "config"} <= set(inspect.signature(Trial).parameters)
    for mine, theirs in ((_Jobs, Searcher), (_Reports, tune.Callback)):
        for name in [name for name in vars(mine) if not name.startswith("_")]:
            assert hasattr(theirs, name)
    assert "bundle_label_selector" in inspect.signature(placement_group).parameters
    assert "label_selector" in inspect.signature(ray.train.ScalingConfig).parameters


def test_an_error_is_read_from_where_tune_keeps_it(tmp_path: Path) -> None:
    trial: Any = SimpleNamespace(pickled_error_file=str(tmp_path / "error.pkl"))
    raised = RayTaskError("train", "its traceback", JobFailedError("why", "a node"), pid=1, ip="127.0.0.1")
    Path(trial.pickled_error_file).write_bytes(pickle.dumps(raised))
    found = _read_error(trial)
    assert isinstance(found, JobFailedError)
    assert (found.reason, found.node) == ("why", "a node")
    Path(trial.pickled_error_file).write_bytes(pickle.dumps(ActorDiedError()))
    died = _read_error(trial)
    assert isinstance(died, ActorDiedError)


def test_a_trial_that_tune_gives_up_without_a_word_ends_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process could not be used again. A job that is never heard of would be waited for without end."""
    ended: list[tuple[str, Exception]] = []
    sweep: Any = SimpleNamespace(check=lambda: None, end=lambda key, error=None: ended.append((key, error)))
    monkeypatch.setattr(tune_adapter, "_read_error", lambda trial: ValueError("told"))
    told, lost, running = (
        SimpleNamespace(trial_id=name, config={"key": name}, status=status)
        for name, status in (("told", Trial.ERROR), ("lost", Trial.ERROR), ("running", Trial.RUNNING))
    )
    reports = _Reports(sweep)
    reports.on_trial_error(1, [], told)
    for _ in range(2):
        reports.on_step_begin(1, [told, lost, running])
    assert [(key, type(error)) for key, error in ended] == [("told", ValueError), ("lost", ProcessBusyError)]


def test_an_error_of_ours_is_none_that_tune_catches() -> None:
    class Broken:
        def check(self) -> None:
            raise ValueError("ours")

    jobs: Any = _Jobs(Broken())  # type: ignore[arg-type]
    with pytest.raises(_CarriedError) as caught:
        jobs.suggest("trial")
    assert str(caught.value.error) == "ours"
    assert not isinstance(caught.value, Exception)


def test_tune_ends_at_once_when_all_is_done() -> None:
    sweep: Any = SimpleNamespace(check=lambda: None, next_job=lambda: None, exhausted=False)
    jobs = _Jobs(sweep)
    assert jobs.suggest("trial") is None
    sweep.exhausted = True
    with pytest.raises(_ExhaustedError) as caught:
        jobs.suggest("trial")
    assert not isinstance(caught.value, Exception)


def test_trials_that_have_ended_are_not_looked_at_again() -> None:
    """Or a sweep of many jobs spends its time on them. Each trial starts as soon as it is added, and ends."""

    class Counted:
        looks, trial_id, config = 0, "", {"key": ""}

        def __init__(self) -> None:
            self.now = Trial.PENDING

        @property
        def status(self) -> str:
            Counted.looks += 1
            return self.now

    scheduler, trials = _NewestFirst(), list[Any]()
    reports = _Reports(SimpleNamespace(check=lambda: None))  # type: ignore[arg-type]
    for step in range(300):
        trials.append(Counted())
        scheduler.on_trial_add(None, trials[-1])
        reports.on_step_begin(step, trials)
        assert scheduler.choose_trial_to_run(None) is trials[-1]
        trials[-1].now = Trial.RUNNING
        assert scheduler.choose_trial_to_run(None) is None
        trials[-1].now = Trial.TERMINATED
    assert Counted.looks < 10 * len(trials)
