"""What all commands have in common: how their arguments are read, how they end, and what they say of a wrong word."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from trainables.additions import in_one_line, place_of
from trainables.console import GONE, tolerant_streams
from trainables.errors import BAD_INPUT, UserError, describe_failure, reason_of
from trainables.used_files import OPTION, split_arguments, use

COMMANDS = {
    "run": "sweeps.run",
    "search": "sweeps.search",
    "tables": "analysis.tables",
    "figures": "analysis.figures",
    "claims": "analysis.claims",
    "report": "analysis.report",
    "watch": "analysis.watch",
    "export": "analysis.export",
    "evaluate": "trainables.evaluate",
    "job": "trainables.job",
    "check-folder": "sweeps.check_folder",
}
"""By its name below `ekd`, the module of a command."""
SCRIPTS = {Path(__file__).resolve().parents[1] / module.partition(".")[0] for module in COMMANDS.values()}
"""The folders of their scripts."""
LONG_DASH = re.compile(r"[–—]-?([a-z][a-z-]*)")
"""An option as word processors and web pages write it."""
RECORDED = re.compile(r"^python \w+/(\w+)\.py\b")
FAILED = 1
STOPPED = 130
NEAR = 0.65
"""How alike two words must be (0 to 1) for one to be suggested instead of the other."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line. It shows --use, which is read before it (`_with_files`)."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        what = "your own methods, rules, networks, ... (docs/extend)"
        self.add_argument(OPTION, nargs="+", metavar="FILE", default=argparse.SUPPRESS, help=what)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def command_name(name: str) -> str:
    """How a command is called here: `ekd run`; or by its script, where this one was started by its own."""
    called = Path(sys.argv[0])
    if called.suffix != ".py" or called.resolve().parent not in SCRIPTS:
        return f"ekd {name}"
    script = os.path.join(called.parent, "..", *COMMANDS[name].split("."))
    return f"python {shlex.quote(os.path.normpath(script))}.py"


def as_called(command: str) -> str:
    """A command as it was recorded, wherever that was, as it is called here."""
    return RECORDED.sub(lambda found: command_name(found[1]) if found[1] in COMMANDS else found[0], command)


def run_command(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command's `main`, run on the given arguments or on those of this process.

    A `UserError`, and an error of the file system, becomes one line on standard error and status 2; --debug shows where
    it comes from. Neither Ctrl-C nor a standard output that takes nothing (`| head`, a full disk) leaves a traceback,
    nor does an error in a module that anybody may add.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    main = _with_files(main)
    with tolerant_streams() as out:
        try:
            status = _end(main, arguments)
        except SystemExit:
            out.flush()
            if out.lost is None:
                raise
            status = FAILED
        out.flush()
        if out.lost is None:
            return status
        if out.lost.errno not in GONE:
            print(f"error: cannot write to standard output: {reason_of(out.lost)}", file=sys.stderr)
        return status or FAILED


def _with_files(main: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    """The same, once the files behind --use, which every command takes, are used."""

    def run(arguments: Sequence[str]) -> int:
        files, rest = split_arguments(arguments)
        use(files)
        return main(rest)

    return run


def _end(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    try:
        for word in arguments:
            if dashed := LONG_DASH.fullmatch(word):
                raise UserError(f"{word} begins with a long dash: write --{dashed[1]}, with two short ones")
        return main(arguments)
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:
        if (told := _tell(error)) is None:
            raise
        line, status = told
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"error: {line}", file=sys.stderr)
        return status


def _tell(error: Exception) -> tuple[str, int] | None:
    """The line and the status that a command ends with; None for an error that nobody expected."""
    if isinstance(error, UserError):
        return str(error), BAD_INPUT
    if isinstance(error, OSError) and (error.filename is not None or place_of(error) is None):
        return str(UserError(describe_failure(error))), BAD_INPUT
    return (in_one_line(error), FAILED) if place_of(error) is not None else None


def parse_path(text: str) -> Path:
    """A path as it was typed on a command line, `~` resolved; for `add_argument`."""
    if not text:
        raise argparse.ArgumentTypeError("is empty: name a path")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"is no path: {text!r}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.split("/")[0]
        raise argparse.ArgumentTypeError(f"{text}: nobody knows the folder {user}: give the whole path") from None


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """`did you mean X?` of the known words most like `word`, but for case and dashes, else empty."""
    bare = _bare(word)
    alike = {each: difflib.SequenceMatcher(None, _bare(each), bare).ratio() for each in known}
    near = sorted((each for each in alike if alike[each] >= NEAR), key=lambda each: -alike[each])[:most]
    return f"did you mean {' or '.join(near)}?" if near else ""


def _bare(word: str) -> str:
    return word.lower().strip("-").replace("_", "-")


def count(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`42 s`, `5:07 min`, `2:15 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h"
