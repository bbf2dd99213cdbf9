"""Where and with what a run was trained: part of its record, never of its id."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from trainables.network_names import LIBRARIES
from trainables.own_code import hash_program, is_checkout

LONGEST_REASON = 200
PACKAGES = ("ekd_core", "trainables", "analysis", "sweeps")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _git(*arguments: str) -> str | None:
    """What git answers; None where it does not."""
    try:
        return _ask_git(*arguments)
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"LC_ALL": "C"},
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def why_no_commit() -> str | None:
    """Why the commit of the program is not known: it is installed, or git is missing or refuses to answer."""
    # Elsewhere git would answer for any repository that the environment lies in.
    if not is_checkout():
        return "the program does not run from its checkout"
    try:
        _ask_git("rev-parse", "HEAD")
    except subprocess.CalledProcessError as error:
        return " ".join(str(error.stderr).split())[:LONGEST_REASON]
    except (OSError, subprocess.SubprocessError) as error:
        return f"git did not run: {error}"[:LONGEST_REASON]
    return None


def processor() -> str:
    """The processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _driver() -> str | None:
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return None


def _commit() -> dict[str, Any]:
    """The commit of the program, or why it is not known. dirty: the checkout has other code than its commit, modules
    that git does not know among it."""
    if (reason := why_no_commit()) is not None:
        return {"commit": None, "no_commit": reason, "dirty": None}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    unknown = _git("ls-files", "--others", "--exclude-standard", "--", *(f":/{name}" for name in PACKAGES))
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed or unknown)}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@cache
def surroundings(device: str) -> dict[str, Any]:
    """Commit, sources, versions and device of this process."""
    return {
        **_commit(),
        "sources": hash_program(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{library: _version(library) for library in LIBRARIES},
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "driver": _driver() if device == "cuda" else None,
    }
