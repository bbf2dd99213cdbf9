"""What malformed input is made of, and what must become of it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from trainables.errors import UserError
from trainables.spec import Mixing, RunSpec, Temperature, from_dict, params

SPEC = RunSpec(
    *("digits", "resnet8", 1, 2, (1,), 0.05),
    method="kd",
    params=params(ce=0.1, kd=0.9),
    temperature=Temperature(4, "energy", 2, -2, 0.2),
    mixing=Mixing("cutmix", "high", 0.4),
    teacher="resnet8",
    teacher_source="run:0",
)
DEEP = "[" * 3_000
NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**63, 10**400, 1e308, float("nan"), float("inf")])
)
WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["", "a\nb", "kd", "vanilla", "digits", "resnet8", "run:", "\ud800", DEEP])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=5,
)


def accepts(action: Callable[[], Any]) -> bool:
    """Whether it is taken; if not, it must be refused in one line."""
    refusal = None
    try:
        action()
    except UserError as error:
        refusal = str(error)
    assert refusal is None or (refusal.strip() and len(refusal.splitlines()) == 1)
    return refusal is None


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as its container and key."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """`good`, a JSON value, with some of its parts replaced, removed or added."""
    value = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        there = list(places(value))
        if not there:
            break
        where, key = there[draw(st.integers(0, len(there) - 1))]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove":
            del where[key]
        elif how == "add" and isinstance(where, dict):
            where[draw(WORDS)] = draw(VALUES)
        else:
            where[key] = draw(VALUES)
    return value


@st.composite
def mangled(draw: st.DrawFn, good: bytes) -> bytes:
    """`good` cut short, with bytes changed, repeated, or something else altogether."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(["cut", "change", "change", "insert", "other"])):
            case "cut":
                del content[place:]
            case "change" if content:
                content[place] = draw(st.integers(0, 255))
            case "insert":
                content[place:place] = draw(st.binary(max_size=20))
            case "other" if draw(st.integers(0, 9)) == 0:
                content = bytearray(draw(st.binary(max_size=200)))
    return bytes(content)


def texts(good: Any) -> st.SearchStrategy[str]:
    """JSON, whole and broken."""
    return st.one_of(
        changed(good).map(json.dumps),
        mangled(json.dumps(good).encode()).map(lambda content: content.decode(errors="replace")),
        VALUES.map(json.dumps),
        st.sampled_from(["", DEEP, "null", "[]", "{}", "1e999"]),
    )


def result_of(spec: RunSpec) -> dict[str, Any]:
    numbers = dict.fromkeys(("best_top1", "best_top5", "last_top1", "last_top5", "teacher_top1", "teacher_top5"), 50.0)
    numbers |= dict.fromkeys(("last_loss", "train_loss", "seconds"), 1.5)
    return numbers | {
        "schema": 1,
        "run_id": spec.run_id,
        "spec": spec.as_dict(),
        "status": "done",
        "reason": None,
        "best_epoch": 1,
        "epochs": spec.epochs,
        "parameters": 9,
        "epoch_seconds": [1.0] * spec.epochs,
        "weights_sha256": "a" * 64,
        "teacher_sha256": "b" * 64,
        "curve": [[epoch, 1.0, 50.0, 50.0, 1.0] for epoch in range(1, spec.epochs + 1)],
        "provenance": {"commit": None, "device": "here"},
    }


SETTINGS = Settings(
    dataset="digits",
    pairs=("resnet8/resnet8",),
    rows=("kd",),
    seeds=1,
    epochs=2,
    teachers=(("resnet8", "a" * 64),),
    overrides=(("lr", "0.1"),),
)


def two_runs(folder: Path) -> Path:
    """A results folder with a ledger of two runs and a sweep."""
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        for spec in (SPEC, from_dict(SPEC.as_dict() | {"seed": 2})):
            ledger.record(result_of(spec))
        ledger.remember(["table5"], SETTINGS, "python sweeps/run.py table5")
    return folder


def ends(main: Callable[[list[str]], int], argv: list[str]) -> None:
    """The command ends by itself: its errors are one line and status 2, or it is --help."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as stop:
            status = stop.code
    assert status in (None, 0, 2), err.getvalue()
    if status == 2:
        assert err.getvalue().startswith("error: ")
        assert len(err.getvalue().splitlines()) == 1
