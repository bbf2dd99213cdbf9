"""Where Optuna looks next and whom it gives up: its samplers and pruners, with every argument that decides.

The defaults of Optuna have changed between versions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler

FIRST_AT_RANDOM = 8
KEPT = 3
"""One of so many trials goes on beyond a rung of asha or hyperband."""
DOUBT = 0.3
"""The p-value below which wilcoxon gives a trial up: 0.25 if both of two runs are worse than the best trial's."""
PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {
    "none": lambda grace, epochs: NopPruner(),
    "median": lambda grace, epochs: MedianPruner(FIRST_AT_RANDOM, n_warmup_steps=grace, n_min_trials=4),
    "asha": lambda grace, epochs: SuccessiveHalvingPruner(grace, reduction_factor=KEPT),
    "hyperband": lambda grace, epochs: HyperbandPruner(grace, max(grace, epochs), reduction_factor=KEPT),
    "wilcoxon": lambda grace, epochs: WilcoxonPruner(p_threshold=DOUBT, n_startup_steps=2),
}


def pruner(name: str, grace: int, epochs: int) -> BasePruner:
    """Nobody is given up before the epoch `grace` of `epochs`; by wilcoxon only after a whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PRUNERS[name](grace, epochs)


def sampler(name: str, seed: int, *, parted: bool = False) -> BaseSampler:
    """parted: whether not all trials have the same parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "gp":
            return GPSampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM, deterministic_objective=False)
        return TPESampler(
            seed=seed,
            n_startup_trials=FIRST_AT_RANDOM,
            n_ei_candidates=24,
            multivariate=True,
            group=parted,
            constant_liar=True,
        )
