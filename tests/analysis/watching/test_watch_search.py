"""A search on the page while it runs, read beside the process that writes its study."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from reports import HOSTILE, Page
from web import ask

from analysis.record.ledger import Ledger
from analysis.record.study import read_study
from analysis.record.trial import FIELDS, GOALS, ORIGIN, RUNS
from analysis.watching.follower import Follower
from analysis.watching.server import make_application
from trainables.errors import UserError

NAME = f"digits {HOSTILE}".replace("/", "|")


def study_in(results: Path, *directions: str, timeout: float = 30) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = results / "search" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'study.sqlite'}"
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": timeout}})
    study = optuna.create_study(storage=storage, study_name=NAME, directions=directions, load_if_exists=True)
    study.set_user_attr(GOALS, dict(zip(("top1", "seconds"), ("held-out top-1", "seconds"), strict=False)))
    return study


def begin(study: optuna.Study, place: int) -> optuna.Trial:
    trial = study.ask()
    t = trial.suggest_float("T", 1, 8)
    trial.suggest_categorical("rule", ["energy", "reversed"])
    trial.set_user_attr(FIELDS, json.dumps({"T": t, "rule": HOSTILE}))
    trial.set_user_attr(ORIGIN, "paper" if place == 0 else "")
    trial.set_user_attr(RUNS, f"{place:016x}")
    return trial


@pytest.fixture
def results(tmp_path: Path) -> Path:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        return tmp_path


def test_its_trials_as_they_come(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_in(results, "maximize", "minimize")
    for place, (score, seconds) in enumerate([(50, 9), (60, 8), (70, 20), (40, 30), (55.5, 8)]):
        study.tell(begin(study, place), [score, seconds])
    begin(study, 5)
    follower = Follower(results)
    follower.look()
    application = make_application(follower)
    first = Page(ask(application).text)
    assert first.table("Search", "Trials", "Under way", "Best so far") == [[NAME, "5 complete", "1", "70.00"]]
    target = next(link for link in first.links if link.startswith("/search"))
    page = Page(ask(application, target).text)
    assert f"rule {HOSTILE}" in page.text
    lines = page.table("Trial", "Held-out top-1 (%)", "Seconds", "Point", "State", "")
    front, running, trials = lines[:2], lines[2], lines[3:]
    assert [line[:3] for line in front] == [["2", "70.00", "20"], ["1", "60.00", "8"]]
    assert (running[0], running[4]) == ("5", "running")
    assert [line[0] for line in trials] == ["4", "3", "2", "1", "0"]
    assert trials[-1][-1] == "the paper's point"
    pictures = {image["src"].partition("kind=")[2].partition("&")[0]: image["src"] for image in page.images}
    assert set(pictures) == {"history", "slices", "parallel", "front", "importances"}
    assert ask(application, pictures["history"]).body.lstrip().startswith(b"<?xml")
    assert ask(application, pictures["history"].replace("history", "x")).status == 404
    version = follower.view.version
    follower.look()
    assert follower.view.version == version
    study.tell(begin(study, 6), [80, 8])
    follower.look()
    assert follower.view.version == version + 1
    assert "80.00" in ask(application).text


@pytest.mark.medium
def test_reading_neither_writes_nor_holds_up_the_writer(results: Path) -> None:
    """A writer that waits for nobody meets a reader that never rests, which may find nothing until the writer does."""
    study = study_in(results, "maximize", timeout=0.5)
    study.tell(begin(study, 0), 50)
    path = results / "search" / "one" / "study.sqlite"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_study(path).trials[0].score == 50
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [each.name for each in path.parent.iterdir()] == ["study.sqlite"]
    ended = threading.Event()
    read: list[int] = []

    def keep_reading() -> None:
        while not ended.is_set():
            try:
                read.append(len(read_study(path).trials))
            except UserError:
                continue

    reader = threading.Thread(target=keep_reading)
    reader.start()
    try:
        for place in range(1, 30):
            study.tell(begin(study, place), 50 + place)
        while not read and place < 90:
            place += 1
            study.tell(begin(study, place), 50 + place)
            time.sleep(1)
    finally:
        ended.set()
        reader.join()
    assert read
    assert read == sorted(read)
    assert len(read_study(path).trials) == place + 1


def test_a_study_of_an_earlier_version_is_read(results: Path) -> None:
    study = study_in(results, "maximize")
    study.set_user_attr(GOALS, {})
    study.tell(begin(study, 0), 50)
    follower = Follower(results)
    follower.look()
    (found,) = follower.view.searches
    assert (found.costs, found.trials[0].score) == ((), 50.0)


def test_what_is_no_study_is_passed_over(results: Path) -> None:
    folder = results / "search" / "broken"
    folder.mkdir(parents=True)
    (folder / "study.sqlite").write_text("no database")
    follower = Follower(results)
    follower.look()
    assert follower.view.searches == ()
    assert ask(make_application(follower), "/search?name=broken").status == 404
