"""A run's temperature and the rule made of it: numbers of their own, their JSON, what is refused."""

from __future__ import annotations

import json

import pytest

from ekd_core import rules
from ekd_core.rules.dtkd import DTKD
from ekd_core.rules.energy import Energy
from ekd_core.rules.lskd import LSKD
from trainables.errors import UserError
from trainables.rules import make_rule, rule_of
from trainables.spec import RunSpec, Temperature, flatten, from_json, params, with_fields
from trainables.temperature import rule_names

LSKD_2 = Temperature(0, "lskd", numbers=params(tau=2))
RUN = RunSpec("digits", "resnet8", 1, 2, (1,), 0.05, "kd", params(ce=1, kd=9), LSKD_2, None, "resnet20", "run:0")


def test_the_names_that_need_no_torch_are_those_of_the_rules() -> None:
    assert rule_names() == rules.names()


def test_rules_have_the_fields_of_a_temperature_under_their_own_names() -> None:
    assert make_rule(LSKD_2) == LSKD(2)
    assert make_rule(Temperature(3, "dtkd")) == DTKD(3)
    assert make_rule(Temperature(4, "energy", 2, -1, 0.3)) == Energy(4, 2, -1, 0.3)


def test_numbers_stand_beside_the_other_fields() -> None:
    fields = json.loads(RUN.canonical())
    assert fields["temperature"] == {"base": 0, "rule": "lskd", "tau": 2}
    assert from_json(RUN.canonical()) == RUN
    assert flatten(RUN)["temperature.tau"] == 2
    assert "temperature.numbers" not in flatten(RUN)
    assert with_fields(RUN, {"temperature.tau": 3}).temperature == Temperature(0, "lskd", numbers=params(tau=3))


@pytest.mark.parametrize(
    ("temperature", "words"),
    [
        (Temperature(0, "lskd"), "lskd takes tau; given: none"),
        (Temperature(4, "lskd", numbers=params(tau=2)), "lskd takes tau; given: T, tau; T=0 takes T away"),
        (Temperature(0, "lskd", rate=0.2, numbers=params(tau=2)), "lskd takes tau; given: r, tau"),
        (Temperature(0, "lskd", numbers=params(tau=0)), "lskd: tau is 0.0; it must be above 0"),
        (Temperature(4, "eakd", numbers=params(bound=9)), "eakd takes T, entropy_temperature, bound; given: T, bound"),
        (Temperature(0, "dtkd"), "dtkd takes T, sharpness; given: none"),
        (Temperature(0, "lskd", numbers=params(tau=1e300)), r"1e\+300 must lie between 1e-18 and 1e\+18"),
        (Temperature(1e-300), "1e-300 must lie between 1e-18"),
        (Temperature(4, "lksd"), r"unknown temperature rule 'lksd' \(did you mean lskd\?\): use one of ats, ctkd"),
    ],
)
def test_numbers_that_a_rule_does_not_have_are_refused(temperature: Temperature, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_rule(temperature)


def test_a_run_whose_rule_is_gone_is_read_and_not_trained() -> None:
    run = from_json(RUN.canonical().replace("lskd", "gone"))
    assert run.temperature == Temperature(0, "gone", numbers=params(tau=2))
    with pytest.raises(UserError, match="unknown temperature rule 'gone': use one of"):
        rule_of(run)


def test_the_papers_rules_have_no_numbers_of_their_own() -> None:
    with pytest.raises(UserError, match="the rule 'energy' has no number 'tau'"):
        Temperature(4, "energy", 2, -2, 0.2, numbers=params(tau=2))
