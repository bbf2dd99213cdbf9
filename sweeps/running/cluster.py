"""Ray itself: a local cluster limited to what was asked for, or one that is joined; quiet, and watched."""

from __future__ import annotations

import contextlib
import fcntl
import functools
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
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
import ray._private.ray_constants
import ray._private.worker
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

import ekd_core
import trainables
from sweeps.planning.resources import Resources, check_against, cpus_here
from trainables.errors import UserError
from trainables.ray_trial import reason

REACH_SECONDS = 5.0
HIGHEST_PORT = 65535
WATCH_SECONDS = 0.5
LEAVE_SECONDS = 9.0
MOST_MISSES = 10
COUNT_SECONDS = 2.0
LONGEST_TEMPORARY = 30
TEMPORARY, HOLDER = "ekd-", "driver"
OBJECT_STORE_BYTES = 100 * 2**20
TOKEN = secrets.token_hex(32)
TOKEN_HINT = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or put the token in ~/.ray/auth_token"
CODE = (Path(ekd_core.__path__[0]), Path(trainables.__path__[0]))

ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}
LOCAL = {
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",
} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})


class StoppedError(BaseException):
    """The sweep ends now, for a reason that is told to the user. No `except Exception` of Ray's must catch it."""


class Watch:
    """Notices when something that a cluster cannot do without has died; `alive` asks each of them, by its name."""

    def __init__(self, alive: Mapping[str, Callable[[], bool]]) -> None:
        self.died: str | None = None
        self._alive = alive
        self._left = threading.Event()
        self._dead = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-ray", daemon=True)
        self._thread.start()

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
        return self._dead.wait(2 * WATCH_SECONDS)

    def leave(self) -> None:
        self._left.set()

    def _watch(self) -> None:
        while not self._left.wait(WATCH_SECONDS):
            self.died = next((name for name, alive in self._alive.items() if not alive()), None)
            if self.died:
                self._dead.set()
                break
        else:
            return
        if not self._left.wait(LEAVE_SECONDS):
            shown_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
            print(f"{shown_cursor}{self.message}", file=sys.stderr, flush=True)
            os._exit(1)


@contextlib.contextmanager
def cluster(resources: Resources, *, debug: bool) -> Iterator[tuple[Watch, Callable[[], int]]]:
    """A running Ray, and how many devices it may train on at once: asked anew, a joined one may grow and shrink."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment(ALWAYS if debug else ALWAYS | QUIET))
        if not debug:
            stack.enter_context(_attribute(ray._private.worker, "_worker_logs_enabled", False))
        prepared = _prepare_local(stack, debug) if resources.address is None else None
        stack.callback(ray.shutdown)
        with _kept_handlers():
            at_once = _join(resources, debug) if prepared is None else _start(resources, prepared, debug)
        watch = Watch(_local_processes() if prepared else {"head": _Answers(ray.get_runtime_context().gcs_address)})
        try:
            yield watch, at_once
        except Exception as error:
            if watch.explains_an_error():
                raise StoppedError(watch.message) from error
            raise
        finally:
            if watch.died is None:
                watch.leave()
            else:
                _node().kill_all_processes(check_alive=False, allow_graceful=False)
            stack.close()
            watch.leave()


def _prepare_local(stack: contextlib.ExitStack, debug: bool) -> str:
    """Settings that Ray reads from outside `ray.init`, and the folder for its logs and sockets."""
    path = [str(CODE[1].parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    stack.enter_context(environment(LOCAL | {"PYTHONPATH": os.pathsep.join(path)}))
    # Ray gives a local cluster the machine's own address, and then listens on all of them, unless it is told that
    # clusters are not to be had here (as on macOS).
    stack.enter_context(_attribute(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", False))
    return stack.enter_context(_temporary_folder(keep=debug))


def _node() -> Any:
    node = ray._private.worker._global_node
    if node is None:
        raise RuntimeError("Ray has no node after it was started")
    return node


def _local_processes() -> dict[str, Callable[[], bool]]:
    started = {name: _node().all_processes[name][0].process for name in ("gcs_server", "raylet")}
    return {name: functools.partial(_runs, process) for name, process in started.items()}


def _runs(process: Any) -> bool:
    return process.poll() is None


class _Answers:
    """Whether a cluster's head still takes connections; a few in a row may fail."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._misses = 0

    def __call__(self) -> bool:
        try:
            _reach(self._address)
        except UserError:
            self._misses += 1
        else:
            self._misses = 0
        return self._misses < MOST_MISSES


def _start(resources: Resources, folder: str, debug: bool) -> Callable[[], int]:
    devices = resources.devices_at_once(cpus_here())
    try:
        ray.init(
            address="local",
            num_cpus=resources.cpus(devices),
            num_gpus=resources.gpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=debug,
            logging_level=logging.INFO if debug else logging.CRITICAL,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
    except Exception as error:
        raise StoppedError(f"Ray did not start ({reason(error)}): run the same command again") from error
    return lambda: devices


def _join(resources: Resources, debug: bool) -> Callable[[], int]:
    address = str(resources.address)
    if "://" in address:
        raise UserError(f"--address {address}: give HOST:PORT, and start the sweep on a machine of the cluster")
    _reach(address)
    # As `ray start` does: where there is a token, it is used.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        # Ray has the workers look for modules in the folder where the driver stands before what is shipped to them: on
        # another machine an older checkout may be there.
        with contextlib.chdir("/"):
            ray.init(
                address=address,
                log_to_driver=debug,
                logging_level=logging.INFO if debug else logging.CRITICAL,
                runtime_env={"py_modules": [str(folder) for folder in CODE]},
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"cannot join the Ray cluster at {address}: {reason(error)}; {TOKEN_HINT}") from error
    found = ray.cluster_resources()
    gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 0))
    check_against(resources, gpus, cpus, f"the cluster at {address} has {gpus or 'no'} GPU{'s' if gpus > 1 else ''}")
    return _Now(resources, cpus)


class _Now:
    """How many devices a joined cluster has for the sweep now. Of its GPUs no more are used than were asked for."""

    def __init__(self, resources: Resources, cpus: int) -> None:
        self._resources = resources
        self._cpus = cpus
        self._due = time.monotonic() + COUNT_SECONDS

    def __call__(self) -> int:
        if time.monotonic() >= self._due:
            self._cpus = int(ray.cluster_resources().get("CPU", 0))
            self._due = time.monotonic() + COUNT_SECONDS
        return self._resources.devices_at_once(self._cpus)


def _reach(address: str) -> None:
    """Whether anything listens there; Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not host or not 0 < number <= HIGHEST_PORT:
        raise UserError(f"--address {address} should be HOST:PORT, as `ray start --head` prints it, or auto")
    try:
        socket.create_connection((host.strip("[]"), number), timeout=REACH_SECONDS).close()
    # ValueError: a host that is no name (too long, an empty part, a zero byte).
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"no Ray cluster answers at {address} ({why}): check the address, or leave it out") from error


@contextlib.contextmanager
def _temporary_folder(*, keep: bool) -> Iterator[str]:
    """A folder for Ray's logs and sockets; the path of a socket must not exceed 107 characters.

    Its holder locks it. Folders that nobody holds any more, for their driver was killed, are removed.
    """
    base = tempfile.gettempdir()
    base = base if len(base) <= LONGEST_TEMPORARY else "/tmp"
    for path in Path(base).glob(f"{TEMPORARY}*/{HOLDER}"):
        # Another driver's at work; or one that is just going.
        with contextlib.suppress(OSError), _own_file(path) as number:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
    folder = tempfile.mkdtemp(prefix=TEMPORARY, dir=base)
    with open(Path(folder, f"{HOLDER}-to-be"), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path = Path(file.name).rename(Path(folder, HOLDER))
        try:
            yield folder
        finally:
            if keep:
                path.unlink()
            else:
                _remove(path)


@contextlib.contextmanager
def _own_file(path: Path) -> Iterator[int]:
    """A file of this user in a folder of this user, opened. Anybody may lay something by these names in /tmp: a folder
    of theirs, a link to one of ours, a pipe that nobody writes."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        file, folder = os.fstat(number), path.parent.lstat()
        if not (stat.S_ISREG(file.st_mode) and stat.S_ISDIR(folder.st_mode)):
            raise PermissionError(f"{path} is no file in a folder")
        if {file.st_uid, folder.st_uid} != {os.getuid()}:
            raise PermissionError(f"{path} is another user's")
        yield number
    finally:
        os.close(number)


def _remove(marker: Path) -> None:
    """A folder, and last the marker in it: what is left when this is cut short is found by the next driver."""
    folder = marker.parent
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path != marker:
                path.unlink(missing_ok=True)
        if list(folder.iterdir()) == [marker]:
            marker.unlink()
            folder.rmdir()


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
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """`ray.init` puts its own handler of SIGTERM in the place of ours."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
