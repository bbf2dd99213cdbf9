"""Correlations of classes and of samples: golden values, loops, invariances, gradients, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from torch import Tensor

from ekd_core import batch_correlation_loss, class_correlation_loss

Loss = Callable[[Tensor, Tensor, float | Tensor], Tensor]

N, C = 9, 6
TEMPERATURES = arrays(np.float64, (N,), elements=st.floats(0.5, 12))
SEEDS = st.integers(0, 10_000)
LOSSES = pytest.mark.parametrize("loss", [class_correlation_loss, batch_correlation_loss], ids=["class", "batch"])


def logits(seed: int, scale: float = 5.0, shape: tuple[int, int] = (N, C)) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [2, 3, 4, 5, 6])
def test_golden(golden: dict[str, Any], temperature: float) -> None:
    inputs, expected = golden["inputs"], golden["expected"]
    for name, loss in (("class", class_correlation_loss), ("batch", batch_correlation_loss)):
        found = loss(inputs["student_logits"], inputs["teacher_logits"], temperature)
        assert found.item() == pytest.approx(expected[f"mld_{name}_T{temperature}"], rel=1e-9)


@given(SEEDS, TEMPERATURES)
def test_loops(seed: int, temperatures: np.ndarray) -> None:
    student, teacher = logits(seed), logits(seed + 1)
    p, q = (softmax(each.numpy() / temperatures[:, None], axis=1) for each in (student, teacher))
    classes = sum((q[:, a] @ q[:, b] - p[:, a] @ p[:, b]) ** 2 for a in range(C) for b in range(C)) / C
    samples = sum((q[i] @ q[j] - p[i] @ p[j]) ** 2 for i in range(N) for j in range(N)) / N
    each = torch.from_numpy(temperatures)
    assert class_correlation_loss(student, teacher, each).item() == pytest.approx(classes, rel=1e-9, abs=1e-12)
    assert batch_correlation_loss(student, teacher, each).item() == pytest.approx(samples, rel=1e-9, abs=1e-12)


@LOSSES
@given(seed=SEEDS, temperatures=TEMPERATURES, shift=st.floats(-50, 50))
def test_invariances(loss: Loss, seed: int, temperatures: np.ndarray, shift: float) -> None:
    """Constants added to a sample's logits, the order of samples, the order of classes, both networks exchanged."""
    student, teacher, each = logits(seed), logits(seed + 1), torch.from_numpy(temperatures)
    value = loss(student, teacher, each)
    shifts = shift * torch.linspace(-1, 1, N, dtype=torch.float64)[:, None]
    rows, classes = (torch.from_numpy(np.random.default_rng(seed).permutation(size)) for size in (N, C))
    assert value.item() >= 0
    for other in (
        loss(student + shifts, teacher - 2 * shifts, each),
        loss(student[rows], teacher[rows], each[rows]),
        loss(student[:, classes], teacher[:, classes], each),
        loss(teacher, student, each),
        loss(student * each[:, None], teacher * each[:, None], each * each),
    ):
        torch.testing.assert_close(other, value, rtol=1e-8, atol=1e-11)


@given(SEEDS)
def test_each_is_blind_to_the_other_order(seed: int) -> None:
    """Classes of one network renamed: samples go together as before. Samples of one reordered: classes do."""
    student, teacher = logits(seed), logits(seed + 1)
    rows, classes = (torch.from_numpy(np.random.default_rng(seed).permutation(size)) for size in (N, C))
    batch, by_class = batch_correlation_loss(student, teacher, 4.0), class_correlation_loss(student, teacher, 4.0)
    torch.testing.assert_close(batch_correlation_loss(student[:, classes], teacher, 4.0), batch)
    torch.testing.assert_close(class_correlation_loss(student[rows], teacher, 4.0), by_class)


@LOSSES
def test_zero_and_flat_where_both_agree(loss: Loss) -> None:
    teacher = logits(4, scale=20)
    student = (teacher + 3).requires_grad_()
    value = loss(student, teacher, torch.linspace(0.5, 8, N))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0, abs=1e-20)
    assert gradient.abs().max() < 1e-12


@LOSSES
@pytest.mark.parametrize("temperature", [1, 4.0, 6.5])
def test_equal_temperatures_are_one_temperature(loss: Loss, temperature: float) -> None:
    student, teacher = logits(2), logits(3)
    one = loss(student, teacher, temperature)
    assert one.shape == ()
    assert torch.equal(loss(student, teacher, torch.tensor(temperature)), one)
    assert torch.equal(loss(student, teacher, torch.full((N,), float(temperature))), one)


@LOSSES
@pytest.mark.parametrize("temperature", [0.7, 4.0, torch.linspace(0.8, 9, N, dtype=torch.float64)], ids=str)
def test_gradients_by_finite_differences(loss: Loss, temperature: float | Tensor) -> None:
    student, teacher = logits(9, scale=2).requires_grad_(), logits(10, scale=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: loss(s, t, temperature), (student, teacher), fast_mode=True)


@LOSSES
def test_huge_logits_in_float32(loss: Loss) -> None:
    single = (1e4 * logits(5).float()).requires_grad_()
    teacher = 1e4 * logits(6).float()
    value = loss(single, teacher, 4.0)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), loss(single.double(), teacher.double(), 4.0), rtol=1e-5, atol=1e-6)
    assert single.grad is not None
    assert bool(torch.isfinite(single.grad).all())


@LOSSES
def test_refusals(loss: Loss) -> None:
    for wrong in (0.0, -4.0, torch.tensor([4.0] * (N - 1) + [0.0])):
        with pytest.raises(ValueError, match="must be above 0"):
            loss(logits(0), logits(1), wrong)
    with pytest.raises(ValueError, match=r"\(N,\) is needed"):
        loss(logits(0), logits(1), torch.full((N - 1,), 4.0))
    with pytest.raises(ValueError, match=r"must both be \(N, C\)"):
        loss(logits(0), logits(1, shape=(N, C + 1)), 4.0)
