"""Durations and sizes as people say them."""

from __future__ import annotations

import math


def hours_words(hours: float) -> str:
    """A duration as people say it."""
    minutes = hours * 60
    if minutes < 1:
        return f"{math.ceil(minutes * 60)} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def money_words(amount: float) -> str:
    """An amount of money, to the hundredth where it is small."""
    return f"{amount:,.2f}" if amount < 100 else f"{amount:,.0f}"


def size_words(count: int) -> str:
    """Bytes as people say them."""
    if count < 10**6:
        return f"{count / 10**3:.0f} kB"
    return f"{count / 10**6:.0f} MB" if count < 10**9 else f"{count / 10**9:.1f} GB"
