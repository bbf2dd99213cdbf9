"""The mathematics of Energy KD and HE-DA. Needs torch and nothing else.

Equations are numbered as in "Maximizing Discrimination Capability of Knowledge Distillation with Energy Function"
(arXiv 2311.14334).
"""

from ekd_core.energy import energy, energy_thresholds
from ekd_core.losses import dkd_loss, dkd_mixed_loss, kd_loss
from ekd_core.mixing import cutmix, mixup, partners, select
from ekd_core.multilevel import batch_correlation_loss, class_correlation_loss
from ekd_core.temperature import energy_temperature, gradation_edges, gradation_temperature

__all__ = [
    "batch_correlation_loss",
    "class_correlation_loss",
    "cutmix",
    "dkd_loss",
    "dkd_mixed_loss",
    "energy",
    "energy_temperature",
    "energy_thresholds",
    "gradation_edges",
    "gradation_temperature",
    "kd_loss",
    "mixup",
    "partners",
    "select",
]
