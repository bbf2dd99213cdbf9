"""A campaign of faults against one real sweep: what strikes it, and what is known of it after every stop."""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from curves import epochs_of_runs
from test_faults import Driver, ledger_of, victim, workers

from trainables.spec import from_json
from trainables.storage.checkpoints import checkpoint_paths
from trainables.storage.runs import verify_checksum

ROOT = Path(__file__).resolve().parents[2]
KILLS = ("worker", "raylet", "driver", "SIGTERM")
DAMAGES = ("truncated checkpoint", "flipped bit in a checkpoint")
CHECKPOINTS, LEDGER = FULL = ("disk of the checkpoints full", "disk of the ledger full")
TEACHER, IMAGES = GONE = ("teacher's file gone", "training images gone")
MOST_BESIDE = 6
"""Runs that train at the same time: those of two jobs."""
DISK_BYTES = 48 * 2**20
SECONDS = 240
ORPHAN_SECONDS = 90


@dataclass(frozen=True)
class Given:
    """What the user gives: a teacher's weights, and images."""

    teacher: Path
    images: Path


def sweep_of(given: Given, results: Path, epochs: int, seeds: int) -> tuple[str, ...]:
    """Students of a given teacher, those with DKD's beta of 1e38 go NaN in their first epoch."""
    return (
        *(sys.executable, str(ROOT / "sweeps" / "run.py"), "table5", "--gpus", "0"),
        *("--dataset", "imagefolder", "--data-dir", str(given.images)),
        *("--pairs", "resnet14/resnet8", "--rows", "kd", "kd_he_da_50", "dkd", "--set", "params.beta=1e38"),
        *("--teachers", str(given.teacher), "--seeds", str(seeds), "--epochs", str(epochs)),
        *("--results", str(results)),
    )


@contextlib.contextmanager
def disks(results: Path) -> Iterator[bool]:
    """`results` on a disk of its own, and its `runs` on another; False where this machine forbids it."""
    mounted: list[Path] = []
    try:
        for folder in (results, results / "runs"):
            folder.mkdir(parents=True, exist_ok=True)
            mount = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))
            if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
                mounted.append(folder)
        yield len(mounted) == 2
    finally:
        for folder in reversed(mounted):
            subprocess.run(("umount", "-l", str(folder)), check=True)


def fill(folder: Path) -> Path:
    """A file that leaves its disk not one byte."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return path


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def epoch_in(path: Path) -> int:
    """The epoch after which a whole checkpoint goes on; 0 where there is none."""
    content = verify_checksum(path.read_bytes()) if path.exists() else None
    _, _, state = (content or b"").partition(b"\n")
    return torch.load(io.BytesIO(state), weights_only=True)["record"]["epoch"] if state else 0


@dataclass
class Campaign:
    """One sweep, started again after every stop until all faults have struck it and it is complete."""

    command: Callable[[int], tuple[str, ...]]
    results: Path
    given: Given
    scratch: Path
    chance: random.Random
    injected: list[str] = field(default_factory=list)
    survived: int = 0
    seeds: int = 1
    starts: int = 0
    lost: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    _ended: dict[str, int] = field(default_factory=dict)
    _recorded: set[str] = field(default_factory=set)
    _damaged: set[Path] = field(default_factory=set)
    _needed: int = 0
    _driver: subprocess.Popen[str] | None = None
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, lives: Sequence[Sequence[str]], *, lives_a_seed: float = math.inf) -> None:
        """Each life of the driver suffers its faults in turn; the last one suffers none and must end well.

        After every `lives_a_seed` lives the command asks for a seed more, so that the sweep outlasts its faults.
        """
        first = self.seeds
        for number, (faults, after) in enumerate(zip([*lives, ()], [*lives[1:], (), ()], strict=True)):
            self.seeds = first + int(number / lives_a_seed)
            self._needed = sum(fault in DAMAGES for fault in after)
            self._damaged.clear()
            damage = [self._damage(fault) for fault in faults if fault in DAMAGES]
            driver = self._start()
            for line in damage:
                driver.wait_for(f"damaged  {line}")
            ends = [self._strike(driver, fault) for fault in faults if fault not in DAMAGES]
            status = driver.end(SECONDS)
            said = "\n".join(driver.lines)
            assert "Traceback" not in said, said
            assert "Exception" not in said, said
            assert status in (1, 2, -signal.SIGKILL), said
            for end in ends:
                end(said)
            self._look_around()
            self.survived += len(faults)
        self._wait_for_the_end()
        assert driver.lines[-1].endswith(" failed, 0 not run"), driver.lines

    @property
    def summary(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(self.injected).items()))
        return (
            f"faults survived / injected: {self.survived} / {len(self.injected)} ({kinds}); starts: {self.starts}; "
            f"runs lost: {len(self.lost)}; runs repeated: {len(self.repeated)}; epochs repeated: {self.repeated_epochs}"
        )

    @property
    def repeated_epochs(self) -> int:
        return sum(len(epochs) - len(set(epochs)) for epochs in epochs_of_runs(self.results).values())

    def assert_little_was_repeated(self) -> None:
        """A run that is cut goes on where it was or an epoch before; with a damaged checkpoint, one more before."""
        assert not self.lost
        assert not self.repeated
        assert self.repeated_epochs <= len(self.injected) * MOST_BESIDE
        for name, epochs in epochs_of_runs(self.results).items():
            assert all(after >= before - 1 for before, after in pairwise(epochs)), f"{name}: {epochs}"

    def _start(self) -> Driver:
        self.starts += 1
        driver = Driver(*self.command(self.seeds), CAMPAIGN=self._mark, TMPDIR=str(self.scratch))
        self._driver = driver.process
        return driver

    def close(self) -> None:
        """Leave no driver behind, also where a check has failed."""
        if self._driver is not None and self._driver.poll() is None:
            self._driver.kill()
            self._driver.wait(30)

    def _damage(self, how: str) -> str:
        """Damage the last checkpoint of a run; what the next driver has to say of it."""
        path = self.chance.choice(sorted(self._under_way() - self._damaged))
        self._damaged.add(path)
        last, before = checkpoint_paths(self.results, path.parent.name)
        content = bytearray(last.read_bytes())
        if how == DAMAGES[0]:
            del content[self.chance.randrange(len(content)) :]
        else:
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
        last.write_bytes(content)
        self.injected.append(how)
        name = from_json((last.parent / "spec.json").read_text()).name
        return f"{last.name} of {name} is damaged: not used; it goes on after epoch {epoch_in(before)}"

    def _under_way(self) -> set[Path]:
        """The checkpoints of the runs that have not ended."""
        there = self.results.glob("runs/*/checkpoint.pt")
        return {path for path in there if not path.with_name("result.json").exists()}

    def _strike(self, driver: Driver, fault: str) -> Callable[[str], None]:
        """Let the sweep get on a little, then strike. Returns what is to be done when the driver has ended."""
        self._wait(driver, self.chance.randint(1, 2), self.chance.uniform(0, 0.4))
        self.injected.append(fault)
        if fault in FULL:
            filler = fill(self.results / "runs" if fault == CHECKPOINTS else self.results)
            return partial(self._make_room, filler)
        if fault in GONE:
            path = self.given.teacher if fault == TEACHER else self.given.images / "train"
            away = path.rename(path.with_suffix(".away"))
            for worker in workers(driver.process.pid):
                os.kill(worker, signal.SIGKILL)
            return partial(self._bring_back, away, path)
        if fault == "SIGTERM":
            driver.process.terminate()
            return _told_of_sigterm
        deadline = time.monotonic() + SECONDS
        while (target := victim(driver.process.pid, fault)) is None:
            assert driver.process.poll() is None, driver.lines
            assert time.monotonic() < deadline, driver.lines
            time.sleep(0.02)
        os.kill(target, signal.SIGKILL)
        return _nothing_more

    def _wait(self, driver: Driver, steps: int, seconds: float) -> None:
        """Until the sweep has written so many checkpoints and results, and a moment longer."""
        before, deadline = self._progress(), time.monotonic() + SECONDS
        while len(self._progress() - before) < steps or len(self._under_way()) < self._needed:
            assert driver.process.poll() is None, f"it ended before it could be struck: {driver.lines}"
            assert time.monotonic() < deadline, driver.lines
            time.sleep(0.02)
        time.sleep(seconds)
        assert driver.process.poll() is None, f"it ended before it could be struck: {driver.lines}"

    def _progress(self) -> set[tuple[Path, int]]:
        found = set()
        for pattern in ("runs/*/checkpoint.pt", "runs/*/result.json"):
            for path in self.results.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    found.add((path, path.stat().st_mtime_ns))
        return found

    def _wait_for_the_end(self, except_for: tuple[str, ...] = ()) -> None:
        """Until no process of the sweep is alive, but Ray's own helpers, which take long to miss a killed raylet."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := [name for name in marked(self._mark) if not name.startswith(except_for)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def _make_room(self, filler: Path, said: str) -> None:
        filler.unlink()
        assert "no space left on device" in said or "the disk is full" in said, said

    def _bring_back(self, away: Path, path: Path, said: str) -> None:
        """Without it no job can begin again, and the command is refused in one line."""
        failed = [line for line in said.splitlines() if line.startswith("failed: ")]
        assert any(str(path.parent) in line and path.name in line for line in failed), said
        refused = self._start()
        assert refused.end(SECONDS) == 2, refused.lines
        assert len(refused.lines) == 1, refused.lines
        assert str(path.parent) in refused.lines[0], refused.lines
        assert path.name in refused.lines[0], refused.lines
        away.rename(path)

    def _look_around(self) -> None:
        """No process trains on; no run is missing that had ended, or was trained again."""
        self._wait_for_the_end(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
        now = {path.parent.name: path.stat().st_mtime_ns for path in self.results.glob("runs/*/result.json")}
        self.lost |= self._recorded - ledger_of(self.results).keys()
        self._recorded |= ledger_of(self.results).keys()
        self.lost |= self._ended.keys() - now.keys()
        self.repeated |= {run_id for run_id in self._ended.keys() & now.keys() if self._ended[run_id] != now[run_id]}
        self._ended = now


def _nothing_more(said: str) -> None:
    """A kill needs no undoing."""


def _told_of_sigterm(said: str) -> None:
    stopped, resume = said.splitlines()[-2:]
    assert stopped.startswith("stopped by SIGTERM"), said
    assert resume.startswith("to resume: python "), said
    assert "sweeps/run.py table5 --gpus 0" in resume, said


def marked(mark: str) -> list[str]:
    """The processes, alive, whose environment has the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " ")[:100])
    return found


def left_behind(results: Path) -> list[Path]:
    """Checkpoints, temporary files, journals."""
    names = ("checkpoint*", ".*.[0-9]*", "*-journal", "filler")
    return sorted(path for name in names for path in results.rglob(name))
