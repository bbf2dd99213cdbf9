"""Networks of timm and torchvision as they are, with features taken by forward hooks.

Their state is key for key the library's. Images have the data set's size, which those that ask for a size are given.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.models.network import Network, Outputs
from trainables.network_names import LibraryName, parse

SIZES = {"timm": ("img_size",), "torchvision": ("image_size", "input_size")}
"""What the networks of a library that are made for one image size call it."""
PLAIN = {"googlenet": {"aux_logits": False, "init_weights": True}}
PLAIN["inception_v3"] = PLAIN["googlenet"]
"""Without classifiers on the way, which only their own recipes use."""
INNER = "model."
CONTAINERS = {name: name for name in ("features", "trunk_output", "stages", "layers", "blocks")}
CONTAINERS["encoder"] = "encoder.layers"
"""Where the modules are that are a network's stages, or blocks of its stages."""
HEADS = ("avgpool", "global_pool", "attn_pool", "pre_logits", "head", "heads", "fc", "fc_norm", "classifier")
"""Where the stages have ended."""
GROUPS = 4
MOST_FEATURES = 5
PROBED_SIDE = 224
"""Of images by which the stages of a network for any size are told: at that of small images, several have one side."""


class LibraryNetwork(Network):
    """A network of a library. modules: whose outputs are its features; none: those of `find_stages`.

    It has no preactivations. side: of the images that it was made for, if it takes no others.
    """

    TRACED = False

    def __init__(self, title: str, model: nn.Module, num_classes: int, modules: tuple[str, ...], side: int | None):
        super().__init__()
        self.title, self.model, self.side = title, model, side
        self._modules_asked = modules
        self._classifier = _classifier(title, model, num_classes)
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)
        known = [name for name, _ in model.named_modules()]
        if missing := [name for name in modules if name not in known[1:]]:
            hint = did_you_mean(missing[0], known, most=3) or f"it has {', '.join(name for name in known if name)}"
            raise UserError(f"{title} has no module {missing[0]!r}: {hint}")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def forward_features(self, images: Tensor) -> Outputs:
        if not self._modules_asked:
            self._modules_asked = find_stages(self, images.device)
        outputs, pooled, logits = self.watch(images, self._modules_asked)
        features = [self.as_map(name, *outputs[name]) for name in self._modules_asked]
        return Outputs(logits, tuple(features), _flat(pooled), ())

    def watch(self, images: Tensor, names: tuple[str, ...]) -> tuple[dict[str, tuple[Any, int]], Tensor, Tensor]:
        """What modules returned, in the order in which they ran, each with its version; what the classifier was given;
        logits."""
        outputs: dict[str, tuple[Any, int]] = {}
        pooled: list[Tensor] = []

        def keep(name: str, module: nn.Module, given: Any, output: Any) -> None:
            outputs.pop(name, None)
            outputs[name] = output, output._version if isinstance(output, Tensor) else 0

        hooks = [self.model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
        hooks += [
            self.model.get_submodule(self._classifier).register_forward_pre_hook(
                lambda _, given: pooled.append(given[0])
            )
        ]
        try:
            logits = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        if unused := [name for name in names if name not in outputs]:
            raise UserError(f"{self.title} does not use its module {unused[0]!r}: name another")
        return outputs, pooled[-1], logits

    def as_map(self, name: str, output: Any, version: int) -> Tensor:
        """(N, K, H, W) of a map, of one whose channels come last, or of tokens."""
        sides = _sides(self.model, output)
        if sides is None:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"the module {name!r} of {self.title} returns no map ({found}): name another")
        if output._version != version:
            raise UserError(
                f"what the module {name!r} of {self.title} returns is overwritten by the next: name that one"
            )
        if output.ndim == 3:
            return output[:, output.shape[1] - math.prod(sides) :].transpose(1, 2).unflatten(2, sides)
        return output if output.shape[2:] == sides else output.permute(0, 3, 1, 2)

    def preactivation_norms(self) -> tuple[nn.BatchNorm2d, ...]:
        return ()


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [key for key in state if key.startswith(prefix + INNER)]:
        state[prefix + key.removeprefix(prefix + INNER)] = state.pop(key)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + INNER + key.removeprefix(prefix)] = state.pop(key)


def _classifier(title: str, model: nn.Module, num_classes: int) -> str:
    """The name of the last layer that has an output for each class."""
    names = [
        name
        for name, module in model.named_modules()
        if num_classes in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
    ]
    if not names:
        raise UserError(f"{title} has no layer of {num_classes} outputs: use another network")
    return names[-1]


def _flat(given: Tensor) -> Tensor:
    """(N, K)"""
    return given.mean(dim=(2, 3)) if given.ndim == 4 else given


def _sides(model: nn.Module, output: Any) -> torch.Size | None:
    """Height and width of a map, also of tokens behind some that have no place; None of anything else."""
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    if output.ndim == 4:
        last = getattr(model, "output_fmt", "") == "NHWC" or output.shape[2] != output.shape[3]
        return output.shape[1:3] if last and output.shape[1] == output.shape[2] else output.shape[2:]
    before = getattr(model, "num_prefix_tokens", int(hasattr(model, "class_token")))
    for tokens in (output.shape[1] - before, output.shape[1]):
        if tokens > 0 and math.isqrt(tokens) ** 2 == tokens:
            return torch.Size([math.isqrt(tokens)] * 2)
    return None


def find_stages(network: LibraryNetwork, device: torch.device) -> tuple[str, ...]:
    """The last module of each stage, at most the last five; where no side changes, the first module and the ends of
    four groups of blocks."""
    side = network.side or PROBED_SIDE
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            ran, _, _ = network.eval().watch(
                torch.zeros(1, 3, side, side, device=device), tuple(_places(network.model))
            )
    finally:
        for module, training in modes.items():
            module.training = training
    maps = {
        name: sides[0]
        for name, (output, version) in ran.items()
        if (sides := _sides(network.model, output)) is not None and output._version == version
    }
    if not maps:
        raise UserError(
            f"{network.title} has no modules that are known to return maps: name some, {network.title}@MODULE"
        )
    return _find_stage_ends(maps)


def _places(model: nn.Module) -> Iterator[str]:
    """The modules before the head; of the containers what is in them."""
    for name, module in model.named_children():
        if name in HEADS:
            return
        path = CONTAINERS.get(name, "")
        if path:
            yield from (f"{path}.{inner}" for inner, _ in model.get_submodule(path).named_children())
        elif not isinstance(module, nn.Identity):
            yield name


def _find_stage_ends(sides: dict[str, int]) -> tuple[str, ...]:
    """Of modules in the order in which they ran, with the sides of their maps."""
    first, *_ = sides
    inner = [name for name in sides if "." in name]
    if len({*sides.values()}) == 1 and inner:
        groups = min(GROUPS, len(inner))
        ends = [inner[len(inner) * (group + 1) // groups - 1] for group in range(groups)]
    else:
        by_side: dict[int, str] = {}
        for name, side in sides.items():
            if name in inner or by_side.get(side) not in inner:
                by_side[side] = name
        ends = [*by_side.values()][-MOST_FEATURES:]
    return (first, *ends) if len(ends) < MOST_FEATURES and first not in ends else tuple(ends)


@cache
def names(library: str) -> tuple[str, ...]:
    """The networks of a library, with the prefix that they have here."""
    found = opened(library)
    listed = found.list_models() if library == "timm" else found.list_models(module=found)
    return tuple(f"{library}:{name}" for name in listed)


def make(asked: LibraryName, num_classes: int, side: int | None) -> LibraryNetwork:
    """A network with fresh weights for images of that side, of the library's own where none is given."""
    library, title = opened(asked.library), asked.base
    if asked.architecture not in names(asked.library):
        raise UserError(f"unknown network {title!r}: {asked.library} has none of that name")
    arguments: dict[str, Any] = PLAIN.get(asked.name, {}) | dict(asked.arguments) | {"num_classes": num_classes}
    create = library.create_model if asked.library == "timm" else partial(library.get_model, weights=None)
    model, fixed = _create(title, partial(create, asked.name), arguments, SIZES[asked.library], side)
    patch = getattr(getattr(model, "patch_embed", model), "patch_size", 1)
    patch = patch[0] if isinstance(patch, tuple) else patch
    if fixed is not None and (fixed % patch or fixed < 2 * patch):
        raise UserError(
            f"{title} cuts images into patches of {patch}x{patch} pixels, and these have {fixed}x{fixed}: give a size "
            f"of which they have two or more, {title}+patch_size={max(1, fixed // 8)}"
            if asked.library == "timm"
            else f"{title} cuts images into patches of {patch}x{patch} pixels, and these have {fixed}x{fixed}: use "
            "another network, or one of timm, which take +patch_size=N"
        )
    return LibraryNetwork(title, model, num_classes, asked.modules, fixed)


def _create(
    title: str, create: Callable[..., nn.Module], arguments: dict[str, Any], sizes: tuple[str, ...], side: int | None
) -> tuple[nn.Module, int | None]:
    """The library's network, and the side of its images if it was made for one."""
    if weights := {"pretrained", "weights", "checkpoint_path", "pretrained_cfg"} & arguments.keys():
        raise UserError(f"{title}+{min(weights)}=: a name says no weights: give their file instead")
    if side is not None and (own := [size for size in sizes if size in arguments]):
        raise UserError(f"{title}+{own[0]}=: images have the data set's size ({side}): leave it out")
    for size in (*sizes, "") if side is not None else ("",):
        value = (side, side) if size == "input_size" else side
        try:
            return create(**arguments, **({size: value} if size else {})), side if size else None
        # Libraries raise what they like.
        except Exception as error:
            if not (size and isinstance(error, TypeError) and size in str(error)):
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(f"cannot make the network {title}: {reason}") from error
    raise AssertionError("the last try ends it")


def check(name: str, num_classes: int, side: int) -> None:
    """Refuse a library's network that cannot be made, or that cannot take images of that side."""
    asked = parse(name)
    if asked is None:
        return
    network = make(asked, num_classes, side)
    try:
        with torch.no_grad():
            network.eval().forward_features(torch.zeros(1, 3, side, side))
    except UserError:
        raise
    # Libraries raise what they like.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} cannot take images of {side}x{side} pixels: {reason}") from error


def opened(library: str) -> ModuleType:
    """The library's module of networks."""
    try:
        return importlib.import_module({"timm": "timm", "torchvision": "torchvision.models"}[library])
    except ImportError as error:
        raise UserError(f"networks of {library} need a package that is not installed: pip install {library}") from error
