"""The options of settings are the inverse of the parser."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.record.settings import Settings
from sweeps.request.arguments import parse
from sweeps.request.request import make_request
from trainables.errors import UserError
from trainables.spec import PRECISIONS

NETWORK = st.sampled_from(["resnet56", "vgg13", "wrn_40_2"])
FRACTION = st.floats(0, 1, exclude_min=True)
VALUE = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.lists(st.integers())
FROM_FILES = {"data", "teachers", "own_table"}
"""What settings hold of the images, the teachers and an experiment's table comes from their files."""


def written(field: str, value: Any) -> str:
    """The JSON of a field's value; a field that holds a list takes one of one number too."""
    alone = field == "milestones" and not isinstance(value, list)
    return json.dumps([value] if alone else value, separators=(",", ":"))


@given(
    st.builds(
        Settings,
        dataset=st.sampled_from(["", "cifar100", "digits"]),
        pairs=st.lists(st.tuples(NETWORK, NETWORK).map("/".join), max_size=3).map(tuple),
        rows=st.lists(st.sampled_from(["kd", "kd_he_da_40"])).map(tuple),
        seeds=st.integers(1, 9),
        epochs=st.none() | st.integers(1, 500),
        train_fraction=FRACTION,
        batch_size=st.none() | st.integers(2, 512),
        precision=st.sampled_from(PRECISIONS),
        imbalance=st.none() | FRACTION,
        assistant=st.just("") | NETWORK,
        tail_teachers=st.booleans(),
        overrides=st.dictionaries(
            st.sampled_from(["lr", "milestones", "mixing.rate"]),
            VALUE,
        ).map(lambda found: tuple((name, written(name, value)) for name, value in found.items())),
    )
)
def test_every_field_comes_back(asked: Settings) -> None:
    options = parse(["table5", *asked.options()])
    assert dataclasses.replace(options.settings, overrides=options.overrides) == asked


@pytest.mark.parametrize("words", [["--rows", "kd", "--rows", "dkd"], ["--pairs=vgg13/vgg8", "--pairs", "vgg13/vgg8"]])
def test_a_list_that_is_given_twice_is_refused(words: list[str]) -> None:
    """The first would be lost without a word."""
    with pytest.raises(UserError, match=r"is given twice: write all behind one, --(rows|pairs) A B"):
        parse(["table5", *words])


@pytest.mark.parametrize("form", [["--data-dir", "my images"], ["--data-dir=my images"]])
def test_a_request_made_again_from_its_settings(form: list[str]) -> None:
    words = ["table8", "--imbalance", "0.1", "--tail-teachers", "--pairs", "vgg13/vgg8", "--set", "lr=0.02", *form]
    options = parse(words)
    assert options.where.data_dir.name == "my images"
    made = make_request(options)
    assert made.settings.imbalance == 0.1
    assert make_request(parse(["table8", *made.settings.options(), *form])) == made


def test_every_setting_has_an_option_or_comes_from_a_folder() -> None:
    usual = {field.name: field.default for field in dataclasses.fields(Settings)}
    other = Settings(
        dataset="digits",
        pairs=("vgg13/vgg8",),
        rows=("kd",),
        seeds=1,
        epochs=2,
        train_fraction=0.5,
        batch_size=8,
        precision="bf16",
        overrides=(("lr", "1"),),
        imbalance=0.5,
        assistant="vgg13",
        tail_teachers=True,
        recipe_of="imagenet",
        vary=(("lr", ("1",)),),
    )
    same = {name for name, value in usual.items() if getattr(other, name) == value}
    assert same == FROM_FILES
    assert len([word for word in other.options() if word.startswith("--")]) == len(usual) - len(FROM_FILES)
