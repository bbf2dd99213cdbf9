"""The command line as tests use it: what a command is, what it leaves behind, how one is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.record.settings import Settings

ONE_CELL = ("table5", "--dataset", "digits", "--pairs", "resnet8/resnet8", "--rows", "kd", "--seeds", "1")
SMALL = (*ONE_CELL, "--epochs", "1", "--train-fraction", "0.05", "--gpus", "0")
Command = Callable[..., tuple[int, str, str]]


def settings() -> Settings:
    """Those of SMALL."""
    pairs, rows = ("resnet8/resnet8",), ("kd",)
    return Settings(dataset="digits", pairs=pairs, rows=rows, seeds=1, epochs=1, train_fraction=0.05)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its hash; a lock's text is no content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def refused(command: Command, *argv: object) -> str:
    """The one line that a command ends with, having changed nothing."""
    before = contents(Path.cwd())
    status, out, err = command(*argv)
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert contents(Path.cwd()) == before
    return err


def no_measuring(specs: list, *_: object) -> dict:
    from sweeps.planning.measuring import Cost, works_of

    return {work: Cost(0.1, 0.001, 10**6) for spec in specs for work in works_of(spec)}


def own_images(folder: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed)
    for split, name in product(("train", "val"), ("cat", "dog")):
        (folder / split / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            image = Image.fromarray(pixels.integers(256, size=(24, 20, 3), dtype=np.uint8))
            image.save(folder / split / name / f"{number}.png")
