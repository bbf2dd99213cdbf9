"""CIFAR-100-LT (K. Cao et al., 2019): CIFAR-100's images, of which the caller's `imbalance` keeps a long tail."""

from __future__ import annotations

from trainables.data.cifar100 import read

__all__ = ["read"]
