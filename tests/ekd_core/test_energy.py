"""Energy and its thresholds: golden values, numpy, the bounds of a free energy, rank statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.special import logsumexp

from ekd_core import energy, energy_thresholds

LOGITS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8), elements=st.floats(-50, 50))
TEMPERATURE = st.floats(0.05, 50)
ENERGIES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60, unique=True)
RATE = st.floats(0, 1)


def test_golden(golden: dict[str, Any]) -> None:
    inputs, expected = golden["inputs"], golden["expected"]
    energies = energy(inputs["teacher_logits"])
    torch.testing.assert_close(energies, expected["energy_T4"], rtol=1e-9, atol=0)
    low, high = energy_thresholds(energies, 0.25, 0.25)
    assert low.item() == pytest.approx(expected["threshold_low_r0.25"], rel=1e-9)
    assert high.item() == pytest.approx(expected["threshold_high_r0.25"], rel=1e-9)


@given(LOGITS, TEMPERATURE)
def test_is_minus_t_logsumexp(logits: np.ndarray, temperature: float) -> None:
    expected = -temperature * logsumexp(logits / temperature, axis=1)
    np.testing.assert_allclose(energy(torch.from_numpy(logits), temperature).numpy(), expected, rtol=1e-12, atol=1e-12)


@given(LOGITS, TEMPERATURE)
def test_lies_between_its_limits(logits: np.ndarray, temperature: float) -> None:
    """-max - T log C <= E <= -max: the bounds of a maximum softened over C classes."""
    energies = energy(torch.from_numpy(logits), temperature).numpy()
    highest, room = logits.max(axis=1), 1e-12 * (100 + temperature)
    assert (energies <= -highest + room).all()
    assert (energies >= -highest - temperature * math.log(logits.shape[1]) - room).all()


@given(LOGITS, TEMPERATURE, st.floats(-100, 100))
def test_moves_against_a_shift_of_the_logits(logits: np.ndarray, temperature: float, shift: float) -> None:
    there = energy(torch.from_numpy(logits + shift), temperature)
    torch.testing.assert_close(there, energy(torch.from_numpy(logits), temperature) - shift, rtol=0, atol=1e-9)


def test_cold_limit_is_minus_the_maximum() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [-5.0, -7.0, -6.0]], dtype=torch.float64)
    torch.testing.assert_close(energy(logits, 1e-3), torch.tensor([-3.0, 5.0], dtype=torch.float64))


def test_is_low_where_the_network_is_certain() -> None:
    certain, uncertain = energy(torch.tensor([[12.0, 0.0, 0.0], [4.0, 4.0, 4.0]]))
    assert certain < uncertain


def test_float32_of_huge_logits() -> None:
    logits = torch.empty(64, 100, dtype=torch.float64).uniform_(-1e4, 1e4, generator=torch.Generator().manual_seed(0))
    logits[0], logits[1] = 1e4, -1e4
    single = logits.float().requires_grad_()
    energies = energy(single)
    torch.testing.assert_close(energies.double(), energy(single.detach().double()), rtol=1e-6, atol=0)
    energies.sum().backward()
    assert single.grad is not None
    torch.testing.assert_close(single.grad, -torch.softmax(single.detach() / 4, dim=1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("temperature", [0, -0.0, -4.0])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        energy(torch.zeros(2, 3), temperature)


# --- thresholds ----------------------------------------------------------------------------------------------------


@given(ENERGIES, RATE, RATE)
def test_thresholds_are_elements_of_the_sorted_energies(values: list[float], low_rate: float, high_rate: float) -> None:
    """Element int(N r) from the bottom and element -(int(N r) + 1), that is int(N r) from the top."""
    ordered, size = sorted(values), len(values)
    low, high = energy_thresholds(torch.tensor(values, dtype=torch.float64), low_rate, high_rate)
    assert low.shape == high.shape == ()
    if int(size * low_rate) < size:
        assert low.item() == ordered[int(size * low_rate)]
    if int(size * high_rate) < size:
        assert high.item() == ordered[-(int(size * high_rate) + 1)]


@given(ENERGIES, RATE)
def test_each_side_keeps_its_share(values: list[float], rate: float) -> None:
    energies = torch.tensor(values, dtype=torch.float64)
    low, high = energy_thresholds(energies, rate, rate)
    share = min(int(len(values) * rate), len(values) - 1)
    assert int((energies < low).sum()) == share
    assert int((energies > high).sum()) == share


@given(ENERGIES, RATE, st.randoms(use_true_random=False))
def test_order_of_the_samples_is_of_no_matter(values: list[float], rate: float, random: Any) -> None:
    shuffled = random.sample(values, len(values))
    assert energy_thresholds(torch.tensor(values), rate, rate) == energy_thresholds(torch.tensor(shuffled), rate, rate)


def test_ends_of_the_rate() -> None:
    energies = torch.tensor([3.0, 1.0, 2.0])
    assert energy_thresholds(energies, 0, 0) == (1.0, 3.0)
    assert energy_thresholds(energies, 1, 1) == (3.0, 1.0)


def test_equal_energies_are_on_no_side() -> None:
    energies = torch.full((10,), -5.0)
    low, high = energy_thresholds(energies, 0.3, 0.3)
    assert not ((energies < low) | (energies > high)).any()


@pytest.mark.parametrize("rates", [(-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.inf)])
def test_rate_outside_its_range(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        energy_thresholds(torch.zeros(4), *rates)


@pytest.mark.parametrize("shape", [(0,), (3, 2), ()])
def test_energies_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(N,\)"):
        energy_thresholds(torch.zeros(shape), 0.5, 0.5)
