"""Real faults: the driver, a worker, or Ray is killed at some moment; the same command again completes the sweep."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fake_job import log_lines, spec

from analysis.record.ledger import Entry, Ledger
from trainables.storage.runs import run_dir, weights_path
from trainables.storage.stopping import ask_to_stop

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SWEEP = (
    *(sys.executable, str(ROOT / "sweeps" / "run.py"), "table5", "--dataset", "digits"),
    *("--pairs", "resnet20/resnet8", "--rows", "kd", "kd_he_da_50", "--seeds", "2", "--epochs", "3"),
    *("--pack", "1", "--gpus", "0", "--results"),
)
FAKE = (sys.executable, str(Path(__file__).with_name("drive.py")))
KINDS = ("driver", "worker", "raylet", "gcs_server")
SECONDS_TO_END = 15
MOST_KILLS = 3


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


def processes() -> list[Process]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text(errors="replace").split("\0")[0]
            if state != "Z":
                found.append(Process(int(folder.name), int(parent), command))
    return found


def below(pid: int) -> Iterator[Process]:
    """The descendants of a process."""
    for process in [process for process in processes() if process.parent == pid]:
        yield process
        yield from below(process.pid)


def workers(driver: int) -> list[int]:
    """The processes that train, or wait for the next job."""
    return [process.pid for process in below(driver) if process.command.startswith("ray::ImplicitFunc")]


def victim(driver: int, kind: str) -> int | None:
    """The process to kill, if there is one by now."""
    if kind == "driver":
        return driver
    if kind == "worker":
        found = workers(driver)
        return random.choice(found) if found else None
    return next((p.pid for p in below(driver) if p.command.endswith(f"/{kind}")), None)


class Driver:
    """A sweep under way, whose lines are read as they come."""

    def __init__(self, *command: str, epoch_seconds: str = "0", own_group: bool = False, **extra: str) -> None:
        extra |= {"PYTHONPATH": str(Path(__file__).parent), "FAKE_EPOCH_SECONDS": epoch_seconds}
        self.process = subprocess.Popen(
            command,
            env=os.environ | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0 if own_group else None,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines += []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, start: str, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not any(line.startswith(start) for line in self.lines):
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def end(self, seconds: float = 300) -> int:
        status = self.process.wait(seconds)
        self._reader.join(10)
        assert self.process.stdout
        self.process.stdout.close()
        return status


def ledger_of(results: Path) -> dict[str, Entry]:
    with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
        rows = ledger.all()
    assert len(rows) == len({entry.run_id for entry in rows})
    return {entry.run_id: entry for entry in rows}


def assert_no_worker_goes_on(results: Path) -> None:
    """Nothing trains any more a moment later."""
    time.sleep(2)
    before = log_lines(results, "epoch")
    time.sleep(2)
    assert log_lines(results, "epoch") == before


RUNS, EPOCHS = 3, 8


def fake_sweep(results: Path, *address: str, seconds: str = "0.3", own_group: bool = False, **extra: str) -> Driver:
    command = (*FAKE, str(results), str(RUNS), str(EPOCHS), *address)
    return Driver(*command, epoch_seconds=seconds, own_group=own_group, **extra)


def complete(results: Path, *address: str, **extra: str) -> None:
    """The same command again ends well, and no run that was ever finished has been trained a second time."""
    again = fake_sweep(results, *address, **extra)
    assert again.end() == 0, again.lines
    assert {entry.status for entry in ledger_of(results).values()} == {"done"}
    assert len(ledger_of(results)) == RUNS
    assert sorted(log_lines(results, "result")) == sorted(ledger_of(results))
    epochs = log_lines(results, "epoch")
    expected = {f"{spec('net', seed, epochs=EPOCHS).run_id} {n + 1}" for seed in (1, 2, 3) for n in range(EPOCHS)}
    assert set(epochs) == expected
    assert len(epochs) <= len(expected) + 2 * RUNS, "at most the epoch that was cut is trained again"


def test_a_killed_driver_leaves_nothing_behind_and_the_next_one_goes_on(tmp_path: Path) -> None:
    first = fake_sweep(tmp_path)
    first.wait_for("EpochDone")
    first.process.kill()
    first.end()
    assert_no_worker_goes_on(tmp_path)
    assert 0 < len(log_lines(tmp_path, "epoch")) < RUNS * EPOCHS
    complete(tmp_path)


@pytest.mark.parametrize("kind", ["raylet", "gcs_server"])
def test_when_ray_is_killed_the_driver_ends_with_one_line(tmp_path: Path, kind: str) -> None:
    first = fake_sweep(tmp_path)
    first.wait_for("EpochDone")
    target = victim(first.process.pid, kind)
    assert target
    os.kill(target, signal.SIGKILL)
    began = time.monotonic()
    assert first.end() == 1
    assert time.monotonic() - began < SECONDS_TO_END
    others = [line for line in first.lines if line.split()[0] not in ("JobStarted", "EpochDone", "RunEnded")]
    assert len(others) == 1
    assert others[0].startswith(f"Ray stopped (its {kind} died)")
    assert "run the same command again" in others[0]
    assert_no_worker_goes_on(tmp_path)
    complete(tmp_path)


STOPS = [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]


@pytest.mark.parametrize(("number", "name"), STOPS)
def test_an_interrupted_sweep_ends_its_epochs(tmp_path: Path, number: int, name: str) -> None:
    """The epochs of 3 s that have begun are kept, and no other begins.

    Ctrl-C and the end of a terminal reach all its processes; its shell may send the latter once more.
    """
    first = fake_sweep(tmp_path, seconds="3", own_group=True)
    first.wait_for("EpochDone")
    time.sleep(1)
    under_way = first.lines.count("JobStarted")
    before = log_lines(tmp_path, "epoch")
    assert len(list(tmp_path.glob("runs/*"))) == len([line for line in first.lines if line.startswith("JobStarted")])
    first.process.send_signal(number) if number == signal.SIGTERM else os.killpg(first.process.pid, number)
    if number == signal.SIGHUP:
        first.process.send_signal(number)
    assert first.end(SECONDS_TO_END) == 1
    after = log_lines(tmp_path, "epoch")
    assert len(before) < len(after) <= len(before) + len(list(tmp_path.glob("runs/*"))), under_way
    assert "stopping after this epoch (at most 30 s); Ctrl-C again: now" in first.lines
    assert first.lines[-1].startswith(f"stopped by {name}: finished runs are in the ledger")
    assert not any(line.startswith("failed") for line in first.lines)
    assert not list(tmp_path.rglob("stop"))
    assert_no_worker_goes_on(tmp_path)
    again = fake_sweep(tmp_path)
    assert again.end() == 0, again.lines
    epochs = log_lines(tmp_path, "epoch")
    assert len(epochs) == len(set(epochs)) == RUNS * EPOCHS, "no epoch is trained twice"


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_an_epoch_that_takes_too_long_is_given_up(tmp_path: Path, again: bool) -> None:
    first = fake_sweep(tmp_path, seconds="30", GRACE_SECONDS="20" if again else "2")
    first.wait_for("JobStarted")
    time.sleep(1)
    began = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    if again:
        first.wait_for("stopping after this epoch (at most 20 s); Ctrl-C again: now")
        first.process.send_signal(signal.SIGINT)
    status = first.end(SECONDS_TO_END)
    assert time.monotonic() - began < SECONDS_TO_END
    if not again:
        assert status == 1
        assert first.lines[-1].startswith("stopped by SIGTERM")
    assert not list(tmp_path.rglob("stop"))
    assert_no_worker_goes_on(tmp_path)
    assert log_lines(tmp_path, "epoch") == []


def test_a_stop_that_a_killed_driver_left_stops_nobody(tmp_path: Path) -> None:
    for seed in range(1, RUNS + 1):
        run_id = spec("net", seed, epochs=EPOCHS).run_id
        run_dir(tmp_path, run_id).mkdir(parents=True)
        ask_to_stop(tmp_path, run_id)
    complete(tmp_path)


def test_a_second_driver_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    first = fake_sweep(tmp_path)
    first.wait_for("JobStarted")
    second = fake_sweep(tmp_path)
    assert second.end() == 2
    assert len(second.lines) == 1
    assert f"process {first.process.pid} on " in second.lines[0]
    assert first.end() == 0
    complete(tmp_path)


@dataclass(frozen=True)
class Cluster:
    """A Ray that runs without us."""

    head: subprocess.Popen[bytes]
    address: str
    token: dict[str, str]


@pytest.fixture
def running() -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    extra = {"PYTHONPATH": str(Path(__file__).parent), "FAKE_EPOCH_SECONDS": "0.3"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ekd-head-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        start = ("start", "--head", "--block", f"--port={port}", "--num-cpus=2", f"--temp-dir={folder}")
        head = subprocess.Popen(
            (sys.executable, "-m", "ray.scripts.scripts", *start, "--include-dashboard=false", "--disable-usage-stats"),
            env=os.environ | extra | token,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while victim(head.pid, "raylet") is None:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield Cluster(head, f"127.0.0.1:{port}", token)
        finally:
            for process in [*below(head.pid), Process(head.pid, 0, "")]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            head.wait(10)


def test_a_running_cluster_is_joined_and_outlives_its_driver(running: Cluster, tmp_path: Path) -> None:
    first = fake_sweep(tmp_path, running.address, **running.token)
    first.wait_for("EpochDone")
    first.process.kill()
    first.end()
    assert_no_worker_goes_on(tmp_path)
    complete(tmp_path, running.address, **running.token)
    assert running.head.poll() is None


def test_when_a_joined_cluster_dies_the_driver_ends_with_one_line(running: Cluster, tmp_path: Path) -> None:
    first = fake_sweep(tmp_path, running.address, **running.token)
    first.wait_for("EpochDone")
    target = victim(running.head.pid, "gcs_server")
    assert target
    os.kill(target, signal.SIGKILL)
    assert first.end(2 * SECONDS_TO_END) == 1
    assert first.lines[-1].startswith("Ray stopped (its head died)")
    assert_no_worker_goes_on(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A real sweep that nobody disturbs, and how long it took."""
    results = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    driver = Driver(*SWEEP, str(results))
    assert driver.end(900) == 0, driver.lines
    return results, time.monotonic() - began


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_and_started_again_a_sweep_ends_the_same(
    undisturbed: tuple[Path, float], tmp_path: Path, seed: int
) -> None:
    reference, _ = undisturbed
    random.seed(seed)
    kills: list[str] = []
    finished: dict[str, int] = {}
    for attempt in range(10):
        driver = Driver(*SWEEP, str(tmp_path))
        if len(kills) < MOST_KILLS:
            kills += disturb(driver, KINDS[(seed + attempt) % len(KINDS)], random.randint(1, 8), random.uniform(0, 1.5))
        status = driver.end(900)
        assert_kept(tmp_path, finished)
        if status == 0:
            break
        assert status in (1, -signal.SIGKILL), driver.lines
    else:
        pytest.fail(f"not complete after 10 attempts: {driver.lines}")
    assert kills, "the sweep ended before anything could be killed"
    compare(ledger_of(reference), ledger_of(tmp_path))
    for run_id in ledger_of(reference):
        one, other = (
            torch.load(weights_path(results, run_id), weights_only=True)["model"] for results in (reference, tmp_path)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def disturb(driver: Driver, kind: str, lines: int, seconds: float) -> list[str]:
    """Kill one process so long after the sweep has said so many lines (its progress, whatever the machine's load).

    Nothing if the sweep ends before.
    """
    due = None
    while driver.process.poll() is None:
        if due is None and len(driver.lines) >= lines:
            due = time.monotonic() + seconds
        target = victim(driver.process.pid, kind) if due is not None and time.monotonic() >= due else None
        if target:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGKILL)
                return [kind]
        time.sleep(0.02)
    return []


def assert_kept(results: Path, finished: dict[str, int]) -> None:
    """A run that is in the ledger is never trained again: its result stays the file that it was."""
    if not (results / "ledger.sqlite").exists():
        return
    now = {run_id: (run_dir(results, run_id) / "result.json").stat().st_mtime_ns for run_id in ledger_of(results)}
    assert finished.items() <= now.items()
    finished |= now


def compare(expected: dict[str, Entry], found: dict[str, Entry]) -> None:
    assert found.keys() == expected.keys()
    for run_id, entry in expected.items():
        other = found[run_id]
        assert (other.status, other.epochs) == ("done", 3)
        assert other.curve == entry.curve
        assert other.weights_sha256 == entry.weights_sha256
        assert other.teacher_sha256 == entry.teacher_sha256
        assert (other.best_top1, other.best_top5, other.last_top1) == (
            entry.best_top1,
            entry.best_top5,
            entry.last_top1,
        )
        assert len(other.epoch_seconds) == 3
