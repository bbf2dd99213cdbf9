"""Ray Tune runs the jobs of a sweep, one trial each: jobs go to Tune here, and what it hears of them comes back.

Tune is used as a pool of processes that stay between jobs; scheduling, retries and resuming are the sweep's own. Beside
Tune's documented interface this relies on the following, which tests/sweeps/running/test_tune_adapter.py holds fast:

- the environment variables of SETTINGS and QUIET: what they turn off has no argument;
- `Searcher.suggest` is asked in every step of Tune's loop, and again after it gave None;
- `trial.pickled_error_file` is the error that ended a trial, written before `on_trial_error`;
- a result with "done" ends a trial without another look at its process;
- of a trial whose process could not be used again nothing is told: it is in `trials` with the status ERROR;
- an exception that is no `Exception` leaves the loop as it is;
- `PlacementGroupFactory` hands further arguments to `ray.util.placement_group`.
"""

from __future__ import annotations

import functools
import pickle
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from sweeps.running.cluster import environment
from sweeps.running.sweep import ProcessBusyError, RunningSweep
from trainables.ray_trial import EXPERIMENT

P = ParamSpec("P")
T = TypeVar("T")

NEVER = str(10**9)
SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": NEVER,
    "TUNE_MAX_PENDING_TRIALS_PG": NEVER,
}
"""The folder of jobs stays the user's; curves and Ctrl-C are the sweep's own; nobody restores an experiment, so its
state is not saved; jobs are handed out only where there is room for them."""
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}


def run_jobs(sweep: RunningSweep, function: Callable[[dict[str, Any]], None], *, debug: bool) -> None:
    """Train the jobs that the sweep hands out, until it is exhausted or raises. function: made by `make_trial`."""
    folder = sweep.execution.results / "tune"
    forget_experiments(folder)
    tuner = tune.Tuner(
        tune.with_resources(function, lambda config: config["resources"]),
        tune_config=tune.TuneConfig(
            search_alg=_Jobs(sweep),
            scheduler=_NewestFirst(),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_name_trial,
            trial_dirname_creator=_name_trial,
        ),
        run_config=tune.RunConfig(
            name=f"{EXPERIMENT}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}",
            storage_path=str(folder),
            callbacks=[_Reports(sweep)],
            verbose=1 if debug else 0,
        ),
    )
    with environment(SETTINGS if debug else SETTINGS | QUIET):
        try:
            tuner.fit()
        except _ExhaustedError:
            pass
        except _CarriedError as carried:
            raise carried.error from None


def forget_experiments(folder: Path) -> None:
    """Remove what Tune kept of earlier sweeps, which nobody restores; the curves stay."""
    for experiment in folder.glob(f"{EXPERIMENT}*"):
        shutil.rmtree(experiment, ignore_errors=True)


class _ExhaustedError(BaseException):
    """Ends Tune's loop when all is done: at its own end Tune writes a file of all trials, which nobody reads."""


class _CarriedError(BaseException):
    """Carries an error of ours out of Tune's loop, which would take an `Exception` for one of a trial."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _carry_errors(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def carry(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise _CarriedError(error) from error

    return carry


class _Jobs(Searcher):
    """Hands the sweep's jobs to Tune."""

    def __init__(self, sweep: RunningSweep) -> None:
        super().__init__()
        self._sweep = sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @_carry_errors
    def suggest(self, trial_id: str) -> Any:
        sweep = self._sweep
        sweep.check()
        job = sweep.next_job()
        if job is None:
            if sweep.exhausted:
                raise _ExhaustedError
            return None
        devices = sweep.resources.devices(job.specs)
        selector = {"ray.io/node-id": f"!in({','.join(sorted(sweep.left_out))})"} if sweep.left_out else None
        needs = {name: amount for name, amount in sweep.resources.per_job(devices).items() if amount}
        return {
            "key": job.key,
            "runs": job.specs,
            "devices": devices,
            "selector": selector,
            "resources": tune.PlacementGroupFactory([needs], bundle_label_selector=selector and [selector]),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The sweep learns it from the callback."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the runs' own checkpoints and the ledger are the state of a sweep."""

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a sweep is not restored from Tune's files: run the same command again")


class _NewestFirst(FIFOScheduler):
    """A process that has become free gets the newest job. An older one that waits has a process that is starting, which
    Tune would stop; where jobs are shorter than that start, no further process would ever be ready.

    Tune's own scheduler also looks at all trials that there have been, in every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Trial] = []

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        while self._waiting and self._waiting[-1].status != Trial.PENDING:
            self._waiting.pop()
        return self._waiting[-1] if self._waiting else None


class _Reports(tune.Callback):
    """Passes on to the sweep what Tune hears of its trials."""

    def __init__(self, sweep: RunningSweep) -> None:
        self._sweep = sweep
        self._failed: set[str] = set()
        self._open: list[Trial] = []
        self._seen = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @_carry_errors
    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._sweep.check()
        self._open, self._seen = [*self._open, *trials[self._seen :]], len(trials)
        for trial in self._open:
            if trial.status == Trial.ERROR and trial.trial_id not in self._failed:
                self._end(trial, ProcessBusyError())
        self._open = [trial for trial in self._open if trial.status not in (Trial.ERROR, Trial.TERMINATED)]

    @_carry_errors
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._sweep.start(trial.config["key"])

    @_carry_errors
    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if "report" in result:
            self._sweep.report(trial.config["key"], result["report"])

    @_carry_errors
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._sweep.end(trial.config["key"])

    @_carry_errors
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, _read_error(trial))

    def _end(self, trial: Any, error: Exception) -> None:
        self._failed.add(trial.trial_id)
        self._sweep.end(trial.config["key"], error)


def _read_error(trial: Any) -> Exception:
    """What a trial's function raised, or the error of Ray's that tells how its process ended."""
    if trial.pickled_error_file is None:
        return RuntimeError(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
    error: Exception = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    return error.cause if isinstance(error, RayTaskError) else error


def _name_trial(trial: Any) -> str:
    return f"{trial.config['key']}-{trial.trial_id}"
