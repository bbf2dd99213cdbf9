"""Parameters and multiply-adds of networks: those that others publish, and those that are kept as numbers."""

from __future__ import annotations

import pytest

from benchmarks import costs
from trainables.models import names
from trainables.models.cost import FILE, cost_of, in_words


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("torchvision:resnet18", 11.69e6, 1.81e9), ("torchvision:mobilenet_v2", 3.50e6, 0.30e9)],
)
def test_numbers_that_torchvision_publishes(name: str, parameters: float, multiply_adds: float) -> None:
    cost = cost_of(name, 1000, 224)
    assert cost == (pytest.approx(parameters, rel=2e-3), pytest.approx(multiply_adds, rel=6e-3))


def test_attention_counts() -> None:
    """timm publishes 1.26 G for this network at 224 pixels with its norms and activations."""
    pytest.importorskip("timm", reason="timm is not installed")
    assert cost_of("timm:vit_tiny_patch16_224", 1000, 224).multiply_adds == pytest.approx(1.26e9, rel=1e-2)


def test_kept_numbers_are_those_that_are_counted_of_every_network() -> None:
    head, *kept = FILE.read_text().splitlines()
    assert head == costs.HEAD
    for name, classes, side in (("resnet20", 100, 32), ("imagenet_resnet18", 1000, 224), ("ShuffleV2", 10, 16)):
        assert costs.line_of(name, classes, side) in kept
    made = [f"{name},{classes},{side}" for classes, side in costs.sizes() for name in names()]
    assert [line.rsplit(",", 2)[0] for line in kept] == made


def test_in_words() -> None:
    assert [in_words(number) for number in (83_900, 11_689_512, 4_090_000_000)] == ["0.0839 M", "11.7 M", "4.09 G"]
