"""Shared by all tests: one thread, no wall-clock limits for hypothesis, the reference data, the digits."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Read by torch when it is first imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset

# The second is that of `make test-slow`.
for profile, examples in (("tests", 10), ("thorough", 200)):
    settings.register_profile(
        profile,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
settings.load_profile("tests")


NEEDED = {
    "LaTeX": (("pdflatex",), "texlive-latex-extra"),
    "the text of PDFs": (("pdftotext",), "poppler-utils"),
    "a browser": (("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"), "chromium"),
}
"""What tests are skipped without: its programs, and a package that has one."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what to install for the tests that were skipped."""
    missing = {name: package for name, (programs, package) in NEEDED.items() if not any(map(shutil.which, programs))}
    if missing and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(
            f"To run the tests of {', '.join(missing)}: apt install {' '.join(missing.values())}"
        )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Measurements that are kept for the machine are those of one test."""
    folder = tmp_path_factory.getbasetemp() / "caches" / hashlib.sha256(request.node.nodeid.encode()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture(scope="session")
def ekd_data() -> Path:
    """The folder with the reference data: golden values, CIFAR-100, published checkpoints."""
    if "EKD_DATA" not in os.environ:
        pytest.skip("EKD_DATA does not name the folder with the reference data")
    return Path(os.environ["EKD_DATA"])


@pytest.fixture(scope="session")
def digits() -> Dataset:
    from trainables.datasets import load

    return load("digits", None)
