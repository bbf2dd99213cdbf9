"""Weights on disk: the community's checkpoints in, `{"model": state dict}` out. No code from a file ever runs."""

from __future__ import annotations

import hashlib
import importlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import UserError, describe_failure, reason_of
from trainables.models._plain_types import plain_types
from trainables.storage.runs import hash_file, read_file, write_atomically

ZIP_START = b"PK\x03\x04"
# What torch.save wrote before its zip format: the pickled number 0x1950a86a20f9469cfc6c.
LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
LATER_LEGACY = re.compile(rb"\x80[\x03-\x05](\x95.{8})?" + re.escape(LEGACY_START[2:]), re.DOTALL)
"""The same by a later protocol of pickle."""
TORCHS_PROTOCOL = 3
STARTS = {
    b"\x1f\x8b": "compressed: unpack it with gunzip",
    b"version https://git-lfs": "a pointer of Git LFS, not the file: git lfs pull fetches it",
    b"<": "a web page, not the file behind it: download it again",
}
"""How files begin that are taken for weights, and what they are."""
SAFETENSORS = "safetensors"
# Under which of these the weights stand; of several the first.
STATE_NAMES = (
    *("model", "state_dict", "model_state_dict", "net", "student", "weights"),
    *("ema", "model_ema", "state_dict_ema"),
)
# Around the whole network: data parallelism, torch.compile, averages of weights, modules that hold a network. A
# distiller's checkpoint holds its teacher as well.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
STUDENT = "student."
# Beside an average of weights (torch.optim.swa_utils).
AVERAGED = "n_averaged"
# Absent from files older than torch 0.4.1; it has no effect at a fixed momentum.
OPTIONAL_SUFFIX = "num_batches_tracked"
SHOWN_MISFITS = 3


def sha256(path: str | Path) -> str:
    """The file's SHA-256, in hex."""
    try:
        return hash_file(Path(path))
    except OSError as error:
        raise _say_unreadable(Path(path), error) from error


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The weights in a file, on the CPU, all finite, by their names within the network."""
    path = Path(path)
    return _state(_bytes(path), path)


def load_weights(model: nn.Module, path: str | Path, name: str) -> str:
    """Fill `model`, a network called `name`, from a file; its SHA-256. What does not fit changes nothing."""
    path = Path(path)
    content = _bytes(path)
    state = _state(content, path)
    own = model.state_dict()
    for key, value in own.items():
        if key.endswith(OPTIONAL_SUFFIX):
            state[key] = state.get(key, torch.zeros_like(value, device="cpu")).to(value.dtype)
    _check_fit(own, state, _classifier(model, own), path, name)
    model.load_state_dict(state)
    return hashlib.sha256(content).hexdigest()


def save_weights(
    model_or_state: nn.Module | Mapping[str, Tensor], path: str | Path, extra: Mapping[str, Tensor] | None = None
) -> str:
    """Write `{"model": state dict}`, whole or not at all; the file's SHA-256, which depends on the weights alone.

    extra: the state of a method's own modules, which stands beside the network's under "method".
    """
    path = Path(path)
    state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    buffer = io.BytesIO()
    torch.save({"model": _plain(state)} | ({"method": _plain(extra)} if extra else {}), buffer)
    content = buffer.getvalue()
    _write(path, content)
    return hashlib.sha256(content).hexdigest()


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(describe_failure(error, path)) from error


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise _say_unreadable(path, error) from error


def _say_unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no weights at {path}: check the path")
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path} is a folder: name the file of weights in it")
    cure = "; check its permissions" if isinstance(error, PermissionError) else ""
    return UserError(f"cannot read {path}: {reason_of(error)}{cure}")


def _state(content: bytes, path: Path) -> dict[str, Tensor]:
    state = _unwrap(_tensors(_unpickle(content, path), path))
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise UserError(
            f"{path} holds NaN or infinite weights, first in {broken[0]} ({len(broken)} of {len(state)} tensors): "
            "its training diverged or the file is damaged; use another checkpoint"
        )
    return state


def _unpickle(content: bytes, path: Path) -> Any:
    """What the file holds: tensors, and values beside them of types that run no code (`plain_types`)."""
    if not content:
        raise UserError(f"{path} is empty: copy or download it again")
    if path.suffix.lower() == f".{SAFETENSORS}":
        return _safetensors(content, path)
    if not (content.startswith((ZIP_START, LEGACY_START)) or LATER_LEGACY.match(content)):
        known = next((cure for start, cure in STARTS.items() if content.lstrip().lower().startswith(start)), "")
        raise UserError(f"{path} is {known or 'no PyTorch checkpoint: give a file that torch.save wrote'}")
    try:
        if content.startswith(ZIP_START):
            _check_whole(content, path)
        with torch.serialization.safe_globals(plain_types()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another protocol, which is told below, and of sparse tensors
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe is None and (protocol := _protocol(content)) > TORCHS_PROTOCOL:
            raise UserError(
                f"{path} was saved by pickle's protocol {protocol}, and only those up to {TORCHS_PROTOCOL} are read "
                'without running its code: where you trust it, load it and save {"model": model.state_dict()} '
                "without pickle_protocol"
            ) from error
        if unsafe is None:
            raise _say_damaged(path) from error
        raise UserError(
            f"{path} needs {unsafe[1]}, which could run code: where you trust it, load it and save "
            '{"model": model.state_dict()} instead'
        ) from error
    except UserError:
        raise
    # Damaged bytes make the reader raise almost anything; each is a fault of the file.
    except Exception as error:
        raise _say_damaged(path) from error


def _safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        reader = importlib.import_module(f"{SAFETENSORS}.torch")
    except ImportError as error:
        raise UserError(f"{path} needs a package that is not installed: pip install {SAFETENSORS}") from error
    # Each kind of damage has an error of its own.
    try:
        return dict(reader.load(content))
    except Exception as error:
        raise _say_damaged(path) from error


def _check_whole(content: bytes, path: Path) -> None:
    """Refuse TorchScript, other archives; BadZipFile where a part has another checksum (torch.load does not care)."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            inside = ", ".join(names[:2]) or "nothing"
            raise UserError(
                f"{path} is an archive with {inside} in it: unpack it, or give a file that torch.save wrote"
            )
        if any(name.endswith("/constants.pkl") for name in names):
            raise UserError(
                f"{path} is a TorchScript program: save its weights alone, "
                '{"model": torch.jit.load(FILE).state_dict()}'
            )
        if (part := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {part}")


def _protocol(content: bytes) -> int:
    """Of pickle, by which the file was saved."""
    if content.startswith(ZIP_START):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    return content[1]


def _say_damaged(path: Path) -> UserError:
    return UserError(
        f"{path} is no whole PyTorch checkpoint (truncated, damaged or another kind of file): copy it again"
    )


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict: what was saved itself, or what stands in it under one of STATE_NAMES."""
    found = loaded
    while isinstance(found, Mapping) and (name := _inner_name(found)) is not None:
        found = found[name]
    if not isinstance(found, Mapping) or not found:
        raise UserError(f'{path} holds no weights: save {{"model": model.state_dict()}}')
    for key, value in found.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise UserError(f'{path} holds {key!r}, which is no plain tensor: save {{"model": model.state_dict()}}')
    return dict(found)


def _inner_name(mapping: Mapping[Any, Any]) -> str | None:
    return next((name for name in STATE_NAMES if isinstance(found := mapping.get(name), Mapping) and found), None)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and (value.is_floating_point() or value.dtype is torch.int64)
    )


def _unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the names of what was wrapped around the network, in any order and depth. Of a distiller: the student."""
    while True:
        state = {key: value for key, value in state.items() if key != AVERAGED}
        if any(key.startswith(STUDENT) for key in state):
            state = {key.removeprefix(STUDENT): value for key, value in state.items() if key.startswith(STUDENT)}
            continue
        wrapper = next((w for w in WRAPPERS if state and all(key.startswith(w) for key in state)), None)
        if wrapper is None:
            return state
        state = {key.removeprefix(wrapper): value for key, value in state.items()}


def _classifier(model: nn.Module, own: Mapping[str, Tensor]) -> list[str]:
    """The keys, in the network's state, of the last linear layer; none where there is no such layer."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    places = [parameter.data_ptr() for parameter in linear[-1].parameters()] if linear else []
    return [key for key, value in own.items() if value.data_ptr() in places]


def _check_fit(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], classifier: Sequence[str], path: Path, name: str
) -> None:
    """Raise unless `state` has exactly the keys and shapes of `own`; classifier: its keys in both."""
    misfits = _find_misfits(own, state)
    if not misfits:
        return
    if set(misfits) == set(classifier) and all(
        key in state and state[key].shape[1:] == own[key].shape[1:] for key in classifier
    ):
        there, wanted = (part[classifier[-1]].shape[0] for part in (state, own))
        raise UserError(
            f"{path} is a {name} of {there} classes, and {wanted} are needed: use weights trained on this data, "
            "or name theirs with --dataset"
        )
    first = "; ".join(misfits[key] for key in list(misfits)[:SHOWN_MISFITS])
    more = f"; and {len(misfits) - SHOWN_MISFITS} more" if len(misfits) > SHOWN_MISFITS else ""
    raise UserError(f"{path} does not fit {name}: {first}{more}; check the network's name, or save its weights alone")


def _find_misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """By key, in the network's order and then the file's: what does not fit."""
    misfits: dict[str, str] = {}
    for key, value in own.items():
        if key not in state:
            misfits[key] = f"{key} is missing"
        elif state[key].shape != value.shape:
            misfits[key] = f"{key} is {_shape(state[key])} instead of {_shape(value)}"
        elif state[key].is_floating_point() != value.is_floating_point():
            misfits[key] = f"{key} is {state[key].dtype} instead of {value.dtype}"
    return misfits | {key: f"{key} is unexpected" for key in state if key not in own}


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a single number"
