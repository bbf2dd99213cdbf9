"""Dataclasses with typed fields, and the JSON that identifies them: one text for one meaning."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from trainables.errors import UserError

Params = tuple[tuple[str, float], ...]
"""Numbers of a method or of a rule, by their names, sorted."""


_hints = functools.cache(typing.get_type_hints)


def _exact_float(value: float) -> float:
    """A finite float equal to `value`, without the sign of zero: -0.0 and 0.0 are one number."""
    try:
        exact = float(value)
    except OverflowError:
        exact = math.inf
    if not math.isfinite(exact):
        raise UserError(f"{exact} cannot be part of a run: only finite numbers can")
    if exact != value:
        raise UserError(f"{value} cannot be part of a run: it has too many digits")
    return exact + 0.0


def coerce(value: Any, annotation: Any) -> Any:
    """`value` as its declared type (4 and 4.0 are one temperature); refuses what JSON cannot write exactly."""
    return _coercion(annotation)(value)


@functools.cache
def _coercion(annotation: Any) -> Callable[[Any], Any]:
    """What makes a value one of this type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = _coercion(next(a for a in arguments if a is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        each = [_coercion(a) for a in arguments if a is not Ellipsis]
        if arguments[-1] is Ellipsis:
            return lambda value: tuple(map(each[0], value))
        return lambda value: tuple(make(item) for item, make in zip(value, each, strict=True))
    if dataclasses.is_dataclass(annotation):
        return functools.partial(_instance, typing.cast(type, annotation))
    return functools.partial(_plain, annotation)


def _instance(cls: type, value: Any) -> Any:
    if not isinstance(value, cls):
        raise UserError(f"{value!r} is no {cls.__name__}")
    return value


def _plain(cls: Any, value: Any) -> Any:
    if cls is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _exact_float(value)
    if cls is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not cls:
        raise UserError(f"{value!r} should be of type {getattr(cls, '__name__', cls)}")
    if cls is int and abs(value) >= 2**63:
        raise UserError("a whole number of a run has at most 63 bits")
    return value


class Canonical:
    """A dataclass of typed fields that becomes canonical JSON."""

    def __post_init__(self) -> None:
        for name, kind in _hints(typing.cast(Any, type(self))).items():
            object.__setattr__(self, name, _coercion(kind)(getattr(self, name)))
        self.validate()

    def validate(self) -> None:
        """Raise UserError where the fields contradict each other."""

    def as_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, nested, in JSON's own types."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = getattr(self, field.name)
            if field.default is not dataclasses.MISSING and value == field.default:
                continue
            out[field.name] = value.as_dict() if isinstance(value, Canonical) else value
        if "params" in out:
            out["params"] = dict(out["params"])
        return out
