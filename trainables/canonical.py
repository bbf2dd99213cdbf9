"""Dataclasses with typed fields, and the JSON that identifies them: one text for one meaning."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any, Self

from trainables.errors import UserError

Params = tuple[tuple[str, float], ...]
"""Numbers of a method or of a rule, by their names, sorted."""


_hints = functools.cache(typing.get_type_hints)
_origin = functools.cache(typing.get_origin)
_arguments = functools.cache(typing.get_args)


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
    if annotation is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _exact_float(value)
    if annotation is int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and abs(value) >= 2**63:
            raise UserError("a whole number of a run has at most 63 bits")
    if type(value) is annotation:
        return value
    origin, arguments = _origin(annotation), _arguments(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return None if value is None else coerce(value, inner)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(coerce(item, arguments[0]) for item in value)
        return tuple(coerce(item, inner) for item, inner in zip(value, arguments, strict=True))
    if not dataclasses.is_dataclass(annotation):
        raise UserError(f"{value!r} should be of type {getattr(annotation, '__name__', annotation)}")
    cls = typing.cast(type, annotation)
    if not isinstance(value, cls):
        raise UserError(f"{value!r} is no {cls.__name__}")
    return value


@functools.cache
def _defaults(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in dataclasses.fields(cls))


class Canonical:
    """A dataclass of typed fields that becomes canonical JSON."""

    def __post_init__(self) -> None:
        for name, kind in _hints(typing.cast(Any, type(self))).items():
            value = getattr(self, name)
            if type(value) is not kind or kind is float or kind is int:
                object.__setattr__(self, name, coerce(value, kind))
        self.validate()

    def __deepcopy__(self, memo: object) -> Self:
        """Itself, for it never changes: Tune copies the runs of each job."""
        return self

    def validate(self) -> None:
        """Raise UserError where the fields contradict each other."""

    def as_dict(self) -> dict[str, Any]:
        """The fields that differ from their defaults, nested, in JSON's own types."""
        out: dict[str, Any] = {}
        for name, default in _defaults(typing.cast(Any, type(self))):
            value = getattr(self, name)
            if default is not dataclasses.MISSING and value == default:
                continue
            out[name] = value.as_dict() if isinstance(value, Canonical) else value
        if "params" in out:
            out["params"] = dict(out["params"])
        return out
