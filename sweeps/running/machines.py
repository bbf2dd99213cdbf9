"""The machines of a joined cluster: each must have the data and the results folder before anything is trained there."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables import time_limits
from trainables.errors import UserError
from trainables.job import Execution
from trainables.ray_trial import CheckedMachines, describe_error, find_fault
from trainables.spec import RunSpec


def find_nodes(resource: str = "CPU") -> dict[str, dict[str, Any]]:
    """What Ray knows of its nodes that have a resource, by their ids."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) > 0}


def name_machine(node_id: str) -> str:
    """A machine as people know it."""
    node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" if node else node_id


@contextlib.contextmanager
def check_machines(
    execution: Execution, specs: Sequence[RunSpec], resource: str, check: Callable[[], None]
) -> Iterator[CheckedMachines]:
    """Refuse a cluster with a machine that could not train the runs; each such machine is named, with the reason.

    What is given out holds until the block is left. check: called while the machines answer; raises to end the sweep.
    """
    mark = execution.results / f".here.{secrets.randbelow(10**12)}"
    mark.touch()
    try:
        nodes = find_nodes(resource)
        tasks = {
            ray.remote(find_fault)
            .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(execution, list(specs), mark): node
            for node in nodes
        }
        faults, waiting = {}, list(tasks)
        while waiting:
            check()
            answered, waiting = ray.wait(waiting, timeout=time_limits.MACHINE_LOOK)
            for task in answered:
                try:
                    fault = ray.get(task)
                except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                    continue  # The machine has left the cluster.
                except ray.exceptions.RayError as error:
                    fault = describe_error(getattr(error, "cause", None) or error)
                if fault is not None:
                    faults[name_machine(tasks[task])] = fault
        if faults:
            listed = "; ".join(f"{machine}: {fault}" for machine, fault in faults.items())
            raise UserError(f"{len(faults)} of {len(nodes)} machines of the cluster cannot train this: {listed}")
        yield CheckedMachines(mark, frozenset(nodes))
    finally:
        mark.unlink(missing_ok=True)
