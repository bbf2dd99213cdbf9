"""Rules and losses by name: golden values and gradients, finite differences, limits, logits that nobody planned for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from ekd_core import Softening, divergence, dkd_loss, energy, kd_loss, rules
from ekd_core.divergences import LOSSES
from ekd_core.rules import Rule, Samples
from ekd_core.rules.ctkd import CTKD, reverse_gradient
from ekd_core.rules.lskd import LSKD

N, C = 12, 7
LABELS = torch.arange(N) % C
NUMBERS: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 4},
    "energy": {"temperature": 4, "plus": 2, "minus": -2, "rate": 0.3},
    "reversed": {"temperature": 4, "plus": 2, "minus": -2, "rate": 0.3},
    "low": {"temperature": 4, "plus": 2, "minus": -2, "rate": 0.3},
    "high": {"temperature": 4, "plus": 2, "minus": -2, "rate": 0.3},
    "gradation": {"values": (6.0, 2.0)},
    "lskd": {"tau": 2},
    "normkd": {"tau": 2},
    "dtkd": {"temperature": 4},
    "dtkd_energy": {"temperature": 4},
    "ttm": {"gamma": 0.1},
    "wttm": {"gamma": 0.2},
    "spherical": {"temperature": 4},
    "ctkd": {},
    "ats": {"true": 4, "other": 2, "student": 1.5},
    "eakd": {"temperature": 4, "entropy_temperature": 3, "bound": 100},
    "wsld": {"temperature": 2},
    "dkd": {"temperature": 4, "alpha": 1, "beta": 8},
    "dist": {"tau": 4},
    "nkd": {"gamma": 1.5, "temperature": 1},
    "rld": {"alpha": 1, "beta": 8, "temperature": 4, "alpha_temperature": 1},
    "abkd": {"alpha": 0.8, "beta": 0.3, "temperature": 4},
}
NAMES = sorted(NUMBERS)
RULES = [name for name in NAMES if name not in LOSSES]
AFFINE = ("ats", "dtkd", "dtkd_energy", "energy", "reversed", "low", "high", "gradation")
"""Rules to which a number added to all logits makes a difference."""


def logits(seed: int, shape: tuple[int, int] = (N, C), scale: float = 3.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(name: str, student: Tensor, teacher: Tensor, labels: Tensor = LABELS) -> Tensor:
    return divergence(name, student, teacher, labels=labels[: len(student)], **NUMBERS[name])


def test_every_rule_and_loss_is_tested_here() -> None:
    assert {*rules.names(), *LOSSES} == {*NUMBERS}


# --- golden values -------------------------------------------------------------------------------------------------

GOLDEN: dict[str, tuple[tuple[float, str, dict[str, Any]], ...]] = {
    "lskd_T2": ((1, "lskd", {"tau": 2}),),
    "lskd_T3": ((1, "lskd", {"tau": 3}),),
    "normkd_T2": ((1, "normkd", {"tau": 2}),),
    "dtkd_max_T4_alpha3_beta1_without_ce": ((3, "dtkd", {"temperature": 4}), (1, "plain", {"temperature": 4})),
    "dtkd_max_T4_alpha1_beta0_without_ce": ((1, "dtkd", {"temperature": 4, "sharpness": "max"}),),
    "ttm_gamma0.1": ((1, "ttm", {"gamma": 0.1}),),
    "wttm_gamma0.2": ((1, "wttm", {"gamma": 0.2}),),
    "dist_beta1_gamma1_T4": ((1, "dist", {"tau": 4}),),
    "dist_beta1_gamma1_T1": ((1, "dist", {"tau": 1}),),
    "nkd_gamma1.5_T1": ((1, "nkd", {"gamma": 1.5, "temperature": 1}),),
    "rld_alpha1_beta8_T4_alphaT1": ((1, "rld", NUMBERS["rld"]),),
    "eakd_T4_t3_bound100": ((1, "eakd", NUMBERS["eakd"]),),
    "eakd_T4_t3_boundlogC": ((1, "eakd", NUMBERS["eakd"] | {"bound": math.log(20)}),),
    "abkd_alpha0.8_beta0.3_T4": ((1, "abkd", NUMBERS["abkd"]),),
    "ctkd_T15.6211714": ((1, "plain", {"temperature": 15.6211714}),),
    "ats_true4_other2_student1_cross_entropy": ((1, "ats", {"true": 4, "other": 2, "student": 1}),),
    "wsld_T2_cross_entropy": ((1, "wsld", {"temperature": 2}),),
}
"""By the name of a golden value, the weighted divergences of which it is the sum."""


def golden_inputs(golden: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    inputs = golden["inputs"]
    return inputs["student_logits"].clone().requires_grad_(), inputs["teacher_logits"], inputs["labels"]


def check_golden(name: str, found: Tensor, student: Tensor, data: Path) -> None:
    (gradient,) = torch.autograd.grad(found, student)
    expected = json.loads((data / "reference" / "rules.json").read_text())[name]
    assert {
        "value": found.item(),
        "gradient_l2": gradient.norm().item(),
        "gradient_first_sample_l2": gradient[0].norm().item(),
        "gradient_first_entry": gradient[0, 0].item(),
    } == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, golden: dict[str, Any], ekd_data: Path) -> None:
    student, teacher, labels = golden_inputs(golden)
    terms = [weight * divergence(each, student, teacher, labels=labels, **own) for weight, each, own in GOLDEN[name]]
    check_golden(name, torch.stack(terms).sum(), student, ekd_data)


def test_golden_dkd_with_lskd(golden: dict[str, Any], ekd_data: Path) -> None:
    student, teacher, labels = golden_inputs(golden)
    loss = dkd_loss(student, teacher, labels, LSKD(2).soften(Samples(teacher, student)), alpha=9, beta=72)
    check_golden("dkd_lskd_alpha9_beta72_T2", loss, student, ekd_data)


def test_every_golden_value_is_compared(ekd_data: Path) -> None:
    stored = json.loads((ekd_data / "reference" / "rules.json").read_text())
    assert {*stored} == {*GOLDEN, "dkd_lskd_alpha9_beta72_T2"}


# --- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradient_against_finite_differences(name: str) -> None:
    """The factors of EA-KD and WSLD carry no gradient: they are held as they are at the point."""
    student, teacher = logits(1).requires_grad_(), logits(2)
    if name in ("eakd", "wsld"):
        rule = rules.find(name)(**NUMBERS[name])
        held = rule.soften(Samples(teacher, student, LABELS))
        assert torch.autograd.gradcheck(lambda each: kd_loss(each, teacher, held), student, fast_mode=True)
        expected = torch.autograd.grad(kd_loss(student, teacher, held), student)
        assert torch.equal(torch.autograd.grad(value(name, student, teacher), student)[0], expected[0])
    else:
        assert torch.autograd.gradcheck(lambda each: value(name, each, teacher), student, fast_mode=True)


def test_ctkd_learns_on_the_reversed_gradient() -> None:
    """theta's gradient is -lambda times that of the loss by T, from finite differences; lambda is 1/2 at epoch 5."""
    rule, student, teacher = CTKD(), logits(1), logits(2)
    learned = rule.learned().double()
    kd_loss(student, teacher, rule.soften(Samples(teacher, student, epoch=5, learned=learned))).backward()
    step = 1e-6

    def loss(theta: float) -> float:
        return kd_loss(student, teacher, 1 + 20 / (1 + math.exp(-theta))).item()

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert learned.theta.grad.item() == pytest.approx(-0.5 * slope, rel=1e-6)


def test_ctkd_starts_at_the_published_temperature() -> None:
    softening = CTKD().soften(Samples(logits(1), logits(2)))
    assert softening.teacher[0].item() == pytest.approx(15.6211714, abs=1e-5)
    assert torch.equal(softening.teacher, softening.student)


def test_reversed_gradient_keeps_the_value() -> None:
    one = torch.tensor(0.1, requires_grad=True)
    turned = reverse_gradient(one, 0.7)
    turned.backward()
    assert turned.item() == one.item()
    assert one.grad.item() == pytest.approx(-0.7)


# --- what the rules mean -------------------------------------------------------------------------------------------


def softening(rule: Rule, student: Tensor, teacher: Tensor) -> Any:
    scores = energy(teacher)
    return rule.soften(Samples(teacher, student, LABELS, scores=scores, cuts=rule.cuts(scores)))


@pytest.mark.parametrize("name", RULES)
def test_shared_rules_return_the_temperature_alone(name: str) -> None:
    rule = rules.find(name)(**NUMBERS[name])
    assert isinstance(softening(rule, logits(1), logits(2)), Softening) != rule.SHARED


@pytest.mark.parametrize("name", [name for name in RULES if not rules.find(name).STUDENT])
def test_rules_that_do_not_ask_for_the_student_do_without(name: str) -> None:
    rule, teacher = rules.find(name)(**NUMBERS[name]), logits(2)
    scores = energy(teacher)
    rule.soften(Samples(teacher, labels=LABELS if rule.LABELS else None, scores=scores, cuts=rule.cuts(scores)))


def test_reversed_is_energy_with_the_ends_exchanged() -> None:
    numbers = NUMBERS["energy"]
    energy_kd, reverse = (
        softening(rules.find(name)(**numbers), logits(1), logits(2)) for name in ("energy", "reversed")
    )
    assert {*energy_kd.tolist()} == {2.0, 4.0, 6.0}
    assert torch.equal(8 - energy_kd, reverse)


def test_equally_sharp_networks_have_the_plain_temperature_under_dtkd() -> None:
    found = softening(rules.find("dtkd")(temperature=4), logits(1), logits(1))
    assert torch.allclose(found.teacher, torch.full((N,), 4.0, dtype=torch.float64))


def test_dtkd_without_a_positive_logit_is_kd() -> None:
    found = softening(rules.find("dtkd")(temperature=4), -logits(1).abs() - 1, -logits(2).abs() - 1)
    assert torch.allclose(found.student, torch.full((N,), 4.0, dtype=torch.float64))


def test_lskd_and_normkd_differ_in_the_factor_alone() -> None:
    lskd, normkd = (softening(rules.find(name)(tau=2), logits(1), logits(2)) for name in ("lskd", "normkd"))
    assert torch.allclose(torch.as_tensor(lskd.student), torch.as_tensor(normkd.student), rtol=1e-6)
    assert not torch.allclose(torch.as_tensor(normkd.factor), torch.as_tensor(lskd.factor).double())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("ats", "nkd", "wsld", "rld")])
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(name: str) -> None:
    same = logits(1)
    if name in ("ttm", "wttm"):  # the student's temperature is 1
        return
    assert value(name, same, same).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in AFFINE])
def test_a_number_added_to_all_logits_changes_nothing(name: str) -> None:
    student, teacher = logits(1), logits(2)
    assert value(name, student + 3, teacher - 5).item() == pytest.approx(value(name, student, teacher).item(), rel=1e-9)


def test_rld_of_a_label_with_the_lowest_logit_has_no_second_term() -> None:
    teacher = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    parts = [
        divergence(
            "rld", logits(1, (1, 3)), teacher, labels=torch.tensor([0]), **NUMBERS["rld"] | {"beta": beta}
        ).item()
        for beta in (0, 8)
    ]
    assert parts[0] == parts[1]


# --- logits that nobody planned for --------------------------------------------------------------------------------

FLOATS = st.one_of(st.sampled_from([0.0, 1e4, -1e4, 2.0**-20]), st.floats(-1e4, 1e4, width=32))


@pytest.mark.parametrize("name", NAMES)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(2, 5)), elements=FLOATS), st.integers(0, 2), st.data()
)
def test_finite_in_float32(name: str, teacher: np.ndarray, alike: int, data: st.DataObject) -> None:
    """Equal logits (sigma = 0), +-1e4, a class that dominates, one sample, two classes."""
    assume(name != "gradation" or len(teacher) > 1)
    student = teacher if alike == 0 else data.draw(arrays(np.float32, teacher.shape, elements=FLOATS))
    student = np.full_like(teacher, student.flat[0]) if alike == 1 else student
    one = torch.from_numpy(student.copy()).requires_grad_()
    found = value(name, one, torch.from_numpy(teacher.copy()), torch.zeros(len(teacher), dtype=torch.int64))
    found.backward()
    assert found.isfinite()
    assert one.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_logits(name: str) -> None:
    student, teacher = logits(1).bfloat16().requires_grad_(), logits(2).bfloat16()
    found = value(name, student, teacher)
    found.backward()
    assert student.grad.isfinite().all()
    assert found.item() == pytest.approx(value(name, student.detach().double(), teacher.double()).item(), rel=0.1)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t: divergence("lskdd", s, t, tau=2), "unknown rule 'lskdd'"),
        (lambda s, t: divergence("lskd", s, t, gamma=2), "lskd: .*unexpected keyword argument 'gamma'"),
        (lambda s, t: divergence("lskd", s, t, tau=0), "tau is 0; it must be above 0"),
        (lambda s, t: divergence("wsld", s, t, temperature=2), "wsld looks at the labels"),
        (lambda s, t: divergence("dtkd", s, t, temperature=2, sharpness="mean"), "unknown sharpness 'mean'"),
        (lambda s, t: divergence("abkd", s, t, alpha=1, beta=-1, temperature=4), "nor their sum, may be 0"),
        (
            lambda s, t: dkd_loss(s, t, LABELS, Softening(1.0, 1.0, 1.0, cross_entropy=True), 1, 8),
            "no rule of a cross-",
        ),
    ],
)
def test_refused(call: Callable[[Tensor, Tensor], Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(logits(1), logits(2))
