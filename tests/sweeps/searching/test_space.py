"""What a search varies: words, ranges, and T + T- above 0 whatever is proposed."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution as Choice
from optuna.distributions import FloatDistribution as Float

from sweeps.searching.space import LOWEST, USUAL, Range, Space, parse_range, parse_space
from trainables.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T=2:8", Range("T", Float(2, 8))),
        ("temperature.base=2:8", Range("T", Float(2, 8))),
        ("T-=-4:0", Range("T-", Float(-4, 0))),
        ("T\N{MINUS SIGN} = \N{MINUS SIGN}4:0", Range("T-", Float(-4, 0))),
        ("lr=0.01:0.1:log", Range("lr", Float(0.01, 0.1, log=True))),
        ("r=0.1:0.5:0.1", Range("r", Float(0.1, 0.5, step=0.1))),
        ("rule=energy,reversed", Range("rule", Choice(("energy", "reversed")))),
        ("params.beta=1,2,8", Range("params.beta", Choice((1.0, 2.0, 8.0)))),
        ("epochs=4:11:3", Range("epochs", Float(4, 10, step=3))),
    ],
)
def test_words(text: str, expected: Range) -> None:
    found = parse_range(text)
    assert found == expected
    assert parse_range(found.text) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["T"], "write FIELD=LOW:HIGH"),
        (["T=4"], "two values or more"),
        (["T=[2,8]"], r"--space T=\[2,8\]: write FIELD=LOW:HIGH"),
        (["T=4,4"], "two values or more"),
        (["T=a:b"], "write FIELD"),
        (["T=1:inf"], "write FIELD"),
        (["T=8:2"], "8 is not below 2"),
        (["lr=0:1:log"], "a logarithm needs values above 0"),
        (["lr=0.1:1:2"], "a step must be above 0 and fit"),
        (["lr=0.1:1:1:1"], "write FIELD"),
        (["colour=1:2"], "unknown field 'colour'"),
        (["seed=1:2"], "seed cannot be overridden"),
        (["T=2:8", "T=1:2"], "names T twice"),
        (["T+=-1:2"], r"T\+ must not be negative"),
        (["T-=-1:2"], "no value is positive"),
        (["r=0:1"], r"r must be in \(0, 1\]"),
        (["T=0.1:2"], "T must be a range above 0.5"),
        (["T=a,b"], "T takes numbers, and 'a' is none"),
        (["T=3,4"], "T must be a range above 0.5: write T=LOW:HIGH"),
        (["r=0.1,some"], "r takes numbers, and 'some' is none"),
        (["T=1:2", "T-=-4:-1"], r"T \+ T- would be below 0.5"),
        (["T-=-4:0:1"], "T- takes no steps"),
        (["milestones=1,2"], "milestones is a list, which no range varies; --set milestones=1,2 sets it"),
        (["temperature.values=1:2"], "temperature.values is a list"),
        (["r=1," + "9" * 400], "write FIELD"),
        (["r=1," + "[" * 100_000], "write FIELD"),
        (["r=1,NaN"], "write FIELD"),
        (["lr=0:1e300:0.1"], "more than 1,000,000 steps"),
        ([], "a search needs a field"),
    ],
)
def test_impossible_words(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_space(words)
    assert "\n" not in str(error.value)


@given(st.data())
def test_every_proposal_is_a_temperature_above_zero(data: st.DataObject) -> None:
    low = data.draw(st.floats(LOWEST + 0.1, 5))
    high = data.draw(st.floats(low + 0.1, 12))
    bottom = data.draw(st.floats(-8, -0.1))
    top = data.draw(st.floats(bottom + 0.05, 0))
    assume(low + top >= LOWEST)
    space = Space((Range("T", Float(low, high)), Range("T-", Float(bottom, top))))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=data.draw(st.integers(0, 99))))
    for _ in range(5):
        asked = study.ask(space.distributions()).params
        point = space.point(asked, 4)
        assert float(point["T"]) + float(point["T-"]) >= LOWEST - 1e-2
        assert bottom - 1e-2 <= float(point["T-"]) <= top + 1e-2
        back = space.point(space.asked(point, 4), 4)
        assert back["T-"] == pytest.approx(point["T-"], abs=1e-2)


def test_the_papers_point_and_the_released_codes_lie_in_the_usual_space() -> None:
    space = parse_space(USUAL)
    for rule in ("energy", "reversed"):
        point = {"T": 4.0, "T+": 2.0, "T-": -2.0, "r": 0.3, "rule": rule}
        assert space.holds(point)
        assert space.point(space.asked(point, 4), 4) == point
    assert not space.holds({"T": 9.0, "T+": 2.0, "T-": -2.0, "r": 0.3, "rule": "energy"})
    assert parse_space(space.text.split()) == space


def test_the_same_ranges_are_one_space_however_they_are_written() -> None:
    one = parse_space(["T=3:8", "lr=0.01:0.1:log", "rule=energy,reversed", "params.beta=8,1,a"])
    other = parse_space(["params.beta=a,8,1", "rule=reversed,energy", "lr=0.010:0.10:log", "temperature.base=3.0:8"])
    assert one == other
    assert one.text == other.text == "T=3:8 lr=0.01:0.1:log params.beta=1.0,8.0,a rule=energy,reversed"
    assert parse_space(USUAL).text == " ".join(USUAL)


def test_a_point_between_the_steps_is_outside() -> None:
    space = parse_space(["T=2:8:0.5", "r=0.1:0.5:0.1"])
    assert space.holds({"T": 4.0, "r": 0.3})
    assert not space.holds({"T": 4.2, "r": 0.3})
    assert not parse_space(["T=2:8:3"]).holds({"T": 4.0})


def test_samples_have_every_choice_and_both_ends_of_each_range() -> None:
    space = parse_space(["T=2:8", "T-=-4:0", "rule=energy,low,reversed", "r=0.1:0.5:0.2"])
    found = [space.point(asked, 4) for asked in space.samples()]
    assert {point["rule"] for point in found} == {"energy", "low", "reversed"}
    assert {point["T"] for point in found} == {2, 8}
    assert {point["r"] for point in found} == {0.1, 0.3, 0.5}
    assert {point["T-"] for point in found} == {0, -1.5, -4}


def test_a_number_is_asked_for_where_its_rule_has_it() -> None:
    space = parse_space(["rule=energy,lskd,dtkd", "T=2:6", "T+=0:4", "T-=-3:0", "r=0.1:0.4", "tau=1:4", "lr=0.01:0.1"])
    assert space == parse_space(space.text.split())
    assert space.paths["tau"] == "temperature.tau"
    asked = {rule: {each.name for each in space.ranges_of(rule)} for rule in space.rules}
    assert asked == {
        "dtkd": {"rule", "T", "lr"},
        "energy": {"rule", "T", "T+", "T-", "r", "lr"},
        "lskd": {"rule", "tau", "lr"},
    }
    for rule in space.rules:
        point = space.middle(rule, 4)
        assert space.holds(point)
        assert space.point(space.asked(point, 4), 4) == point
    assert {*map(frozenset, (space.point(each, 4) for each in space.samples()))} == {*map(frozenset, asked.values())}
