"""One run on several devices: gradients and batch statistics of the whole batch, on each its share of the samples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.data.stream import WHOLE, Share

Made = TypeVar("Made")


class _Sum(torch.autograd.Function):
    """A tensor added over the devices; so is its gradient."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _total(tensor: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(tensor)
    return total


class SharedNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the samples on all devices.

    torch's SyncBatchNorm does the same and needs a GPU; this one is for processors.
    """

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        values = maps.to(self.weight.dtype)
        count = values.new_tensor([maps.numel() / maps.shape[1]])
        total = _total(torch.cat([values.sum(dim=(0, 2, 3)), count]))
        size = total[-1].detach()
        mean = total[:-1] / size
        centred = values - mean[:, None, None]
        variance = _total((centred * centred).sum(dim=(0, 2, 3))) / size
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * size / (size - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)


def convert_batch_norms(module: nn.Module, device: str) -> None:
    """Make every batch norm of a module one over all devices; keys and weights stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _shared(child, device))


def _shared(norm: nn.BatchNorm2d, device: str) -> nn.Module:
    shared: nn.Module
    if device == "cuda":
        shared = nn.SyncBatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    else:
        shared = SharedNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    shared.load_state_dict(norm.state_dict())
    return shared.train(norm.training)


def wrap_ddp(module: nn.Module) -> nn.Module:
    """The module with gradients that are averaged over the devices as they come. Its norms share their statistics
    already: buffers need no copying. (Older versions of torch call the option otherwise.)"""
    known = inspect.signature(DistributedDataParallel).parameters
    option: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
    return DistributedDataParallel(module, **option)


def current_share() -> Share:
    """Which part of every batch this process takes: all of it, or its part in a torch.distributed group."""
    grouped = dist.is_available() and dist.is_initialized()
    return Share(dist.get_rank(), dist.get_world_size()) if grouped else WHOLE


def all_reduce(numbers: Sequence[float], device: torch.device) -> list[float]:
    """Numbers added over the devices."""
    if current_share() == WHOLE:
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    values: list[float] = total.tolist()
    return values


def all_gather(own: Made) -> list[Made]:
    """What each of the devices has, in their order."""
    share = current_share()
    everywhere: list[Any] = [own] * share.world
    if share != WHOLE:
        dist.all_gather_object(everywhere, own)
    return everywhere


def barrier() -> None:
    """Go on when all devices have come here."""
    if current_share() != WHOLE:
        dist.barrier()
