"""Shared by the tests of what is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analysis.reporting import pictures


@pytest.fixture(scope="module")
def empty_pictures() -> Iterator[None]:
    """Reports draw nothing, which saves a second a table; those with real pictures are opened in a browser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pictures, "picture", lambda grid, form: b"%PDF-" if form == "pdf" else b"<?xml version='1.0'?><svg/>"
        )
        yield
