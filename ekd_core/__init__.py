"""The mathematics of Energy KD and HE-DA. Needs torch and nothing else.

Equations are numbered as in "Maximizing Discrimination Capability of Knowledge Distillation with Energy Function"
(arXiv 2311.14334).
"""

from ekd_core.divergences import divergence
from ekd_core.energy import energy, energy_thresholds
from ekd_core.logit_losses import abkd_loss, dist_loss, nkd_loss, rld_loss
from ekd_core.losses import dkd_loss, dkd_mixed_loss, kd_loss
from ekd_core.mixing import cutmix, mixup, partners, select
from ekd_core.multilevel import batch_correlation_loss, class_correlation_loss
from ekd_core.softening import Softening
from ekd_core.temperature import energy_temperature, gradation_edges, gradation_temperature

__all__ = [
    "Softening",
    "abkd_loss",
    "batch_correlation_loss",
    "class_correlation_loss",
    "cutmix",
    "dist_loss",
    "divergence",
    "dkd_loss",
    "dkd_mixed_loss",
    "energy",
    "energy_temperature",
    "energy_thresholds",
    "gradation_edges",
    "gradation_temperature",
    "kd_loss",
    "mixup",
    "nkd_loss",
    "partners",
    "rld_loss",
    "select",
]
