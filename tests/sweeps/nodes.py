"""Several Ray nodes on one machine, each with an address, a raylet and a folder of its own; a token guards them.

Root gets a network namespace for each node, on one bridge; others get loopback addresses.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from test_faults import Driver, below

PORT = 6379
RAY = (sys.executable, "-m", "ray.scripts.scripts")
OPTIONS = (
    *("--block", "--disable-usage-stats", "--include-log-monitor=false", "--log-style=pretty", "--log-color=false"),
    *("--num-cpus=1", "--num-gpus=0", f"--object-store-memory={100 * 2**20}"),
)


@dataclass(frozen=True)
class Machine:
    """Where a node can be: its address, and how a command is started there."""

    address: str
    inside: tuple[str, ...] = ()


@dataclass
class Nodes:
    """A cluster by hand: `ray start` on each machine, the first of which is the head. running: nodes by machine."""

    machines: list[Machine]
    folder: Path
    environment: dict[str, str]
    running: dict[int, Driver] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.machines[0].address}:{PORT}"

    def have(self, *wanted: int) -> None:
        """Start the nodes of these machines that do not run, and end all others."""
        for number in sorted(self.running.keys() - set(wanted), reverse=True):
            self.kill(number)
        for number in wanted:
            if number not in self.running:
                self.start(number)

    def start(self, number: int, without: tuple[Path, ...] = ()) -> None:
        """Start a machine's node and wait until it has joined. without: folders that are empty there."""
        role = ("--head", f"--port={PORT}", "--include-dashboard=false") if number == 0 else ("--address", self.address)
        own = f"--node-ip-address={self.machines[number].address}", f"--temp-dir={tempfile.mkdtemp(dir=self.folder)}"
        self.running[number] = self.run(number, *emptied(without), *RAY, "start", *role, *OPTIONS, *own)
        self.running[number].wait_for("Ray runtime started", 120)

    def kill(self, number: int) -> int:
        """SIGKILL to a node's raylet, its workers and everything else of it. Returns how many processes."""
        node = self.running.pop(number)
        doomed = [*(process.pid for process in below(node.process.pid)), node.process.pid]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.end(30)
        return len(doomed)

    def run(self, number: int, *command: str) -> Driver:
        """Start a command on a machine."""
        return Driver(*self.machines[number].inside, *command, **self.environment)

    def trains(self, number: int) -> bool:
        """Whether a job has a process on a machine's node."""
        started = below(self.running[number].process.pid)
        return any(process.command.startswith("ray::ImplicitFunc") for process in started)


def emptied(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """What a command is started by so that it finds these folders empty."""
    mounts = "".join(f"mount -t tmpfs none {shlex.quote(str(folder))} && " for folder in folders)
    return ("unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh") if folders else ()


def _ip(*words: str) -> None:
    done = subprocess.run(("ip", *words), capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}")


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Machine]]:
    """Network namespaces on a bridge; the addresses are of the range kept for tests of networks (198.18.0.0/15)."""
    tag = secrets.token_hex(3)
    bridge, subnet = f"ekd{tag}", f"198.{random.choice((18, 19))}.{secrets.randbelow(256)}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{subnet}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        machines = []
        for number in range(1, count + 1):
            name, outer, inner = f"{bridge}-{number}", f"e{tag}{number}o", f"e{tag}{number}i"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
            _ip("link", "set", outer, "master", bridge, "up")
            _ip("-n", name, "addr", "add", f"{subnet}.{number}/24", "dev", inner)
            for device in ("lo", inner):
                _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "via", f"{subnet}.254")
            named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)
            machines.append(Machine(f"{subnet}.{number}", ("ip", "netns", "exec", name, *named)))
        yield machines


def loopbacks(count: int) -> list[Machine]:
    addresses = [f"127.0.0.{number}" for number in range(2, 2 + count)]
    for address in addresses:
        with socket.socket() as free:
            free.bind((address, PORT))
    return [Machine(address) for address in addresses]


@contextlib.contextmanager
def cluster_of(machines: list[Machine]) -> Iterator[Nodes]:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ekd-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = Nodes(machines, Path(folder), token)
        try:
            yield nodes
        finally:
            nodes.have()
