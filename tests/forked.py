"""Processes of tests that need torch: forked from one that has imported it, and what its optimizers import, and has
done nothing else, which saves each the seconds of the import."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "torch._dynamo"])
SECONDS = 300


def call(work: Callable[..., None], *arguments: Any, cwd: Path | None = None) -> CompletedProcess[str]:
    """What `work(*arguments)` prints, and how it ends, in a process in which warnings are errors."""
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder, "out"), Path(folder, "err")
        process = start(streams, work, *arguments, cwd=cwd)
        process.join(SECONDS)
        process.kill()
        process.join()
        return CompletedProcess([], process.exitcode, *(stream.read_text() for stream in streams))


def start(streams: Sequence[Path], work: Callable[..., None], *arguments: Any, cwd: Path | None = None) -> BaseProcess:
    """The same, begun; streams: the files of what it prints."""
    process = CONTEXT.Process(target=_work, args=(streams, cwd, work, arguments))
    process.start()
    return process


def run_script(script: Path, *words: object, cwd: Path | None = None) -> CompletedProcess[str]:
    """As `python -W error script words`."""
    return call(run_path, str(script), [str(word) for word in words], cwd=cwd)


def run_path(script: str, words: list[str]) -> None:
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


def _work(streams: Sequence[Path], cwd: Path | None, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if cwd:
        os.chdir(cwd)
    warnings.simplefilter("error")
    work(*arguments)
