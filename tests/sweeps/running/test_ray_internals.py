"""What is used of Ray's private parts is still there and does what it is used for."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker

from sweeps.running import ray_internals

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_servers_are_known_by_name_and_seen_to_die() -> None:
    """In a process of its own: Ray keeps the token of the first cluster that a process starts."""
    code = """
import ray
from sweeps.running import ray_internals
from sweeps.running.cluster import make_temporary_folder
with make_temporary_folder(keep=False) as folder, ray_internals.listen_on_loopback():
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, **ray_internals.local_arguments(folder))
    servers = ray_internals.local_servers()
    print(sorted(servers), [alive() for alive in servers.values()])
    ray_internals.kill_local_servers()
    print([alive() for alive in servers.values()])
    ray.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines == ["['gcs_server', 'raylet'] [True, True]", "[False, False]"], done.stderr


def test_ray_can_be_told_to_listen_on_loopback() -> None:
    assert ray_constants.ENABLE_RAY_CLUSTER is (sys.platform == "linux")
    with ray_internals.listen_on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert ray_constants.ENABLE_RAY_CLUSTER is (sys.platform == "linux")


def test_what_servers_publish_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"pid": "raylet", "lines": ["a worker died"], "ip": "127.0.0.1", "localhost": "127.0.0.1", "is_err": True}
    with ray_internals.silence_workers():
        ray_worker.print_worker_logs(line, sys.stdout)
    assert capsys.readouterr().out == ""
    ray_worker.print_worker_logs(line, sys.stdout)
    assert "a worker died" in capsys.readouterr().out


@pytest.mark.skipif(
    tuple(map(int, ray.__version__.split(".")[:2])) < (2, 55),
    reason="only RAY_AUTH_MODE asks for a token before Ray 2.55",
)
def test_a_token_is_used_where_there_is_one(tmp_path: Path) -> None:
    """In a process of its own: Ray keeps it."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    code = """
import os
from sweeps.running import ray_internals
ray_internals.use_token()
print(os.environ["RAY_AUTH_MODE"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"RAY_AUTH_TOKEN_PATH": str(token)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["token"], done.stderr


def test_private_arguments_are_taken() -> None:
    """Ray takes any keyword that begins with an underscore, and refuses unknown ones by name."""
    source = inspect.getsource(ray.init)
    assert all(f'"{name}"' in source for name in ray_internals.local_arguments(""))


def test_the_path_of_workers_can_be_left_alone() -> None:
    """Both folders that Ray would put before everything are left out where a folder is shipped."""
    source = inspect.getsource(ray_worker.connect)
    assert source.count("job_config._runtime_env_has_working_dir()") >= 1
    with ray_internals.leave_path_of_workers():
        assert ray.job_config.JobConfig()._runtime_env_has_working_dir()
    assert not ray.job_config.JobConfig()._runtime_env_has_working_dir()
