"""Search hyperparameters of a row of the paper for one pair: Optuna proposes, Ray trains, the ledger remembers.

python sweeps/search.py --pair vgg13/vgg8 --trials 50 --gpus 8

Trials train on all training images but a held-out tenth, which scores them; the test images are used once, at the
end, by the best points and the paper's own, trained again on all training images. The same command again goes on; with
more --trials it trains only what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analysis import names
from analysis.entry import Entry
from analysis.ledger import Ledger
from analysis.search_drawings import Trialed
from analysis.searched import Finalist, Searched, write_search
from analysis.settings import parse_pair, teacher_spec
from sweeps.feed import Feed, Outcome
from sweeps.finished import ingest
from sweeps.lock import driver_lock
from sweeps.packs import Packs
from sweeps.plan import Plan, PlannedJob, job_of, packed
from sweeps.progress import Lines, State
from sweeps.request import Request, make_request
from sweeps.run import STOPPED, check_all, check_writable, facts_in, place_of, report, typed
from sweeps.search_arguments import SearchOptions, parse
from sweeps.space import parse_space
from sweeps.trials import SEED, Search, find_row
from trainables.errors import UserError, exit_status
from trainables.runs import drop_checkpoints, has_weights, stop_path
from trainables.spec import RunSpec

if TYPE_CHECKING:
    from sweeps.events import Event
    from sweeps.resources import Resources
    from sweeps.study import Study


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    request = make_request(options.run)
    pair = parse_pair(options.run.pairs[0])
    search = Search(
        settings=request.settings,
        pair=pair,
        row=find_row(options.row),
        space=parse_space(options.space),
        holdout=options.holdout,
        trial_epochs=options.trial_epochs,
    )
    search.check()
    check_writable(options.run.results)
    ends = (search.trial({}), search.finalist({}, SEED))
    runs = Plan(0, {"search": {spec.run_id: spec for spec in ends}}, frozenset(), {}, ())
    resources = check_all(options.run, request, runs)
    if facts_in(options.run.data_dir)(ends[0]).test_size == 0:
        raise UserError(f"--holdout {options.holdout:g} leaves no image to score: hold out more")
    with contextlib.ExitStack() as stack:
        stack.enter_context(driver_lock(options.run.results))
        ledger = stack.enter_context(Ledger.open(options.run.results / "ledger.sqlite"))
        command = typed("search.py", argv)
        return _Searching(options, request, search, ledger, resources, command).run()


class _Searching:
    """A search under way."""

    def __init__(
        self,
        options: SearchOptions,
        request: Request,
        search: Search,
        ledger: Ledger,
        resources: Resources,
        command: str,
    ) -> None:
        self.options, self.search, self.ledger, self.resources = options, search, ledger, resources
        self.results = options.run.results
        self.place = place_of(options.run, request, command)
        self.folder = self.results / "search" / self.name

    @property
    def name(self) -> str:
        """Of a study: what would make its scores another question is in it."""
        search = self.search
        asked = [search.settings.as_json(), search.row.key, search.space.text, search.holdout, search.trial_epochs]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:6]
        pair = f"{search.pair.teacher}-{search.pair.student}"
        return f"{search.settings.dataset}-{pair}-{search.row.key}-{self.options.sampler}-{digest}"

    def run(self) -> int:
        from sweeps.study import Study, opened, pruner, sampler

        study = Study(
            self.folder / "study.sqlite",
            self.name,
            self.search.space,
            self.search.base,
            partial(sampler, self.options.sampler),
            pruner(self.grace),
        )
        with opened(study):
            for origin, point in self.search.known_points().items():
                if point is None or not study.propose(point, origin):
                    print(f"the {origin}'s point lies outside the space: it is no trial, and is trained at the end")
            before = len(study.tried())
            print(f"{self.name}: {before} trials tried, {max(0, self.options.trials - study.counted)} to come")
            outcome, lost = self._trials(study)
        if outcome.stopped or lost:
            return report(outcome, self.place.command)
        ended = self._finals(study)
        self._show(study)
        failed = outcome.failed | ended.failed
        not_run = outcome.not_run | ended.not_run
        both = Outcome(outcome.done | ended.done, failed, not_run, ended.stopped)
        return report(both, self.place.command)

    @property
    def grace(self) -> int | None:
        """Epochs before a trial may be pruned: to the first fall of the learning rate and one more."""
        if not self.options.prune:
            return None
        spec = self.search.trial({})
        return (spec.milestones[0] if spec.milestones else spec.epochs // 2) + 1

    def _teacher(self) -> tuple[dict[str, RunSpec], bool]:
        """The teacher's run, if it is not given, and whether it is there."""
        settings, network = self.search.settings, self.search.pair.teacher
        if network in dict(settings.teachers) or self.search.finalist({}, SEED).teacher is None:
            return {}, True
        spec = teacher_spec(settings, network)
        ingest(self.results, self.ledger, [spec.run_id])
        entry = self.ledger.get(spec.run_id)
        there = entry is not None and entry.done and has_weights(self.results, spec.run_id)
        return {spec.run_id: spec}, there

    def _trials(self, study: Study) -> tuple[Outcome, bool]:
        """What became of the trials' runs, and whether the teacher's failure left them without one."""
        from sweeps.study import score_of

        runs, there = self._teacher()
        needs = frozenset() if there else frozenset(runs)
        first = () if there else tuple(job_of("teacher", [spec]) for spec in runs.values())
        plan = Plan(0, {"teacher": runs}, frozenset(runs) if there else frozenset(), {}, first)

        def ask() -> PlannedJob | None:
            specs: dict[str, RunSpec] = {}
            while len(specs) < self.options.pack and study.counted < self.options.trials:
                trial, fields = study.ask()
                spec = self.search.trial(fields)
                study.begin(trial, spec.run_id)
                ingest(self.results, self.ledger, [spec.run_id])
                entry = self.ledger.get(spec.run_id)
                if entry is not None:
                    study.end(spec.run_id, score_of(entry), reason=entry.reason or "")
                else:
                    specs[spec.run_id] = spec
            return job_of("trials", list(specs.values()), needs) if specs else None

        feed = Packs(plan, ask, max(0, self.options.trials - study.counted))
        outcome = self._execute(plan, self._on_trial(study, Lines(State(plan), sys.stdout)), feed)
        return outcome, feed.lost

    def _on_trial(self, study: Study, lines: Lines) -> Callable[[Event], None]:
        from sweeps.events import EpochDone, JobFailed, RunEnded
        from sweeps.study import score_of

        def on_event(event: Event) -> None:
            if not isinstance(event, RunEnded):
                lines(event)
            match event:
                case EpochDone(_, report):
                    for run_id, numbers in report.metrics.items():
                        if study.report(run_id, report.epoch, numbers["top1"]):
                            stop_path(self.results, run_id).touch()
                    for run_id in report.stopped:
                        self._said(study.end(run_id, None, pruned=True))
                        drop_checkpoints(self.results, run_id)
                case RunEnded(entry):
                    self._said(study.end(entry.run_id, score_of(entry), reason=entry.reason or ""))
                    stop_path(self.results, entry.run_id).unlink(missing_ok=True)
                    if not entry.spec.holdout:
                        print(f"done     {entry.spec.name}  {entry.reason or ''}".rstrip(), flush=True)
                case JobFailed(job, reason):
                    for spec in job.specs:
                        self._said(study.end(spec.run_id, None, reason=reason))

        return on_event

    def _said(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(line, flush=True)

    def _execute(self, plan: Plan, on_event: Callable[[Event], None], feed: Feed | None = None) -> Outcome:
        feed = feed or Feed(plan)
        if feed.exhausted:
            return feed.outcome()
        from sweeps.engine import execute

        options = self.options.run
        return execute(plan, self.ledger, self.place, self.resources, on_event, debug=options.debug, feed=feed)

    def _finalists(self, study: Study) -> list[tuple[str, dict[int, RunSpec], float | None]]:
        """The paper's point, the released code's, and the best others: by name, a run for each seed, and the score."""
        scores = {one.run: one.score for one in study.tried() if one.state == "complete"}
        seeds = range(1, self.options.run.seeds + 1)
        found = []
        for origin, run in self.search.known_runs().items():
            trial = self.search.like(run(SEED))
            found.append((f"{origin.capitalize()}'s", {seed: run(seed) for seed in seeds}, scores.get(trial.run_id)))
        known = {specs[SEED].run_id for _, specs, _ in found}
        for one in study.best(self.options.top + len(found)):
            specs = {seed: self.search.finalist(one.fields, seed) for seed in seeds}
            if specs[SEED].run_id not in known and len(found) < self.options.top + len(self.search.known_runs()):
                found.append((f"Trial {one.number}", specs, one.score))
        return found

    def _finals(self, study: Study) -> Outcome:
        specs = {spec.run_id: spec for _, runs, _ in self._finalists(study) for spec in runs.values()}
        ingest(self.results, self.ledger, list(specs))
        entries = self.ledger.entries(list(specs))
        done = frozenset(run_id for run_id, entry in entries.items() if entry.done)
        missing = [spec for run_id, spec in specs.items() if run_id not in done]
        jobs = tuple(packed("distilled", missing, self.options.run.pack, set()))
        if jobs:
            print(f"on the test images: {len(missing)} runs of {self.options.run.seeds} seeds", flush=True)

        def on_event(event: Event) -> None:
            from sweeps.events import RunEnded

            if isinstance(event, RunEnded):
                entry: Entry = event.entry
                what = f"top-1 {entry.best_top1:.2f}" if entry.done else entry.reason
                print(f"{'done    ' if entry.done else 'failed  '} {entry.spec.name}  {what}", flush=True)

        return self._execute(Plan(0, {"distilled": specs}, done, {}, jobs), on_event)

    def _show(self, study: Study) -> None:
        finalists = [
            Finalist(name, self.search.fields_of(specs[SEED]), score, self._entries(specs))
            for name, specs, score in self._finalists(study)
        ]
        words = f"{self.search.row.label} of {names.network(self.search.pair.teacher)}/" + names.network(
            self.search.pair.student
        )
        searched = Searched(
            what=f"{words} on {names.dataset(self.search.settings.dataset)}",
            space=self.search.space.text,
            trials=tuple(
                Trialed(one.number, one.state, one.score, one.fields, one.origin)
                for one in study.tried()
                if one.score is not None
            ),
            held_out=self.search.holdout,
            seeds=self.options.run.seeds,
            finalists=tuple(finalists),
            importances=study.importances(),
        )
        for path in write_search(searched, self.folder):
            print(f"written: {path}")

    def _entries(self, specs: dict[int, RunSpec]) -> tuple[Entry, ...]:
        found = self.ledger.entries([spec.run_id for spec in specs.values()])
        return tuple(entry for entry in found.values() if entry.done)


def guarded(argv: Sequence[str]) -> int:
    try:
        return main(argv)
    except KeyboardInterrupt:
        print(f"\nstopped now: what is finished is kept\nto resume: {typed('search.py', argv)}", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(exit_status(partial(guarded, sys.argv[1:]), debug="--debug" in sys.argv))
