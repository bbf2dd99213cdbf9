"""The command line of a search."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.record.trial import COSTS
from sweeps.request import arguments
from sweeps.request.arguments import Options
from sweeps.searching.points import RULES, TABLES, find_row, place_of
from sweeps.searching.space import USUAL, USUAL_RULES
from sweeps.searching.strategies import KEPT, PRUNERS
from trainables.commands import Parser, command_name
from trainables.errors import UserError

SAMPLERS = ("tpe", "gp")
BY_EPOCH = ("median", "asha", "hyperband")
"""Pruners that judge a trial before its end."""
RUNS_TO_TEST = 3
"""The fewest runs of a trial of which wilcoxon can spare one."""
EXAMPLES = """\
examples:
  {search} --pair vgg13/vgg8 --trials 50 --gpus 8
  {search} --pair resnet20/resnet8 --dataset digits --trials 12 --gpus 0
  {search} --pair vgg13/vgg8 --trials 50 --space T=3:8 r=0.1:0.5 lr=0.01:0.1:log
  {search} --pair vgg13/vgg8 --row dkd --space params.beta=1:12 T=2:6 --trials 30 --pruner median
  {search} --pair vgg13/vgg8 --row temperatures --space rule=lskd,dtkd T=2:6 tau=1:4 --trials 30
  {search} --pair vgg13/vgg8 --row kd_he_da_40 --space mixing.rate=0.1:1 --objective top1 seconds --trials 16
  {search} --pair resnet56/resnet20 vgg13/vgg8 --trial-seeds 3 --trials 30

A range: FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B. T, T+, T-, r and rule are the
temperature's, tau, gamma, ... a rule's own numbers; any other field as in --set of a sweep. The same command again
goes on; with more --trials it trains only what is new."""


@dataclass(frozen=True)
class SearchOptions:
    """run: what a search has in common with a sweep. sampler: empty for the space's own. costs: what is to be low.
    top: None for all points of the front where there are costs."""

    run: Options
    row: str
    trials: int
    space: tuple[str, ...]
    sampler: str
    pruner: str
    costs: tuple[str, ...]
    holdout: float
    trial_epochs: int | None
    trial_seeds: int
    top: int | None
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
    add(
        "--pair",
        required=True,
        nargs="+",
        metavar="T/S",
        help="teacher and student; of several the mean gain over KD counts",
    )
    add("--trials", type=arguments.whole(1), default=50, metavar="N", help="in all, earlier ones counted (default: 50)")
    add(
        "--row", default="energy_kd", metavar="KEY", help=f"what to vary: a row of {', '.join(TABLES)}; {RULES.key}: KD"
    )
    add("--space", nargs="+", metavar="RANGE", help=f"default: {' '.join(USUAL)}")
    add("--sampler", choices=SAMPLERS, default="", help="default: gp; tpe with a pruner, costs or rules")
    add(
        "--pruner",
        choices=sorted(PRUNERS),
        help="stop trials after the first fall of the learning rate: median: below the median of the others; asha: all "
        f"but the best of {KEPT}; hyperband: the same at several lengths; wilcoxon: between a trial's runs (default: "
        f"wilcoxon if a trial has {RUNS_TO_TEST} runs or more, else none)",
    )
    add(
        "--objective",
        nargs="+",
        choices=("top1", *COSTS),
        default=["top1"],
        metavar="NAME",
        help=f"top1, and what is to be low: {', '.join(COSTS)}; seconds: one job at a time (default: top1)",
    )
    add(
        "--holdout",
        type=arguments.number(float, lambda value: 0 < value < 1, "above 0 and below 1"),
        default=0.1,
        metavar="F",
        help="share of the training images that scores (0.1)",
    )
    add("--trial-epochs", type=arguments.whole(1), metavar="N", help="of a trial, milestones scaled (default: all)")
    add("--trial-seeds", type=arguments.whole(1), default=1, metavar="N", help="runs of a trial and pair (default: 1)")
    add(
        "--top",
        type=arguments.whole(1),
        metavar="K",
        help="best trials to train again (default: 3, or the whole front)",
    )
    arguments.add_what(parser.add_argument_group("what to train"))
    arguments.add_where(parser.add_argument_group("where to train"))
    parser.add_argument("--debug", action="store_true", help="full tracebacks, and what Ray says")
    arguments.check_once(argv)
    found = arguments.parse_known(parser, argv)
    row = find_row(found["row"])
    table, key = place_of(row)
    pairs = tuple(dict.fromkeys(found["pair"]))
    run = arguments.make_options({**found, "tables": (table,), "pairs": pairs, "rows": (key,), "assistant": ""})
    costs = tuple(name for name in COSTS if name in found["objective"])
    runs = len(pairs) * found["trial_seeds"]
    pruner = found["pruner"]
    if "top1" not in found["objective"]:
        raise UserError(f"--objective {' '.join(costs)}: add top1; the others are costs")
    if costs and pruner not in (None, "none"):
        raise UserError(
            f"--pruner {pruner} with --objective top1 {' '.join(costs)}: Optuna prunes by one objective only"
        )
    if costs and found["sampler"] == "gp":
        raise UserError("--sampler gp goes with one objective: take --sampler tpe")
    if pruner == "wilcoxon" and runs < RUNS_TO_TEST:
        raise UserError(f"--pruner wilcoxon compares the runs of a trial, {RUNS_TO_TEST} or more: add --trial-seeds 3")
    if pruner not in (None, "none") and found["sampler"] == "gp":
        raise UserError(f"--sampler gp learns from trials that ended only: leave out --pruner {pruner}, or take tpe")
    tested = runs >= RUNS_TO_TEST and not costs and found["sampler"] != "gp"
    return SearchOptions(
        run=run,
        row=row.key,
        trials=found["trials"],
        space=found["space"] or (USUAL_RULES if row is RULES else USUAL),
        sampler=found["sampler"],
        pruner=pruner or ("wilcoxon" if tested else "none"),
        costs=costs,
        holdout=found["holdout"],
        trial_epochs=found["trial_epochs"],
        trial_seeds=found["trial_seeds"],
        top=found["top"] or (None if costs else 3),
        pack=found["pack"] or 4,
    )
