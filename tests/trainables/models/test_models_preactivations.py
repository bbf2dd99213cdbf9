"""Preactivations of the networks against their features, their norms, and the same networks with folded norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from few import NETWORKS, fast
from small_jobs import seasoned
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import relu

from trainables.models import Network, Outputs, build, names

LINEAR = ("MobileNetV2",)
NOT_YET_NORMED = tuple(name for name in names() if name.startswith("wrn"))
HALF_PASSES_BY = ("ShuffleV2",)


def images(side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))


def network(name: str) -> Network:
    model = seasoned(name)
    assert isinstance(model, Network)
    return model


class Whole(nn.Module):
    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Any:
        return tuple(self.model.forward_features(batch))


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_a_relu_makes_features_of_preactivations(name: str) -> None:
    with torch.no_grad():
        _, features, _, preactivations = network(name).forward_features(images())
    for number, (feature, before) in enumerate(zip(features, preactivations, strict=True)):
        assert before.shape == feature.shape
        if name in LINEAR and number:
            assert torch.equal(before, feature)
        elif name not in NOT_YET_NORMED:
            assert torch.equal(relu(before), feature)
            assert (before < 0).any()


@pytest.mark.parametrize("name", fast(NOT_YET_NORMED, *NETWORKS))
def test_features_that_are_not_yet_normed_are_normed(name: str) -> None:
    model = network(name)
    with torch.no_grad():
        _, features, pooled, preactivations = model.forward_features(images())
        for norm, feature, before in zip(model.preactivation_norms(), features[1:], preactivations[1:], strict=True):
            assert torch.equal(norm(feature), before)
    torch.testing.assert_close(relu(preactivations[-1]).mean(dim=(2, 3)), pooled)


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_norms_are_the_last_before_their_preactivations(name: str) -> None:
    """One more in a norm's bias is one more in its preactivation, and nothing in those before."""
    model = network(name).double()
    batch = images().double()
    with torch.no_grad():
        plain = model.forward_features(batch).preactivations
        norms = model.preactivation_norms()
        assert len(norms) == len(plain) - 1
        for number, norm in enumerate(norms, start=1):
            norm.bias.add_(1)
            raised = model.forward_features(batch).preactivations
            norm.bias.sub_(1)
            assert all(torch.equal(*pair) for pair in zip(raised[:number], plain[:number], strict=True))
            difference = raised[number] - plain[number]
            if name in HALF_PASSES_BY:
                assert not difference[:, ::2].any()
                difference = difference[:, 1::2]
            assert norm.num_features == difference.shape[1]
            torch.testing.assert_close(difference, torch.ones_like(difference))


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_folded_norms_change_no_output(name: str) -> None:
    model = network(name).double()
    batch = images().double()
    with torch.no_grad():
        expected = model.forward_features(batch)
        found = Outputs(*fuse(Whole(model))(batch))
        logits = fuse(model)(batch)
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=1e-9, atol=1e-9 * expected.logits.abs().max().item())
    torch.testing.assert_close(logits, expected.logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_a_pass_for_everything_updates_every_norm_once_and_keeps_the_logits(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, 10).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    outputs = model.forward_features(images(32))
    counts = {int(value) for key, value in model.named_buffers() if key.endswith("num_batches_tracked")}
    assert counts == {1}
    model.load_state_dict(state)
    assert torch.equal(model(images(32)), outputs.logits)
