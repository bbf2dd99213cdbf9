"""A temperature for each sample, from its energy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def energy_temperature(
    energies: Tensor, low: Tensor | float, high: Tensor | float, base: float, plus: float, minus: float
) -> Tensor:
    """T + T+ below `low`, T + T- above `high`, T between  (Eq. 9, pseudo code A.2: strict comparisons).

    With plus = 0 or minus = 0 this is Eq. 16 or Eq. 15 (one side only). The released configurations' reversed
    direction is plus < 0 < minus.

    Args:
        energies: (N,); low, high: the thresholds; base: T; plus, minus: T+ and T-, added to T.
    Returns:
        (N,), every one above 0.
    """
    for name, value in (("T", base), ("T + T+", base + plus), ("T + T-", base + minus)):
        if value <= 0:
            raise ValueError(f"{name} is {value}; a temperature must be above 0")
    temperature = torch.full_like(energies, base)
    temperature = torch.where(energies < low, base + plus, temperature)
    return torch.where(energies > high, base + minus, temperature)


def gradation_edges(energies: Tensor, segments: int) -> Tensor:
    """The `segments - 1` energies that cut a training set into segments of equal size  (Eq. 13).

    Args:
        energies: (N,) over the whole training set, N >= segments.
    Returns:
        (segments - 1,), ascending.
    """
    if segments < 2 or len(energies) < segments:
        raise ValueError(f"cannot cut {len(energies)} energies into {segments} segments")
    starts = [len(energies) * k // segments for k in range(1, segments)]
    ascending = energies.sort().values
    return torch.stack([ascending[start] for start in starts])


def gradation_temperature(energies: Tensor, edges: Tensor, temperatures: Sequence[float] | Tensor) -> Tensor:
    """One temperature a segment of energy, from the lowest energies to the highest  (Eq. 13, 17).

    Args:
        energies: (N,); edges: (S - 1,) ascending; temperatures: (S,). Sample i is in segment k when
            edges[k - 1] <= energies[i] < edges[k].
    Returns:
        (N,).
    """
    device = energies.device
    values = torch.as_tensor(temperatures, dtype=energies.dtype).to(device, non_blocking=device.type != "cpu")
    if len(values) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges make {len(edges) + 1} segments, but {len(values)} temperatures are given")
    waits = isinstance(temperatures, Tensor) and temperatures.device.type != "cpu"
    if not waits and min(temperatures) <= 0:
        raise ValueError(f"temperatures {values.tolist()} given; each must be above 0")
    return values[torch.bucketize(energies, edges.to(energies.dtype), right=True)]
