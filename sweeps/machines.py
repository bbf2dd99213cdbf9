"""The machines of a joined cluster: each must have the data and the results folder before anything is trained."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.plan import Plan
from sweeps.resources import Resources
from trainables.errors import UserError
from trainables.job import Place
from trainables.ray_trial import reason, unfit

ANSWER_SECONDS = 600.0


def name(address: str, host: str) -> str:
    return f"{host} ({address})"


def check_machines(place: Place, plan: Plan, resources: Resources, check: Callable[[], None]) -> None:
    """Refuse a cluster with a machine that jobs could be sent to and that could not train them; names each and why.

    check: called while the machines are asked; it raises when the sweep is to end.
    """
    runs = [spec for job in plan.jobs for spec in job.specs] or list(plan.all_runs.values())
    one_of_each = list({spec.dataset: spec for spec in runs}.values())
    mark = place.results / f".here-{secrets.token_hex(8)}"
    mark.touch()
    try:
        asked = {
            ray.remote(unfit)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(place, one_of_each, mark): who
            for node, who in _with("GPU" if resources.gpus else "CPU").items()
        }
        reasons = _answers(asked, check)
    finally:
        mark.unlink(missing_ok=True)
    if reasons:
        count = f"{len(reasons)} of {len(asked)} machines of the cluster cannot train this"
        raise UserError(f"{count}: {'; '.join(f'{who}: {why}' for who, why in reasons.items())}")


def _with(resource: str) -> dict[str, str]:
    """The nodes that have a resource, by their ids, and their names."""
    return {
        node["NodeID"]: name(node["NodeManagerAddress"], node["NodeManagerHostname"])
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get(resource, 0) > 0
    }


def _answers(asked: Mapping[Any, str], check: Callable[[], None]) -> dict[str, str]:
    """What the machines find wrong with themselves. One that dies meanwhile is none of the cluster's any more."""
    reasons, waiting = {}, list(asked)
    deadline = time.monotonic() + ANSWER_SECONDS
    while waiting and time.monotonic() < deadline:
        check()
        done, waiting = ray.wait(waiting, timeout=0.5)
        for task in done:
            try:
                why = ray.get(task)
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue
            except ray.exceptions.RayError as error:
                why = reason(getattr(error, "cause", None) or error)
            if why:
                reasons[asked[task]] = why
    return reasons | {asked[task]: f"no answer in {ANSWER_SECONDS:g} s" for task in waiting}
