"""Ways from JPEG files to random crops of 224 x 224 pixels: what imagenet_input.py compares.

Those that take one image at a time are functions of a file and its index. The others take batches: generators of one
sequence of crops for each batch. All crops are (side, side, 3), uint8, of the box that the product draws.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from trainables.cores import cores_here
from trainables.data.file_source import FileSource
from trainables.data.image_files import (
    FORMATS,
    Box,
    Decoder,
    DecodeRequest,
    decoded,
    random_box,
    resized,
    why_unreadable,
)
from trainables.data.loader import PART, Loader, in_parts
from trainables.data.random_streams import Purpose, generator

SIZE, SIDE = (500, 375), 224
SEED, EPOCH = 1, 1
HOW = "pip install -e '.[decoders]'"
ON_GPU = ("torchcodec CUDA", "DALI mixed")
Files = Sequence[Path]
Way = Callable[[Path, int], Any]
Turn = Callable[[], int]


class Side(NamedTuple):
    """cores: that it uses; turn: returns how many crops it made."""

    cores: int
    turn: Turn


def start_draw(index: int) -> np.random.Generator:
    """What an image's crop is drawn from, its flip drawn already."""
    draw = generator(SEED, Purpose.CROP_AND_FLIP, EPOCH, index)
    draw.random()
    return draw


def box(index: int) -> Box:
    return random_box(SIZE, start_draw(index))


def cut_batches(files: Files) -> Iterator[range]:
    for start in range(0, len(files), PART):
        yield range(start, min(start + PART, len(files)))


def pillow(path: Path, index: int) -> np.ndarray:
    with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
        cropped = image.convert("RGB").crop(box(index))
    return np.asarray(cropped.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def here(path: Path, index: int) -> np.ndarray:
    return decoded(path.read_bytes(), SIDE, start_draw(index))


def torchcodec(path: Path, index: int) -> np.ndarray:
    from torchcodec.decoders import decode_jpeg

    left, top, right, bottom = box(index)
    pixels = decode_jpeg(path.read_bytes())[:, top:bottom, left:right].permute(1, 2, 0)
    return resized(pixels.contiguous().numpy(), SIDE)


def run_one_by_one(way: Way, files: Files) -> int:
    for index, path in enumerate(files):
        way(path, index)
    return len(files)


def run_in_threads(way: Way, files: Files, pool: ThreadPoolExecutor) -> int:
    return sum(1 for _ in pool.map(way, files, range(len(files))))


def load_crops(loader: Loader, images: int) -> Iterator[Tensor]:
    """The product's loader."""
    parts = in_parts(tuple(range(images)))
    for part in loader.parts(DecodeRequest("train", each, (SEED, EPOCH)) for each in parts):
        yield part.pixels


def torchcodec_batches(files: Files, device: str) -> Iterator[list[Tensor]]:
    """Decoded a batch at a time, on the device; resized there in float32, for CUDA has no kernel for uint8."""
    from torchcodec.decoders import decode_jpeg

    for batch in cut_batches(files):
        images = decode_jpeg([files[index].read_bytes() for index in batch], device=device)
        yield [crop_on_device(image, box(index)) for image, index in zip(images, batch, strict=True)]


def crop_on_device(image: Tensor, box: Box) -> Tensor:
    left, top, right, bottom = box
    cropped = image[None, :, top:bottom, left:right].float()
    made = interpolate(cropped, (SIDE, SIDE), mode="bilinear", antialias=True)
    return made.round_().clamp_(0, 255).byte()[0].permute(1, 2, 0)


@dataclass(frozen=True)
class Dali:
    """A pipeline of NVIDIA's DALI. device: `cpu`, or `mixed` to decode and resize on the GPU."""

    files: Files
    device: str
    threads: int

    @cached_property
    def pipeline(self) -> Any:
        from nvidia.dali import fn, pipeline_def, types

        @pipeline_def(batch_size=PART, num_threads=self.threads, device_id=None if self.device == "cpu" else 0)
        def crops() -> Any:
            dtypes = [types.UINT8, types.INT32, types.INT32]
            read = fn.external_source(self._read, num_outputs=3, cycle="raise", dtype=dtypes, ndim=[1, 1, 1])
            images = fn.decoders.image_slice(*read, axes=[0, 1], device=self.device, output_type=types.RGB)
            return fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR, antialias=True)

        return crops()

    def _read(self) -> Iterator[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
        """Contents, upper left corners and sizes of the boxes."""
        for batch in cut_batches(self.files):
            edges = np.array([box(index) for index in batch], dtype=np.int32)
            corners = np.ascontiguousarray(edges[:, 1::-1])
            yield (
                [np.fromfile(self.files[index], dtype=np.uint8) for index in batch],
                corners,
                edges[:, :1:-1] - corners,
            )

    def batches(self) -> Iterator[Any]:
        """DALI's own lists; nothing is under way when they end."""
        while True:
            try:
                (crops,) = self.pipeline.run()
            except StopIteration:
                self.pipeline.reset()
                return
            yield crops


def fault(turn: Turn) -> str:
    """Why a side cannot run; empty if it has."""
    try:
        turn()
    except ImportError as error:
        return f"{why_unreadable(error)[:120]}: {HOW}"
    except (OSError, RuntimeError) as error:
        return why_unreadable(error)
    return ""


def count_crops(made: Callable[[], Iterator[Any]]) -> int:
    return sum(len(batch) for batch in made())


def make_sides(source: FileSource) -> tuple[dict[str, Side], dict[str, str]]:
    """All sides that can run here; and why the others cannot."""
    files = [Path(source.train.path(index)) for index in range(source.train_size)]
    cores = cores_here()
    pool = ThreadPoolExecutor(cores)
    sides = {
        "Pillow": Side(1, partial(run_one_by_one, pillow, files)),
        "here": Side(1, partial(run_one_by_one, here, files)),
        "here, threads": Side(cores, partial(run_in_threads, here, files, pool)),
    }
    for workers in (0, 1, 2):
        loader = Loader(Decoder(source.train, source.test, SIDE), workers, pinned=False)
        turn = partial(count_crops, partial(load_crops, loader, len(files)))
        sides[f"loader, {workers} worker{'s' * (workers != 1)}"] = Side(max(1, workers), turn)
    others = {
        "torchcodec": Side(1, partial(run_one_by_one, torchcodec, files)),
        "torchcodec, threads": Side(cores, partial(run_in_threads, torchcodec, files, pool)),
        "torchcodec CUDA": Side(1, partial(count_crops, partial(torchcodec_batches, files, "cuda"))),
        "DALI": Side(cores, partial(count_crops, Dali(files, "cpu", cores).batches)),
        "DALI mixed": Side(cores, partial(count_crops, Dali(files, "mixed", cores).batches)),
    }
    left_out = {}
    for name, side in others.items():
        without_gpu = name in ON_GPU and not torch.cuda.is_available()
        if why := "needs a CUDA device" if without_gpu else fault(side.turn):
            left_out[name] = why
        else:
            sides[name] = side
    return sides, left_out
