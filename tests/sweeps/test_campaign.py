"""Never lose a run: faults strike a real sweep; the same command again completes it, with the weights of no fault."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from campaign import (
    CHECKPOINTS,
    DAMAGES,
    FULL,
    IMAGES,
    LEDGER,
    TEACHER,
    Campaign,
    Given,
    disks,
    left_behind,
    size_of,
    sweep_of,
)
from curves import epochs_of_runs
from PIL import Image
from test_faults import Driver, ledger_of

from analysis.record.entry import Entry
from trainables.datasets import load
from trainables.job import Execution, run
from trainables.models import build
from trainables.models.checkpoint import save_weights, sha256
from trainables.storage.runs import weights_path

TRUNCATED, FLIPPED = DAMAGES
EPOCHS = 12
IMAGES_A_CLASS = 20
EXTRA_BYTES = 400_000
"""What restarts may leave: a file of TensorBoard's for each time that a run went on, a file of each job's runs."""


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """An untrained teacher, and handwritten digits as image files."""
    torch.manual_seed(0)
    given = Given(tmp_path / "given" / "resnet14.pth", tmp_path / "given" / "images")
    save_weights(build("resnet14", 10), given.teacher)
    digits = load("digits", None)
    for split, part in (("train", digits.train), ("val", digits.test)):
        for label in range(10):
            (folder := given.images / split / f"digit{label}").mkdir(parents=True)
            for number, image in enumerate(part.images[part.labels == label][:IMAGES_A_CLASS]):
                Image.fromarray(image.numpy()).save(folder / f"{number:02d}.png")
    return given


@pytest.fixture
def scratch() -> Iterator[Path]:
    """For what Ray leaves when it is killed; the path of a socket must be short."""
    with tempfile.TemporaryDirectory(prefix="ekd-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def results(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder for results, and whether it is on disks of its own."""
    with disks(tmp_path / "results") as own:
        yield tmp_path / "results", own


def assert_same(found: Entry, expected: Entry) -> None:
    assert (found.status, found.epochs) == (expected.status, expected.epochs)
    assert found.curve == expected.curve
    assert found.weights_sha256 == expected.weights_sha256
    assert (found.reason or "").startswith("diverged") == (not found.done)


def assert_whole(results: Path) -> dict[str, Entry]:
    """Every run's weights are those that the ledger names, and nothing else lies about."""
    entries = ledger_of(results)
    for run_id, entry in entries.items():
        if entry.done:
            assert sha256(weights_path(results, run_id)) == entry.weights_sha256
    assert left_behind(results) == []
    return entries


@pytest.mark.slow
def test_a_few_faults(given: Given, scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    command = partial(sweep_of, given, results, 10)
    campaign = Campaign(command, results, given, scratch, random.Random(1))
    with contextlib.closing(campaign):
        campaign.run([("worker", "raylet"), (TRUNCATED, FLIPPED, "worker", "SIGTERM")])
    with capsys.disabled():
        print(f"\n{campaign.summary}")
    entries = assert_whole(results)
    assert sorted(entry.status for entry in entries.values()) == ["done", "done", "done", "failed"]
    campaign.assert_little_was_repeated()
    assert {len(set(epochs)) for epochs in epochs_of_runs(results).values()} == {10}
    execution = Execution(
        tmp_path / "alone", given.images, teachers=((sha256(given.teacher), str(given.teacher)),), threads=1
    )
    for entry in entries.values():
        list(run([entry.spec], execution))
        if entry.done:
            assert sha256(weights_path(execution.results, entry.run_id)) == entry.weights_sha256


@pytest.mark.slow
def test_many_faults(
    given: Given, scratch: Path, results: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, own_disks = results
    reference = tmp_path / "undisturbed"
    chance = random.Random(2)
    ends = ["driver", "raylet", "SIGTERM"] * 4 + ([CHECKPOINTS] * 2 if own_disks else ["driver", "raylet"])
    chance.shuffle(ends)
    ends += [LEDGER if own_disks else "SIGTERM", IMAGES, TEACHER]
    lives = [
        [
            *([chance.choice(DAMAGES)] if number in (1, 3, 4, 6, 7, 9, 11, 13) else []),
            *(["worker"] if number % 2 == 0 and number < 14 else []),
            end,
        ]
        for number, end in enumerate(ends)
    ]
    campaign = Campaign(partial(sweep_of, given, folder, EPOCHS), folder, given, scratch, chance, seeds=2)
    with contextlib.closing(campaign):
        campaign.run(lives, lives_a_seed=2)
    undisturbed = Driver(*sweep_of(given, reference, EPOCHS, campaign.seeds))
    assert undisturbed.end(600) == 1, undisturbed.lines
    with capsys.disabled():
        print(f"\n{campaign.summary}")
        print(f"bytes of the results: {size_of(folder)}, undisturbed {size_of(reference)}")
        if not own_disks:
            print(f"not injected, this machine forbids mounting: {', '.join(FULL)}")
    assert len(campaign.injected) >= 30
    campaign.assert_little_was_repeated()
    expected, found = assert_whole(reference), assert_whole(folder)
    assert found.keys() == expected.keys()
    for run_id, entry in expected.items():
        assert_same(found[run_id], entry)
    assert size_of(folder) < size_of(reference) + EXTRA_BYTES
