"""The command line of a search."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.request import arguments
from sweeps.request.arguments import Options
from sweeps.searching.points import RULES, TABLES, find_row, place_of
from sweeps.searching.space import USUAL, USUAL_RULES
from trainables.commands import Parser, command_name
from trainables.errors import UserError

SAMPLERS = ("tpe", "gp")
EXAMPLES = """\
examples:
  {search} --pair vgg13/vgg8 --trials 50 --gpus 8
  {search} --pair resnet20/resnet8 --dataset digits --trials 12 --gpus 0
  {search} --pair vgg13/vgg8 --trials 50 --space T=3:8 r=0.1:0.5 lr=0.01:0.1:log
  {search} --pair vgg13/vgg8 --row dkd --space params.beta=1:12 T=2:6 --trials 30 --prune
  {search} --pair vgg13/vgg8 --row temperatures --space rule=lskd,dtkd T=2:6 tau=1:4 --trials 30

A range: FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B. T, T+, T-, r and rule are the
temperature's, tau, gamma, ... a rule's own numbers; any other field as in --set of a sweep. The same command again
goes on; with more --trials it trains only what is new."""


@dataclass(frozen=True)
class SearchOptions:
    """run: what a search has in common with a sweep. sampler: empty for the space's own."""

    run: Options
    row: str
    trials: int
    space: tuple[str, ...]
    sampler: str
    prune: bool
    holdout: float
    trial_epochs: int | None
    top: int
    pack: int


def parse(argv: Sequence[str]) -> SearchOptions:
    parser = Parser(
        prog=command_name("search"),
        usage=f"{command_name('search')} --pair TEACHER/STUDENT --trials N [options]",
        description="Search hyperparameters of a row of the paper; compare the best with the paper's own.",
        epilog=EXAMPLES.format(search=command_name("search")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument_group("what to search").add_argument
    add("--pair", required=True, metavar="T/S", help="teacher and student")
    add("--trials", type=arguments.whole(1), default=50, metavar="N", help="in all, earlier ones counted (default: 50)")
    add(
        "--row", default="energy_kd", metavar="KEY", help=f"what to vary: a row of {', '.join(TABLES)}; {RULES.key}: KD"
    )
    add("--space", nargs="+", metavar="RANGE", help=f"default: {' '.join(USUAL)}")
    add("--sampler", choices=SAMPLERS, default="", help="default: tpe with --prune or rules, else gp")
    add("--prune", action="store_true", help="stop trials below the median, after the first fall of the learning rate")
    add(
        "--holdout",
        type=arguments.number(float, lambda value: 0 < value < 1, "above 0 and below 1"),
        default=0.1,
        metavar="F",
        help="share of the training images that scores (0.1)",
    )
    add("--trial-epochs", type=arguments.whole(1), metavar="N", help="of a trial, milestones scaled (default: all)")
    add("--top", type=arguments.whole(1), default=3, metavar="K", help="best trials to train again (default: 3)")
    arguments.add_what(parser.add_argument_group("what to train"))
    arguments.add_where(parser.add_argument_group("where to train"))
    parser.add_argument("--debug", action="store_true", help="full tracebacks, and what Ray says")
    arguments.check_once(argv)
    found = arguments.parse_known(parser, argv)
    row = find_row(found["row"])
    table, key = place_of(row)
    run = arguments.make_options(
        {**found, "tables": (table,), "pairs": (found["pair"],), "rows": (key,), "assistant": ""}
    )
    if found["prune"] and found["sampler"] == "gp":
        raise UserError("--sampler gp learns from trials that ended only: leave out --prune, or take --sampler tpe")
    return SearchOptions(
        run=run,
        row=row.key,
        trials=found["trials"],
        space=found["space"] or (USUAL_RULES if row is RULES else USUAL),
        sampler=found["sampler"],
        prune=found["prune"],
        holdout=found["holdout"],
        trial_epochs=found["trial_epochs"],
        top=found["top"],
        pack=found["pack"] or 4,
    )
