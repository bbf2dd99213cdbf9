"""The networks against golden keys, shapes and outputs; sides; gradients; initial weights; layouts and precisions."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from few import NETWORKS, fast
from torch import Tensor, nn

from trainables.errors import UserError
from trainables.models import Network, build, names
from trainables.models.network import interleave_channels, shuffle_channels

SHARED = tuple(name for name in names() if not name.startswith("imagenet_"))
KAIMING = tuple(name for name in names() if not name.startswith(("Shuffle", "MobileNetV1")))
ONE_OF_EACH = (
    "resnet8",
    "resnet8x4",
    "wrn_16_1",
    "vgg8",
    "MobileNetV1",
    "MobileNetV2",
    "ShuffleV1",
    "ShuffleV2",
    "ResNet50",
    "imagenet_resnet18",
)


@cache
def golden() -> dict[str, Any]:
    if "EKD_DATA" not in os.environ:
        pytest.skip("EKD_DATA does not name the folder with the reference data")
    return json.loads((Path(os.environ["EKD_DATA"]) / "reference" / "architectures.json").read_text())


def sines(scale: float, shape: tuple[int, ...] | torch.Size, phase: float = 0.0) -> Tensor:
    """sin(scale * i + phase), i = 0 .. numel - 1, in float64."""
    return torch.sin(scale * torch.arange(math.prod(shape), dtype=torch.float64) + phase).reshape(shape)


def fixed_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The golden recipe: every tensor a sine of its own phase, scaled so that the signal neither dies nor explodes."""
    filled = {}
    for position, (key, tensor) in enumerate(state.items()):
        wave = sines(0.37, tensor.shape, 1.3 * position)
        if key.endswith("num_batches_tracked"):
            filled[key] = torch.zeros_like(tensor)
        elif tensor.ndim >= 2:
            filled[key] = wave / math.sqrt(tensor[0].numel())
        elif key.endswith(("running_var", ".weight")):
            filled[key] = 1 + 0.1 * wave
        else:
            filled[key] = 0.1 * wave
    return filled


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(side))


def seeded(name: str, num_classes: int = 10, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build(name, num_classes)


def test_every_shared_network_is_there() -> None:
    assert set(SHARED) == set(golden())


@pytest.mark.parametrize("name", fast(SHARED, *ONE_OF_EACH))
@pytest.mark.medium
def test_identical_to_the_shared_network(name: str) -> None:
    expected = golden()[name]
    network = build(name, expected["num_classes"]).double().eval()
    state = network.state_dict()
    assert [(key, list(value.shape)) for key, value in state.items()] == list(expected["state_dict"].items())
    assert sum(parameter.numel() for parameter in network.parameters()) == expected["parameters"]

    network.load_state_dict(fixed_weights(state))
    with torch.no_grad():
        logits, features, pooled, preactivations = network.forward_features(sines(0.05, expected["input"]))
    torch.testing.assert_close(
        logits[:, :5], torch.tensor(expected["logits_first5"], dtype=torch.float64), rtol=1e-9, atol=0
    )
    assert logits.norm().item() == pytest.approx(expected["logits_l2"], rel=1e-9)
    if "feats" not in expected:
        return
    assert [list(feature.shape) for feature in features] == expected["feats"]
    assert list(pooled.shape) == expected["pooled_feat"]
    # Of the one network whose stages no ReLU ends, nothing is written there.
    assert [list(before.shape) for before in preactivations] == (expected["preact_feats"] or expected["feats"])


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_any_side_and_any_number_of_classes(name: str) -> None:
    network = seeded(name).eval()
    with torch.no_grad():
        for side in (16, 33, 64):
            logits, features, pooled, _ = network.forward_features(images(side))
            assert logits.shape == (2, 10)
            assert logits.isfinite().all()
            sides = [feature.shape[2] for feature in features]
            assert sides == sorted(sides, reverse=True)
            assert sides[-1] >= 1
            assert pooled.shape[1] == list(network.parameters())[-2].shape[1]
        assert torch.equal(network(images(side)), logits)


@pytest.mark.parametrize("side", [16, 32, 33])
def test_logits_are_the_classifier_of_the_pooled_feature(side: int) -> None:
    network = seeded("vgg8").eval()
    logits, features, pooled, _ = network.forward_features(images(side))
    torch.testing.assert_close(pooled, features[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(logits, network.classifier(pooled))
    assert [
        torch.equal(*pair) for pair in zip(network.forward_features(images(side)).features, features, strict=True)
    ] == [True] * 5


def test_vgg_halves_once_more_from_side_64_up() -> None:
    network = seeded("vgg8").eval()
    assert [feature.shape[2] for feature in network.forward_features(images(63)).features] == [63, 31, 15, 7, 7]
    assert [feature.shape[2] for feature in network.forward_features(images(64)).features] == [64, 32, 16, 8, 4]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("MobileNetV1", [64, 128, 256, 512, 1024]),
        ("imagenet_resnet34", [64, 64, 128, 256, 512]),
        ("imagenet_resnet50", [64, 256, 512, 1024, 2048]),
    ],
)
def test_features_of_an_imagenet_image(name: str, channels: list[int]) -> None:
    with torch.no_grad():
        _, features, pooled, _ = seeded(name).eval().forward_features(images(224, count=1))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (count, side, side) for count, side in zip(channels, (112, 56, 28, 14, 7), strict=True)
    ]
    assert pooled.shape == (1, channels[-1])


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_gradient_reaches_every_parameter(name: str) -> None:
    network = seeded(name).eval()
    nn.functional.cross_entropy(network(images(16, count=4)), torch.arange(4)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", fast(ONE_OF_EACH, *NETWORKS))
def test_one_training_pass_updates_every_norm_once(name: str) -> None:
    network = seeded(name).train()
    network(images(32)).sum().backward()
    counts = {key: int(value) for key, value in network.named_buffers() if key.endswith("num_batches_tracked")}
    assert counts
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("name", fast(ONE_OF_EACH, *NETWORKS))
def test_initial_weights_depend_on_the_torch_seed_alone(name: str) -> None:
    random.seed(1)
    first = seeded(name, seed=3).state_dict()
    random.seed(2)
    again = seeded(name, seed=3).state_dict()
    other = seeded(name, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    convolutions = [key for key, value in first.items() if value.ndim == 4]
    assert not any(torch.equal(first[key], other[key]) for key in convolutions)


@pytest.mark.parametrize("name", fast(KAIMING, *NETWORKS))
def test_convolutions_start_with_the_scale_of_he(name: str) -> None:
    checked = 0
    for module in seeded(name).modules():
        if not isinstance(module, nn.Conv2d):
            continue
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        error = 1 / math.sqrt(2 * module.weight.numel())
        assert module.weight.std().item() / math.sqrt(2 / fan_out) == pytest.approx(1, abs=5 * error)
        assert module.bias is None or not module.bias.any()
        checked += 1
    assert checked


@pytest.mark.parametrize("name", ["vgg8", "MobileNetV2"])
def test_small_classifiers_start_small(name: str) -> None:
    weight, bias = list(seeded(name, 100).parameters())[-2:]
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not bias.any()


@pytest.mark.parametrize("name", fast(names(), *NETWORKS))
def test_channels_last_stays_channels_last_and_changes_nothing(name: str) -> None:
    network = seeded(name).double().eval()
    batch = images(32).double()
    with torch.no_grad():
        plain = network(batch)
        network = network.to(memory_format=torch.channels_last)
        logits, features, _, preactivations = network.forward_features(batch.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, plain, rtol=1e-9, atol=1e-9)
    maps = (*features, *preactivations)
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in maps)


@pytest.mark.parametrize("name", fast(ONE_OF_EACH, *NETWORKS))
def test_bfloat16_autocast_agrees_and_trains_float32_weights(name: str) -> None:
    network = seeded(name).eval().to(memory_format=torch.channels_last)
    batch = images(16).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(batch)
    assert logits.dtype is torch.bfloat16
    assert (logits.float() - exact).norm() < 0.03 * exact.norm()

    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network(batch).float().square().mean()
    loss.backward()
    for key, parameter in network.named_parameters():
        assert parameter.dtype is torch.float32, key
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", fast(ONE_OF_EACH, *NETWORKS))
def test_copies_and_pickles_are_equal(name: str) -> None:
    network = seeded(name).eval()
    with torch.no_grad():
        expected = network(images(16))
        assert torch.equal(copy.deepcopy(network)(images(16)), expected)
        assert torch.equal(pickle.loads(pickle.dumps(network))(images(16)), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet8", "wrn_16_2", "vgg8", "MobileNetV1", "MobileNetV2", "ShuffleV1", "ShuffleV2"]
)
def test_compiles_as_one_graph(name: str) -> None:
    network = seeded(name).eval().to(memory_format=torch.channels_last)
    batch = images(32).to(memory_format=torch.channels_last)
    torch.compiler.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(network, backend="eager", fullgraph=True)(batch), network(batch))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channel_shuffle_agrees_with_torchs(groups: int, layout: torch.memory_format) -> None:
    maps = torch.randn(2, 12, 5, 4).to(memory_format=layout)
    shuffled = shuffle_channels(maps, groups)
    assert torch.equal(shuffled, nn.ChannelShuffle(groups)(maps))
    assert shuffled.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_interleaving_is_a_shuffle_of_two_groups(layout: torch.memory_format) -> None:
    maps = torch.randn(2, 12, 5, 4).to(memory_format=layout)
    even, odd = maps.chunk(2, dim=1)
    mixed = interleave_channels(even, odd.contiguous(memory_format=layout))
    assert torch.equal(mixed, nn.ChannelShuffle(2)(maps))
    assert mixed.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("resnet_20", "resnet20"), ("WRN-16-2", "wrn_16_2"), ("mobilenet_v2", "MobileNetV2"), ("resnet50", "ResNet50")],
)
def test_unknown_name_suggests_the_closest_first(typed: str, meant: str) -> None:
    with pytest.raises(UserError) as caught:
        build(typed, 10)
    message = str(caught.value)
    assert message.startswith(f"unknown network {typed!r}: use one of {meant}, ")
    assert "\n" not in message
    assert all(name in message for name in names())


@pytest.mark.parametrize("num_classes", [-1, 0, 1])
def test_too_few_classes_are_refused(num_classes: int) -> None:
    with pytest.raises(UserError, match="two classes or more"):
        build("resnet8", num_classes)
