"""What all commands have in common: how their arguments are read, how they end, and what they say of a wrong word."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from trainables.additions import describe, place_of
from trainables.errors import BAD_INPUT, UserError

FAILED = 1
STOPPED = 130
NEAR = 0.6
"""How alike two words must be (0 to 1) for one to be suggested instead of the other."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def run_command(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """The exit status of a command's `main`, run on the given arguments or on those of this process.

    A `UserError` becomes one line on standard error and status 2; --debug shows where it comes from. Neither Ctrl-C nor
    a reader that has gone (`| head`) leaves a traceback, nor does an error in a module that anybody may add.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = main(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if place_of(error) is None or "--debug" in arguments:
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return FAILED


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """`did you mean X?` of the known words that are most like `word` in any case; empty where none is like it."""
    alike = {each: difflib.SequenceMatcher(None, each.lower(), word.lower()).ratio() for each in known}
    near = sorted((each for each in alike if alike[each] >= NEAR), key=lambda each: -alike[each])[:most]
    return f"did you mean {' or '.join(near)}?" if near else ""


def count(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
