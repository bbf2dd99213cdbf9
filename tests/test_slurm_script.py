"""The script for Slurm of docs/cluster.md, with stand-ins for Slurm, Ray and the sweep."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"
PORT = "6379"
STAND_INS = {
    "srun": 'echo "srun $*" >> "$LOG"\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
    "scontrol": 'echo "scontrol $*" >> "$LOG"\n[ "$1" = requeue ] || printf "one\\ntwo\\n"',
    "hostname": "echo 127.0.0.1 10.0.0.1",
    "ray": f"""case "$*" in *--head*) exec {sys.executable} -c 'import os, socket, time
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))):
    time.sleep(60)';; esac
exec sleep 60""",
    "python": 'case "$1" in -c) echo secret; exit;; esac\necho "sweep $*" >> "$LOG"\n'
    'trap "echo stopped >> $LOG; exit 1" TERM\nfor i in $(seq "$EPOCHS"); do sleep 0.05; done',
}


def script(folder: Path, port: str) -> Path:
    (found,) = (block for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.S) if "#SBATCH" in block)
    assert found.count(PORT) == len(re.findall(rf"\b{PORT}\b", found))
    activate = re.search(r"^source .*activate$", found, re.M)
    assert activate
    text = found.replace(activate[0], "").replace("cd /shared/energy-kd-sweeps", f"cd {folder}").replace(PORT, port)
    (path := folder / "job.sh").write_text(text)
    return path


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("taken_away", [False, True])
@pytest.mark.medium
def test_the_sweep_runs_on_all_nodes_and_is_queued_again_when_its_time_ends(
    tmp_path: Path, nodes: int, taken_away: bool
) -> None:
    for name, text in STAND_INS.items():
        (path := tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    log = tmp_path / "log"
    given = {
        "SLURM_NNODES": str(nodes),
        "SLURM_CPUS_ON_NODE": "4",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "[one-two]",
    }
    given |= {"LOG": str(log), "PORT": port, "EPOCHS": "1000" if taken_away else "2"}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    with subprocess.Popen(["bash", script(tmp_path, port)], env=os.environ | given | {"PATH": path}) as job:
        while taken_away and "sweep " not in (log.read_text() if log.exists() else ""):
            time.sleep(0.05)
        if taken_away:
            time.sleep(0.2)
            job.send_signal(signal.SIGTERM)
        status = job.wait(30)
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("sweep")] == [
        "sweep sweeps/run.py table5 --data-dir /shared/cifar100 --results /shared/results "
        f"--address 127.0.0.1:{port} --gpus all"
    ]
    started = [line for line in lines if "ray start" in line]
    assert len(started) == nodes
    assert all("--num-cpus=4" in line and "--overlap" in line for line in started)
    assert [line for line in started if f"--address=127.0.0.1:{port}" in line and "--exclude=one" in line] == started[
        1:
    ]
    assert ("stopped" in lines, "scontrol requeue 7" in lines, status) == (taken_away, taken_away, int(taken_away))
