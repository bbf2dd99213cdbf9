"""Ray itself: a local cluster limited to what was asked for, or one that is joined; quiet, and watched."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray

import ekd_core
import trainables
from sweeps.planning.resources import Resources, check_against
from sweeps.running import ray_internals
from sweeps.running.surroundings import check_surroundings
from trainables import time_limits
from trainables.cores import cores_here
from trainables.errors import UserError, reason_of
from trainables.ray_trial import describe_error
from trainables.storage.locks import LockHeldError, hold_lock

HIGHEST_PORT = 65535
MOST_MISSES = 10
LONGEST_TEMPORARY = 18
"""Characters of the temporary folder: the path of Ray's sockets below it must not exceed 107."""
OBJECT_STORE_BYTES = 100 * 2**20
TOKEN = secrets.token_hex(32)
TOKEN_HINT = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or put the token in ~/.ray/auth_token"
CODE = (Path(ekd_core.__path__[0]), Path(trainables.__path__[0]))

ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
LOCAL = {
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})


class StoppedError(Exception):
    """The sweep ends now, for a reason that is told to the user."""


class RayMonitor:
    """Notices when something that a cluster cannot do without has died.

    alive: by name, whether each is alive.
    died: the name of the first that was not.
    """

    def __init__(self, alive: Mapping[str, Callable[[], bool]]) -> None:
        self.died: str | None = None
        self._alive = alive
        self._left, self._dead = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="watch-ray", daemon=True).start()

    @property
    def message(self) -> str:
        return (
            f"Ray stopped (its {self.died} died): nothing that was finished is lost; "
            "run the same command again to resume"
        )

    def check(self) -> None:
        if self.died:
            raise StoppedError(self.message)

    def explains_an_error(self) -> bool:
        """Whether Ray is dead, or will be found to be in a moment."""
        return self._dead.wait(2 * time_limits.RAY_LOOK)

    def leave(self) -> None:
        """Nobody waits for Ray any more."""
        self._left.set()

    def _watch(self) -> None:
        while not self._left.wait(time_limits.RAY_LOOK):
            self.died = next((name for name, alive in self._alive.items() if not alive()), None)
            if self.died:
                self._dead.set()
                if not self._left.wait(time_limits.RAY_LEAVE):
                    shown_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
                    print(f"{shown_cursor}{self.message}", file=sys.stderr, flush=True)
                    os._exit(1)


@contextlib.contextmanager
def start_ray(resources: Resources, *, debug: bool) -> Iterator[RayMonitor]:
    """A running Ray, of our own or joined. Its death ends the block with StoppedError."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment(ALWAYS))
        if not debug:
            stack.enter_context(ray_internals.silence_workers())
        start = _start_own if resources.address is None else _join
        with _keep_handlers():
            alive = start(resources, stack, debug)
        monitor = RayMonitor(alive)
        try:
            yield monitor
        except StoppedError:
            raise
        except Exception as error:
            if monitor.explains_an_error():
                raise StoppedError(monitor.message) from error
            raise
        finally:
            if monitor.died is None:
                monitor.leave()
            else:
                ray_internals.kill_local_servers()
            stack.close()
            monitor.leave()


def _start_own(resources: Resources, stack: contextlib.ExitStack, debug: bool) -> dict[str, Callable[[], bool]]:
    """Start a Ray on this machine; its servers, and whether each is alive."""
    # An empty part would be the folder where the driver stands.
    path = os.pathsep.join([str(CODE[1].parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    stack.enter_context(environment(LOCAL | {"PYTHONPATH": path}))
    stack.enter_context(ray_internals.listen_on_loopback())
    stack.enter_context(ray_internals.leave_path_of_workers())
    folder = stack.enter_context(make_temporary_folder(keep=debug))
    stack.callback(ray.shutdown)
    try:
        ray.init(
            address="local",
            num_cpus=resources.cpus(resources.devices_at_once(cores_here())),
            num_gpus=resources.gpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            **_logging(debug),
            **ray_internals.local_arguments(folder),
        )
    except Exception as error:
        raise StoppedError(f"Ray did not start ({describe_error(error)}): run the same command again") from error
    return ray_internals.local_servers()


def _join(resources: Resources, stack: contextlib.ExitStack, debug: bool) -> dict[str, Callable[[], bool]]:
    """Join a running Ray; its head, and whether it is alive."""
    address = str(resources.address)
    if "://" in address:
        raise UserError(f"--address {address}: give HOST:PORT, and start the sweep on a machine of the cluster")
    reach(address)
    ray_internals.use_token()
    stack.callback(ray.shutdown)
    try:
        # Ray has the workers look for modules in the folder where the driver stands before what is shipped to them: on
        # another machine an older checkout may be there.
        with contextlib.chdir("/"):
            shipped = {"py_modules": [str(folder) for folder in CODE]}
            ray.init(address=address, runtime_env=shipped, **_logging(debug))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"cannot join the Ray cluster at {address}: {describe_error(error)}; {TOKEN_HINT}") from error
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 0))
    check_against(resources, gpus, cpus, f"the cluster at {address} has {gpus or 'no'} GPU{'s' if gpus > 1 else ''}")
    return {"head": _HeadAnswers(ray.get_runtime_context().gcs_address)}


def _logging(debug: bool) -> dict[str, Any]:
    return {"log_to_driver": debug, "logging_level": logging.INFO if debug else logging.CRITICAL}


class _HeadAnswers:
    """Whether a cluster's head still takes connections; a few in a row may fail."""

    def __init__(self, address: str) -> None:
        self._address, self._misses = address, 0

    def __call__(self) -> bool:
        try:
            reach(self._address)
            self._misses = 0
        except UserError:
            self._misses += 1
        return self._misses < MOST_MISSES


def reach(address: str) -> None:
    """Refuse an address where nothing listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not host or not 0 < number <= HIGHEST_PORT:
        raise UserError(f"--address {address} should be HOST:PORT, as `ray start --head` prints it, or auto")
    try:
        socket.create_connection((host.strip("[]"), number), timeout=time_limits.HEAD_ANSWER).close()
    # ValueError: a host that is no name (too long, an empty part, a zero byte).
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"no Ray cluster answers at {address} ({why}): check the address, or leave it out") from error


@contextlib.contextmanager
def make_temporary_folder(*, keep: bool) -> Iterator[str]:
    """A folder for Ray's logs and sockets, beside a lock that holds as long as its driver lives.

    Folders of drivers that were killed are removed. keep: leave this one.
    """
    try:
        base = _make_base()
        check_surroundings(base)
    except OSError as error:
        short = f"have TMPDIR name a folder by a path of at most {LONGEST_TEMPORARY} letters"
        raise UserError(
            f"cannot make a temporary folder for Ray ({error.filename or 'TMPDIR'}: {reason_of(error)}): {short}"
        ) from error
    with contextlib.ExitStack() as stack:
        with hold_lock(base / "lock", seconds=time_limits.FOLDERS_LOCKED):
            for lock in base.glob("*.lock"):
                with contextlib.suppress(LockHeldError), hold_lock(lock, seconds=0):
                    _remove_folder(lock)
            folder = tempfile.mkdtemp(dir=base)
            lock = Path(f"{folder}.lock")
            stack.enter_context(hold_lock(lock))
        stack.callback(lock.unlink if keep else partial(_remove_folder, lock))
        yield folder


def _make_base() -> Path:
    """The folder of this user's temporary folders. Anybody may lay something by its name in /tmp: then another."""
    temporary = tempfile.gettempdir()
    temporary = temporary if len(temporary) <= LONGEST_TEMPORARY else "/tmp"
    base = Path(temporary, f"ekd-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
        return base
    return Path(tempfile.mkdtemp(prefix="ekd-", dir=temporary))


def _remove_folder(lock: Path) -> None:
    """Remove a folder and then its lock; what is left when this is cut short is found by the next driver."""
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    if not lock.with_suffix("").exists():
        lock.unlink(missing_ok=True)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _keep_handlers() -> Iterator[None]:
    """`ray.init` puts its own handler of SIGTERM in the place of ours; and all that it starts ignores SIGHUP, so that
    the jobs of a closed terminal may end their epoch."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
