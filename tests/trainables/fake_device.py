"""Trains jobs on a fake device, `fake`, and prints for what they waited within epochs, a line of JSON a job:

    python fake_device.py fake JOB.json ...
    python fake_device.py cpu JOB.json ...      the same on the processor

The processor computes what is on it; but as on a GPU, it is an error to mix its tensors with the processor's, and
whatever the host must wait for is noted. A process of its own, for torch learns of devices before the first backward
pass. Autocast, streams and graphs are CUDA's own, and are not pretended.

Under any such mode autograd adds some gradients to new tensors instead of in place, whose memory may be laid out
differently, and so rounds differently: to compare bit by bit, watch the processor too.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from trainables import job
from trainables.storage.job_file import read_job
from trainables.training import evaluation, teachers

NAME = "fake"
aten = torch.ops.aten
WAITING = (
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero),
    *(aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.bincount),
)
"""The host needs their answer, or the size of it."""
WAITS: list[str] = []
COPYING = (aten._to_copy, aten.copy_)
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._unsafe_index)
"""CUDA takes their indices from the processor too, and waits until they are there."""


class There(Tensor):
    """A tensor on the device. inner: the same on the processor."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        found: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=f"{NAME}:0",
        )
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the device outside of `with FakeDevice()`")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.inner!r})"


class Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class Draws(torch.Generator):
    """The processor's, on any device."""

    def __new__(cls, *_: Any) -> Draws:
        return super().__new__(cls)


class FakeDevice(TorchDispatchMode):
    """waits: the operations for which the host waited, in order, since the last of these was made."""

    def __init__(self) -> None:
        super().__init__()
        WAITS.clear()

    @property
    def waits(self) -> list[str]:
        return WAITS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat, shape = tree_flatten((args, kwargs))
        tensors = [value for value in flat if isinstance(value, Tensor)]
        there = any(isinstance(tensor, There) for tensor in tensors)
        overloads = func.overloadpacket
        if overloads in COPYING:
            target = args[0] if overloads == aten.copy_ else kwargs.get("device")
            there = _is_there(target, there)
            source = args[1] if overloads == aten.copy_ else args[0]
            if there != isinstance(source, There) and (not there or not _non_blocking(func, args, kwargs)):
                self.waits.append(str(func))
        elif there:
            self._check(func, args, tensors)
        else:
            there = _is_there(kwargs.get("device"), there)
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        flat, shape = tree_flatten((args, kwargs))
        args, kwargs = tree_unflatten([_inner(value) for value in flat], shape)
        result = func(*args, **kwargs)
        return result if not there else _outer(func, result, flat)

    def _check(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        overloads = func.overloadpacket
        given = args[1] if overloads in INDEXING else []
        indices = [id(index) for index in given]
        here = [
            tensor
            for tensor in tensors
            if not isinstance(tensor, There) and tensor.dim() > 0 and id(tensor) not in indices
        ]
        assert not here, f"{func}: {len(here)} of its tensors on the processor, the others on the device"
        masks = any(isinstance(one, There) and one.dtype == torch.bool for one in given)
        moved = any(isinstance(one, Tensor) and not isinstance(one, There) and one.dim() > 0 for one in given)
        if overloads in WAITING or masks or moved:
            self.waits.append(str(func))


KERNELS: list[torch.library.Library] = []


def register() -> None:
    """Once, before anything else is done: the device is there, and the project's code knows it."""
    for module in (evaluation, teachers):
        module.BATCH[NAME] = module.BATCH["cpu"]
    torch.Generator = Draws  # type: ignore[misc]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    # torch.tensor(numbers, device=...) comes by these, and not by the mode.
    KERNELS.append(torch.library.Library("aten", "IMPL"))
    KERNELS[0].impl("empty_strided", _empty_strided, "PrivateUse1")
    KERNELS[0].impl("_copy_from", _copy_from, "PrivateUse1")


def _empty_strided(size: Any, stride: Any, dtype: Any = None, **_: Any) -> There:
    return There(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    assert isinstance(target, There)
    target.inner.copy_(_inner(source))
    if not non_blocking:
        WAITS.append("_copy_from")
    return target


def _non_blocking(func: Any, args: Any, kwargs: Any) -> bool:
    return bool(kwargs.get("non_blocking") or (func.overloadpacket == aten.copy_ and len(args) > 2 and args[2]))


def _is_there(target: Any, otherwise: bool) -> bool:
    if target is None:
        return otherwise
    return isinstance(target, There) if isinstance(target, Tensor) else torch.device(target).type == NAME


def _inner(value: Any) -> Any:
    if not isinstance(value, There):
        return value
    assert (value.shape, value.stride()) == (value.inner.shape, value.inner.stride()), "not what it stands for"
    return value.inner


def _outer(func: Any, result: Any, given: list[Any]) -> Any:
    """Results on the device; those that are arguments, written in place, are the same tensors."""
    known: dict[int, Tensor] = {id(value.inner): value for value in given if isinstance(value, There)}

    def outer(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else There(value)

    return tree_map(outer, result)


def main(name: str, *jobs: str) -> None:
    register()
    device, waits = FakeDevice(), list[str]()
    epoch_of = job.train_epoch

    def watched(*rest: Any) -> None:
        before = len(device.waits)
        epoch_of(*rest)
        waits.extend(device.waits[before:])

    job.train_epoch = watched
    for path in jobs:
        specs, execution = read_job(Path(path))
        with device:
            for report in job.run(specs, replace(execution, device=name)):
                assert not report.failed, report.failed
        print(json.dumps(waits), flush=True)
        waits.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
