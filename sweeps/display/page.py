"""The live page beside a sweep, in a process of its own that ends with the sweep's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from analysis import watch

SECONDS = 5
"""For its end."""


@contextlib.contextmanager
def show_page(results: Path, port: int | None) -> Iterator[None]:
    """Print its address. port: None for no page."""
    if port is None:
        yield
        return
    watch.check_installed()
    with watch.listen(watch.LOOPBACK, port) as taken:  # 0 becomes one that is free.
        port = taken.getsockname()[1]
    words = ["--results", str(results), "--port", str(port), "--with-parent"]
    process = subprocess.Popen(
        [sys.executable, watch.__file__, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,  # No Ctrl-C; a session of its own would have a priority of its own.
    )
    print(f"page: http://{watch.LOOPBACK}:{port}/", flush=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
