"""The engine on a real local Ray, with jobs that train nothing: order, failures, deaths, silence, curves."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_job
import pytest
from curves import scalars
from fake_job import log_lines, result, spec, top1
from ray.cluster_utils import Cluster
from test_faults import below

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import Outcome
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import ALL_GPUS, Resources
from sweeps.running import cluster
from sweeps.running.cluster import TOKEN
from sweeps.running.engine import execute
from sweeps.running.events import EpochDone, Event, JobFailed, JobStarted, RunEnded
from trainables.cores import cores_here
from trainables.run_names import name_of
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution
from trainables.storage.runs import read_result, run_dir, write_result

pytestmark = pytest.mark.slow
CPU = Resources(gpus=0)


def job(*specs: RunSpec, needs: tuple[RunSpec, ...] = ()) -> PlannedJob:
    needed = frozenset(one.run_id for one in needs)
    return PlannedJob("+".join(one.name for one in specs), JobKind.VANILLA, specs, needed)


def plan(*jobs: PlannedJob) -> Plan:
    runs = {one.run_id: one for each in jobs for one in each.specs}
    return Plan({JobKind.VANILLA: runs}, jobs)


@contextlib.contextmanager
def everything_printed() -> Iterator[list[str]]:
    """What this process and its children write to both streams, by Python or past it."""
    said: list[str] = []
    kept = [os.dup(1), os.dup(2)]
    text = io.StringIO()
    with tempfile.TemporaryFile() as file, contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            for number, old in enumerate(kept, 1):
                os.dup2(old, number)
                os.close(old)
            file.seek(0)
            said.append(file.read().decode() + text.getvalue())


@contextlib.contextmanager
def workers_find(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


@dataclass
class Seen:
    """A finished sweep: its outcome, its events, what it printed."""

    results: Path
    outcome: Outcome
    events: list[Event] = field(default_factory=list)
    printed: str = ""
    addresses: set[str] = field(default_factory=set)

    def of(self, kind: type, key: str | None = None) -> list[int]:
        """Where in the sweep events of a kind came (of one job)."""
        return [
            index
            for index, event in enumerate(self.events)
            if isinstance(event, kind) and (key is None or getattr(event, "job", None) is not None)
            if key is None or event.job.key == key  # type: ignore[union-attr]
        ]

    @property
    def most_at_once(self) -> int:
        """The most jobs of one run that were under way together."""
        under_way = most = 0
        for event in self.events:
            under_way += isinstance(event, JobStarted) - isinstance(event, RunEnded)
            most = max(most, under_way)
        return most


def sweep(
    results: Path, whole: Plan, resources: Resources = CPU, tell: Callable[[Event], None] = lambda event: None
) -> Seen:
    events: list[Event] = []
    addresses: set[str] = set()

    def on_event(event: Event) -> None:
        events.append(event)
        tell(event)
        addresses.update(listening([os.getpid(), *(process.pid for process in below(os.getpid()))]))

    with (
        workers_find(Path(__file__).parents[1]),
        Ledger.open(results / "ledger.sqlite") as ledger,
        everything_printed() as said,
    ):
        outcome = execute(whole, ledger, Execution(results), resources, on_event, train=fake_job.train)
    return Seen(results, outcome, events, said[0], addresses)


def listening(pids: list[int]) -> set[str]:
    """The addresses at which processes take TCP connections."""
    own = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                own.add(os.readlink(link))
    found = set()
    for line in [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]:
        local, state, inode = (line.split()[index] for index in (1, 3, 9))
        if state == "0A" and f"socket:[{inode}]" in own:
            words = bytes.fromhex(local.partition(":")[0])
            number = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
            address = ipaddress.ip_address(number)
            found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


TEACHER, LOST_TEACHER = spec("big"), spec("raises")
STUDENT, LOST_STUDENT = spec("small", teacher=TEACHER), spec("small", teacher=LOST_TEACHER)
PACK = (spec("alpha", 2), spec("diverges", 2), spec("dies", 2), spec("omega", 2, epochs=4))
FAILED_BEFORE, GARBLED, STARVED = spec("again", 3), spec("garbles"), spec("starves", epochs=1)
JOBS = {
    "student": job(STUDENT, needs=(TEACHER,)),
    "lost student": job(LOST_STUDENT, needs=(LOST_TEACHER,)),
    "teacher": job(TEACHER),
    "lost teacher": job(LOST_TEACHER),
    "pack": job(*PACK),
    "again": job(FAILED_BEFORE),
    "garbled": job(GARBLED),
    "starved": job(STARVED),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    results = tmp_path_factory.mktemp("results")
    run_dir(results, FAILED_BEFORE.run_id).mkdir(parents=True)
    write_result(results, result(FAILED_BEFORE, "diverged earlier"))
    return sweep(results, plan(*JOBS.values()))


def test_jobs_that_fail_do_not_stop_the_others(seen: Seen) -> None:
    well = (TEACHER, STUDENT, PACK[0], PACK[2], PACK[3], FAILED_BEFORE, STARVED)
    assert seen.outcome.done == {one.run_id for one in well}
    assert seen.outcome.failed.keys() == {LOST_TEACHER.run_id, PACK[1].run_id, GARBLED.run_id}
    assert seen.outcome.not_run.keys() == {LOST_STUDENT.run_id}
    assert seen.outcome.stopped is None
    assert not seen.outcome.complete


def test_every_reason_is_one_line_that_says_what_happened(seen: Seen) -> None:
    reasons = seen.outcome.failed | seen.outcome.not_run
    assert "no space left on device" in reasons[LOST_TEACHER.run_id]
    assert reasons[PACK[1].run_id] == "diverged: nan"
    folder = run_dir(seen.results, GARBLED.run_id)
    assert reasons[GARBLED.run_id].startswith(f"cannot use {folder}/result.json (it is damaged): delete {folder}")
    assert reasons[LOST_STUDENT.run_id].startswith("its teacher raises is missing: cannot use ")
    assert all("\n" not in reason and reason for reason in reasons.values())


def test_an_error_of_the_job_is_not_retried_but_a_dead_process_or_full_memory_is(seen: Seen) -> None:
    starts = {name: len(seen.of(JobStarted, one.key)) for name, one in JOBS.items()}
    once = dict.fromkeys(JOBS, 1)
    assert starts == once | {"pack": 2, "starved": 2, "lost student": 0}
    assert len(seen.of(JobFailed)) == 1


def test_a_student_starts_after_its_teacher_is_in_the_ledger(seen: Seen) -> None:
    ended = next(
        index
        for index in seen.of(RunEnded)
        if seen.events[index].entry.run_id == TEACHER.run_id  # type: ignore[union-attr]
    )
    assert seen.of(JobStarted, JOBS["student"].key)[0] > ended


def test_runs_whose_process_was_killed_go_on_and_are_trained_once(seen: Seen) -> None:
    epochs = log_lines(seen.results, "epoch")
    last = {PACK[1].run_id: 2} | {one.run_id: one.epochs for one in (PACK[0], PACK[2], PACK[3])}
    for run_id, epoch in last.items():
        assert [line for line in epochs if line.startswith(run_id)] == [f"{run_id} {n}" for n in range(1, epoch + 1)]
    ended = log_lines(seen.results, "result")
    assert sorted(ended) == sorted(set(ended))


def test_a_run_that_failed_earlier_and_is_planned_is_trained(seen: Seen) -> None:
    assert FAILED_BEFORE.run_id in seen.outcome.done
    assert log_lines(seen.results, "result").count(FAILED_BEFORE.run_id) == 1


def test_the_ledger_has_what_ended_and_each_once(seen: Seen) -> None:
    with Ledger.open(seen.results / "ledger.sqlite", readonly=True) as ledger:
        rows = {entry.run_id: entry.status for entry in ledger.all()}
    done = dict.fromkeys(seen.outcome.done, "done")
    assert rows == done | {PACK[1].run_id: "failed"}
    announced = [event.entry.run_id for event in seen.events if isinstance(event, RunEnded)]
    assert sorted(announced) == sorted(rows)


def test_every_epoch_is_told(seen: Seen) -> None:
    pack = [event.report for event in seen.events if isinstance(event, EpochDone) and event.job == JOBS["pack"]]
    assert [report.epoch for report in pack] == [1, 0, 2, 3, 4]  # 0: what the second process finds
    assert pack[0].epochs == 4
    assert pack[0].metrics[PACK[0].run_id] == {"top1": top1(1), "train_loss": 1.0}


def test_ray_prints_nothing(seen: Seen) -> None:
    assert seen.printed == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_ray_of_our_own_listens_on_loopback_alone(seen: Seen) -> None:
    assert "127.0.0.1" in seen.addresses
    assert seen.addresses <= {"127.0.0.1", "::1"}


def test_jobs_find_the_working_directory_that_the_user_has(seen: Seen) -> None:
    stored = read_result(seen.results, TEACHER.run_id)
    assert stored
    assert stored["provenance"]["command"] == f'"{os.getcwd()}"'
    assert stored["provenance"]["threads"] == 1
    assert stored["provenance"]["beside"] == cores_here()


def test_tensorboard_finds_every_run_under_its_name(seen: Seen) -> None:
    curves = {path.parent.name: path for path in seen.results.glob("tune/**/events.out.tfevents.*")}
    expected = {name_of(one) for one in (TEACHER, STUDENT, *PACK, FAILED_BEFORE, LOST_TEACHER, GARBLED, STARVED)}
    assert curves.keys() == expected
    assert scalars(curves[name_of(TEACHER)], "ray/tune/top1") == [
        (epoch, pytest.approx(top1(epoch))) for epoch in (1, 2, 3)
    ]
    assert scalars(curves[name_of(PACK[3])], "ray/tune/top1")[-1] == (4, pytest.approx(top1(4)))


def test_nothing_of_ray_is_left_running(children_before: set[str], seen: Seen) -> None:
    deadline = time.monotonic() + 10
    while _children(os.getpid()) - children_before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _children(os.getpid()) <= children_before


@pytest.fixture(scope="module", autouse=True)
def children_before() -> set[str]:
    """What earlier tests of this process have left running."""
    return _children(os.getpid())


def _children(parent: int) -> set[str]:
    """By id and name."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == parent and rest.split()[0] != "Z":
                found.add(f"{path.parent.name} {name}")
    return found


def test_the_environment_is_as_before(seen: Seen) -> None:
    assert not [name for name in os.environ if name.startswith(("TUNE_", "RAY_CHDIR", "RAY_AUTH_TOKEN", "MALLOC_"))]


def test_a_job_whose_process_always_dies_fails_in_the_end(tmp_path: Path) -> None:
    mortal, hungry, other = spec("mortal"), spec("hungry"), spec("net", 2)
    dead = sweep(tmp_path, plan(job(mortal), job(hungry), job(other)))
    assert dead.outcome.done == {other.run_id}
    assert "process died 3 times" in dead.outcome.failed[mortal.run_id]
    assert dead.outcome.failed[hungry.run_id] == (
        "the GPU's memory was full 3 times, with no epoch between: OutOfMemoryError: CUDA out of memory. Tried to "
        "allocate 2.00 GiB."
    )
    assert [len(dead.of(JobStarted, job(one).key)) for one in (mortal, hungry)] == [3, 3]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert [entry.run_id for entry in ledger.all()] == [other.run_id]


def test_deaths_with_an_epoch_between_are_not_counted_together(tmp_path: Path) -> None:
    weary = spec("weary", epochs=5)
    seen = sweep(tmp_path, plan(job(weary)))
    assert seen.outcome.done == {weary.run_id}
    assert len(seen.of(JobStarted)) == 6
    assert log_lines(tmp_path, "epoch") == [f"{weary.run_id} {epoch}" for epoch in range(1, 6)]


def test_a_job_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_engine.workers_find", lambda folder: contextlib.nullcontext())
    monkeypatch.delenv("PYTHONPATH", raising=False)
    outcome = sweep(tmp_path, plan(job(spec()))).outcome
    assert "could not work: ModuleNotFoundError: No module named 'fake_job'" in outcome.failed[spec().run_id]


def test_a_fraction_of_a_gpu_lets_that_many_jobs_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts GPUs, so it can be told of some that are not there."""
    monkeypatch.setattr("sweeps.planning.resources.gpus_here", lambda: ["not there"] * 2)
    monkeypatch.setenv("FAKE_TOGETHER", "4")
    seeds = [spec("net", seed) for seed in range(1, 7)]
    shared = sweep(tmp_path, plan(*map(job, seeds)), Resources(gpus=2, gpus_per_job=0.5))
    assert shared.outcome.complete
    results = [read_result(tmp_path, one.run_id) for one in seeds]
    assert {stored["provenance"]["device"] for stored in results if stored} == {"0", "1"}
    assert shared.most_at_once == 4


def test_jobs_that_are_shorter_than_the_start_of_a_process_do_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.resources.cores_here", lambda: 2)
    monkeypatch.setattr("sweeps.running.cluster.cores_here", lambda: 2)
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.2")
    short = sweep(tmp_path, plan(*(job(spec("net", seed, epochs=1)) for seed in range(1, 81))))
    assert short.outcome.complete
    assert short.most_at_once == 2


def test_gpus_of_a_cluster_that_join_are_used_and_those_that_left_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five jobs, the first of which needs a second one beside it; then that one's machine leaves."""
    monkeypatch.setenv("FAKE_TOGETHER", "2")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)  # Ray keeps the first one of a process.
    jobs = [job(spec("net", seed)) for seed in range(1, 6)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(workers_find(Path(__file__).parents[1]))
        machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
        stack.callback(machines.shutdown)
        joined: list[Any] = []

        def change(event: Event) -> None:
            if isinstance(event, JobStarted) and not joined:
                joined.append(machines.add_node(num_cpus=2, num_gpus=1))
            elif isinstance(event, RunEnded) and len(joined) == 1:
                machines.remove_node(joined[0])
                joined.append(None)

        seen = sweep(tmp_path, plan(*jobs), Resources(ALL_GPUS, address=machines.address), change)
    assert seen.outcome.complete
    assert len(joined) == 2
    assert len(seen.of(JobStarted)) >= 5


def test_a_job_that_is_slow_to_leave_its_process_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune waits no moment for it here, gives up the trial that was to follow in that process, and tells nobody."""
    monkeypatch.setitem(cluster.LOCAL, "TUNE_FUNCTION_THREAD_TIMEOUT_S", "0")
    seeds = [spec("net", seed) for seed in range(1, 5)]
    seen = sweep(tmp_path, plan(*map(job, seeds)))
    assert seen.outcome.complete
    assert sorted(log_lines(tmp_path, "result")) == sorted(one.run_id for one in seeds)


def test_ray_costs_little(tmp_path: Path) -> None:
    """20 jobs that do nothing: less than a second each on one processor, in reused processes."""
    seeds = [spec("net", seed) for seed in range(1, 21)]
    times: list[float] = []
    with workers_find(Path(__file__).parents[1]), Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        execute(
            plan(*map(job, seeds)),
            ledger,
            Execution(tmp_path),
            Resources(0, cpus_per_job=cores_here()),
            lambda event: times.append(time.monotonic()),
            train=fake_job.train,
        )
    assert (times[-1] - times[0]) / len(seeds) < 1.0
