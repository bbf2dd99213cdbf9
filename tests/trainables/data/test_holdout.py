"""Training images that are held out: which, how many, and that the test images are never seen."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imagenet_like import SIZES, make, opened
from small_jobs import VANILLA, outcome, stop_after, train

from trainables.data.dataset import Dataset
from trainables.data.subset import select
from trainables.datasets import count_images, load
from trainables.errors import UserError
from trainables.job import Execution, load_data, run
from trainables.ray_trial import _train_unended
from trainables.spec import from_json
from trainables.storage.checkpoints import checkpoint_path, drop_checkpoints
from trainables.storage.runs import read_result, stream_key
from trainables.storage.stopping import ask_to_stop, is_asked_to_stop

TENTH = replace(VANILLA, holdout=0.1, train_fraction=0.2)


def prints(images: torch.Tensor) -> list[bytes]:
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]


def parts(whole: Dataset, part: Dataset) -> tuple[set[bytes], set[bytes], set[bytes], set[bytes]]:
    """The images to train on, those held out, all training images, the test images."""
    train, held, all_of_them, test = map(
        set, map(prints, (part.train.images, part.test.images, whole.train.images, whole.test.images))
    )
    return train, held, all_of_them, test


def test_of_digits_nothing_is_trained_on_that_is_tested_on() -> None:
    whole, part = load("digits", None), load("digits", None, holdout=0.1)
    assert isinstance(whole, Dataset)
    assert isinstance(part, Dataset)
    train, held, all_of_them, test = parts(whole, part)
    assert train | held == all_of_them
    assert not train & held
    assert not held & test
    assert count_images("digits", None, holdout=0.1).test_size == len(part.test)
    assert part.fingerprint[:32] == whole.fingerprint[:32]
    assert part.fingerprint != whole.fingerprint


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 0.99))
def test_positions(labels: list[int], share: float) -> None:
    subset = select(labels, 5, holdout=share)
    found = subset.held_out
    assert sorted([*found, *subset.train]) == list(range(len(labels)))
    assert sorted(set(found.tolist())) == found.tolist()
    for label in set(labels):
        count = labels.count(label)
        held = sum(labels[place] == label for place in found)
        assert share * count - 1 < held <= share * count
    assert np.array_equal(found, select(labels, 5, holdout=share).held_out)


def test_imagenet(tmp_path: Path) -> None:
    root = make(tmp_path)
    whole, part = opened(root), opened(root, holdout=0.25)
    counts = [count // 4 for count in SIZES["train"]]
    assert torch.bincount(part.test_labels).tolist() == counts
    names = [part.test.path(index) for index in range(part.test_size)]
    assert all("/train/" in name for name in names)
    rest = [part.train.path(index) for index in range(part.train_size)]
    assert sorted(names + rest) == sorted(whole.train.path(index) for index in range(whole.train_size))
    for index, (images, label) in enumerate(part.scan("test", 1)):
        execution = [whole.train.path(number) for number in range(whole.train_size)].index(names[index])
        expected = list(whole.scan("train", 1))[execution]
        assert torch.equal(images, expected[0])
        assert int(label) == int(expected[1])


def test_runs_say_so_and_share_no_batches_with_others(tmp_path: Path) -> None:
    assert TENTH.run_id != replace(TENTH, holdout=0.0).run_id
    assert from_json(TENTH.canonical()) == TENTH
    assert stream_key(TENTH) != stream_key(replace(TENTH, holdout=0.0))
    dataset = load_data(TENTH, Execution(tmp_path))
    assert dataset.test_size == count_images("digits", None, 0.2, holdout=0.1).test_size
    train([TENTH], Execution(tmp_path))
    accuracy = outcome(tmp_path, TENTH)[1]["last_top1"]
    assert accuracy * dataset.test_size / 100 == pytest.approx(round(accuracy * dataset.test_size / 100), abs=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_impossible_shares(share: float) -> None:
    with pytest.raises(UserError, match="held-out share"):
        replace(VANILLA, holdout=share)


@pytest.mark.medium
def test_a_run_that_is_told_to_stop_keeps_its_checkpoint_and_can_go_on(tmp_path: Path) -> None:
    alone, told = Execution(tmp_path / "alone"), Execution(tmp_path / "told")
    specs = [replace(VANILLA, epochs=3), replace(VANILLA, epochs=3, lr=0.01)]
    train(specs, alone)
    stop_after(specs, told, 1)
    ask_to_stop(told.results, specs[1].run_id)
    resumed, *reports = train(specs, told)
    assert resumed.epoch == 0
    assert [report.stopped for report in reports] == [(specs[1].run_id,), ()]
    assert not is_asked_to_stop(told.results, specs[1].run_id)
    assert checkpoint_path(told.results, specs[1].run_id).exists()
    train([specs[1]], told)
    for spec in specs:
        (one, _), (two, _) = outcome(alone.results, spec), outcome(told.results, spec)
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.medium
def test_a_job_that_is_restarted_leaves_out_what_was_stopped(tmp_path: Path) -> None:
    execution = Execution(tmp_path)
    specs = [replace(VANILLA, epochs=3), replace(VANILLA, epochs=3, lr=0.01)]
    stop_after(specs, execution, 1)
    ask_to_stop(tmp_path, specs[1].run_id)
    stop_after(specs, execution, 2)
    drop_checkpoints(tmp_path, specs[1].run_id)
    reports = list(_train_unended(specs, execution, run))
    assert [report.stopped for report in reports if report.stopped] == [(specs[1].run_id,)]
    assert [list(report.metrics) for report in reports if report.metrics] == [[specs[0].run_id]]
    assert read_result(tmp_path, specs[1].run_id) is None
