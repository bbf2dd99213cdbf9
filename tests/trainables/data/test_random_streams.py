"""The random streams are frozen: one number of each."""

from __future__ import annotations

import pytest

from trainables.data.random_streams import Purpose, generator

FIRST = {
    Purpose.ORDER_AND_AUGMENTATION: 9057986526516003287,
    Purpose.EACH_IMAGE_ONCE: 5954412571121182852,
    Purpose.CROP_AND_FLIP: 973669730992226064,
    Purpose.STRONG_CROP_AND_FLIP: 4056018311576732391,
    Purpose.STRONG_AUGMENTATION: 9193281347064942624,
    Purpose.MIXING_PARTNERS: 2645866045599468590,
    Purpose.MIXING: 5996226378373718026,
    Purpose.HELD_OUT_IMAGES: 8569433342636425155,
    Purpose.INITIAL_WEIGHTS: 9179385977121419133,
    Purpose.METHOD_MODULES: 5686061355124946245,
    Purpose.METHOD_DRAWS: 5622570149413697722,
}


@pytest.mark.parametrize("purpose", Purpose, ids=lambda purpose: purpose.name)
def test_one_number_of_each_stream(purpose: Purpose) -> None:
    assert generator(1, purpose, 2, name="resnet8").integers(2**63) == FIRST[purpose]
    assert generator(1, purpose, 2).integers(2**63) != FIRST[purpose]
