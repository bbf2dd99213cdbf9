"""Work for other cores while something is measured, so that it takes as long as in a sweep that fills the machine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def keep_busy(count: int) -> Iterator[None]:
    """`count` threads that train a convolution each: they take their share of the caches, the memory and the clock."""
    end = threading.Event()
    threads = [threading.Thread(target=_train, args=(end,), name="background load", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _train(end: threading.Event) -> None:
    import torch

    torch.set_num_threads(1)
    images = torch.ones(64, 16, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.ones(16, 16, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    # Functions, no modules: while another thread traces a network with torch.fx, all modules are traced.
    while not end.is_set():
        maps = torch.nn.functional.conv2d(images, weights, padding=1)
        torch.nn.functional.batch_norm(maps, None, None, training=True).relu().sum().backward()
