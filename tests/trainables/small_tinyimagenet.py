"""A TinyImageNet of three classes: real digits as JPEG files of 64x64 pixels, in the published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n02012849": "crane",
    "n03126707": "crane",
}
WNIDS = tuple(WORDS)
TRAIN, VAL = 6, 3


def write(root: Path) -> Path:
    """Six training and three validation images of each class; the annotations in an order of their own."""
    digits = load_digits()
    for number, wnid in enumerate(reversed(WNIDS)):
        images = (digits.images[digits.target == number] * 15.9).astype("uint8")
        place = root / "train" / wnid / "images"
        place.mkdir(parents=True)
        for index in range(TRAIN):
            _jpeg(images[index]).save(place / f"{wnid}_{index}.JPEG", quality=95)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
        (root / "val" / "images").mkdir(parents=True, exist_ok=True)
        for index in range(VAL):
            _jpeg(images[TRAIN + index]).save(root / "val" / "images" / f"val_{3 * index + number}.JPEG", quality=95)
    lines = [f"val_{3 * i + n}.JPEG\t{wnid}\t0\t0\t63\t63\n" for i in range(VAL) for n, wnid in enumerate(WNIDS[::-1])]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS[::-1]))
    (root / "words.txt").write_text("n00001740\tentity\n" + "".join(f"{k}\t{words}\n" for k, words in WORDS.items()))
    (root / "test" / "images").mkdir(parents=True)
    (root / "test" / "images" / "test_0.JPEG").write_bytes(b"of no matter")
    return root


def _jpeg(grey: object) -> Image.Image:
    return Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC).convert("RGB")  # type: ignore[arg-type]


def annotated(root: Path) -> dict[str, str]:
    """The class of each validation image by the annotations."""
    lines = (root / "val" / "val_annotations.txt").read_text().splitlines()
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines}


def sort_in_place(root: Path, places: str, *, most: int = 1000, keep: bool = False) -> None:
    """As the scripts that people share do: each image moved (or copied) to `places`, of which {} is its class."""
    for name, wnid in list(annotated(root).items())[:most]:
        folder = root / "val" / places.format(wnid)
        folder.mkdir(parents=True, exist_ok=True)
        (shutil.copy if keep else shutil.move)(root / "val" / "images" / name, folder / name)
