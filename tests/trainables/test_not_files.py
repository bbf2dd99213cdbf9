"""A pipe that nobody writes to, or a folder, where a file is read: one line, or passed over; never waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_jobs import VANILLA, stop_after, train

from sweeps.request.experiment_file import read_experiment
from sweeps.request.mdistiller import read_config
from sweeps.request.teacher_weights import find
from trainables.data.folders import scan
from trainables.datasets import load
from trainables.errors import UserError, describe_failure
from trainables.job import Execution
from trainables.storage.checkpoints import checkpoint_paths
from trainables.storage.job_file import read_job
from trainables.storage.runs import run_dir, write_atomically

SECONDS = 200
ADVICE = "it is a pipe, a socket or a device: name a file, or remove it"


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """A read that waits for a writer ends the test."""

    def tell(*_: object) -> None:
        raise TimeoutError(f"waited for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, tell)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_weights_and_jobs(tmp_path: Path) -> None:
    pipe = tmp_path / "resnet20.pth"
    os.mkfifo(pipe)
    for place in (tmp_path, pipe):
        with pytest.raises(UserError, match=f"cannot read the teacher's weights {pipe}: {ADVICE}"):
            find(place, ["resnet20"], "digits")
    with pytest.raises(UserError, match=f"cannot read {pipe}: {ADVICE}"):
        read_job(pipe)


@pytest.mark.parametrize("read", [read_experiment, partial(read_config, name="mine")])
def test_experiments_and_what_is_translated(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.toml")
    with pytest.raises(UserError, match=f"cannot read {pipe}: {ADVICE}"):
        read(pipe)


@pytest.mark.parametrize("side", [32, 96])
def test_a_pipe_among_images_is_passed_over_and_named(side: int, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for copy in range(3):
                pixels = np.random.default_rng(number * 3 + copy).integers(0, 255, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{copy}.png")
    pipe = tmp_path / "train" / "cat" / "1.png"
    pipe.unlink()
    os.mkfifo(pipe)
    assert len(scan(tmp_path).train.files) == 6
    source = load("imagefolder" if side == 32 else "imagefolder_96", tmp_path)
    assert sum(len(labels) for _, labels in source.scan("train", 2)) == 6
    assert source.unreadable[str(pipe)] == ADVICE


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [fifo, Path.mkdir])
@pytest.mark.parametrize("name", ["lock", "spec.json", "weights.pt", "checkpoint.pt", "checkpoint-before.pt"])
def test_what_lies_in_a_run_folder(name: str, make: Callable[[Path], Any], tmp_path: Path) -> None:
    """A pipe is replaced but for the lock; a folder is named, with what to do."""
    folder = run_dir(tmp_path, VANILLA.run_id)
    folder.mkdir(parents=True)
    make(folder / name)
    refused = make is not fifo or name == "lock"
    if refused:
        with pytest.raises((UserError, OSError)) as caught:
            train([VANILLA], Execution(tmp_path, threads=1))
        error = caught.value
        words = describe_failure(error) if isinstance(error, OSError) else str(error)
        assert str(folder / name) in words
        assert "remove it" in words
    else:
        train([VANILLA], Execution(tmp_path, threads=1))
        assert not (folder / name).is_fifo()


def test_a_pipe_in_the_place_of_the_last_checkpoint(tmp_path: Path) -> None:
    execution = Execution(tmp_path, threads=1)
    stop_after([VANILLA], execution, 1)
    last, before = checkpoint_paths(tmp_path, VANILLA.run_id)
    last.rename(before)
    os.mkfifo(last)
    (report, *_) = train([VANILLA], execution)
    assert any(ADVICE in line for line in report.damaged)


def test_a_file_takes_the_place_of_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write_atomically(tmp_path / "pipe", b"content")
    assert (tmp_path / "pipe").read_bytes() == b"content"
