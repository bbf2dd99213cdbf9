"""A temperature for each sample, from its energy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def energy_temperature(
    energies: Tensor, low: Tensor | float, high: Tensor | float, base: float, plus: float, minus: float
) -> Tensor:
    """Return a temperature for each sample: T + T+ below `low`, T + T- above `high`, T between  (Eq. 9).

    Comparisons are strict, as in the pseudo code A.2. With plus = 0 this is Eq. 16, with minus = 0 Eq. 15: one side
    only. The released configurations reverse the direction: plus < 0 < minus.

    Args:
        energies: (N,), in nats.
        low: The threshold of low energy, see `energy_thresholds`.
        high: The threshold of high energy.
        base: T.
        plus: T+, added to T at low energy.
        minus: T-, added to T at high energy.

    Returns:
        Temperatures (N,), all above 0.

    Raises:
        ValueError: If T, T + T+ or T + T- is not above 0.

    Examples:
        >>> energy_temperature(torch.tensor([-9.0, -5.0, -3.0]), low=-8, high=-4, base=4, plus=2, minus=-2).tolist()
        [6.0, 4.0, 2.0]
    """
    for name, value in (("T", base), ("T + T+", base + plus), ("T + T-", base + minus)):
        if value <= 0:
            raise ValueError(f"{name} is {value}; a temperature must be above 0")
    temperature = torch.full_like(energies, base)
    temperature = torch.where(energies < low, base + plus, temperature)
    return torch.where(energies > high, base + minus, temperature)


def gradation_edges(energies: Tensor, segments: int) -> Tensor:
    """Return the energies that cut a training set into segments of equal size  (Eq. 13).

    Args:
        energies: (N,), of the whole training set, in nats.
        segments: How many segments, from 2 to N.

    Returns:
        Edges (segments - 1,), ascending.

    Raises:
        ValueError: If there are fewer energies than segments.
    """
    if segments < 2 or len(energies) < segments:
        raise ValueError(f"cannot cut {len(energies)} energies into {segments} segments")
    starts = [len(energies) * k // segments for k in range(1, segments)]
    ascending = energies.sort().values
    return torch.stack([ascending[start] for start in starts])


def gradation_temperature(energies: Tensor, edges: Tensor, temperatures: Sequence[float] | Tensor) -> Tensor:
    """Return the temperature of each sample's segment of energy  (Eq. 13, 17).

    Sample i is in segment k if edges[k - 1] <= energies[i] < edges[k].

    Args:
        energies: (N,), in nats.
        edges: (S - 1,), ascending, see `gradation_edges`.
        temperatures: (S,), from the segment of lowest energy to that of highest, all above 0.

    Returns:
        Temperatures (N,).

    Raises:
        ValueError: If edges and temperatures do not fit, or a temperature is not above 0.
    """
    device = energies.device
    values = torch.as_tensor(temperatures, dtype=energies.dtype).to(device, non_blocking=device.type != "cpu")
    if len(values) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges make {len(edges) + 1} segments, but {len(values)} temperatures are given")
    waits = isinstance(temperatures, Tensor) and temperatures.device.type != "cpu"
    if not waits and min(temperatures) <= 0:
        raise ValueError(f"temperatures {values.tolist()} given; each must be above 0")
    return values[torch.bucketize(energies, edges.to(energies.dtype), right=True)]
