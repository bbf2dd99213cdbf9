"""A temperature for each sample: golden values, Eq. 9 and 13 written sample by sample, equal segments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ekd_core import energy, energy_temperature, energy_thresholds, gradation_edges, gradation_temperature

FLOAT = st.floats(-1e3, 1e3, width=32)
ENERGIES = st.lists(FLOAT, min_size=1, max_size=40)
DISTINCT = st.lists(FLOAT, min_size=1, max_size=80, unique=True)


def test_golden(golden: dict[str, Any]) -> None:
    energies = energy(golden["inputs"]["teacher_logits"])
    low, high = energy_thresholds(energies, 0.25, 0.25)
    expected = golden["expected"]["temperature_T4_plus2_minus2_r0.25"]
    assert torch.equal(energy_temperature(energies, low, high, 4.0, 2.0, -2.0), expected)
    assert set(expected.tolist()) == {2.0, 4.0, 6.0}


@given(ENERGIES, FLOAT, FLOAT, st.floats(3, 9), st.floats(0, 5), st.floats(-2.5, 0))
def test_equation_9(values: list[float], a: float, b: float, base: float, plus: float, minus: float) -> None:
    low, high = sorted((a, b))
    expected = [base + plus if e < low else base + minus if e > high else base for e in values]
    energies = torch.tensor(values, dtype=torch.float64)
    assert energy_temperature(energies, low, high, base, plus, minus).tolist() == expected
    as_tensors = energy_temperature(energies, torch.tensor(low), torch.tensor(high), base, plus, minus)
    assert as_tensors.tolist() == expected


@pytest.mark.parametrize(
    ("plus", "minus", "expected"),
    [
        (2, -2, [6, 6, 4, 4, 4, 2]),
        (2, 0, [6, 6, 4, 4, 4, 4]),
        (0, -2, [4, 4, 4, 4, 4, 2]),
        (-2, 2, [2, 2, 4, 4, 4, 6]),
    ],
    ids=["Eq. 14", "low only", "high only", "reversed"],
)
def test_ablations(plus: float, minus: float, expected: list[float]) -> None:
    """The thresholds themselves keep T: the comparisons are strict."""
    energies = torch.tensor([-30.0, -21.0, -20.0, -15.0, -10.0, -9.0])
    given_out = energy_temperature(energies, -20.0, -10.0, 4.0, plus, minus)
    assert given_out.tolist() == expected
    assert given_out.dtype == energies.dtype


@pytest.mark.parametrize(("base", "plus", "minus"), [(0, 1, 1), (4, 2, -4), (4, -4, 2), (4, 2, -5), (-1, 2, 2)])
def test_no_temperature_may_fall_to_0(base: float, plus: float, minus: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        energy_temperature(torch.zeros(3), -1, 1, base, plus, minus)


# --- gradation -----------------------------------------------------------------------------------------------------


@given(DISTINCT, st.integers(2, 12))
def test_segments_are_of_equal_size(values: list[float], segments: int) -> None:
    energies = torch.tensor(values)
    if len(values) < segments:
        with pytest.raises(ValueError, match="cannot cut"):
            gradation_edges(energies, segments)
        return
    edges = gradation_edges(energies, segments)
    assert edges.shape == (segments - 1,)
    assert bool((edges.diff() > 0).all())
    segment = gradation_temperature(energies, edges, range(1, segments + 1))
    counts = torch.bincount(segment.long(), minlength=segments + 1)[1:].tolist()
    assert sum(counts) == len(values)
    assert max(counts) - min(counts) <= (len(values) % segments > 0)


def test_ten_segments_of_a_training_set() -> None:
    energies = torch.randperm(1200, generator=torch.Generator().manual_seed(3)).double()
    temperatures = [6 - 4 * step / 9 for step in range(10)]
    out = gradation_temperature(energies, gradation_edges(energies, 10), temperatures)
    expected = [temperatures[int(e) // 120] for e in energies.tolist()]
    assert out.tolist() == expected


@given(ENERGIES, DISTINCT)
def test_equation_13(values: list[float], edges: list[float]) -> None:
    """Sample by sample: the temperature of the segment whose lower edge the energy has reached."""
    edges = sorted(edges)
    temperatures = [1.0 + k for k in range(len(edges) + 1)]
    expected = [temperatures[sum(edge <= e for edge in edges)] for e in values]
    energies = torch.tensor(values, dtype=torch.float64)
    out = gradation_temperature(energies, torch.tensor(edges, dtype=torch.float64), temperatures)
    assert out.tolist() == expected
    tensor = torch.tensor(temperatures)
    assert gradation_temperature(energies, torch.tensor(edges, dtype=torch.float64), tensor).tolist() == expected


def test_falls_with_the_energy_in_its_own_precision() -> None:
    energies = torch.linspace(-9, 9, 31)
    out = gradation_temperature(energies, torch.tensor([-3.0, 3.0]), [6, 4, 2])
    assert out.dtype == torch.float32
    assert bool((out.diff() <= 0).all())
    assert out.unique().tolist() == [2, 4, 6]


@pytest.mark.parametrize("temperatures", [[6.0, 4.0], [6.0, 4.0, 3.0, 2.0]])
def test_gradation_of_another_length(temperatures: list[float]) -> None:
    with pytest.raises(ValueError, match="3 segments"):
        gradation_temperature(torch.zeros(3), torch.tensor([-1.0, 1.0]), temperatures)


@pytest.mark.parametrize("lowest", [0.0, -2.0])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_gradation_must_stay_positive(lowest: float, as_tensor: bool) -> None:
    temperatures: Any = [6.0, 4.0, lowest]
    with pytest.raises(ValueError, match="must be above 0"):
        gradation_temperature(
            torch.zeros(3), torch.tensor([-1.0, 1.0]), torch.tensor(temperatures) if as_tensor else temperatures
        )


@pytest.mark.parametrize("segments", [0, 1, 5])
def test_segments_that_cannot_be_cut(segments: int) -> None:
    with pytest.raises(ValueError, match="cannot cut"):
        gradation_edges(torch.zeros(4), segments)
