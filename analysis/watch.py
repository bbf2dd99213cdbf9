"""A page in the browser that follows a results folder: `python analysis/watch.py --results results`."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis.table.command_line import add_arguments
from trainables.commands import Parser, command_name, run_command
from trainables.errors import UserError

PORT = 8321
LOOPBACK = "127.0.0.1"
PRIORITY = 10
"""How much less of a busy processor it takes than a sweep beside it (nice)."""


def _command(arguments: Sequence[str]) -> int:
    parser = Parser(prog=command_name("watch"), description="A page in the browser that follows a results folder.")
    add_arguments(parser, sweep=False)
    parser.add_argument(
        "--port", type=parse_port, default=PORT, metavar="N", help=f"default: {PORT}; 0: one that is free"
    )
    parser.add_argument(
        "--host", default=LOOPBACK, metavar="ADDRESS", help=f"default: {LOOPBACK}, this machine alone; others: a token"
    )
    parser.add_argument("--token", action="store_true", help="want a token also of this machine's other users")
    parser.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.results.is_dir():
        raise UserError(f"there is no folder {options.results}: name one with --results")
    if not options.host:
        raise UserError("--host is empty: name an address, such as 0.0.0.0 for all of this machine")
    check_installed()
    if options.with_parent:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    serve(options.results, options.metric, options.host, options.port, guarded=options.token)
    return 0


def check_installed() -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"the page needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _end_with_parent(parent: int) -> None:
    """End this process when the sweep that started it was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def serve(results: Path, metric: str, host: str, port: int, *, guarded: bool) -> None:
    """Print the address and serve it until this process is told to end."""
    import uvicorn

    from analysis.watching.follower import Follower
    from analysis.watching.guard import LOOPBACK as OWN
    from analysis.watching.server import make_application

    if hasattr(os, "nice"):
        os.nice(PRIORITY)
    token = secrets.token_urlsafe(24) if guarded or host not in OWN else None
    with contextlib.closing(listen(host, port)) as listening, contextlib.ExitStack() as stack:
        port = listening.getsockname()[1]
        follower = Follower(results, metric)
        follower.look()
        stack.callback(follower.follow())
        application = make_application(follower, token=token, port=port)
        config = uvicorn.Config(
            application,
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
        )
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/" + (f"?token={token}" if token else ""), flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Take the port, or say why that is not possible."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else error.strerror
        raise UserError(f"cannot listen on {host}, port {port} ({why}): name another --host or --port") from error


def parse_port(text: str) -> int:
    """For `add_argument`."""
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text} is no port: name one of 0 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_command, arguments)


if __name__ == "__main__":
    sys.exit(main())
