"""CIFAR-100-LT (K. Cao et al., 2019): CIFAR-100's images, of which the caller's `imbalance` keeps a long tail."""

from __future__ import annotations

from dataclasses import replace

from trainables.datasets import cifar100
from trainables.recipes import CIFAR100_LT

DATASET = replace(cifar100.DATASET, title="CIFAR-100-LT", recipe=CIFAR100_LT)
