"""Networks of timm and torchvision: their state and features are the library's, and what cannot be made is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from trainables.errors import UserError
from trainables.models import build, check_name
from trainables.models.checkpoint import load_weights, save_weights

CLASSES = 10


def images(side: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_features_by_hook_are_those_of_the_own_network() -> None:
    torch.manual_seed(0)
    theirs = build("torchvision:resnet18", CLASSES).eval()
    own = build("imagenet_resnet18", CLASSES).eval()
    own.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        one, two = theirs.forward_features(images(64)), own.forward_features(images(64))
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.pooled, two.pooled)
    assert len(one.features) == len(two.features) == 5
    assert all(map(torch.equal, one.features, two.features))
    assert one.preactivations == ()


def test_the_state_is_key_for_key_the_librarys(tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.mobilenet_v3_small(num_classes=CLASSES)
    torch.manual_seed(3)
    wrapped = build("torchvision:mobilenet_v3_small", CLASSES, 32)
    assert list(wrapped.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in wrapped.state_dict().items())
    path = tmp_path / "weights.pth"
    save_weights(theirs, path)
    torch.manual_seed(4)
    other = build("torchvision:mobilenet_v3_small", CLASSES, 32)
    load_weights(other, path, "mobilenet")
    assert torch.equal(other.eval()(images(32)), theirs.eval()(images(32)))
    with pytest.raises(UserError, match=f"is a mobilenet of {CLASSES} classes, and 7 are needed"):
        load_weights(build("torchvision:mobilenet_v3_small", 7, 32), path, "mobilenet")
    with pytest.raises(UserError, match=r"does not fit resnet8: conv1.weight is missing"):
        load_weights(build("resnet8", CLASSES), path, "resnet8")


@pytest.mark.parametrize(
    ("name", "side", "sides", "channels"),
    [
        ("timm:test_resnet", 32, (16, 8, 4, 2, 1), (32, 32, 48, 192, 96)),
        ("timm:test_efficientnet", 32, (16, 8, 4, 2, 1), (16, 24, 32, 48, 64)),
        ("timm:test_convnext", 32, (8, 8, 4, 2, 1), (24, 24, 32, 48, 64)),
        ("timm:test_vit+patch_size=4", 16, (4,) * 5, (64,) * 5),
        ("timm:test_vit+patch_size=4@blocks.1+blocks.4", 32, (8, 8), (64, 64)),
        pytest.param(*("torchvision:swin_t", 64, (16, 16, 8, 4, 2), (96, 96, 192, 384, 768)), marks=pytest.mark.medium),
        pytest.param(*("torchvision:vit_b_16", 32, (2,) * 5, (768,) * 5), marks=pytest.mark.medium),
        ("torchvision:squeezenet1_1", 32, (15, 7, 3, 1), (64, 128, 256, 512)),
        pytest.param(
            *("torchvision:densenet121", 32, (16, 8, 4, 2, 1), (64, 256, 512, 1024, 1024)), marks=pytest.mark.medium
        ),
    ],
)
def test_features_by_default(name: str, side: int, sides: tuple[int, ...], channels: tuple[int, ...]) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is not installed")
    network = build(name, CLASSES, side).eval()
    with torch.no_grad():
        outputs = network.forward_features(images(side))
        assert torch.equal(outputs.logits, network(images(side)))
    assert tuple(maps.shape[2:] for maps in outputs.features) == tuple((one, one) for one in sides)
    assert tuple(maps.shape[1] for maps in outputs.features) == channels
    assert outputs.pooled.ndim == 2


def test_tokens_become_maps_row_by_row_without_the_class_token() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    network = build("timm:test_vit+patch_size=4@blocks.1", CLASSES, 16).eval()
    kept: list[torch.Tensor] = []
    network.model.blocks[1].register_forward_hook(lambda *arguments: kept.append(arguments[-1]))  # type: ignore[union-attr, index]
    with torch.no_grad():
        (maps,) = network.forward_features(images(16)).features
    assert torch.equal(maps[:, :, 1, 2], kept[0][:, 1 + 1 * 4 + 2])


def test_modules_are_hooked_only_where_features_are_asked_for() -> None:
    network = build("torchvision:resnet18", CLASSES)
    network.eval().forward_features(images(32))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("timm:test_vit", 16, r"patches of 16x16 pixels, and these have 16x16: .* timm:test_vit\+patch_size=2"),
        ("timm:test_vit+patch_size=5", 16, "patches of 5x5 pixels, and these have 16x16"),
        ("timm:test_resnet+pretrained=True", 16, "a name says no weights: give their file instead"),
        ("timm:test_vit+img_size=5", 16, r"images have the data set's size \(16\): leave it out"),
        ("timm:test_resnet+depht=3", 16, r"cannot make the network timm:test_resnet: .*unexpected keyword.*'depht'"),
        ("timm:test_resnet@layer5", 16, r"timm:test_resnet has no module 'layer5': did you mean layer1"),
        ("timm:resnet_20", 16, "unknown network 'timm:resnet_20': timm has none of that name"),
        ("tim:resnet18", 16, "unknown library 'tim' of the network tim:resnet18: use one of timm, torchvision"),
        ("timm:test_resnet@", 16, "cannot read the network 'timm:test_resnet@': write LIBRARY:NAME"),
        ("timm:test_resnet+a", 16, r"cannot read the network 'timm:test_resnet\+a'"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, side: int, message: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UserError, match=message):
        build(name, CLASSES, side)


def test_what_a_module_returns_must_be_a_map_that_stays() -> None:
    overwritten = build("torchvision:alexnet@features.0", CLASSES)
    with pytest.raises(UserError, match=r"'features.0' of torchvision:alexnet returns is overwritten by the next"):
        overwritten.forward_features(images(64))
    flat = build("torchvision:resnet18@fc", CLASSES).eval()
    with pytest.raises(UserError, match=r"'fc' of torchvision:resnet18 returns no map \(\(2, 10\)\)"):
        flat.forward_features(images(64))


def test_a_library_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"networks of timm need .* pip install timm"):
        build("timm:resnet18", CLASSES)


def test_an_unknown_network_of_a_library_is_told_with_near_ones() -> None:
    with pytest.raises(UserError, match="unknown network 'torchvision:resnt18' in --pairs: did you mean torchvision:"):
        check_name("torchvision:resnt18", "--pairs")
