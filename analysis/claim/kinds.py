"""What a paper may claim about its tables, as data; `rules` holds each kind against numbers."""

from __future__ import annotations

from dataclasses import dataclass

ALL, MOST, SOME = "all", "most", "some"
"""Of how many teacher-student pairs a claim speaks."""
MARGIN = 0.3
"""Points below another row that still count as comparable: a choice made here, the paper names none."""


@dataclass(frozen=True)
class Contest:
    """The best of some rows against each of others, by their keys."""

    rows: tuple[str, ...]
    over: tuple[str, ...]


@dataclass(frozen=True)
class Above:
    """In all, most or some pairs, the best of a contest's rows is above each of the others, or no more than `margin`
    points below. base: compare how much more the rows cost than this one, in per cent, instead of their numbers."""

    contests: tuple[Contest, ...]
    scope: str = ALL
    margin: float = 0.0
    base: str = ""


@dataclass(frozen=True)
class UpTo:
    """The largest gain over all pairs is so many points, as far as they are printed."""

    contest: Contest
    points: float


@dataclass(frozen=True)
class Alike:
    """In all pairs, the rows of the contests differ from each other by less than `margin` points either way."""

    contests: tuple[Contest, ...]
    margin: float = MARGIN


Kind = Above | UpTo | Alike


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper. key: its name in the output. where: its sections. says: what it says, in our words.

    tables: where its numbers are. parts: of those tables; empty for all parts that have the rows. reading: how a
    sentence that can be read in several ways is read here.
    """

    key: str
    where: str
    says: str
    tables: tuple[str, ...]
    kind: Kind
    parts: tuple[str, ...] = ()
    reading: str = ""

    @property
    def contests(self) -> tuple[Contest, ...]:
        return (self.kind.contest,) if isinstance(self.kind, UpTo) else self.kind.contests

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows that it needs."""
        base = (self.kind.base,) if isinstance(self.kind, Above) and self.kind.base else ()
        named = [row for contest in self.contests for row in (*contest.rows, *contest.over)]
        return tuple(dict.fromkeys([*named, *base]))


def above(rows: str, over: str, scope: str = ALL, margin: float = 0.0) -> Above:
    """Rows and others as words, of which the best row is above each of the others."""
    return Above((contest(rows, over),), scope, margin)


def up_to(points: float, rows: str, over: str) -> UpTo:
    return UpTo(contest(rows, over), points)


def contest(rows: str, over: str) -> Contest:
    return Contest(tuple(rows.split()), tuple(over.split()))
