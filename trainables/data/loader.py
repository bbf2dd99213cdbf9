"""Processes that decode images ahead of the training, so that a GPU need not wait for them.

They are forked from a server that is a fresh process (`forkserver`): not from the training's own, whose threads and
CUDA state a fork would break. They end when the process that asked for them ends, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from trainables.cores import cores_here
from trainables.data.image_files import DecodedImages, Decoder, DecodeRequest
from trainables.errors import UserError

MOST_WORKERS = 16
PREFETCH = 2
PART = 64
SHARED_MEMORY = "/dev/shm"


devices_here = 1
"""Devices of this machine that train at the same time, each in a process that has its share of the cores."""


def share_cores(devices: int) -> None:
    """Say how many devices of this machine train at the same time (see `devices_here`)."""
    global devices_here
    devices_here = devices


def default_workers(devices: int = 1) -> int:
    """The cores that this process may use, shared by the devices that train here, one left to the training."""
    devices = max(devices, devices_here)
    return max(1, min(cores_here() // devices - 1, MOST_WORKERS))


def in_parts(indices: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A batch as the parts that one worker decodes at a time."""
    return [indices[start : start + PART] for start in range(0, len(indices), PART)]


class Loader:
    """Decoded parts in the order of their requests, by processes that are kept from epoch to epoch.

    workers: how many processes; None for as many as the cores allow, 0 for this one alone. pinned: in memory that a GPU
    copies from by itself. devices: on which the job trains.
    """

    def __init__(self, decoder: Decoder, workers: int | None, *, pinned: bool, devices: int = 1) -> None:
        self.decoder, self.pinned = decoder, pinned
        self.workers = default_workers(devices) if workers is None else workers
        self._requests = _Requests()
        self._kept: DataLoader[DecodedImages] | None = None
        self._busy = False
        check_shared_memory(self.workers, decoder.side)

    def parts(self, requests: Iterable[DecodeRequest]) -> Generator[DecodedImages, None, None]:
        """Two at once do not disturb each other: the second gets workers of its own."""
        if self._busy or not self.workers:
            yield from _start(self._make_loader(requests, keep=False))
            return
        self._busy = True
        self._requests.now = requests
        try:
            if self._kept is None:
                self._kept = self._make_loader(self._requests, keep=True)
            yield from _start(self._kept)
        except Exception:
            self._kept = None
            raise
        finally:
            self._busy = False

    def _make_loader(self, requests: Iterable[DecodeRequest], *, keep: bool) -> DataLoader[DecodedImages]:
        parallel = self.workers > 0
        context = multiprocessing.get_context("forkserver") if parallel else None
        if context is not None:
            context.set_forkserver_preload(["torch.utils.data", "trainables.data.image_files"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return DataLoader(
                self.decoder,  # type: ignore[arg-type]
                batch_size=None,
                sampler=requests,
                num_workers=self.workers,
                collate_fn=_as_it_is,
                pin_memory=self.pinned,
                worker_init_fn=_begin_worker if parallel else None,
                multiprocessing_context=context,
                generator=torch.Generator(),
                prefetch_factor=PREFETCH if parallel else None,
                persistent_workers=keep,
            )


class _Requests:
    """What a kept DataLoader goes through when it is started anew."""

    now: Iterable[DecodeRequest] = ()

    def __iter__(self) -> Iterator[DecodeRequest]:
        return iter(self.now)


def _start(loader: DataLoader[DecodedImages]) -> Iterator[DecodedImages]:
    """The loader's iterator, without torch's advice on the number of workers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return iter(loader)


def _as_it_is(part: Any) -> Any:
    return part


def _begin_worker(number: int) -> None:
    """Leave Ctrl-C to the training, and end with it: torch watches the parent, which here is the fork server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def check_shared_memory(workers: int, side: int) -> None:
    """Refuse more workers than fit: a full /dev/shm (64 MB in a plain container) kills them without a word."""
    if not workers or not os.path.isdir(SHARED_MEMORY):
        return
    needed = workers * (PREFETCH + 1) * PART * side * side * 3
    space = os.statvfs(SHARED_MEMORY)
    free = space.f_bavail * space.f_frsize
    if needed > free:
        raise UserError(
            f"{workers} workers need {needed / 2**20:.0f} MB in {SHARED_MEMORY}, {free / 2**20:.0f} MB are free: "
            "give the container more (docker run --shm-size=8g)"
        )
