"""A run's identity: canonical JSON, its hash, and what is refused because it contradicts itself."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import field, fields, make_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.errors import UserError
from trainables.mixing import OPERATIONS, SELECTIONS
from trainables.spec import (
    AUGMENTATIONS,
    MEMBERSHIPS,
    PLAIN,
    PRECISIONS,
    Mixing,
    RunSpec,
    Temperature,
    flatten,
    from_dict,
    from_json,
    from_record,
    params,
)

SHARE = st.floats(min_value=0, max_value=1, exclude_min=True)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
WORDS = st.text(max_size=12)


@st.composite
def temperatures(draw: st.DrawFn) -> Temperature:
    base = draw(st.floats(min_value=0.5, max_value=100))
    rule = draw(st.sampled_from(("plain", "energy", "low", "high", "reversed", "gradation")))
    if rule == "plain":
        return Temperature(base)
    if rule == "gradation":
        return Temperature(base, rule, values=tuple(draw(st.lists(POSITIVE, min_size=2, max_size=12))))
    plus = draw(st.floats(min_value=0, max_value=100))
    minus = draw(st.floats(min_value=-base * 0.99, max_value=0))
    return Temperature(base, rule, plus, minus, draw(SHARE))


@st.composite
def mixings(draw: st.DrawFn) -> Mixing:
    selection = draw(st.sampled_from(SELECTIONS))
    rate = 1.0 if selection == "all" else draw(SHARE)
    return Mixing(draw(st.sampled_from(OPERATIONS)), selection, rate, draw(POSITIVE))


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    taught: dict[str, Any] = {}
    if draw(st.booleans()):
        taught = {
            "method": draw(st.text(min_size=1, max_size=8).filter(lambda word: word != "vanilla")),
            "teacher": draw(WORDS),
            "teacher_source": draw(WORDS),
            "temperature": draw(temperatures()),
            "mixing": draw(st.none() | mixings()),
            "membership": draw(st.sampled_from(MEMBERSHIPS)),
        }
    return RunSpec(
        dataset=draw(WORDS),
        student=draw(WORDS),
        seed=draw(st.integers(0, 2**63 - 1)),
        epochs=draw(st.integers(1, 2**63 - 1)),
        milestones=tuple(sorted(draw(st.sets(st.integers(1, 1000), max_size=6)))),
        lr=draw(POSITIVE),
        params=tuple(sorted(draw(st.dictionaries(WORDS, st.floats(allow_nan=False, allow_infinity=False))).items())),
        augmentation=draw(st.sampled_from(AUGMENTATIONS)),
        batch_size=draw(st.integers(2, 4096)),
        momentum=draw(st.floats(min_value=0, max_value=1, exclude_max=True)),
        weight_decay=draw(st.floats(min_value=0, allow_infinity=False)),
        lr_decay=draw(POSITIVE),
        precision=draw(st.sampled_from(PRECISIONS)),
        train_fraction=draw(SHARE),
        data=draw(WORDS),
        timing=draw(st.booleans()),
        **taught,
    )


def run(**changes: Any) -> RunSpec:
    """A small distilled run with some fields changed."""
    usual: dict[str, Any] = {
        "dataset": "digits",
        "student": "resnet8",
        "seed": 1,
        "epochs": 12,
        "milestones": (8, 10),
        "lr": 0.05,
        "method": "kd",
        "teacher": "resnet20",
        "teacher_source": "run:0123456789abcdef",
        "params": params(ce=0.1, kd=0.9),
    }
    return RunSpec(**(usual | changes))


@given(specs())
def test_a_spec_survives_its_json(spec: RunSpec) -> None:
    again = from_json(spec.canonical())
    assert again == spec
    assert again.run_id == spec.run_id
    assert from_dict(json.loads(json.dumps(spec.as_dict()))).canonical() == spec.canonical()


@given(specs(), specs())
def test_ids_are_equal_exactly_where_specs_are(left: RunSpec, right: RunSpec) -> None:
    assert (left.run_id == right.run_id) == (left == right)


@given(specs(), st.data())
def test_every_field_counts(spec: RunSpec, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([f.name for f in fields(RunSpec) if f.init]))
    value = getattr(data.draw(specs()), name)
    try:
        changed = replace(spec, **{name: value})
    except UserError:
        return
    assert (changed.run_id == spec.run_id) == (getattr(changed, name) == getattr(spec, name))


@given(specs())
def test_the_id_is_a_hash_of_the_fields_without_defaults(spec: RunSpec) -> None:
    given_fields = {f.name: getattr(spec, f.name) for f in fields(spec) if getattr(spec, f.name) != f.default}
    for name in ("temperature", "mixing"):
        if name in given_fields:
            inner = given_fields[name]
            given_fields[name] = {
                f.name: getattr(inner, f.name) for f in fields(inner) if getattr(inner, f.name) != f.default
            }
    if "params" in given_fields:
        given_fields["params"] = dict(given_fields["params"])
    text = json.dumps(given_fields, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode("ascii")).hexdigest().startswith(spec.run_id)
    assert len(spec.run_id) == 16


def test_a_default_written_out_or_left_out_is_the_same_run() -> None:
    short = run()
    long = run(temperature=Temperature(4, "plain", 0, 0, 0, ()), mixing=None, batch_size=64, momentum=0.9, data="")
    assert short.canonical() == long.canonical()
    assert "batch_size" not in short.canonical()


def test_a_field_added_later_leaves_old_ids() -> None:
    later = make_dataclass("Later", [("ema", float, field(default=0.0))], bases=(RunSpec,), frozen=True)
    own = {f.name: getattr(run(), f.name) for f in fields(RunSpec) if f.init}
    assert later(**own).run_id == run().run_id
    assert later(**own, ema=0).run_id == run().run_id
    assert later(**own, ema=0.9).run_id != run().run_id


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (run(temperature=Temperature(5)), run(temperature=Temperature(5.0))),
        (run(epochs=12), run(epochs=12.0)),
        (run(params=(("kd", 1),)), run(params=(("kd", 1.0),))),
        (run(weight_decay=0.0), run(weight_decay=-0.0)),
        (run(params=(("kd", 0),)), run(params=(("kd", -0.0),))),
        (run(milestones=[8, 10]), run(milestones=(8, 10.0))),
    ],
)
def test_one_number_written_in_two_ways_is_one_run(left: RunSpec, right: RunSpec) -> None:
    assert left == right
    assert left.run_id == right.run_id


def test_the_order_of_method_parameters_does_not_matter() -> None:
    assert params(kd=0.9, ce=0.1) == params(ce=0.1, kd=0.9)
    fields_of_run = run().as_dict()
    fields_of_run["params"] = {"kd": 0.9, "ce": 0.1}
    assert from_dict(fields_of_run) == run()


def test_nothing_about_execution_is_a_field() -> None:
    names = {f.name for f in fields(RunSpec)}
    assert not names & {
        "gpus",
        "device",
        "workers",
        "threads",
        "pack",
        "results",
        "data_dir",
        "path",
        "address",
        "host",
    }


# Pinned: were one of these to change, finished runs of every user would be trained again.
GOLDEN = {
    "5ecf2fc1a9a18403": '{"dataset":"cifar100","epochs":240,"lr":0.05,"method":"kd","milestones":[150,180,210],'
    '"params":{"ce":0.1,"kd":0.9},"seed":1,"student":"wrn_16_2","teacher":"wrn_40_2",'
    '"teacher_source":"run:a601faf3dccf1b63"}',
    "868560864cef7846": '{"dataset":"cifar100","epochs":240,"lr":0.05,"method":"kd","milestones":[150,180,210],'
    '"mixing":{"operation":"cutmix","rate":0.5,"selection":"high"},"params":{"ce":0.1,"kd":0.9},"seed":1,"student":"wrn_16_2",'
    '"teacher":"wrn_40_2","teacher_source":"run:a601faf3dccf1b63"}',
    "1529b7bfecc43f2b": '{"dataset":"cifar100","epochs":360,"lr":0.05,"method":"kd","milestones":'
    '[150,180,210,240,270,300],"params":{"ce":0.1,"kd":0.9},"seed":2,"student":"vgg8","teacher":"vgg13",'
    '"teacher_source":"run:eb062e41c81dec37","temperature":{"minus":-2.0,"plus":2.0,"rate":0.2,"rule":"energy"}}',
    "af50eaa2ae8136c7": '{"augmentation":"crop","dataset":"digits","epochs":12,"lr":0.05,"milestones":[8,10],"seed":1,'
    '"student":"resnet8"}',
}


@pytest.mark.parametrize(("run_id", "text"), GOLDEN.items())
def test_golden_ids(run_id: str, text: str) -> None:
    """Of records without a revision, as the first version wrote them all."""
    spec = from_record(json.loads(text))
    assert spec.canonical() == text
    assert spec.run_id == run_id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(4, "energy", 2, -4, 0.2), r"T \+ T- = 0 must be above 0"),
        (lambda: Temperature(4, "energy", 2, -5, 0.2), r"T \+ T- = -1 must be above 0"),
        (lambda: Temperature(1, "high", 0, -1, 0.2), r"T \+ T- = 0 must be above 0"),
        (lambda: Temperature(0), "temperature T = 0 must be above 0"),
        (lambda: Temperature(-4), "must be above 0"),
        (lambda: Temperature(4, "energy", -1, -2, 0.2), r"T\+ = -1 must not be negative"),
        (lambda: Temperature(4, "energy", 2, 1, 0.2), "T- = 1 must not be positive"),
        (lambda: Temperature(4, "energy", 2, -2, 0), r"rate r = 0 must be in \(0, 1\]"),
        (lambda: Temperature(4, "energy", 2, -2, 1.01), r"rate r = 1.01 must be in \(0, 1\]"),
        (lambda: Temperature(4, "energy", 2, -2, -0.5), r"rate r = -0.5 must be in \(0, 1\]"),
        (lambda: Temperature(4, "plain", 2), "plain temperature has no plus"),
        (lambda: Temperature(values=(2, 4)), "choose the rule 'gradation'"),
        (lambda: Temperature(4, "energy", 2, -2, 0.2, (2, 4)), "choose the rule 'gradation'"),
        (lambda: Temperature(4, "gradation", values=(4,)), "two values or more"),
        (lambda: Temperature(4, "gradation", values=(4, 0)), "above 0, not 0"),
        (lambda: Temperature(4, "gradation", 2, values=(6, 4)), "has no plus"),
        (lambda: Temperature(math.nan), "only finite numbers can"),
        (lambda: Temperature(math.inf), "only finite numbers can"),
        (lambda: Temperature(10**400), "only finite numbers can"),
        (lambda: Temperature(2**53 + 1), "too many digits"),
        (lambda: Temperature("4"), "'4' should be of type float"),
        (lambda: Temperature(True), "True should be of type float"),
        (lambda: Mixing("blur"), "unknown mixing 'blur': use one of cutmix, mixup"),
        (lambda: Mixing("cutmix", "some"), "unknown selection 'some'"),
        (lambda: Mixing("cutmix", "high", 0), r"rate 0 must be in \(0, 1\]"),
        (lambda: Mixing("cutmix", "high", 1.5), r"rate 1.5 must be in \(0, 1\]"),
        (lambda: Mixing("cutmix", "all", 0.5), "all samples has rate 1"),
        (lambda: Mixing("cutmix", alpha=0), "alpha 0 must be above 0"),
        (lambda: run(seed=-1), "seed -1"),
        (lambda: run(seed=2**63), "63 bits"),
        (lambda: run(seed=1.5), "1.5 should be of type int"),
        (lambda: run(seed=True), "True should be of type int"),
        (lambda: run(epochs=0), "epochs 0 must be at least 1"),
        (lambda: run(batch_size=1), "batch size 1 must be at least 2"),
        (lambda: run(lr=0), "learning rate 0"),
        (lambda: run(lr=math.inf), "only finite"),
        (lambda: run(lr_decay=0), "decay 0"),
        (lambda: run(momentum=1), "momentum 1"),
        (lambda: run(weight_decay=-1e-4), "weight decay -0.0001"),
        (lambda: run(train_fraction=0), r"fraction 0 must be in \(0, 1\]"),
        (lambda: run(train_fraction=1.1), r"fraction 1.1 must be in \(0, 1\]"),
        (lambda: run(precision="fp64"), "unknown precision 'fp64': use one of fp32, bf16"),
        (lambda: run(augmentation="flip"), "unknown augmentation 'flip'"),
        (lambda: run(milestones=(10, 8)), "must rise"),
        (lambda: run(milestones=(8, 8)), "must rise"),
        (lambda: run(milestones=(-1, 8)), "1 or more"),
        (lambda: run(teacher=None), "teacher and its source go together"),
        (lambda: run(teacher=None, teacher_source=None), "kd needs a teacher"),
        (lambda: run(method="vanilla"), "neither teacher nor temperature"),
        (lambda: run(params=(("kd", 0.9), ("ce", 0.1))), "must be in order"),
        (lambda: run(params=(("kd", 0.9), ("kd", 0.1))), "must be in order, each once"),
        (lambda: run(mixing={"operation": "cutmix"}), "is no Mixing"),
        (
            lambda: run(method="vanilla", teacher=None, teacher_source=None, mixing=Mixing("cutmix")),
            "it needs a teacher",
        ),
    ],
)
def test_contradictions_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "a run is a JSON object"),
        ("null", "a run is a JSON object"),
        ("{}", "missing"),
        ('{"dataset": ', "cannot be read"),
        ("9" * 5000, "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"gpus": 8}', "unknown field gpus of a RunSpec: it has augmentation, batch_size"),
        ('{"mixing": {"kind": "cutmix"}}', "unknown field kind of a Mixing"),
        ('{"mixing": {}}', "missing"),
        ('{"temperature": 4}', "missing"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_that_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(UserError, match="only finite"):
        from_json(run().canonical().replace('"lr":0.05', f'"lr":{number}'))


@pytest.mark.parametrize(
    ("spec", "treatment"),
    [
        (run(), "kd"),
        (run(method="dkd"), "dkd"),
        (run(temperature=Temperature(4, "energy", 2, -2, 0.2)), "energy_kd"),
        (run(temperature=Temperature(4, "reversed", 2, -2, 0.2)), "reversed_kd"),
        (run(temperature=Temperature(4, "gradation", values=(6, 2))), "gradation_kd"),
        (run(mixing=Mixing("cutmix")), "kd-cutmix100"),
        (run(mixing=Mixing("cutmix", "high", 0.3)), "kd-he_cutmix30"),
        (run(mixing=Mixing("mixup", "low", 0.125)), "kd-le_mixup12.5"),
        (run(mixing=Mixing("mixup", "half", 0.5)), "kd-half_mixup50"),
        (run(method="vanilla", teacher=None, teacher_source=None), "vanilla"),
    ],
)
def test_names_say_what_is_trained(spec: RunSpec, treatment: str) -> None:
    assert spec.treatment == treatment
    pair = "resnet20-resnet8" if spec.teacher else "resnet8"
    assert spec.name == f"digits-{pair}-{treatment}-e12-s1-{spec.run_id[:6]}"


def test_the_name_of_a_timing_run_says_so() -> None:
    assert "-timing-" in run(timing=True).name


def test_teacher_run() -> None:
    assert run().teacher_run == "0123456789abcdef"
    assert run(teacher_source="sha256:" + "0" * 64).teacher_run is None
    assert run(method="vanilla", teacher=None, teacher_source=None).teacher_run is None


def test_flatten_names_every_field_of_every_run_alike() -> None:
    plain = flatten(run(method="vanilla", teacher=None, teacher_source=None, params=()))
    rich = flatten(run(mixing=Mixing("cutmix", "high", 0.3), temperature=Temperature(4, "energy", 2, -2, 0.2)))
    assert set(rich) - set(plain) == {"params.ce", "params.kd"}
    assert (plain["mixing.rate"], rich["mixing.rate"]) == (None, 0.3)
    assert rich["milestones"] == [8, 10]
    assert rich["temperature.minus"] == -2
    assert plain["temperature.base"] == PLAIN.base
    assert {name.partition(".")[0] for name in rich} == {f.name for f in fields(RunSpec)}
