"""The examples in the docstrings give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
import torch


@pytest.mark.parametrize("name", ["energy", "losses", "temperature"])
def test_the_examples_of_docstrings_hold(name: str) -> None:
    module = import_module(f"ekd_core.{name}")
    result = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
