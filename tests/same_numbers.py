"""Hashes of what a change of the code's form must not change: run ids, tables, trained weights.

    python tests/same_numbers.py [--write] [--out FILE]

Trains a run of every row of every table on a few digits, and one of every other choice of a run, without Ray; draws
every table from results that are made up. `same_numbers.json` holds the hashes; --write stores new ones (a change that
means to change them says so in its commit). Weights are stored by version of torch and kind of processor, because
their bits depend on both.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parent), str(here), str(here / "analysis"), str(here / "trainables")]

import made_up
import small_jobs
import torch

from analysis import claims, paper
from analysis.record.settings import Settings
from analysis.reporting.snapshot import read_snapshot
from analysis.table.render import FORMATS, render
from analysis.table.resolved import resolve
from analysis.tables import load_grid
from trainables.job import run
from trainables.mixing import OPERATIONS, SELECTIONS, TARGETS
from trainables.spec import MEMBERSHIPS, Mixing, RunSpec, Temperature
from trainables.storage.job_file import Execution
from trainables.storage.provenance import surroundings
from trainables.storage.runs import stream_key

STORED = Path(__file__).with_suffix(".json")
PAPER = Settings(dataset="")
DIGITS = Settings(dataset="digits", pairs=("resnet14/resnet8",), seeds=1)
TRAINED = replace(DIGITS, epochs=2, train_fraction=0.04, batch_size=12)


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def ids() -> dict[str, str]:
    """Of each table, of all its runs' ids, by the paper's settings and on digits."""
    asked = {"paper": PAPER, "digits": DIGITS, "short": TRAINED}
    return {
        f"{name} {table.key}": sha256("\n".join(resolve(table, settings).run_ids))
        for name, settings in asked.items()
        for table in paper.tables().values()
    }


def drawn(results: Path) -> dict[str, str]:
    """Of each table in each format, and of the claims, from made-up results by the paper's settings and on digits."""
    found = {}
    tables = [table for table in paper.tables().values() if not table.kind.needs_weights]
    for name, settings in {"paper": PAPER, "digits": DIGITS}.items():
        folder = made_up.write_ledger(results / name, tables, settings)
        for table, form, metric in itertools.product(tables, FORMATS, ("best", "last")):
            text = render(load_grid(table.key, folder, metric=metric), form)
            found[f"{name} {table.key} {form} {metric}"] = sha256(text)
        judged = claims.judged_claims(read_snapshot(folder, "best"))
        for form, show in claims.FORMATS.items():
            found[f"{name} claims {form}"] = sha256(show(judged).replace(str(folder), "RESULTS"))
    return found


def choices(kd: RunSpec, dkd: RunSpec) -> Iterator[RunSpec]:
    """What no row of a table trains: every rule with every loss, every mixing, both memberships, and the rest."""
    ends = {"energy": (2, -2), "low": (2, 0), "high": (0, -2), "reversed": (2, -2)}
    rules = [Temperature(4, rule, *ends[rule], 0.3) for rule in ends] + [Temperature(4, "gradation", values=(6, 4, 2))]
    for base, temperature, membership in itertools.product((kd, dkd), rules, MEMBERSHIPS):
        yield replace(base, temperature=temperature, membership=membership)
    for operation, selection, target in itertools.product(OPERATIONS, SELECTIONS, TARGETS):
        mixing = Mixing(operation, selection, 1.0 if selection == "all" else 0.4, 0.7, target)
        for membership in MEMBERSHIPS if selection != "all" else ("view",):
            yield replace(dkd if target == "both" else kd, mixing=mixing, membership=membership)
    energy = replace(kd, temperature=rules[0], mixing=Mixing("cutmix", "high", 0.3))
    yield energy
    yield replace(energy, precision="bf16", seed=2)
    yield replace(energy, augmentation="crop8_flip", normalisation="imagenet", imbalance=0.5)
    yield replace(energy, augmentation="none", holdout=0.2, momentum=0.5, weight_decay=1e-3, lr_decay=0.3)


def trained_runs() -> list[RunSpec]:
    """Every run of every table on digits, and the other choices; each once."""
    tables = [table for table in paper.tables().values() if table.kind.trains]
    specs = [spec for table in tables for spec in resolve(table, TRAINED).teachers]
    specs += [spec for table in tables for specs in resolve(table, TRAINED).untaught.values() for spec in specs]
    specs += [spec for table in tables for specs in resolve(table, TRAINED).cells.values() for spec in specs]
    plain = [spec for spec in specs if not spec.mixing and spec.temperature and spec.temperature.rule == "plain"]
    kd, dkd = (next(spec for spec in plain if spec.method == method) for method in ("kd", "dkd"))
    return list(dict.fromkeys([*specs, *choices(kd, dkd)]))


def in_order(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """Jobs of the runs that share a stream, each after the job that trains its teacher."""
    waiting, known, jobs = list(specs), set(), []
    while waiting:
        ready = [spec for spec in waiting if spec.teacher_run is None or spec.teacher_run in known]
        assert ready, f"nothing trains the teacher of {waiting[0].name}"
        for _, group in itertools.groupby(sorted(ready, key=lambda spec: str(stream_key(spec))), stream_key):
            jobs.append(list(group))
        known |= {spec.run_id for spec in ready}
        waiting = [spec for spec in waiting if spec.run_id not in known]
    return jobs


def trained(results: Path) -> dict[str, str]:
    """Of each run's weights and numbers, by its name."""
    found = {}
    for job in in_order(trained_runs()):
        for report in run(job, Execution(results, threads=1)):
            assert not report.failed, report.failed
        for spec in job:
            weights, numbers = small_jobs.outcome(results, spec)
            digest = hashlib.sha256()
            for key, tensor in weights.items():
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.numpy().tobytes())
            digest.update(json.dumps({**numbers, "weights_sha256": ""}, sort_keys=True).encode())
            found[spec.name] = digest.hexdigest()
    return found


def kind() -> str:
    """What the bits of trained weights depend on."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {surroundings('cpu')['device']}"


def hashes(folder: Path) -> dict[str, Any]:
    return {"ids": ids(), "tables": drawn(folder), "weights": {kind(): trained(folder / "trained")}}


def different(one: dict[str, str], two: dict[str, str]) -> list[str]:
    """The names whose hashes differ or that only one side has."""
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare run ids, tables and trained weights with the stored hashes.")
    parser.add_argument("--write", action="store_true", help="store the hashes found now")
    parser.add_argument("--out", type=Path, help="write the hashes found now to this file")
    options = parser.parse_args()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"ids": {}, "tables": {}, "weights": {}}
    with tempfile.TemporaryDirectory() as folder:
        found = hashes(Path(folder))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    here = kind()
    changed = [f"ids: {name}" for name in different(found["ids"], stored["ids"])]
    changed += [f"tables: {name}" for name in different(found["tables"], stored["tables"])]
    if here in stored["weights"]:
        changed += [f"weights: {name}" for name in different(found["weights"][here], stored["weights"][here])]
    else:
        print(f"no weights are stored for {here}")
    if options.write:
        STORED.write_text(json.dumps(found | {"weights": stored["weights"] | found["weights"]}, indent=1) + "\n")
    counts = f"{len(found['ids'])} lists of ids, {len(found['tables'])} tables, {len(found['weights'][here])} runs"
    print("\n".join([*changed, f"{len(changed)} of {counts} differ"]))
    return 1 if changed and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
