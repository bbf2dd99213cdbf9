"""A Ray of our own in odd surroundings: other code where the command is started, full disks, few processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOREIGN = ("trainables", "ekd_core", "profile", "numpy", "torch", "ray")
IMPORTED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import ray
from sweeps.planning.resources import Resources
from sweeps.running.cluster import start_ray

def places():
    import importlib, os
    names = ("trainables", "ekd_core", "profile", "numpy", "torch", "ray")
    return os.getcwd(), [importlib.import_module(name).__file__ for name in names]

with start_ray(Resources(gpus=0), debug=False):
    print(json.dumps(ray.get(ray.remote(places).remote())))
"""


def test_workers_import_nothing_from_where_the_command_is_started(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "start.py"
    script.parent.mkdir()
    script.write_text(IMPORTED, encoding="utf-8")
    work = tmp_path / "work"
    for name in FOREIGN:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise ImportError('not ours')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(ROOT)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, files = json.loads(done.stdout)
    assert where == str(work)
    assert files[:2] == [str(ROOT / name / "__init__.py") for name in FOREIGN[:2]]
    assert not any(Path(file).is_relative_to(tmp_path) for file in files)
