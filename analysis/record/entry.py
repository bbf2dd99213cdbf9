"""Entry: one finished run as the ledger knows it, and the checks of a result that is to become one."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.errors import UserError
from trainables.run_names import name_of
from trainables.shares import FIELDS as SHARE_FIELDS
from trainables.spec import RunSpec, from_record
from trainables.storage.runs import RESULT_SCHEMA

DONE, FAILED = "done", "failed"
CURVE_FIELDS = ("epoch", "train_loss", "top1", "top5", "test_loss")


@dataclass(frozen=True)
class Limits:
    """What a number of a result may be. optional: a done run need not have it either."""

    kind: type[int] | type[float]
    low: float = -sys.float_info.max
    high: float = sys.float_info.max
    optional: bool = False

    def fit(self, value: Any) -> bool:
        return type(value) in ((int,) if self.kind is int else (int, float)) and self.low <= value <= self.high


PERCENT = Limits(float, 0, 100)
NUMBERS = {
    "best_top1": PERCENT,
    "best_top5": PERCENT,
    "best_epoch": Limits(int, 1),
    "last_top1": PERCENT,
    "last_top5": PERCENT,
    "last_loss": Limits(float, 0),
    "train_loss": Limits(float),
    "epochs": Limits(int, 0),
    "seconds": Limits(float, 0),
    "parameters": Limits(int, 1, 2**63 - 1),
    "teacher_top1": Limits(float, 0, 100, optional=True),
    "teacher_top5": Limits(float, 0, 100, optional=True),
}

_PLAIN = ("run_id", "status", "reason", "weights_sha256", "teacher_sha256")


@dataclass(frozen=True)
class Entry:
    """A finished run. Accuracies in per cent; losses are cross-entropy (last_loss: test) or the method's (train_loss).

    epochs: those finished. seconds: of training, its share where students were trained together. curve: one row an
    epoch, as CURVE_FIELDS. shares: one row an epoch, as in `trainables.shares`; runs of an earlier version have
    none. A failed run has None where it came to no number.
    """

    spec: RunSpec
    run_id: str
    status: str
    reason: str | None
    best_top1: float | None
    best_top5: float | None
    best_epoch: int | None
    last_top1: float | None
    last_top5: float | None
    last_loss: float | None
    train_loss: float | None
    epochs: int | None
    seconds: float | None
    parameters: int | None
    teacher_top1: float | None
    teacher_top5: float | None
    epoch_seconds: tuple[float, ...]
    weights_sha256: str | None
    teacher_sha256: str | None
    curve: tuple[tuple[float | None, ...], ...]
    shares: tuple[tuple[float | None, ...], ...]
    provenance: dict[str, Any]

    @property
    def done(self) -> bool:
        return self.status == DONE

    @property
    def name(self) -> str:
        return name_of(self.spec)


def entry_of(result: Any) -> Entry:
    """The entry of a result.json, checked."""
    check_result(result)
    return read_entry(result)


def read_entry(result: Mapping[str, Any]) -> Entry:
    """The entry of a result that was checked before; its numbers are checked again, for a ledger can be edited."""
    _check_status(result.get("status"))
    found = {name: result.get(name) for name in NUMBERS}
    for name, value in found.items():
        _check(value is None or NUMBERS[name].fit(value), f"its {name} is {value!r}")
    lists = {name: tuple(map(tuple, result.get(name) or ())) for name in ("curve", "shares")}
    seconds = tuple(map(float, result.get("epoch_seconds") or ()))
    plain = {name: result.get(name) for name in _PLAIN}
    numbers = {name: value if value is None else NUMBERS[name].kind(value) for name, value in found.items()}
    provenance = dict(result.get("provenance") or {})
    spec = from_record(result["spec"])
    return Entry(spec=spec, epoch_seconds=seconds, provenance=provenance, **plain, **numbers, **lists)  # type: ignore[arg-type]


def check_result(result: Any) -> None:
    """Refuse a result that is incomplete, out of range or not of the run it names."""
    _check(isinstance(result, dict), "a result is a JSON object")
    schema = result.get("schema")
    _check(not (isinstance(schema, int) and schema > RESULT_SCHEMA), "it was written by a newer version: upgrade")
    _check(schema == RESULT_SCHEMA, f"its schema is {schema!r}, not {RESULT_SCHEMA}")
    spec = from_record(result.get("spec") or {})
    run_id, status = result.get("run_id"), result.get("status")
    _check(run_id == spec.run_id, f"its id is {run_id!r}, but that of its fields is {spec.run_id}")
    _check_status(status)
    done = status == DONE
    reason = result.get("reason")
    if done:
        _check(reason is None, f"it is done, yet says why it failed: {reason!r}")
    else:
        _check(isinstance(reason, str) and reason != "", "it failed without a reason")
    for name, limits in NUMBERS.items():
        value = result.get(name)
        _check(value is not None or not done or limits.optional, f"its {name} is missing")
        _check(value is None or limits.fit(value), f"its {name} is {value!r}")
    epochs = result.get("epochs")
    _check(not done or epochs == spec.epochs, f"it is done after {epochs} of {spec.epochs} epochs")
    _check((result.get("best_epoch") or 0) <= (epochs or 0), "its best epoch is later than its last")
    _check_epoch_seconds(result.get("epoch_seconds") or ())
    _check_curve(result.get("curve") or (), done)
    _check_shares(result.get("shares") or ())
    for name in ("weights_sha256", "teacher_sha256"):
        value = result.get(name)
        fits = value is None or (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None)
        _check(fits, f"its {name} is {value!r}, no SHA-256")
    _check_provenance(result.get("provenance") or {})


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _check_status(status: Any) -> None:
    _check(status in (DONE, FAILED), f"its status is {status!r}, neither {DONE} nor {FAILED}")


def _finite(values: Iterable[Any]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except (TypeError, OverflowError):
        return False


def _check_epoch_seconds(seconds: Any) -> None:
    _check(isinstance(seconds, (list, tuple)) and _finite(seconds), "its epoch_seconds are not a list of numbers")
    _check(min(seconds, default=0) >= 0, f"its epoch_seconds have {min(seconds, default=0)!r}")


def _check_curve(curve: Any, done: bool) -> None:
    rows = isinstance(curve, (list, tuple)) and {*map(type, curve)} <= {list, tuple}
    _check(
        rows and {*map(len, curve)} <= {len(CURVE_FIELDS)}, f"its curve has other rows than {', '.join(CURVE_FIELDS)}"
    )
    for name, column in zip(CURVE_FIELDS, zip(*curve, strict=True), strict=False):
        values: Sequence[Any] = column if done else [value for value in column if value is not None]
        _check(_finite(values), f"its curve has a {name} that is no number")
        if name in ("top1", "top5"):
            _check(not values or (min(values) >= 0 and max(values) <= 100), f"its curve has a {name} outside 0 to 100")
        if name == "epoch":
            _check(list(values) == sorted(set(values)), "the epochs of its curve do not rise")


def _check_shares(shares: Any) -> None:
    rows = isinstance(shares, (list, tuple)) and {*map(type, shares)} <= {list, tuple}
    fits = rows and all(
        len(row) == 1 + len(SHARE_FIELDS)
        and _finite([row[0]])
        and all(share is None or (_finite([share]) and 0 <= share <= 1) for share in row[1:])
        for row in shares
    )
    _check(fits, f"its shares have other rows than epoch, {', '.join(SHARE_FIELDS)}")


def _check_provenance(value: Any) -> None:
    _check(isinstance(value, dict), "its provenance is no JSON object")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"its provenance cannot be written as JSON: {error}") from error
