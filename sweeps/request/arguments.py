"""The command line of a sweep, read and checked as far as it can be without looking at anything else."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis import paper
from analysis.record.settings import OWN, SHORT, Settings
from analysis.record.trackers import check_tracker
from analysis.table.command_line import parse_override
from analysis.table.costs import COLUMNS, OF_NETWORKS
from analysis.table.varied import parse_varied
from analysis.watch import PORT, parse_port
from sweeps.planning.resources import ALL_GPUS
from sweeps.request.experiment_file import Experiment, is_experiment, read_experiment
from trainables.commands import Parser, command_name, did_you_mean, parse_path
from trainables.datasets import at_side, names
from trainables.errors import UserError
from trainables.spec import PRECISIONS
from trainables.storage.job_file import Execution
from trainables.used_files import share

T = TypeVar("T")
N = TypeVar("N", int, float)
ALL = "all"
"""The name of all tables together."""
TRACKERS, NO_TRACKER = ("tensorboard", "mlflow", "wandb"), "none"
ELSEWHERE = {
    **dict.fromkeys(("--device", "--cpu", "--no-cuda"), "--gpus 0 trains on the CPU"),
    "--resume": "the same command again goes on where it was",
    "--seed": "--seeds N trains the seeds 1 to N",
    **dict.fromkeys(("--vary", "--plan", "--save", "--budget", "--price", "--list"), "it is of ekd run"),
    **dict.fromkeys(("--space", "--trials", "--objective", "--sampler", "--pruner", "--top"), "it is of ekd search"),
}
"""Options of other programs and commands, and what there is instead."""
DATA_DIR = Path("data")
"""Of the images, where none is named."""
EXAMPLES = """\
examples:
  {run} --list                              tables, rows, pairs, networks, methods, data sets
  {run} table5 --dataset digits --gpus 0    a small real table on the CPU, nothing to download
  {run} table5 --plan                       what it would train, by which protocol, at what cost
  {run} table5 --data-dir ~/cifar100        the paper's table, on all GPUs of this machine
  {run} all --plan                          the whole paper: what it would cost
  {run} table5 --pairs resnet56/resnet20 --rows kd kd_he_da_40 --teachers checkpoints/
  {run} table4 --rows energy_kd --set temperature.rule=reversed
  {run} ablation --rows energy_kd --pairs resnet56/resnet20 --vary T+=1,2,4 T-=-1,-2,-3

The same command again resumes: what is finished is never trained twice. Exit status: 0 all done, 1 something failed or
was not run, 2 bad input."""


@dataclass(frozen=True)
class Where:
    """Where and how to train. Paths are absolute.

    weights: the folder or file of the teachers' weights that were given.
    gpus: None for all that there are.
    pack: the most students of a job, None for all that share a teacher.
    teacher_cache: in gigabytes.
    address: of a running Ray cluster.
    retry: train again what is recorded as failed.
    log: the trackers that are told of the runs.
    watch: the port of a page that follows the results folder meanwhile.
    """

    results: Path
    data_dir: Path
    download: bool
    weights: Path | None
    gpus: int | None
    gpus_per_job: float
    cpus_per_job: int
    pack: int | None
    teacher_cache: float
    cuda_graphs: bool
    address: str | None
    retry: bool
    log: tuple[str, ...]
    debug: bool
    watch: int | None = None

    def execution(self, weights: tuple[tuple[str, str], ...], command: str) -> Execution:
        """How the jobs of this command are trained. weights: SHA-256 and path of the given files."""
        return Execution(
            results=self.results,
            data_dir=self.data_dir,
            teachers=weights,
            command=command,
            teacher_cache_gb=self.teacher_cache,
            cuda_graphs=self.cuda_graphs,
            used=share(self.results),
        )


@dataclass(frozen=True)
class Options:
    """What the command line says: which tables, by which settings, where.

    settings: without what must be looked up: images, given teachers, the tables' own data set, the overrides.
    overrides: of --set, not checked yet.
    budget: of a plan, in hours of a device. price: of such an hour.
    experiment: the file that says it, if there is one; beside: the words of the command line beside it.
    save: the file to write what is asked for to.
    from_mdistiller: a configuration file to translate.
    columns: what the tables show of networks.
    """

    tables: tuple[str, ...]
    settings: Settings
    overrides: tuple[tuple[str, str], ...]
    where: Where
    experiment: Experiment | None = None
    beside: tuple[str, ...] = ()
    yes: bool = False
    save: Path | None = None
    from_mdistiller: Path | None = None
    columns: tuple[str, ...] = ()
    plan: bool = False
    budget: float | None = None
    price: float | None = None
    json: bool = False
    list: bool = False


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line; raises UserError, or SystemExit after --help."""
    parser = _parser()
    check_once(argv)
    options = make_options(parse_known(parser, argv))
    known = (*paper.tables(), paper.ABLATION, ALL)
    for word in options.tables:
        unknown = word.lower() not in known and not is_experiment(word) and not did_you_mean(word, known)
        if unknown and (lone := _explain_lone_option(parser, argv, word)):
            raise UserError(f"unknown table {word!r}: {lone} (--list shows all)")
    if files := [word for word in options.tables if is_experiment(word)]:
        if len(options.tables) > 1:
            raise UserError(f"{files[0]} is an experiment, which names its tables: give it alone")
        place = argv.index(files[0])
        options = _of_experiment(read_experiment(parse_path(files[0])), [*argv[:place], *argv[place + 1 :]])
    if options.save is not None and (options.save.exists() or not is_experiment(options.save.name)):
        wrong = "is there already" if options.save.exists() else "does not end in .toml"
        raise UserError(f"--save {options.save}: it {wrong}; name a new file that ends in .toml")
    if not options.plan and (options.budget is not None or options.price is not None):
        raise UserError(f"--{'price' if options.budget is None else 'budget'} goes with --plan")
    if options.json and not options.plan:
        raise UserError(
            f"--json goes with --plan; {command_name('tables')} TABLE --format json gives a table's numbers"
        )
    if options.from_mdistiller is not None:
        return _name_by_file(options)
    if not options.tables and not options.list:
        raise UserError("name a table, for example table5; --list shows all of them")
    return options


def _of_experiment(experiment: Experiment, others: Sequence[str]) -> Options:
    """The options of an experiment's file, and behind them the others of the command line."""
    try:
        make_options(parse_known(_parser(), experiment.arguments))
    except UserError as error:
        raise experiment.explain(error) from error
    options = make_options(parse_known(_parser(), [*experiment.arguments, *others]))
    settings = dataclasses.replace(options.settings, own_table=experiment.own_table)
    return dataclasses.replace(options, settings=settings, experiment=experiment, beside=tuple(others))


def _name_by_file(options: Options) -> Options:
    """The options that ask for the experiment of a configuration file."""
    if options.save is None or options.tables:
        raise UserError("--from-mdistiller CONFIG.yaml goes with --save FILE.toml, and with no table")
    return dataclasses.replace(options, tables=(options.save.stem,))


def check_once(argv: Sequence[str]) -> None:
    """Refuse a list that is given twice, of which the first would be lost."""
    given = [word.partition("=")[0] for word in argv]
    for option in ("--rows", "--pairs", "--pair", "--space", "--objective", "--log"):
        if given.count(option) > 1:
            raise UserError(f"{option} is given twice: write all behind one, {option} A B")


def parse_known(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The options by name, lists as tuples; refuses an option that there is not."""
    found, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        hint = f": {near}" if (near := _suggest_instead(parser, argv, unknown[0])) else ""
        what = "option" if unknown[0].startswith("-") else "word"
        raise UserError(f"unknown {what} {unknown[0]}{hint} (see {parser.prog} --help)")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in vars(found).items()}


def _suggest_instead(parser: argparse.ArgumentParser, argv: Sequence[str], word: str) -> str:
    """What to write instead of a word that is not understood."""
    name = word.partition("=")[0]
    field = name.strip("-").replace("-", "_")
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    options = parser._option_string_actions
    if name.startswith("-") and field in (*SHORT, *OWN) and f"--{field.replace('_', '-')}" not in options:
        return f"write --set {field}=VALUE"
    return _explain_lone_option(parser, argv, word) or did_you_mean(name, options)


def _explain_lone_option(parser: argparse.ArgumentParser, argv: Sequence[str], word: str) -> str:
    """`--teachers takes one DIR|FILE`, if a word that is not understood follows the value of such an option."""
    for option, _, after in zip(argv, argv[1:], argv[2:], strict=False):
        action = parser._option_string_actions.get(option)
        if after == word and not word.startswith("-") and action is not None and action.nargs in (None, "?"):
            return f"{option} takes one {action.metavar or 'value'}"
    return ""


def make_options(fields: Mapping[str, Any]) -> Options:
    """Options of the parsed fields, which have the names of those of Settings, Where and Options."""
    dataset = fields["dataset"] or ""
    if (side := fields["image_size"]) is not None:
        if not dataset:
            raise UserError("--image-size is of your own images: add --dataset imagefolder")
        dataset = at_side(dataset, side)
    if NO_TRACKER in fields["log"] and len({*fields["log"]}) > 1:
        raise UserError(f"--log {' '.join(fields['log'])}: {NO_TRACKER} goes alone")
    for name in {*fields["log"]} & {"mlflow", "wandb"}:
        check_tracker(name, f"--log {name}")
    settings = _take(Settings, {**fields, "dataset": dataset, "overrides": ()})
    overrides = tuple(dict(fields["overrides"]).items())
    return _take(Options, {**fields, "settings": settings, "overrides": overrides, "where": _take(Where, fields)})


def _take(cls: type[T], fields: Mapping[str, Any]) -> T:
    """An object of a dataclass from those of the fields that it has."""
    own = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in fields.items() if name in own})


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=command_name("run"),
        usage=f"{command_name('run')} TABLE [TABLE ...] [options]",
        description="Rebuild tables of the Energy KD / HE-DA paper: train what is missing, then draw the tables.",
        epilog=EXAMPLES.format(run=command_name("run")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    tables = f"all, {', '.join(paper.tables())}, {paper.ABLATION} (any rows), or an experiment's FILE.toml"
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=tables)
    what = parser.add_argument_group("what to train")
    for name, metavar, words in (
        ("--pairs", "T/S", "teacher/student columns, not the paper's"),
        ("--rows", "KEY", "only these rows (--list shows their keys)"),
    ):
        what.add_argument(name, nargs="+", default=(), metavar=metavar, help=words)
    what.add_argument("--assistant", default="", metavar="NETWORK", help="between teacher and student in TAKD's rows")
    what.add_argument(
        "--vary",
        nargs="+",
        action="extend",
        type=parse_varied,
        default=[],
        metavar="FIELD=VALUES",
        help="a row for every combination: T+=1,2,4 T-=-1,-2 r=0.1:0.5:0.1 student=resnet8,resnet20",
    )
    what.add_argument("--yes", action="store_true", help="train more than a thousand runs of varied fields")
    add_what(what)
    add_where(parser.add_argument_group("where to train"))
    modes = parser.add_argument_group("instead of training")
    modes.add_argument("--plan", action="store_true", help="show runs, protocol, device-hours, disk; train nothing")
    modes.add_argument("--budget", type=_hours, metavar="200h", help="with --plan: what fits into so many device-hours")
    modes.add_argument("--price", type=_share, metavar="2.5", help="with --plan: of a device-hour")
    modes.add_argument("--save", type=parse_path, metavar="FILE.toml", help="write what is asked for as an experiment")
    modes.add_argument(
        "--from-mdistiller", type=parse_path, metavar="CONFIG.yaml", help="with --save: translate a file of mdistiller"
    )
    modes.add_argument("--json", action="store_true", help="with --plan: one JSON object")
    modes.add_argument("--list", action="store_true", help="show what can be named here")
    parser.add_argument("--columns", nargs="+", default=(), choices=COLUMNS, metavar="NUMBER", help=OF_NETWORKS)
    parser.add_argument("--debug", action="store_true", help="full tracebacks, and what Ray says")
    return parser


def add_what(group: Any) -> None:
    """What sweeps and searches have in common."""
    add = group.add_argument
    add(
        "--dataset",
        type=_word,
        metavar="NAME",
        help=f"{', '.join(names())} (default: the one of the paper's table)",
    )
    add(
        "--data-dir",
        type=_path,
        default=DATA_DIR.absolute(),
        metavar="DIR",
        help=f"folder of the images (default: {DATA_DIR})",
    )
    add(
        "--image-size",
        type=whole(1),
        metavar="N",
        help="of own images, in pixels (default: 32; 65 or more: as ImageNet's)",
    )
    add("--recipe", dest="recipe_of", default="", metavar="NAME", help="train by the recipe of another data set")
    add("--download", action="store_true", help="fetch into --data-dir what is not there and can be fetched")
    add(
        "--teachers",
        dest="weights",
        type=_path,
        metavar="DIR|FILE",
        help="trained weights: NETWORK.pth, NETWORK_vanilla/*.pth, ...",
    )
    add("--seeds", type=whole(1), default=3, metavar="N", help="runs of each cell (default: 3)")
    add("--epochs", type=whole(1), metavar="N", help="of every run, milestones scaled (default: the paper's)")
    add("--train-fraction", type=_fraction, default=1.0, metavar="F", help="share of each class's training images")
    add("--imbalance", type=_fraction, metavar="F", help="smallest class / largest (default: 1; of cifar100_lt 0.5)")
    add("--tail-teachers", action="store_true", help="train the teachers of cifar100_lt on its long tail too")
    add("--batch-size", type=whole(2), metavar="N", help="of a step, over all its GPUs (default: the paper's)")
    add("--precision", choices=PRECISIONS, default="fp32", help="default: fp32")
    add(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        type=parse_override,
        default=[],
        metavar="FIELD=VALUE",
        help="any other number of the students: lr=0.1, temperature.plus=3, mixing.rate=0.35, params.beta=6",
    )


def add_where(group: Any) -> None:
    add = group.add_argument
    add("--gpus", type=_gpus, metavar="N", help="GPUs to use, or all (default: all there are); 0: train on the CPU")
    add("--gpus-per-job", type=_share, default=1.0, metavar="F", help="0.5: two jobs share a GPU; 4: a job has four")
    add("--cpus-per-job", type=whole(1), default=1, metavar="N", help="processor cores of a job (default: 1)")
    add("--pack", type=whole(1), metavar="N", help="most students in one job (default: all that share a teacher)")
    disk = "disk that teachers' answers may take (default: 20; 0: none)"
    add("--teacher-cache", type=_gigabytes, default=20.0, metavar="GB", help=disk)
    graphs = "record steps as CUDA graphs where that is faster (no GPU has run it yet)"
    add("--cuda-graphs", action="store_true", help=graphs)
    add("--address", metavar="HOST:PORT", help="join a running Ray cluster (auto: the one of this machine)")
    results = "ledger, weights, tables (default: results)"
    add("--results", type=_path, default=_path("results"), metavar="DIR", help=results)
    page = f"show a page that follows it meanwhile (port: {PORT})"
    add("--watch", nargs="?", const=PORT, type=parse_port, metavar="PORT", help=page)
    add("--retry", action="store_true", help="train again what is recorded as failed")
    add(
        "--log",
        nargs="+",
        choices=(*TRACKERS, NO_TRACKER),
        default=["tensorboard"],
        metavar="NAME",
        help=f"curves and numbers of each run to {', '.join(TRACKERS)}, or {NO_TRACKER} (default: tensorboard)",
    )


def _word(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def _path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"must be a folder that all machines see, not {text}")
    return parse_path(text).absolute()


def number(kind: Callable[[str], N], fits: Callable[[N], bool], words: str) -> Callable[[str], N]:
    """The type of an option whose value is a number that fits. words: what it must be."""

    def parse_number(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"must be {words}, not {text!r}")
        return value

    return parse_number


def whole(least: int) -> Callable[[str], int]:
    return number(int, lambda value: value >= least, f"a whole number, {least} or more")


_gpus = number(
    lambda word: ALL_GPUS if word == ALL else int(word), lambda value: value >= 0, "a whole number, 0 or more, or all"
)
_fraction = number(float, lambda value: 0 < value <= 1, "above 0 and at most 1")
_share = number(float, lambda value: 0 < value < math.inf, "a number above 0")
_hours = number(lambda text: float(text.removesuffix("h")), lambda value: 0 < value < math.inf, "hours, as 200h")
_gigabytes = number(float, lambda value: 0 <= value < math.inf, "a number of gigabytes, 0 or more")
