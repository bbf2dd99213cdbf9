"""What this project uses of Ray's private parts, with the reason; tests/sweeps/running/test_ray_internals.py fails when
Ray changes one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from subprocess import Popen
from typing import Any

import ray
import ray._private.ray_constants
import ray._private.worker
import ray.job_config
from ray._private.authentication import authentication_token_setup

LOCAL_SERVERS = ("gcs_server", "raylet")
"""The two processes without which a Ray of our own cannot go on."""


def listen_on_loopback() -> contextlib.AbstractContextManager[None]:
    """Let a Ray that is started meanwhile listen on 127.0.0.1 only, together with `local_arguments`.

    Ray gives its servers the machine's own address unless it takes the system for one without clusters, as macOS.
    """
    return _replace(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", False)


def silence_workers() -> contextlib.AbstractContextManager[None]:
    """Print nothing that Ray's servers publish, such as the death of a worker: `log_to_driver` leaves those."""
    return _replace(ray._private.worker, "_worker_logs_enabled", False)


def leave_path_of_workers() -> contextlib.AbstractContextManager[None]:
    """Let the workers of a Ray that is started meanwhile find modules by PYTHONPATH alone.

    Ray has them look first in the folder where the driver stands, whatever is there, unless that is shipped to them.
    """
    return _replace(ray.job_config.JobConfig, "_runtime_env_has_working_dir", lambda config: True)


@contextlib.contextmanager
def _replace(place: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def local_arguments(folder: str) -> dict[str, Any]:
    """Arguments of `ray.init`: the address of the node, and the folder for logs and sockets."""
    return {"_node_ip_address": "127.0.0.1", "_temp_dir": folder}


def local_servers() -> dict[str, Callable[[], bool]]:
    """By name, whether each server of a Ray of our own is alive: Ray tells of their death late, or not at all."""
    found: dict[str, Popen[bytes]] = {name: _node().all_processes[name][0].process for name in LOCAL_SERVERS}
    return {name: partial(_is_alive, process) for name, process in found.items()}


def kill_local_servers() -> None:
    """End what is left of a Ray of our own: after the death of a server, `ray.shutdown` would wait for it."""
    _node().kill_all_processes(check_alive=False, allow_graceful=False)


def use_token() -> None:
    """Use the user's token for a cluster if there is one, as `ray start` does since Ray 2.55; `ray.init` only does if
    told to. Before 2.55 `RAY_AUTH_MODE=token` asks for it, here as at `ray start`."""
    use = getattr(authentication_token_setup, "maybe_enable_token_auth_if_token_available", None)
    if use is not None:
        use(warn_if_disabled=False)


def _node() -> Any:
    node = ray._private.worker._global_node
    if node is None:
        raise RuntimeError("Ray has no node after it was started")
    return node


def _is_alive(process: Popen[bytes]) -> bool:
    return process.poll() is None
