"""The logit losses: golden values, numpy, analytic gradients and limits, one temperature a sample, huge logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, logsumexp, rel_entr, softmax
from torch import Tensor

from ekd_core import dkd_loss, dkd_mixed_loss, kd_loss

Loss = Callable[[Tensor, Tensor, float | Tensor], Tensor]

N, C = 12, 7
LABELS = torch.arange(N) % C
PAIRS = st.tuples(*[arrays(np.float64, (N, C), elements=st.floats(-30, 30))] * 2)
TEMPERATURES = arrays(np.float64, (N,), elements=st.floats(0.5, 12))


def dkd(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    return dkd_loss(student, teacher, LABELS[: len(student)], temperature, 1.0, 8.0)


LOSSES = pytest.mark.parametrize("loss", [kd_loss, dkd], ids=["kd", "dkd"])


def logits(seed: int, scale: float = 5.0, shape: tuple[int, int] = (N, C)) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_kd(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """T^2 KL(teacher || student) of one sample, from its probabilities."""
    return temperature**2 * rel_entr(softmax(teacher / temperature), softmax(student / temperature)).sum()


def plain_dkd(student: np.ndarray, teacher: np.ndarray, label: int, temperature: float, a: float, b: float) -> float:
    """The two parts of one sample, from its probabilities: explicit softmax, explicit renormalisation."""
    s, t = softmax(student / temperature), softmax(teacher / temperature)
    binary = rel_entr([t[label], 1 - t[label]], [s[label], 1 - s[label]]).sum()
    others_s, others_t = np.delete(s, label), np.delete(t, label)
    others = rel_entr(others_t / others_t.sum(), others_s / others_s.sum()).sum()
    return temperature**2 * (a * binary + b * others)


# --- values --------------------------------------------------------------------------------------------------------


def test_golden(golden: dict[str, Any]) -> None:
    inputs, expected = golden["inputs"], golden["expected"]
    student, teacher, labels = inputs["student_logits"], inputs["teacher_logits"], inputs["labels"]
    each = expected["temperature_T4_plus2_minus2_r0.25"]
    found = {
        "kd_T4": kd_loss(student, teacher, 4.0),
        "kd_per_sample_T": kd_loss(student, teacher, each),
        "dkd_alpha1_beta8_T4": dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0),
        "dkd_alpha1_beta0_T4": dkd_loss(student, teacher, labels, 4.0, 1.0, 0.0),
        "dkd_alpha1_beta8_per_sample_T": dkd_loss(student, teacher, labels, each, 1.0, 8.0),
    }
    found |= {f"mld_instance_T{t}": kd_loss(student, teacher, t) for t in (2, 3, 4, 5, 6)}
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-9), name


@given(PAIRS, TEMPERATURES)
def test_kd_of_probabilities(pair: tuple[np.ndarray, np.ndarray], temperatures: np.ndarray) -> None:
    student, teacher = pair
    expected = np.mean([plain_kd(s, t, T) for s, t, T in zip(student, teacher, temperatures, strict=True)])
    found = kd_loss(torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(temperatures))
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-10)


@given(st.integers(0, 10_000), TEMPERATURES, st.floats(0, 5), st.floats(0, 10))
def test_dkd_of_probabilities(seed: int, temperatures: np.ndarray, alpha: float, beta: float) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    rows = zip(student.numpy(), teacher.numpy(), LABELS.tolist(), temperatures, strict=True)
    expected = np.mean([plain_dkd(s, t, y, T, alpha, beta) for s, t, y, T in rows])
    found = dkd_loss(student, teacher, LABELS, torch.from_numpy(temperatures), alpha, beta)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(0, 10_000), st.floats(0.8, 10))
def test_kd_is_the_sum_of_its_decoupled_parts(seed: int, temperature: float) -> None:
    """Zhao et al. 2022, Eq. 6: KD = TCKD + (1 - teacher's target probability) NCKD, for each sample."""
    student, teacher = logits(seed, shape=(1, C)), logits(seed + 1, shape=(1, C))
    target = torch.softmax(teacher / temperature, dim=1)[0, LABELS[0]].item()
    decoupled = dkd_loss(student, teacher, LABELS[:1], temperature, 1.0, 1 - target)
    assert decoupled.item() == pytest.approx(kd_loss(student, teacher, temperature).item(), rel=1e-8, abs=1e-10)


def test_parts_of_dkd_add_up() -> None:
    student, teacher = logits(0), logits(1)
    target = dkd_loss(student, teacher, LABELS, 4.0, 1.0, 0.0)
    others = dkd_loss(student, teacher, LABELS, 4.0, 0.0, 1.0)
    torch.testing.assert_close(dkd_loss(student, teacher, LABELS, 4.0, 0.7, 8.0), 0.7 * target + 8.0 * others)


def test_two_classes() -> None:
    """One other class has nothing to distribute: DKD is its binary part, which is then all of KD."""
    student, teacher = logits(0, shape=(N, 2)), logits(1, shape=(N, 2))
    found = dkd_loss(student, teacher, LABELS % 2, 3.0, 1.0, 100.0)
    torch.testing.assert_close(found, kd_loss(student, teacher, 3.0))


@LOSSES
@given(seed=st.integers(0, 10_000), temperatures=TEMPERATURES)
def test_one_temperature_a_sample_is_a_loop_over_samples(loss: Loss, seed: int, temperatures: np.ndarray) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    each = []
    for i, temperature in enumerate(temperatures.tolist()):
        if loss is dkd:
            each.append(dkd_loss(student[i : i + 1], teacher[i : i + 1], LABELS[i : i + 1], temperature, 1.0, 8.0))
        else:
            each.append(kd_loss(student[i : i + 1], teacher[i : i + 1], temperature))
    found = loss(student, teacher, torch.from_numpy(temperatures))
    assert found.shape == ()
    torch.testing.assert_close(found, torch.stack(each).mean(), rtol=1e-12, atol=1e-12)


@LOSSES
@pytest.mark.parametrize("temperature", [1, 4.0, 6.5])
def test_equal_temperatures_are_one_temperature(loss: Loss, temperature: float) -> None:
    student, teacher = logits(2), logits(3)
    one = loss(student, teacher, temperature)
    assert torch.equal(loss(student, teacher, torch.tensor(temperature)), one)
    assert torch.equal(loss(student, teacher, torch.full((N,), float(temperature))), one)


# --- invariances and limits ----------------------------------------------------------------------------------------


@LOSSES
@given(seed=st.integers(0, 10_000), shifts=TEMPERATURES, temperature=st.floats(0.5, 12))
def test_constants_added_to_the_logits_of_a_sample(
    loss: Loss, seed: int, shifts: np.ndarray, temperature: float
) -> None:
    student, teacher, shift = logits(seed), logits(seed + 1), torch.from_numpy(shifts)[:, None]
    there = loss(student + 10 * shift, teacher - 7 * shift, temperature)
    torch.testing.assert_close(there, loss(student, teacher, temperature), rtol=1e-9, atol=1e-10)


@LOSSES
@given(pair=PAIRS, temperatures=TEMPERATURES)
def test_never_negative(loss: Loss, pair: tuple[np.ndarray, np.ndarray], temperatures: np.ndarray) -> None:
    student, teacher, temperature = (torch.from_numpy(a) for a in (*pair, temperatures))
    assert loss(student, teacher, temperature).item() >= -1e-10


@LOSSES
def test_zero_and_flat_where_student_and_teacher_agree(loss: Loss) -> None:
    teacher = logits(4, scale=20)
    student = (teacher + 3).requires_grad_()
    value = loss(student, teacher, torch.linspace(0.5, 8, N))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-10)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


@LOSSES
def test_order_of_samples_and_classes(loss: Loss) -> None:
    student, teacher, temperature = logits(5), logits(6), torch.linspace(1, 8, N, dtype=torch.float64)
    value = loss(student, teacher, temperature)
    turned = torch.arange(N).flip(0)
    if loss is dkd:
        rows = dkd_loss(student[turned], teacher[turned], LABELS[turned], temperature[turned], 1.0, 8.0)
        classes = dkd_loss(student.flip(1), teacher.flip(1), C - 1 - LABELS, temperature, 1.0, 8.0)
    else:
        rows = kd_loss(student[turned], teacher[turned], temperature[turned])
        classes = kd_loss(student.flip(1), teacher.flip(1), temperature)
    torch.testing.assert_close(rows, value)
    torch.testing.assert_close(classes, value)


def test_hot_limits() -> None:
    """T to infinity: squared differences of centred logits. KD: / 2C over all classes (Hinton et al. 2015)."""
    student, teacher = logits(7, scale=2), logits(8, scale=2)
    gap = student - teacher
    expected = ((gap - gap.mean(1, keepdim=True)) ** 2).sum(1).mean() / (2 * C)
    torch.testing.assert_close(kd_loss(student, teacher, 1e5), expected, rtol=1e-4, atol=0)

    target = torch.nn.functional.one_hot(LABELS, C).bool()
    others = gap[~target].view(N, C - 1)
    margin = gap[target] - others.mean(1)
    binary = (C - 1) / C**2 * (margin**2).mean() / 2
    rest = ((others - others.mean(1, keepdim=True)) ** 2).sum(1).mean() / (2 * (C - 1))
    torch.testing.assert_close(dkd_loss(student, teacher, LABELS, 1e5, 1.0, 0.0), binary, rtol=1e-4, atol=0)
    torch.testing.assert_close(dkd_loss(student, teacher, LABELS, 1e5, 0.0, 1.0), rest, rtol=1e-4, atol=0)


# --- gradients -----------------------------------------------------------------------------------------------------


@LOSSES
@pytest.mark.parametrize("temperature", [0.7, 4.0, torch.linspace(0.8, 9, N, dtype=torch.float64)], ids=str)
def test_gradients_by_finite_differences(loss: Loss, temperature: float | Tensor) -> None:
    student, teacher = logits(9, scale=2).requires_grad_(), logits(10, scale=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: loss(s, t, temperature), (student, teacher), fast_mode=True)


def test_gradient_of_kd() -> None:
    """d/ds = T (softmax(s / T) - softmax(t / T)) / N: a hotter sample pulls harder."""
    temperature = torch.linspace(1, 8, N, dtype=torch.float64)[:, None]
    student, teacher = logits(11).requires_grad_(), logits(12)
    kd_loss(student, teacher, temperature[:, 0]).backward()
    gap = torch.softmax(student.detach() / temperature, dim=1) - torch.softmax(teacher / temperature, dim=1)
    torch.testing.assert_close(student.grad, temperature * gap / N)


def test_temperature_is_no_parameter() -> None:
    """A student's logits in float32 and temperatures in float64 give a loss in float32."""
    loss = kd_loss(logits(0).float(), logits(1).float(), torch.full((N,), 4.0, dtype=torch.float64))
    assert loss.dtype == torch.float32


# --- huge logits in float32 ----------------------------------------------------------------------------------------


def huge(seed: int) -> Tensor:
    """Logits of +-1e4, as float32 can hold them; the first rows are the corners."""
    made = torch.Generator().manual_seed(seed)
    values = torch.empty(N, C, dtype=torch.float64).uniform_(-1e4, 1e4, generator=made)
    values[0] = -1e4
    values[0, seed % C] = 1e4
    values[1] = 1e4
    values[1, seed % C] = -1e4
    values[2] = 1e4 if seed % 2 else -1e4
    return values.float()


def log_space(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, float, float]:
    """KD, TCKD and NCKD in float64, each sample from its own logarithms."""
    total = np.zeros(3)
    for s, t, label in zip(student.double().numpy(), teacher.double().numpy(), LABELS.tolist(), strict=True):
        s, t = s / temperature, t / temperature
        parts = []
        for row in (s, t):
            others = np.delete(row, label)
            whole = logsumexp(row)
            parts.append((log_softmax(row), [row[label] - whole, logsumexp(others) - whole], log_softmax(others)))
        total += [np.exp(q) @ np.subtract(q, p) for p, q in zip(*parts, strict=True)]
    kd, target, others_part = temperature**2 * total / len(student)
    return kd, target, others_part


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (3, 3), (4, 9)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_huge_logits(seeds: tuple[int, int], temperature: float) -> None:
    student, teacher = huge(seeds[0]).requires_grad_(), huge(seeds[1])
    kd, target, others = log_space(student.detach(), teacher, temperature)
    found = {
        "kd": (kd_loss(student, teacher, temperature), kd),
        "target": (dkd_loss(student, teacher, LABELS, temperature, 1.0, 0.0), target),
        "others": (dkd_loss(student, teacher, LABELS, torch.full((N,), temperature), 0.0, 1.0), others),
    }
    for name, (value, expected) in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected, rel=1e-4, abs=0.05), name
        (gradient,) = torch.autograd.grad(value, student)
        assert bool(torch.isfinite(gradient).all()), name


@LOSSES
def test_gradients_of_huge_logits(loss: Loss) -> None:
    single, teacher = huge(5).requires_grad_(), huge(6)
    double = single.detach().double().requires_grad_()
    loss(single, teacher, 4.0).backward()
    loss(double, teacher.double(), 4.0).backward()
    assert single.grad is not None
    assert double.grad is not None
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-3, atol=1e-3)


# --- refusals ------------------------------------------------------------------------------------------------------


@LOSSES
@pytest.mark.parametrize("temperature", [0, -0.0, -4.0, -math.inf])
def test_temperature_must_be_positive(loss: Loss, temperature: float) -> None:
    one_bad = torch.full((N,), 4.0)
    one_bad[5] = temperature
    for wrong in (temperature, torch.tensor(float(temperature)), one_bad):
        with pytest.raises(ValueError, match="must be above 0"):
            loss(logits(0), logits(1), wrong)


@LOSSES
@pytest.mark.parametrize("shape", [(1,), (N - 1,), (C,), (N, 1), (1, C)])
def test_temperatures_of_another_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(N,\) is needed"):
        loss(logits(0), logits(1), torch.full(shape, 4.0))


@LOSSES
@pytest.mark.parametrize("shape", [(N, C + 1), (1, C), (C,)])
def test_teacher_of_another_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, C\)"):
        loss(logits(0), torch.zeros(shape, dtype=torch.float64), 4.0)


# --- two labels ----------------------------------------------------------------------------------------------------

OTHERS = (LABELS + torch.arange(N) // 3) % C
"""For the first samples the labels themselves, for the others another class."""


def plain_mixed(
    student: np.ndarray, teacher: np.ndarray, pair: set[int], temperature: float, a: float, b: float
) -> float:
    """The two parts of one sample, from its probabilities: explicit softmax, explicit renormalisation."""
    s, t = softmax(student / temperature), softmax(teacher / temperature)
    own = sorted(pair)
    rest_s, rest_t = np.delete(s, own), np.delete(t, own)
    ternary = rel_entr([*t[own], rest_t.sum()], [*s[own], rest_s.sum()]).sum()
    return temperature**2 * (a * ternary + b * rel_entr(rest_t / rest_t.sum(), rest_s / rest_s.sum()).sum())


@given(st.integers(0, 1000), TEMPERATURES, st.floats(0, 3), st.floats(0, 9))
def test_two_labels_of_probabilities(seed: int, temperatures: np.ndarray, alpha: float, beta: float) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    found = dkd_mixed_loss(student, teacher, LABELS, OTHERS, torch.from_numpy(temperatures), alpha, beta)
    expected = np.mean(
        [
            plain_mixed(s, t, {one, other}, temperature, alpha, beta)
            for s, t, one, other, temperature in zip(
                student.numpy(), teacher.numpy(), LABELS.tolist(), OTHERS.tolist(), temperatures, strict=True
            )
        ]
    )
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    swapped = dkd_mixed_loss(student, teacher, OTHERS, LABELS, torch.from_numpy(temperatures), alpha, beta)
    torch.testing.assert_close(swapped, found)


def test_two_labels_that_are_one_are_dkd() -> None:
    student, teacher = logits(1), logits(2)
    found = dkd_mixed_loss(student, teacher, LABELS, LABELS, 4.0, 1.0, 8.0)
    torch.testing.assert_close(found, dkd(student, teacher, 4.0))


def test_gradients_of_two_labels_by_finite_differences() -> None:
    student, teacher, temperatures = logits(3, 2.0).requires_grad_(), logits(4, 2.0), torch.linspace(1, 6, N).double()
    loss = lambda s: dkd_mixed_loss(s, teacher, LABELS, OTHERS, temperatures, 1.0, 8.0)  # noqa: E731
    assert torch.autograd.gradcheck(loss, student, fast_mode=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_leave_no_second_term(classes: int) -> None:
    """Beside one target of two classes, or two of three, there is one class: beta has no effect."""
    labels = torch.arange(N) % classes
    others = (labels + 1) % classes
    for loss in (
        lambda s, t, beta: dkd_loss(s[:, :2], t[:, :2], labels % 2, 4.0, 1.0, beta),
        lambda s, t, beta: dkd_mixed_loss(s, t, labels, others, 4.0, 1.0, beta),
    ):
        found = []
        for beta in (0.0, 8.0):
            student = logits(5, shape=(N, classes)).float().requires_grad_()
            value = loss(student, logits(6, shape=(N, classes)).float(), beta)
            value.backward()
            assert student.grad is not None
            assert student.grad.isfinite().all()
            found.append((value.item(), student.grad))
        assert found[0][0] == found[1][0] > 0
        assert torch.equal(found[0][1], found[1][1])
