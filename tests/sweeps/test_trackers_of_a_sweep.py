"""A real sweep of digits logged to MLflow's server and to Weights & Biases offline, killed and resumed: one run of the
tracker for each run, every epoch once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_faults import SWEEP

from analysis.record.ledger import Ledger

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """MLflow's server on a SQLite file."""
    pytest.importorskip("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    words = (
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/store.sqlite",
    )
    place = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = (sys.executable, "-m", "mlflow", *words, "--default-artifact-root", str(tmp_path / "artifacts"))
    with (
        open(tmp_path / "server.log", "w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path, env=place) as process,
    ):
        try:
            for _ in range(SECONDS):
                try:
                    urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.2)
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def sweep_killed_and_resumed(results: Path, tracker: str, more: dict[str, str]) -> str:
    """The driver is killed in the middle; the same command again completes. What that prints."""
    command = [*SWEEP, str(results), "--seeds", "1", "--log", tracker]
    place = {**os.environ, **more}
    with subprocess.Popen(command, env=place, stdout=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith("done") and "resnet8" in line:
                os.killpg(driver.pid, signal.SIGKILL)
    with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
        assert 0 < len(ledger.all()) < 4
    done = subprocess.run(command, env=place, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ended(results: Path) -> dict[str, int]:
    """Epochs of each run by id."""
    with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
        return {entry.run_id: entry.spec.epochs for entry in ledger.all()}


def test_mlflow_has_each_epoch_of_each_run_once(tmp_path: Path, server: str) -> None:
    from mlflow import MlflowClient

    results = tmp_path / "results"
    assert "lost" not in sweep_killed_and_resumed(results, "mlflow", {"MLFLOW_TRACKING_URI": server})
    words = (sys.executable, "analysis/export.py", "--results", str(results), "--mlflow")
    for uri in (server, f"sqlite:///{tmp_path}/other.sqlite"):
        for _ in range(2):  # What is there is not told again.
            subprocess.run([*words, uri], cwd=ROOT, check=True, timeout=SECONDS)
    client, runs = MlflowClient(server), ended(results)
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        found = other.execute(
            "SELECT t.value, m.step FROM metrics m JOIN tags t USING (run_uuid)"
            " WHERE m.key = 'top1' AND t.key = 'run_id'"
        ).fetchall()
    assert sorted(found) == sorted((run_id, step) for run_id in runs for step in range(1, runs[run_id] + 1))
    experiment = client.get_experiment_by_name("energy-kd")
    tracked = {run.data.tags["run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(client.search_runs([experiment.experiment_id])) == len(tracked)
    assert tracked.keys() == runs.keys()
    for run_id, epochs in runs.items():
        run = tracked[run_id]
        for name in ("top1", "train_loss", "epoch"):
            steps = [each.step for each in client.get_metric_history(run.info.run_id, name)]
            assert sorted(steps) == list(range(1, epochs + 1)), (run.data.tags, name)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["final_best_top1"] > 10
        assert run.data.params["dataset"] == "digits"
        assert run.data.tags["sweep"] == "results"
    students = [run.data.tags for run in tracked.values() if "row" in run.data.tags]
    assert {(tags["table"], tags["row"], tags["pair"], tags["seed"]) for tags in students} == {
        ("table5", row, "resnet20/resnet8", "1") for row in ("kd", "kd_he_da_50")
    }


def test_wandb_offline_has_each_epoch_of_each_run_once(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    results = tmp_path / "results"
    assert "lost" not in sweep_killed_and_resumed(results, "wandb", {"WANDB_MODE": "offline"})
    files = {path.stem.removeprefix("run-"): path for path in results.glob("wandb/offline-run-*/*.wandb")}
    assert len(list(results.glob("wandb/offline-run-*"))) == len(files)
    runs = ended(results)
    assert files.keys() == runs.keys()
    for run_id, epochs in runs.items():
        assert epochs_of(files[run_id]) == list(range(1, epochs + 1))


def epochs_of(path: Path) -> list[int]:
    """The epochs in a file of wandb's: seven bytes, then records of checksum (4), length (2), kind (1), content, in
    blocks of 32 KiB that a record may span."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record, whole = Record.FromString(whole), b""
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            found += [int(json.loads(items["epoch"]))] if "epoch" in items else []
    return found
