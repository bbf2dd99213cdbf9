"""Random numbers that are a function of what they are for. Free of torch."""

from __future__ import annotations

import zlib
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for. Frozen: another value changes the numbers of every run.

    MIXING, INITIAL_WEIGHTS, METHOD_MODULES and METHOD_DRAWS have a stream for each name (of an operation, a network, a
    method).
    """

    ORDER_AND_AUGMENTATION = 0x0C327B9A
    EACH_IMAGE_ONCE = 0xB5313347
    CROP_AND_FLIP = 0xED7E4420
    STRONG_CROP_AND_FLIP = 0x6851F114
    STRONG_AUGMENTATION = 0x0F92F90F
    MIXING_PARTNERS = 0x27C51388
    MIXING = 0x00000000
    HELD_OUT_IMAGES = 0x8CADFD9D
    INITIAL_WEIGHTS = 0x9612B20D
    METHOD_MODULES = 0x743997DF
    METHOD_DRAWS = 0x67177D16


def generator(seed: int, purpose: Purpose, *place: int, name: str = "") -> np.random.Generator:
    """Independent random numbers for each (seed, purpose, name, place): no state is carried from one to the next."""
    return np.random.default_rng([zlib.crc32(name.encode(), purpose), seed, *place])
