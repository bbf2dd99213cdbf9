"""Runs whose fields have come to mean another training: other ids, old records kept apart, membership."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from test_spec import GOLDEN, run

from trainables.errors import UserError
from trainables.spec import Mixing, Temperature, from_json, from_record, params


@pytest.mark.parametrize(
    ("changes", "run_id"),
    [
        ({}, "5ecf2fc1a9a18403"),
        ({"mixing": Mixing("cutmix", "high", 0.5)}, "b39110075982efb1"),
        ({"mixing": Mixing("cutmix", "high", 0.5), "membership": "image"}, "55ee858b0f4ee2b2"),
        ({"temperature": Temperature(4, "energy", 2, -2, 0.2)}, "70fab1990cd888a4"),
        ({"method": "ofd", "params": params(ce=1, weight=0.001), "temperature": None}, "a5e5b6631ff79ab7"),
    ],
)
def test_golden_ids_of_the_second_revision(changes: dict[str, Any], run_id: str) -> None:
    """What trains as before keeps its id; what does not gets another."""
    (text, *_) = GOLDEN.values()
    spec = replace(from_record(json.loads(text)), **changes)
    assert spec.run_id == run_id
    assert from_json(spec.canonical()) == spec == from_record(spec.as_dict())
    assert not spec.outdated


def test_a_run_of_the_first_revision_is_another_run_and_says_so() -> None:
    spec = run(temperature=Temperature(4, "energy", 2, -2, 0.2))
    old = from_record({key: value for key, value in spec.as_dict().items() if key != "revision"})
    assert (spec.revision, old.revision) == (2, 1)
    assert old.outdated
    assert "revision1" in old.name
    assert old != spec
    assert old.run_id != spec.run_id
    assert spec.as_of(1) == old
    assert replace(old, seed=old.seed) == spec
    with pytest.raises(UserError, match="revision 3 of a run was written by a newer version: upgrade"):
        spec.as_of(3)


def test_membership_has_a_meaning_only_where_energies_decide() -> None:
    assert run(membership="image").run_id == run().run_id
    energy = run(temperature=Temperature(4, "energy", 2, -2, 0.2))
    assert replace(energy, membership="image").run_id != energy.run_id
    assert run(mixing=Mixing("cutmix"), membership="image") == run(mixing=Mixing("cutmix"))
    with pytest.raises(UserError, match="unknown membership 'index': use one of view, image"):
        run(membership="index")
