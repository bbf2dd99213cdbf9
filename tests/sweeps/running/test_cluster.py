"""Ray nodes on one machine: nodes that die, join or lack what is shared, drivers that die and move."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import own_images
from nodes import Nodes, cluster_of, loopbacks, namespaces
from test_faults import ROOT, Driver, ledger_of
from test_used_files import FILES

from analysis.record.entry import Entry

Weights = dict[str, str | None]
Tell = Callable[[str], None]

pytestmark = pytest.mark.slow

HEAD, WORKER, OTHER, SPARE = range(4)
TABLE = (
    *(sys.executable, str(ROOT / "sweeps" / "run.py"), "table4", "--dataset", "digits", "--gpus", "0"),
    *("--pairs", "resnet20/resnet8", "--rows", "kd", "energy_kd", "low", "--epochs", "4", "--seeds", "2"),
)
RUNS = 7
CODE = (ROOT / "ekd_core", ROOT / "trainables")


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a line whatever pytest does with output."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)

    return say


def weights(entries: dict[str, Entry]) -> Weights:
    return {run_id: entry.weights_sha256 for run_id, entry in entries.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The weights of a sweep on one machine without a cluster."""
    results = tmp_path_factory.mktemp("undisturbed")
    driver = Driver(*TABLE, "--results", str(results))
    assert driver.end() == 0, driver.lines
    return weights(ledger_of(results))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster on four machines; tests start the nodes that they need."""
    with contextlib.ExitStack() as stack:
        try:
            machines = stack.enter_context(namespaces(4))
        except OSError as namespaced:
            try:
                machines = loopbacks(4)
            except OSError as looped:
                pytest.skip(f"no addresses for four nodes here: {namespaced}; {looped}")
        yield stack.enter_context(cluster_of(machines))


def start(nodes: Nodes, results: Path, machine: int) -> Driver:
    """A sweep from a machine, in a folder with other code by the name of ours."""
    other = results / "elsewhere" / "trainables"
    other.mkdir(parents=True, exist_ok=True)
    (other / "__init__.py").write_text("raise ImportError('not the code that was shipped')")
    there = ("sh", "-c", 'cd "$0" && exec "$@"', str(other.parent))
    return nodes.run(machine, *there, *TABLE, "--pack", "1", "--address", nodes.address, "--results", str(results))


def until(condition: Callable[[], object], driver: Driver, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.process.poll() is None, driver.lines
        assert time.monotonic() < deadline, driver.lines
        time.sleep(0.25)


def once_and_the_same(results: Path, driver: Driver, undisturbed: Weights) -> None:
    """Every run is done, once, with the weights of a run on one machine."""
    assert driver.end() == 0, driver.lines
    assert f"{RUNS} runs done, 0 failed, 0 not run" in driver.lines
    entries = ledger_of(results)
    assert {entry.status for entry in entries.values()} == {"done"}
    assert weights(entries) == undisturbed
    done = Counter(line.split()[1] for line in driver.lines if line.startswith("done "))
    assert set(done.values()) <= {1}


def test_a_table_on_three_nodes(nodes: Nodes, tmp_path: Path, undisturbed: Weights, tell: Tell) -> None:
    nodes.have(HEAD, WORKER, OTHER)
    busy: set[int] = set()
    driver = start(nodes, tmp_path, HEAD)
    while driver.process.poll() is None:
        busy.update(number for number in nodes.running if nodes.trains(number))
        time.sleep(0.25)
    once_and_the_same(tmp_path, driver, undisturbed)
    assert busy == {HEAD, WORKER, OTHER}
    tell(f"three nodes: {RUNS} runs done once, on {len(busy)} nodes, weights equal to one machine's")


def test_a_node_killed_in_the_middle(nodes: Nodes, tmp_path: Path, undisturbed: Weights, tell: Tell) -> None:
    nodes.have(HEAD, WORKER, OTHER)
    driver = start(nodes, tmp_path, HEAD)
    driver.wait_for("done ", 300)
    until(lambda: nodes.trains(OTHER), driver)
    killed = nodes.kill(OTHER)
    before = sum(line.startswith("done ") for line in driver.lines)
    once_and_the_same(tmp_path, driver, undisturbed)
    tell(f"node killed: its {killed} processes after {before} of {RUNS} runs; every run done once, weights equal")


def test_a_node_added_in_the_middle(nodes: Nodes, tmp_path: Path, undisturbed: Weights, tell: Tell) -> None:
    nodes.have(HEAD)
    driver = start(nodes, tmp_path, HEAD)
    driver.wait_for("started ", 300)
    nodes.start(SPARE, without=CODE if nodes.machines[SPARE].inside else ())
    until(lambda: nodes.trains(SPARE), driver)
    before = sum(line.startswith("done ") for line in driver.lines)
    once_and_the_same(tmp_path, driver, undisturbed)
    tell(f"node without our code added: it trained after {before} of {RUNS} runs; every run done once, weights equal")


def test_a_node_that_joins_without_what_is_shared_is_left_out(
    nodes: Nodes, tmp_path: Path, undisturbed: Weights, tell: Tell
) -> None:
    if not nodes.machines[0].inside:
        pytest.skip("without namespaces all nodes see the same folders")
    nodes.have(HEAD)
    driver = start(nodes, tmp_path, HEAD)
    driver.wait_for("started ", 300)
    nodes.start(SPARE, without=(tmp_path,))
    driver.wait_for("left out ", 300)
    once_and_the_same(tmp_path, driver, undisturbed)
    name = f"{nodes.machines[SPARE].inside[-1]} ({nodes.machines[SPARE].address})"
    (told,) = [line for line in driver.lines if line.startswith("left out ")]
    assert told.startswith(f"left out {name}: {tmp_path} is another folder"), told
    assert not any(line.startswith("failed") for line in driver.lines), driver.lines
    assert not list(tmp_path.glob(".here*"))
    tell(f"bad node joined: {told}")


def test_own_files_reach_machines_that_do_not_have_them(nodes: Nodes, tmp_path: Path, tell: Tell) -> None:
    """A method, a rule, a network and a table of one's own; only the driver's machine has the files, and they are gone
    when the first job starts. On one machine the same files name the same runs."""
    own, results = tmp_path / "own", tmp_path / "results"
    own.mkdir()
    for name, code in FILES.items():
        (own / f"{name}.py").write_text(code)
    nodes.have(HEAD)
    for number in (WORKER, OTHER):
        nodes.start(number, without=(own, *CODE) if nodes.machines[number].inside else ())
    sweep = (*TABLE[:2], "--use", *(str(own / f"{name}.py") for name in FILES), "my_table", "--dataset", "digits")
    sweep += ("--epochs", "4", "--seeds", "2", "--gpus", "0", "--pack", "1", "--results", str(results))
    driver = nodes.run(HEAD, *sweep, "--address", nodes.address)
    driver.wait_for("started ", 300)
    for name in FILES:
        (own / f"{name}.py").unlink()
    busy: set[int] = set()
    while driver.process.poll() is None:
        busy.update(number for number in nodes.running if nodes.trains(number))
        time.sleep(0.25)
    assert driver.end() == 0, driver.lines
    assert f"{RUNS} runs done, 0 failed, 0 not run" in driver.lines
    assert busy >= {WORKER, OTHER}
    for name, code in FILES.items():
        (own / f"{name}.py").write_text(code)
    again = Driver(*sweep)
    assert again.end() == 0, again.lines
    assert f"2 cells: {RUNS} runs, {RUNS} done, nothing left to train" in again.lines, again.lines
    assert not any("by other code than this" in line for line in again.lines), again.lines
    tell(f"own files: {RUNS} runs done on machines {sorted(busy)}, of which {WORKER} and {OTHER} never had the files")


def test_a_driver_killed_and_started_on_another_node(
    nodes: Nodes, tmp_path: Path, undisturbed: Weights, tell: Tell
) -> None:
    nodes.have(HEAD, WORKER)
    kills = []
    for machine in (HEAD, WORKER):
        driver = start(nodes, tmp_path, machine)
        driver.wait_for("done ", 300)
        os.kill(driver.process.pid, signal.SIGKILL)
        driver.end()
        kills.append(len(ledger_of(tmp_path)))
    driver = start(nodes, tmp_path, HEAD)
    once_and_the_same(tmp_path, driver, undisturbed)
    tell(f"driver killed on two nodes, after {kills} of {RUNS} runs; every run done once, weights equal")


def test_a_node_without_what_is_shared_is_refused_by_its_name(nodes: Nodes, tmp_path: Path, tell: Tell) -> None:
    if not nodes.machines[0].inside:
        pytest.skip("without namespaces all nodes see the same folders")
    nodes.have(HEAD, WORKER)
    data, results = tmp_path / "data", tmp_path / "results"
    own_images(data, 0)
    results.mkdir()
    lines = []
    for missing in (data, results):
        nodes.start(OTHER, without=(missing,))
        command = (*TABLE, "--dataset", "imagefolder", "--data-dir", str(data), "--batch-size", "2")
        driver = nodes.run(WORKER, *command, "--address", nodes.address, "--results", str(results))
        assert driver.end() == 2, driver.lines
        lines.append(driver.lines[-1])
        assert lines[-1].startswith("error: 1 of "), driver.lines
        name = f"{nodes.machines[OTHER].inside[-1]} ({nodes.machines[OTHER].address})"
        assert f" machines of the cluster cannot train this: {name}: " in lines[-1]
        assert str(missing) in lines[-1]
        nodes.kill(OTHER)
    assert "--results must be shared by all machines" in lines[1]
    tell("\n".join(["nodes refused:", *lines]))
