"""The progress display: what is said of each event, and what a terminal of any size shows."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from fake_job import result
from plans import plan_of
from rich.console import Console

from analysis import paper
from analysis.record.entry import Entry, entry_of
from analysis.record.settings import Settings
from analysis.table.grid import Grid
from analysis.table.resolved import ResolvedTable, resolve
from sweeps.display import progress
from sweeps.display.progress import QUIET_SECONDS, REDRAWS_A_SECOND, Lines, Screen, follow
from sweeps.planning.durations import START_SECONDS, simulate
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.running.events import EpochDone, JobFailed, JobStarted, RunEnded
from sweeps.running.pace import SHARE
from sweeps.running.progress import State
from sweeps.running.time_left import Expected, TimeLeft
from trainables.commands import duration, run_command
from trainables.console import keep_log
from trainables.job import EpochReport
from trainables.spec import RunSpec

TABLE = paper.find("table5")
SETTINGS = Settings(dataset="cifar100", seeds=2)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def job_of(plan: Plan, kind: str, number: int = 0) -> PlannedJob:
    return [job for job in plan.jobs if job.kind == kind][number]


def epoch_done(job: PlannedJob, epoch: int, seconds: float = 1.0) -> EpochDone:
    epochs = max(spec.epochs for spec in job.specs)
    metrics = {spec.run_id: {"top1": 50.0, "seconds": seconds} for spec in job.specs}
    return EpochDone(job, EpochReport(epoch, epochs, metrics))


def done(spec: RunSpec, top1: float = 71.25) -> Entry:
    return entry_of(result(spec) | {"best_top1": top1, "last_top1": top1, "curve": []})


def failed(spec: RunSpec) -> Entry:
    return entry_of(result(spec, "diverged:\nthe loss is nan"))


@pytest.fixture
def plan() -> Plan:
    return plan_of([TABLE], SETTINGS, {}, pack=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(plan: Plan, clock: Clock) -> State:
    return State(plan, clock)


def test_lines_say_each_event_once(plan: Plan, state: State, clock: Clock) -> None:
    out = io.StringIO()
    say = Lines(state, out)
    teacher, other = job_of(plan, "teacher"), job_of(plan, "teacher", 1)
    say(JobStarted(teacher))
    clock.now = 10
    say(RunEnded(done(teacher.specs[0])))
    say(JobStarted(other))
    say(JobFailed(other, "its process died"))
    student = job_of(plan, "distilled").specs[0]
    say(RunEnded(failed(student)))
    total = len(plan.all_runs)
    assert out.getvalue().splitlines() == [
        f"started  {teacher.key}  (1 student)",
        "the time left is told after the first epoch",
        f"done     {teacher.specs[0].name}  top-1 71.25  (1 of {total} runs done)",
        f"started  {other.key}  (1 student)",
        f"failed   {other.key} (1 run): its process died",
        f"failed   {student.name}: diverged: the loss is nan",
    ]


def test_a_job_speaks_at_most_every_thirty_seconds(plan: Plan, state: State, clock: Clock) -> None:
    out = io.StringIO()
    say = Lines(state, out)
    job = job_of(plan, "distilled")
    say(JobStarted(job))
    spoke = []
    for epoch in range(1, 101):
        clock.now = 4.0 * epoch
        before = out.tell()
        say(epoch_done(job, epoch))
        if out.tell() > before:
            spoke.append(clock.now)
    assert spoke[0] >= QUIET_SECONDS
    assert all(later - sooner >= QUIET_SECONDS for sooner, later in pairwise(spoke))
    assert len(spoke) == 400 // 32
    assert f"epoch    {job.key}  8/240  15:28 min left" in out.getvalue()


def test_the_time_left_of_a_resumed_job_counts_from_where_it_went_on(plan: Plan, state: State, clock: Clock) -> None:
    job = job_of(plan, "distilled")
    state.take(JobStarted(job))
    assert state.jobs[job.key].left(0) is None
    clock.now = 30
    state.take(epoch_done(job, 201))
    assert state.jobs[job.key].left(30) == pytest.approx(39 * 30)
    clock.now = 50
    state.take(epoch_done(job, 202))
    assert state.jobs[job.key].left(50) == pytest.approx(38 * 25)
    assert state.jobs[job.key].left(60) == pytest.approx(38 * 25 - 10)


def test_the_time_left_of_the_sweep_is_work_over_jobs(plan: Plan, state: State, clock: Clock) -> None:
    assert state.left is None
    one, two = job_of(plan, "distilled"), job_of(plan, "distilled", 1)
    state.take(JobStarted(one))
    state.take(JobStarted(two))
    clock.now = 9
    state.take(epoch_done(one, 1, seconds=1.0))
    state.take(epoch_done(two, 1, seconds=1.0))
    epochs = sum(spec.epochs for job in plan.jobs for spec in job.specs)
    finished = len(one.specs) + len(two.specs)
    assert state.left == pytest.approx(max((epochs - finished) / 2, 239 * 9))


def test_a_run_that_was_already_done_is_counted_once(plan: Plan) -> None:
    """Also when it is trained again because its weights are gone."""
    teacher = job_of(plan, "teacher").specs[0]
    entries = {teacher.run_id: done(teacher)}
    again = plan_of([TABLE], SETTINGS, entries, pack=None, has_weights=lambda run_id: False)
    state = State(again)
    assert teacher.run_id in again.done
    assert state.counts == f"0 of {len(plan.all_runs)} runs done"
    for job in again.jobs:
        for spec in job.specs:
            state.take(RunEnded(done(spec)))
    assert state.counts == f"{len(plan.all_runs)} of {len(plan.all_runs)} runs done"


def test_a_failed_job_takes_only_its_unfinished_runs_with_it(plan: Plan, state: State) -> None:
    job = job_of(plan, "distilled")
    state.take(JobStarted(job))
    state.take(RunEnded(done(job.specs[0])))
    state.take(JobFailed(job, "out of memory"))
    assert set(state.failed) == {spec.run_id for spec in job.specs[1:]}
    assert state.troubles == [f"failed   {job.key} (8 runs): out of memory"]
    assert not state.running


def test_a_finished_run_names_its_folder_and_a_resumed_one_its_epoch(plan: Plan, state: State) -> None:
    out, job = io.StringIO(), job_of(plan, "distilled")
    say = Lines(state, out, Path("some/results"))
    say(JobStarted(job))
    one, two, *_ = job.specs
    say(EpochDone(job, EpochReport(0, 240, resumed={one.run_id: 12, two.run_id: 11})))
    assert state.jobs[job.key].resumed == 12
    say(RunEnded(done(one)))
    *_, resumed, ended = out.getvalue().splitlines()
    assert resumed == f"resumed  {job.key}  1 run from epoch 12, 1 run from epoch 13 of 240"
    assert ended.endswith(f"  some/results/runs/{one.run_id}")


def drawn(screen: Screen, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(screen)
    return console.export_text()


@pytest.fixture
def screen(plan: Plan, state: State, clock: Clock) -> Screen:
    """One cell done, one with a failure, one under way with a seed done, the rest waiting."""
    screen = Screen(state, [resolve(TABLE, SETTINGS)], {})
    taught = [job for job in plan.jobs if job.kind == "distilled" and job.specs[0].student == "resnet20"]
    first, second = sorted(taught, key=lambda job: job.specs[0].seed)
    by_treatment = {spec.treatment: spec for spec in second.specs}
    screen(JobStarted(first))
    for spec in first.specs:
        screen(RunEnded(done(spec, 70.0)))
    screen(JobStarted(second))
    clock.now = 60
    screen(epoch_done(second, 12))
    screen(RunEnded(done(by_treatment["kd"], 71.0)))
    screen(RunEnded(failed(by_treatment["kd-cutmix100"])))
    return screen


def line_of(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(label))


def test_a_wide_screen_shows_the_cells_in_full(screen: Screen) -> None:
    text = drawn(screen, 160, 50)
    assert re.search(r"KD\*\s+0/2\s+70\.50 ± 0\.71\s+0/2", text)
    assert "1/2 1 failed" in line_of(text, "w/ CutMix** (100%)")
    assert "1/2 ep 12/240" in line_of(text, "w/ HE-DA (20%)")
    assert "9 students  epoch 12/240  " in text
    assert "failed   cifar100-resnet56-resnet20-kd-cutmix100" in text
    assert "diverged: the loss is nan" in text
    assert "10 of 124 runs done, 1 failed · 1:00 min so far" in text


def test_a_narrow_screen_shows_less_of_each_cell(screen: Screen) -> None:
    text = drawn(screen, 92, 50)
    assert "ResNet56" in text
    assert "ep 12 " in line_of(text, "w/ HE-DA (20%)")
    assert "12/240" not in line_of(text, "w/ HE-DA (20%)")


def test_a_very_narrow_screen_counts_cells(screen: Screen) -> None:
    text = drawn(screen, 60, 50)
    assert "ResNet56" not in text
    assert "1 done" in line_of(text, "KD*")
    assert "0 done, 1 running" in line_of(text, "w/ HE-DA (20%)")


@pytest.mark.parametrize("width", [40, 100, 240])
@pytest.mark.parametrize("height", [8, 24, 60])
def test_no_screen_overflows(screen: Screen, width: int, height: int) -> None:
    lines = drawn(screen, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert "runs done" in lines[-1]


def test_tables_that_do_not_fit_become_one_line() -> None:
    """First come those with runs under way."""
    tables = [paper.find(name) for name in ("table5", "table4", "table13")]
    plan = plan_of(tables, SETTINGS, {}, pack=1)
    screen = Screen(State(plan), [resolve(table, SETTINGS) for table in tables], {})
    screen(JobStarted(next(job for job in plan.jobs if job.specs[0].temperature.rule == "low")))
    text = drawn(screen, 160, 24)
    assert "table5  54 cells: 0 done" in text
    assert "Low energy only" in text
    assert "table13  36 cells: 0 done" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_table_and_a_pipe_gets_lines(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        with follow(plan, [resolve(TABLE, SETTINGS)], {}, out) as on_event:
            on_event(JobStarted(plan.jobs[0]))
    assert "\x1b[" in terminal.getvalue()
    assert "Table 5" in terminal.getvalue()
    told = "the time left is told after the first epoch"
    assert pipe.getvalue() == f"started  {plan.jobs[0].key}  (1 student)\n{told}\n"


def test_the_log_of_a_terminal_has_the_lines_of_a_pipe(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what others print meanwhile."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)

    def main(arguments: object) -> int:
        keep_log(tmp_path / "log", "a command")
        with follow(plan, [resolve(TABLE, SETTINGS)], {}) as on_event:
            on_event(JobStarted(plan.jobs[0]))
            print("stopping")
        return 0

    assert run_command(main, []) == 0
    assert "Table 5" in terminal.getvalue()
    assert "stopping" in terminal.getvalue()
    told = "the time left is told after the first epoch"
    lines = f"a command\nstarted  {plan.jobs[0].key}  (1 student)\n{told}\nstopping\n"
    assert (tmp_path / "log").read_text(encoding="utf-8") == lines


def test_a_log_on_a_full_disk_ends_no_sweep(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)

    def main(arguments: object) -> int:
        keep_log(Path("/dev/full"), "a command")
        with follow(plan, [resolve(TABLE, SETTINGS)], {}) as on_event:
            on_event(JobStarted(plan.jobs[0]))
        return 0

    assert run_command(main, []) == 0
    assert "Table 5" in terminal.getvalue()


def test_the_screen_is_drawn_at_most_four_times_a_second() -> None:
    assert REDRAWS_A_SECOND <= 4


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3599.4, "59:59 min"), (3600, "1:00 h"), (360000, "100:00 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def expected_of(plan: Plan, at_once: int) -> Expected:
    """A second for each epoch of each run."""
    return Expected(
        {job.key: float(sum(spec.epochs for spec in job.specs)) for job in plan.jobs}, Resources(0), at_once
    )


def test_the_time_left_starts_from_the_plan_and_follows_what_epochs_take(plan: Plan, clock: Clock) -> None:
    """Twice as long as was planned; as soon as one job's epochs say so, for the others too."""
    expected = expected_of(plan, 2)
    state = State(plan, clock, expected)
    whole = simulate(plan, expected.seconds, expected.resources, 2).seconds
    assert state.left == pytest.approx(START_SECONDS + whole)
    job = plan.jobs[0]
    state.take(JobStarted(job))
    clock.now = 2 * len(job.specs)
    state.take(epoch_done(job, 1, seconds=2.0))
    assert state.left == pytest.approx(2 * whole, rel=0.02)


def test_the_time_left_does_not_jump_while_a_device_is_free_for_a_moment(plan: Plan, clock: Clock) -> None:
    state = State(plan, clock, expected_of(plan, 2))
    one, two = job_of(plan, "teacher"), job_of(plan, "teacher", 1)
    for job in (one, two):
        state.take(JobStarted(job))
    clock.now = 1
    for job in (one, two):
        state.take(epoch_done(job, 1))
    clock.now = 240
    state.take(epoch_done(one, 240))
    before = state.left
    state.take(RunEnded(done(one.specs[0])))
    clock.now = 242
    assert len(state.jobs) == 1
    assert before is not None
    assert state.left == pytest.approx(before - 2, rel=0.02)


def test_what_takes_long_is_worked_out_seldom(plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time left of very many jobs takes a second here: the sweep has other things to do. It falls meanwhile."""
    times: list[float] = []

    def seconds(*_: object) -> float:
        times.append(clock.now)
        clock.now += 1.0
        return 1000.0

    monkeypatch.setattr(TimeLeft, "seconds", seconds)
    state = State(plan, clock)
    shown = []
    for _ in range(200):
        shown.append(state.left)
        clock.now += 1
    assert len(times) <= 1 + 201 * SHARE
    assert shown[:3] == [999, 998, 997]


def test_only_tables_whose_runs_have_ended_are_worked_out_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = progress.make_grid

    def make_grid(table: ResolvedTable, entries: Mapping[str, Entry]) -> Grid:
        made.append(table.table.key)
        return real(table, entries)

    monkeypatch.setattr(progress, "make_grid", make_grid)
    tables = [resolve(paper.find(name), SETTINGS) for name in ("table5", "direction")]
    screen = Screen(State(plan_of([table.table for table in tables], SETTINGS, {}, pack=None), clock), tables, {})
    terminal = Console(file=io.StringIO(), width=120, height=60)
    own = next(spec for spec in tables[1].runs if spec.run_id not in tables[0].run_ids)
    for entry in (None, done(own), None):
        if entry is not None:
            screen(RunEnded(entry))
        terminal.print(screen)
    assert made == ["table5", "direction", "direction"]
