"""All commands under one name: `ekd run table5` is `python sweeps/run.py table5`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis.paper import tables
from trainables.commands import COMMANDS, did_you_mean, run_command
from trainables.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


def _command(arguments: Sequence[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-V", "--version"):
        print(f"ekd {version('energy-kd-sweeps')}")
        return 0
    if name in ("-h", "--help", "help"):
        print(f"usage: ekd COMMAND [options]\ncommands: {', '.join(COMMANDS)}\nekd COMMAND --help shows its options")
        return 0
    if name not in COMMANDS:
        near = f"ekd run {name} trains it, ekd tables {name} shows it" if name in tables() else ""
        near = f"ekd run TABLE --{name}" if name in ("list", "plan") else near
        hint = near or did_you_mean(name, COMMANDS)
        raise UserError(f"unknown command {name!r}{hint and f' ({hint})'}: use one of {', '.join(COMMANDS)}")
    status: int = importlib.import_module(COMMANDS[name]).main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
