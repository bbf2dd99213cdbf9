"""Any damage of a file that carries its checksum is seen."""

from __future__ import annotations

import pytest

from trainables.storage.runs import verify_checksum, with_checksum

WHOLE = with_checksum(b"content" * 100)


@pytest.mark.parametrize(
    "damaged", [b"", b"garbage" * 100, WHOLE[:-1], WHOLE[: len(WHOLE) // 2], WHOLE[1:], WHOLE + b"x"]
)
def test_damage_is_seen(damaged: bytes) -> None:
    assert verify_checksum(damaged) is None


def test_every_bit_counts() -> None:
    assert verify_checksum(WHOLE) == b"content" * 100
    for place in range(len(WHOLE)):
        assert verify_checksum(WHOLE[:place] + bytes([WHOLE[place] ^ 1]) + WHOLE[place + 1 :]) is None
