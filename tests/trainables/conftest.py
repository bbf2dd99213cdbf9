"""A teacher and nine students of it, trained once for all tests of jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_jobs import GivenTeacher, seasoned, students, train
from torch import Tensor

from ekd_core import energy
from trainables.data.dataset import Dataset
from trainables.data.stream import normalise
from trainables.models import Network
from trainables.models.checkpoint import save_weights
from trainables.storage.locks import hold_lock


@pytest.fixture(scope="module", autouse=True)
def torch_settings() -> Iterator[None]:
    """A job sets them for its process; other tests get theirs back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def plain_model() -> Network:
    """A network by itself, to compare a teacher with."""
    return seasoned("resnet8")


@pytest.fixture(scope="session")
def energies(plain_model: Network, digits: Dataset) -> Tensor:
    """Of the training images as they are, by the network itself, in float64."""
    images = normalise(digits.train.images, digits.mean, digits.std)
    with torch.no_grad():
        return energy(plain_model(images).double())


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> GivenTeacher:
    """Not a good one, but one with opinions: energies that differ from image to image."""
    path = tmp_path_factory.mktemp("teacher") / "resnet8.pth"
    return GivenTeacher(path, save_weights(seasoned("resnet8"), path))


@pytest.fixture(scope="session")
def alone(teacher: GivenTeacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of the nine students trained alone and undisturbed, once for all workers of a test run."""
    folder = tmp_path_factory.getbasetemp()
    results = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "alone"
    with hold_lock(results.with_suffix(".lock")):
        if not results.exists():
            begun = tmp_path_factory.mktemp("alone")
            for spec in students(teacher).values():
                train([spec], teacher.execution(begun))
            begun.rename(results)
    return results
