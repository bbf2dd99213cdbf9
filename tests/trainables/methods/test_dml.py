"""Deep mutual learning: its terms, whom each teaches, that the peer trains, its precision, its state."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_jobs import VANILLA, assert_same, stop_after, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.errors import UserError
from trainables.job import Execution
from trainables.methods import Batch, Setup, find, make
from trainables.models import Network, Outputs, build
from trainables.spec import RunSpec, params
from trainables.storage.runs import weights_path
from trainables.training.steps import Steps, StudentModule

N, C, SIDE = 6, 10, 16
LABELS = torch.tensor([3, 1, 4, 1, 5, 9])


class Fixed(nn.Module):
    """A peer whose logits are its parameter."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + 0 * images.mean()


def setup(peer: str | None) -> Setup:
    outputs = Outputs.of_logits(torch.zeros(1, C))
    return Setup(outputs, None, (), torch.arange(50) % C, C, peer)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def batch(peer: nn.Module, images: Tensor | None = None) -> Batch:
    images = noise(N, 3, SIDE, SIDE) if images is None else images
    return Batch(images=images, labels=LABELS, epoch=1, temperature=4.0, extra=peer)


def test_its_needs() -> None:
    cls = find("dml")
    assert (cls.TEACHER, cls.PEER, cls.FEATURES, cls.MIXES) == (False, True, False, False)


def test_value_and_gradients_from_probabilities() -> None:
    """KL written out; d CE / ds = (s - y) / N, d KL(p || s) / ds = (s - p) / N: nothing more reaches either network."""
    student = (2 * noise(N, C, seed=1)).requires_grad_()
    peer = Fixed(2 * noise(N, C, seed=2))
    loss = make("dml", params(ce=0.7, mutual=0.4)).loss(Outputs.of_logits(student), batch(peer))
    loss.backward()
    s, p = student.detach().double().softmax(1), peer.logits.detach().double().softmax(1)
    y = nn.functional.one_hot(LABELS, C).double()
    ce = -(y * s.log()).sum() - (y * p.log()).sum()
    mutual = (p * (p / s).log()).sum() + (s * (s / p).log()).sum()
    assert loss.item() == pytest.approx(((0.7 * ce + 0.4 * mutual) / N).item(), rel=1e-5)
    assert student.grad is not None
    assert peer.logits.grad is not None
    torch.testing.assert_close(student.grad.double(), (0.7 * (s - y) + 0.4 * (s - p)) / N, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(peer.logits.grad.double(), (0.7 * (p - y) + 0.4 * (p - s)) / N, rtol=1e-4, atol=1e-6)


def test_networks_that_agree_learn_from_labels_alone() -> None:
    student = noise(N, C, seed=3)
    loss = make("dml", params(ce=1, mutual=5)).loss(Outputs.of_logits(student), batch(Fixed(student.clone())))
    torch.testing.assert_close(loss, 2 * cross_entropy(student, LABELS))


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "ShuffleV2"])
def test_the_peer_is_a_network_that_trains(name: str) -> None:
    method = make("dml", params(ce=1, mutual=1))
    torch.manual_seed(5)
    peer = method.extra(setup(name))
    torch.manual_seed(5)
    expected = build(name, C)
    assert isinstance(peer, Network)
    assert all(torch.equal(a, b) for a, b in zip(peer.parameters(), expected.parameters(), strict=True))
    peer.train()
    student = noise(N, C).requires_grad_()
    method.loss(Outputs.of_logits(student), batch(peer)).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in peer.parameters())


def test_an_unknown_peer() -> None:
    with pytest.raises(UserError, match="unknown network 'resnet9'"):
        make("dml", params(ce=1, mutual=1)).extra(setup("resnet9"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_images(dtype: torch.dtype) -> None:
    """The peer answers as any network of the run does: in bfloat16 under autocast, with weights in float32."""
    peer = build("resnet8", C).train()
    other = copy.deepcopy(peer)
    images = noise(N, 3, SIDE, SIDE).to(dtype)
    seen: list[Tensor] = []
    peer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss = make("dml", params(ce=1, mutual=1)).loss(Outputs.of_logits(noise(N, C, seed=1)), batch(peer, images))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        expected = other(images)
    assert seen[0].dtype == dtype
    assert torch.equal(seen[0], expected)
    assert loss.dtype == torch.float32
    loss.backward()
    assert {weight.grad.dtype for weight in peer.parameters() if weight.grad is not None} == {torch.float32}


def test_state_restored_trains_on_alike() -> None:
    """Two steps of the peer; or one, its state loaded by another peer, and the second there."""
    method = make("dml", params(ce=1, mutual=1))

    def train(peer: nn.Module, seed: int) -> None:
        optimizer = torch.optim.SGD(peer.parameters(), lr=0.1)
        optimizer.zero_grad()
        images = noise(N, 3, SIDE, SIDE, seed=seed)
        method.loss(Outputs.of_logits(noise(N, C, seed=seed)), batch(peer, images)).backward()
        optimizer.step()

    one = build("resnet8", C).train()
    train(one, 1)
    state = copy.deepcopy(one.state_dict())
    train(one, 2)
    other = build("resnet8", C).train()
    other.load_state_dict(state)
    train(other, 2)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def mutual(**fields: Any) -> RunSpec:
    return replace(VANILLA, method="dml", params=params(ce=1, mutual=1), peer="resnet8", **fields)


def test_each_network_has_its_own_rate_and_both_fall_at_the_same_epochs() -> None:
    spec = mutual(peer_lr=0.2)
    module = StudentModule(build("resnet8", C), build("resnet8", C), features=False)
    steps = Steps(spec, make("dml", spec.params), module, module)
    for epoch, rates in ((1, [0.05, 0.2]), (2, [0.005, 0.02])):
        steps.begin_epoch(epoch)
        assert [group["lr"] for group in steps.optimizer.param_groups] == pytest.approx(rates)
    student, peer = ({id(one) for one in group["params"]} for group in steps.optimizer.param_groups)
    assert module.extra is not None
    assert student == {id(one) for one in module.network.parameters()}
    assert peer == {id(one) for one in module.extra.parameters()}


@pytest.mark.medium
def test_a_peers_rate_reaches_its_weights_and_survives_a_stop(tmp_path: Path) -> None:
    spec, slower = mutual(peer_lr=0.2), mutual()
    whole, parts = (Execution(tmp_path / name, threads=1) for name in ("whole", "parts"))
    train([spec, slower], whole)
    stop_after([spec], parts, 1)
    train([spec], parts)
    assert_same(whole.results, parts.results, [spec])
    first, second = (torch.load(weights_path(whole.results, run.run_id))["method"] for run in (spec, slower))
    assert not torch.equal(first["conv1.weight"], second["conv1.weight"])


@pytest.mark.parametrize(("fields", "message"), [({"peer": None}, "no peer network"), ({"peer_lr": 0.0}, "above 0")])
def test_rates_that_no_peer_has(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(mutual(peer_lr=0.2), **fields)
