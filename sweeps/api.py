"""What the command line does, in Python: ask for tables, plan them, run them.

>>> from sweeps.api import ask, plan, run
>>> question = ask("ablation", rows=["energy_kd"], pairs=["resnet20/resnet8"], vary={"T+": [1, 2, 4]},
...                dataset="digits", seeds=2, epochs=6, gpus=0, results="results")
>>> plan(question)
>>> results = run(question)
>>> results.figure("ablation")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.results import Results, load
from sweeps.display.outcome import typed
from sweeps.request.arguments import Options, parse
from sweeps.request.request import Request, make_request
from sweeps.run import plan_of, sweep
from sweeps.running.recovery import load_entries
from trainables.run_names import name_of
from trainables.used_files import use

__all__ = ["Question", "ask", "load", "plan", "run"]


@dataclass(frozen=True)
class Question:
    """Tables under some settings, checked as the command line checks them.

    Attributes:
        words: The same as words of the command line.
        options: What they say.
        request: Tables and settings.
    """

    words: tuple[str, ...]
    options: Options
    request: Request


def ask(*tables: str | Path, **options: Any) -> Question:
    """Ask for tables, or for the experiment of one file.

    Args:
        tables: Their names, or the path of a file that ends in `.toml`.
        options: The options of `ekd run`, with `_` for `-`: a list for several values, a dict for `set` and `vary`,
            True for an option without a value. `use` takes the paths of files.

    Raises:
        UserError: What the command line would say with status 2.
    """
    use([Path(file).expanduser().absolute() for file in _listed(options.pop("use", ()))])
    words = (*(str(name) for each in tables for name in _listed(each)), *_words(options))
    parsed = parse(words)
    return Question(words, parsed, make_request(parsed))


def plan(question: Question) -> pd.DataFrame:
    """A row for each run: its name, what it is, its state (`done`, `failed`, `to train`), the job that trains it."""
    where = question.options.where
    found = plan_of(where, question.request, load_entries(where.results, question.request.run_ids))
    jobs = {spec.run_id: job.key for job in found.jobs for spec in job.specs}
    return pd.DataFrame(
        {
            "run_id": run_id,
            "name": name_of(spec),
            "kind": str(kind),
            "teacher": spec.teacher,
            "student": spec.student,
            "method": spec.method,
            "seed": spec.seed,
            "epochs": spec.epochs,
            "state": "to train" if run_id in jobs else "failed" if run_id in found.failed else "done",
            "job": jobs.get(run_id),
        }
        for kind, runs in found.runs.items()
        for run_id, spec in runs.items()
    )


def run(question: Question) -> Results:
    """Train what is missing, write the tables, and load the results. Interrupted, the same call goes on.

    Runs that failed are in `runs` with their reason; they stop no others.
    """
    sweep(question.options, question.request, typed("run.py", question.words))
    return load(question.options.where.results)


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if value is None or value is False:
            continue
        yield f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            yield from (f"{field}={_to_list(each)}" for field, each in value.items())
        elif value is not True:
            yield from map(str, _listed(value))


def _to_list(values: Any) -> str:
    return ",".join(map(str, _listed(values)))


def _listed(values: Any) -> list[Any]:
    """What is in a list, a range or an array; a single value as a list of it."""
    single = isinstance(values, str | Path) or not isinstance(values, Iterable)
    return [values] if single else list(values)
