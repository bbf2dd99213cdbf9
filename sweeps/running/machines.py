"""The machines of a joined cluster: each must have the data and the results folder before anything is trained there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.planning.plan import Plan
from sweeps.planning.resources import Resources
from trainables.errors import UserError
from trainables.job import Execution
from trainables.ray_trial import reason, unfit

ANSWER_SECONDS = 600.0
LOOK_SECONDS = 2.0
MOST_TRIES = 3
CURE = "mend it or take it out of the cluster, then run the same command again"


def name(address: str, host: str) -> str:
    return f"{host} ({address})"


class Machines:
    """Asks every machine that jobs could be sent to whether it could train them, also those that join later."""

    def __init__(self, execution: Execution, plan: Plan, resources: Resources) -> None:
        runs = [spec for job in plan.jobs for spec in job.specs] or list(plan.all_runs.values())
        self._execution = execution
        self._one_of_each = list({spec.dataset: spec for spec in runs}.values())
        self._resource = "GPU" if resources.gpus else "CPU"
        self._nodes: dict[str, str] = {}
        self._asked: dict[Any, _Question] = {}
        self._mark: Path | None = None
        self._due = 0.0
        self._refused: str | None = None

    def check_all(self, check: Callable[[], None]) -> None:
        """Refuse a cluster with a machine that could not train the jobs; names each and why.

        check: called while the machines are asked; it raises when the sweep is to end.
        """
        self._ask_new()
        count = len(self._asked)
        reasons: dict[str, str] = {}
        try:
            while self._asked:
                check()
                ray.wait(list(self._asked), timeout=0.5)
                reasons |= self._answers()
        finally:
            self.close()
        if reasons:
            some = f"{len(reasons)} of {count} machines of the cluster cannot train this"
            raise UserError(f"{some}: {_listed(reasons)}")

    def refused(self) -> str | None:
        """What is wrong with a machine that has joined, once it is known. Looks for new ones now and then."""
        if not self._refused and time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_SECONDS
            self._ask_new()
            reasons = self._answers()
            if not self._asked:
                self.close()
            if reasons:
                self._refused = f"a machine that joined cannot train this: {_listed(reasons)}; {CURE}"
        return self._refused

    def settled(self) -> bool:
        """Whether all machines that are there now are known to be fit."""
        self._due = 0.0
        return self.refused() is None and not self._asked

    def _ask_new(self) -> None:
        there = _with(self._resource)
        for node in there.keys() - self._nodes.keys():
            self._ask(_Question(node, there[node], time.monotonic() + ANSWER_SECONDS))
        self._nodes = there

    def _ask(self, question: _Question) -> None:
        if self._mark is None:
            self._mark = self._execution.results / f".here-{secrets.token_hex(8)}"
            self._mark.touch()
        there = NodeAffinitySchedulingStrategy(question.node, soft=False)
        task = ray.remote(unfit).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        self._asked[task.remote(self._execution, self._one_of_each, self._mark)] = question

    def close(self) -> None:
        """Nobody is asked any more."""
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
            self._mark = None
        self._asked.clear()

    def _answers(self) -> dict[str, str]:
        """What the machines find wrong with themselves. One that dies meanwhile is none of the cluster's any more."""
        reasons = {}
        done, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0) if self._asked else ([], [])
        for task in done:
            question = self._asked.pop(task)
            try:
                why = ray.get(task)
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue
            except ray.exceptions.WorkerCrashedError as error:
                if question.tries < MOST_TRIES:
                    self._ask(replace(question, tries=question.tries + 1))
                    continue
                why = reason(error)
            except ray.exceptions.RayError as error:
                why = reason(getattr(error, "cause", None) or error)
            if why:
                reasons[question.who] = why
        for task, question in list(self._asked.items()):
            if time.monotonic() >= question.deadline:
                del self._asked[task]
                reasons[question.who] = f"no answer in {ANSWER_SECONDS:g} s"
        return reasons


@dataclass(frozen=True)
class _Question:
    """Asked of a node. who: it, by a name for people."""

    node: str
    who: str
    deadline: float
    tries: int = 1


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{who}: {why}" for who, why in reasons.items())


def _with(resource: str) -> dict[str, str]:
    """The nodes that have a resource, by their ids, and their names."""
    return {
        node["NodeID"]: name(node["NodeManagerAddress"], node["NodeManagerHostname"])
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get(resource, 0) > 0
    }
