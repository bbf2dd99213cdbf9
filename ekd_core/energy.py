"""The energy of a sample, and the thresholds that split a training set by it."""

from __future__ import annotations

import torch
from torch import Tensor


def energy(logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Return the energy of each sample: E(x) = -T logsumexp_i(f_i(x) / T)  (Eq. 1).

    A low energy means that the network is certain.

    Args:
        logits: (N, C), in nats.
        temperature: The energy's own T, 4 as in the released code. It is not the temperature of the losses.

    Returns:
        Energies (N,), in nats.

    Raises:
        ValueError: If the temperature is not above 0.

    Examples:
        >>> energy(torch.tensor([[9.0, 0.0], [1.0, 0.0]])).tolist()
        [-9.400..., -3.303...]
    """
    if temperature <= 0:
        raise ValueError(f"the energy's temperature is {temperature}; it must be above 0")
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


def energy_thresholds(energies: Tensor, low_rate: float, high_rate: float) -> tuple[Tensor, Tensor]:
    """Return the energies below and above which a sample counts as low and as high  (Eq. 9-11).

    With E sorted ascending and N samples: low = E[int(N low_rate)], high = E[-(int(N high_rate) + 1)]. Compare with `<`
    and `>`: each side then has int(N rate) samples if all energies differ, and at rate 1 all but one.

    Args:
        energies: (N,), of the whole training set.
        low_rate: The share of samples of low energy, in [0, 1]: the paper's r.
        high_rate: The share of samples of high energy, in [0, 1]: the paper's r.

    Returns:
        Two scalar tensors, low and high, on the device of `energies`.

    Raises:
        ValueError: If there are no energies, or a rate is outside [0, 1].
    """
    if energies.ndim != 1 or len(energies) == 0:
        raise ValueError(f"energies of shape {tuple(energies.shape)} given; (N,) with N >= 1 is needed")
    for name, rate in (("low_rate", low_rate), ("high_rate", high_rate)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} is {rate}; a share of the samples lies in [0, 1]")
    ordered = energies.sort().values
    last = len(ordered) - 1
    return ordered[min(int(len(ordered) * low_rate), last)], ordered[last - min(int(len(ordered) * high_rate), last)]
