"""The energy of a sample, and the thresholds that split a training set by it."""

from __future__ import annotations

import torch
from torch import Tensor


def energy(logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Energy of each sample: E(x) = -T logsumexp_i(f_i(x) / T)  (Eq. 1).

    Low energy: the network is certain. `temperature` is the energy's own (4 in the released code), not the losses'.

    Args:
        logits: (N, C), in nats.
    Returns:
        (N,), in nats.
    """
    if temperature <= 0:
        raise ValueError(f"the energy's temperature is {temperature}; it must be above 0")
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


def energy_thresholds(energies: Tensor, low_rate: float, high_rate: float) -> tuple[Tensor, Tensor]:
    """The energies below and above which samples count as low and as high  (Eq. 9-11).

    With E sorted ascending and N samples: low = E[int(N low_rate)], high = E[-(int(N high_rate) + 1)]. Compared
    strictly (`<`, `>`), each side keeps int(N rate) samples when all energies differ; at rate 1 all but one.

    Args:
        energies: (N,) over the whole training set.
    Returns:
        two scalar tensors (low, high) on the device of `energies`.
    """
    if energies.ndim != 1 or len(energies) == 0:
        raise ValueError(f"energies of shape {tuple(energies.shape)} given; (N,) with N >= 1 is needed")
    for name, rate in (("low_rate", low_rate), ("high_rate", high_rate)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} is {rate}; a share of the samples lies in [0, 1]")
    ordered = energies.sort().values
    last = len(ordered) - 1
    return ordered[min(int(len(ordered) * low_rate), last)], ordered[last - min(int(len(ordered) * high_rate), last)]
