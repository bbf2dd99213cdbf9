"""Writes checkpoints while the next epoch trains; at most one of each run waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


class Writer:
    """A thread that writes in the order of its tasks. An error is raised at the run's next `save` or `wait`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending: dict[str, Future[None]] = {}

    def save(self, run_id: str, write: Callable[[], None]) -> None:
        self.wait(run_id)
        self._pending[run_id] = self._pool.submit(write)

    def wait(self, run_id: str) -> None:
        """Wait until the run's last task is done."""
        if run_id in self._pending:
            self._pending.pop(run_id).result()

    def wait_for_all(self) -> None:
        for run_id in list(self._pending):
            self.wait(run_id)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


@contextmanager
def writing() -> Iterator[Writer]:
    """Make a writer that has written everything when the block is left, however it is left."""
    writer = Writer()
    try:
        yield writer
        writer.wait_for_all()
    finally:
        writer.close()
