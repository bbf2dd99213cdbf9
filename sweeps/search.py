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
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from analysis import paper
from analysis.record.entry import Entry
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings, deviations, parse_pair
from analysis.record.specs import teacher_spec
from analysis.record.trial import Scalar, TrialRecord
from analysis.reporting.search_results import Finalist, Searched, write_search
from analysis.table import names
from sweeps.display.outcome import LOG, heading, report, resumable, typed
from sweeps.display.page import show_page
from sweeps.display.progress import Lines
from sweeps.planning.images import count_images
from sweeps.planning.job_queue import JobQueue, Outcome
from sweeps.planning.plan import JobKind, Plan, job_of, packed
from sweeps.request.checks import check_all, check_writable
from sweeps.request.request import Request, make_request
from sweeps.running.progress import State
from sweeps.running.recovery import ingest
from sweeps.searching.arguments import BY_EPOCH, SearchOptions, parse
from sweeps.searching.packs import Packs
from sweeps.searching.points import SEED, Search, find_row, place_of
from sweeps.searching.space import parse_space
from trainables.commands import count, run_command
from trainables.console import keep_log
from trainables.errors import UserError
from trainables.network_names import file_name
from trainables.recipes import Pair
from trainables.spec import RunSpec
from trainables.storage.locks import hold_driver_lock
from trainables.storage.runs import has_weights, run_dir

if TYPE_CHECKING:
    from sweeps.planning.resources import Resources
    from sweeps.running.events import Event
    from sweeps.searching.study import Study


def main(argv: Sequence[str]) -> int:
    with resumable("search.py", argv):
        options = parse(argv)
        where = options.run.where
        search, request = make_search(options)
        check_writable(where.results)
        ends = [
            spec for pair in search.pairs for spec in (search.trial({}, SEED, pair), search.finalist({}, SEED, pair))
        ]
        resources = check_all(where, request, ends)
        known = count_images(ends[0], where.data_dir)
        if known.test_size == 0:
            raise UserError(f"--holdout {options.holdout:g} leaves no image to score: hold out more")
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold_driver_lock(where.results))
            ledger = stack.enter_context(Ledger.open(where.results / "ledger.sqlite"))
            command = typed("search.py", argv)
            keep_log(where.results / LOG, heading(command))
            stack.enter_context(show_page(where.results, where.watch))
            return _Searching(options, request, search, ledger, resources, command, known.num_classes).run()


def make_search(options: SearchOptions) -> tuple[Search, Request]:
    """What a command line asks for, checked as far as it can be without looking at machines and images."""
    request = make_request(options.run)
    settings, row = request.settings, find_row(options.row)
    pairs = tuple(map(parse_pair, settings.pairs))
    usual = row.treat(settings.recipe, pairs[0]).temperature
    search = Search(
        settings=settings,
        pairs=pairs,
        row=row,
        space=parse_space(options.space, usual.rule if usual is not None else ""),
        holdout=options.holdout,
        trial_epochs=options.trial_epochs,
        trial_seeds=options.trial_seeds,
        costs=options.costs,
    )
    search.check()
    if search.space.rules and options.sampler == "gp":
        raise UserError("--sampler gp needs the same numbers of every trial, and rules differ in theirs: take tpe")
    if options.pruner in BY_EPOCH and (grace := grace_of(search))[0] >= grace[1]:
        raise UserError(
            f"--pruner {options.pruner} judges a trial after epoch {grace[0]} at the earliest, one after the first "
            f"fall of the learning rate, and trials have {grace[1]} epochs: give them more, or leave out --pruner"
        )
    return search, request


def grace_of(search: Search) -> tuple[int, int]:
    """Epochs before a trial may be pruned, and all epochs: before the first fall of the learning rate and one more the
    order of students says little."""
    spec = search.trial({})
    return (spec.milestones[0] if spec.milestones else spec.epochs // 2) + 1, spec.epochs


class _Point(NamedTuple):
    """A point for the test images: its runs by seed and pair, and the trial that found it."""

    name: str
    runs: dict[tuple[int, Pair], RunSpec]
    trial: TrialRecord | None = None


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
        classes: int,
    ) -> None:
        self.options, self.search, self.ledger, self.resources = options, search, ledger, resources
        self.results, self.classes = options.run.where.results, classes
        self.execution = options.run.where.execution(request.files, command)
        self.sampler = options.sampler or self._usual_sampler
        self.folder = self.results / "search" / self.name

    @property
    def _usual_sampler(self) -> str:
        """gp needs the same numbers of every trial, and all of them trained to their end."""
        others = self.options.pruner != "none" or self.options.costs or self.search.space.rules
        return "tpe" if others else "gp"

    @property
    def name(self) -> str:
        """Of a study: what would make its scores another question is in it, not the number of the finalists' seeds."""
        search = self.search
        settings = replace(search.settings, seeds=Settings().seeds)
        asked = [settings.as_json(), search.row.key, search.space.text, search.holdout, search.trial_epochs]
        asked += [[search.trial_seeds, search.costs]] if search.trial_seeds > 1 or search.costs else []
        points = [{}, *(point for point, _ in search.starts().values())]
        asked += sorted({code for point in points if (code := search.trial(point).code)})
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:6]
        pair = file_name("+".join(f"{pair.teacher}-{pair.student}" for pair in search.pairs))
        return f"{search.settings.dataset}-{pair}-{search.row.key}-{self.sampler}-{digest}"

    def run(self) -> int:
        from sweeps.searching.goals import goals
        from sweeps.searching.strategies import sampler
        from sweeps.searching.study import Study, opened

        study = Study(
            self.folder / "study.sqlite",
            self.name,
            self.search.space,
            self.search.base,
            partial(sampler, self.sampler, parted=bool(self.search.space.rules)),
            self.options.pruner,
            grace_of(self.search),
            goals(self.search.costs, 100 / self.classes, gain=self.search.has_references),
        )
        with opened(study):
            if self.options.run.where.retry:
                study.retry()
            for origin, point in self.search.known_points().items():
                if point is None or not study.propose(point, origin):
                    how = "it will not be a trial, but is trained with the finalists"
                    print(f"the {origin}'s setting is outside --space: {how}")
            for point, origin in self.search.starts().values():
                study.propose(point, origin)
            to_come = max(0, self.options.trials - study.counted)
            print(f"{self.name}: {count(study.counted, 'trial')} tried, {to_come} to come", flush=True)
            outcome, ready = self._trials(study)
            outcome = replace(outcome, stopped=outcome.stopped or outcome.interrupted)
            if outcome.stopped or not ready:
                return report(outcome, self.execution.command)
            ended = self._train_finalists(study)
            self._show(study)
        failed = outcome.failed | ended.failed
        not_run = outcome.not_run | ended.not_run
        both = Outcome(outcome.done | ended.done, failed, not_run, ended.stopped)
        return report(both, self.execution.command)

    def _first(self) -> Plan:
        """What must be trained before the trials: the teachers that are not given, and KD where the gain over it
        counts."""
        search, settings = self.search, self.search.settings
        trial = search.trial({})
        taught = [] if trial.teacher is None else [pair.teacher for pair in search.pairs]
        own = [teacher_spec(settings, name) for name in dict.fromkeys(taught) if name not in dict(settings.teachers)]
        teachers = {spec.run_id: spec for spec in own}
        references = {spec.run_id: spec for spec in search.reference_trials()}
        done, failed = self._sort_known([*teachers, *references])
        lacking = {run_id for run_id in teachers if not (run_id in done and has_weights(self.results, run_id))}
        jobs = [job_of(JobKind.TEACHER, [teachers[run_id]]) for run_id in teachers if run_id in lacking - failed.keys()]
        missing = [spec for run_id, spec in references.items() if run_id not in done and run_id not in failed]
        jobs += packed(JobKind.TRIALS, missing, self.options.pack, lacking)
        runs = {JobKind.TRIALS: {trial.run_id: trial, **references}, JobKind.TEACHER: teachers}
        return Plan(runs, tuple(jobs), done, failed)

    def _sort_known(self, runs: Collection[str]) -> tuple[frozenset[str], dict[str, str]]:
        """Which of the runs are done, and which have failed and are not to be tried again."""
        ingest(self.results, self.ledger, runs)
        entries = self.ledger.entries(runs)
        ended = {entry.run_id: entry for entry in entries.values() if entry.done or not self.options.run.where.retry}
        failed = {run_id: entry.reason or "no reason recorded" for run_id, entry in ended.items() if not entry.done}
        return frozenset(ended.keys() - failed.keys()), failed

    def _trials(self, study: Study) -> tuple[Outcome, bool]:
        """What became of the trials' runs, and whether all was well enough to go on to the test images."""
        from sweeps.searching.trials import Trials

        plan = self._first()
        first = plan.runs[JobKind.TEACHER].keys() | {spec.run_id for spec in self.search.reference_trials()}
        trials = Trials(
            self.search,
            study,
            self.ledger,
            self.results,
            most=self.options.trials,
            pack=self.options.pack,
            needs=frozenset(first),
            retry=self.options.run.where.retry,
        )
        lines = Lines(State(plan), sys.stdout, self.results)

        def on_event(event: Event) -> None:
            from sweeps.running.events import RunEnded

            if isinstance(event, RunEnded) and event.entry.run_id in first:
                _print_end(event.entry, self.results)
            elif not isinstance(event, RunEnded):
                lines(event)
            trials(event)

        queue = Packs(plan, trials.ask, trials.template, lambda: trials.over)
        outcome = self._execute(plan, on_event, queue)
        return outcome, not queue.lost and not trials.given_up

    def _execute(self, plan: Plan, on_event: Callable[[Event], None], queue: JobQueue | None = None) -> Outcome:
        queue = queue or JobQueue(plan)
        if queue.exhausted:
            return queue.outcome()
        from sweeps.running.engine import execute
        from sweeps.running.trackers import Trackers

        where = self.options.run.where
        tags = {"sweep": where.results.name, "table": "search", "row": self.search.row.key, "search": self.name}
        return execute(
            plan,
            self.ledger,
            self.execution,
            self.resources,
            on_event,
            debug=where.debug,
            queue=queue,
            trackers=Trackers(where.log, where.results, lambda spec: tags),
        )

    def _finalists(self, study: Study) -> list[_Point]:
        """The paper's point, the released code's, and the best others, also of each rule that is searched; of several
        pairs also KD, and where there are costs the points of the front."""
        trials = {one.runs: one for one in study.tried() if one.state == "complete"}
        found = [_Point("KD", self._runs(self.search.reference))] * self.search.has_references
        for origin, run in self.search.known_runs().items():
            tried = trials.get(tuple(spec.run_id for spec in self.search.trials_of(run)))
            found.append(_Point(f"{origin.capitalize()}'s", self._runs(run), tried))
        known = {spec.run_id for point in found for spec in point.runs.values()}
        most = None if self.options.top is None else self.options.top + len(found)
        rules = {*self.search.space.rules}
        for one in study.front() if self.search.costs else study.best():
            rule = one.fields.get("rule")
            if most is None or len(found) < most or rule in rules:
                runs = self._runs(partial(self.search.finalist, one.fields))
                if not known.issuperset(spec.run_id for spec in runs.values()):
                    found.append(_Point(f"Trial {one.number}", runs, one))
                rules -= {rule}
        return found

    def _runs(self, run: Callable[..., RunSpec]) -> dict[tuple[int, Pair], RunSpec]:
        """The runs of a finalist by seed and pair."""
        seeds = range(SEED, SEED + self.search.settings.seeds)
        return {(seed, pair): run(seed, pair) for pair in self.search.pairs for seed in seeds}

    def _train_finalists(self, study: Study) -> Outcome:
        specs = {spec.run_id: spec for point in self._finalists(study) for spec in point.runs.values()}
        done, failed = self._sort_known(specs)
        missing = [spec for run_id, spec in specs.items() if run_id not in done and run_id not in failed]
        jobs = tuple(packed(JobKind.DISTILLED, missing, self.options.run.where.pack))
        if jobs:
            seeds = count(self.search.settings.seeds, "seed")
            print(f"on the test images: {count(len(missing), 'run')} of {seeds}", flush=True)

        def on_event(event: Event) -> None:
            from sweeps.running.events import RunEnded

            if isinstance(event, RunEnded):
                _print_end(event.entry, self.results)

        return self._execute(Plan({JobKind.DISTILLED: specs}, jobs, done, failed), on_event)

    def _show(self, study: Study) -> None:
        found, search = self._finalists(study), self.search
        fields: list[dict[str, Scalar]] = [{}] * search.has_references  # KD has no point of the space.
        fields += search.told_apart([point.runs[SEED, search.pair] for point in found[len(fields) :]])
        finalists = [
            Finalist(point.name, own, point.trial, tuple(self._entries(point, pair) for pair in search.pairs))
            for own, point in zip(fields, found, strict=True)
        ]
        pairs = [f"{names.network(pair.teacher)}/{names.network(pair.student)}" for pair in search.pairs]
        words = f"{search.row.label} of {names.listed(pairs)}"
        searched = Searched(
            what=f"{words} on {names.dataset(self.search.settings.dataset)}",
            space=self.search.space.text,
            trials=tuple(study.tried()),
            held_out=self.search.holdout,
            seeds=self.search.settings.seeds,
            finalists=tuple(finalists),
            importances=study.importances(),
            trial_epochs=self.search.trial_epochs,
            by_rule=bool(self.search.space.rules),
            pairs=tuple(pairs),
            trial_seeds=search.trial_seeds,
            costs=search.costs,
            deviations=tuple(deviations(self.search.settings, paper.find(place_of(self.search.row)[0]).dataset)),
        )
        for name in sorted({self.options.pruner, *(one.pruner for one in study.tried())} - {"", "none"}):
            saved = [one.saved for one in study.tried() if one.pruner == name]
            epochs = f"{count(sum(saved), 'epoch')} not trained"
            print(f"{name}: {len(saved)} of {count(study.counted, 'trial')} pruned, {epochs}")
        for path in (*write_search(searched, self.folder), study.path):
            print(f"written: {path}")

    def _entries(self, point: _Point, pair: Pair) -> tuple[Entry, ...]:
        found = self.ledger.entries([spec.run_id for (_, at), spec in point.runs.items() if at == pair])
        return tuple(entry for entry in found.values() if entry.done)


def _print_end(entry: Entry, results: Path) -> None:
    what = f"top-1 {entry.best_top1:.2f}  {run_dir(results, entry.run_id)}" if entry.done else entry.reason
    print(f"{'done    ' if entry.done else 'failed  '} {entry.name}  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
