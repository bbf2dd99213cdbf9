"""A user's own code is part of a run's identity by its source; the program's own is named in the record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.paper import tables
from analysis.record.settings import Settings
from analysis.record.specs import student_spec, teacher_spec
from analysis.table.resolved import resolve
from trainables import models, own_code
from trainables.errors import UserError
from trainables.job import run
from trainables.recipes import Pair, Treatment, kd
from trainables.spec import RunSpec, from_dict, params
from trainables.storage import provenance
from trainables.storage.job_file import Execution, job_json, read_job

REPOSITORY = own_code.ROOT
MINE = """
from ekd_core import kd_loss
from trainables.methods import _mine
from trainables.methods.kd import KD
METHOD = KD
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources with a method of one's own and a module that it needs."""
    place = tmp_path / "project"
    for folder, modules in own_code.SHIPPED.items():
        (place / folder).mkdir(parents=True, exist_ok=True)
        for name in modules.split():
            (place / folder / f"{name}.py").write_bytes((REPOSITORY / folder / f"{name}.py").read_bytes())
    (place / "trainables/methods/mine.py").write_text(MINE)
    (place / "trainables/methods/_mine.py").write_text("import helper\n")
    monkeypatch.setattr(own_code, "ROOT", place)
    monkeypatch.setattr(own_code, "roots", lambda: [place])
    _forget()
    yield place
    _forget()


def _forget() -> None:
    own_code.hash_own.cache_clear()
    own_code.hash_program.cache_clear()


def change(path: Path) -> None:
    path.write_text(path.read_text() + "\nCHANGED = True\n")
    _forget()


def mine(network: str = "resnet8", dataset: str = "digits") -> RunSpec:
    treatment = Treatment("mine", params(ce=1, kd=1))
    return student_spec(Settings(dataset=dataset), Pair("resnet20", network), treatment, 1)


def test_a_changed_loss_is_another_run(root: Path) -> None:
    before = mine()
    assert len(before.code) == own_code.DIGITS
    assert from_dict(json.loads(before.canonical())) == before
    change(root / "trainables/methods/mine.py")
    assert mine().run_id != before.run_id
    again = mine()
    change(root / "trainables/methods/_mine.py")
    assert mine().run_id != again.run_id, "a module that the method imports"


def test_a_changed_rule_is_another_run(root: Path) -> None:
    def code() -> str:
        return own_code.hash_own("kd", "digits", frozenset(), "confident")

    assert code() == ""
    (root / "ekd_core/rules/confident.py").write_text("RULE = None\n")
    _forget()
    before = code()
    change(root / "ekd_core/rules/confident.py")
    assert "" != before != code() != ""


def test_what_an_own_module_imports_beside_the_packages_counts(root: Path) -> None:
    (root / "helper.py").write_text("VALUE = 1\n")
    _forget()
    installed = mine()
    (root / "pyproject.toml").touch()
    _forget()
    checkout = mine()
    assert installed != checkout
    change(root / "helper.py")
    assert mine() != checkout


def test_what_a_cluster_is_not_sent_is_named(root: Path) -> None:
    """Its machines could not import it, and would take the run for another."""
    (root / "pyproject.toml").touch()
    assert own_code.beside_packages([mine()]) == []
    (root / "helper.py").write_text("VALUE = 1\n")
    usual = RunSpec("digits", "resnet8", 1, 1, (), 0.05)
    assert own_code.beside_packages([usual]) == []
    assert own_code.beside_packages([usual, mine()]) == ["helper.py"]


def test_ends_of_lines_do_not_count(root: Path) -> None:
    before = mine()
    path = root / "trainables/methods/mine.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    _forget()
    assert mine() == before


def test_code_of_the_program_is_in_no_id_but_in_its_hash(root: Path) -> None:
    settings, pair = Settings(dataset="digits"), Pair("resnet20", "resnet8")
    runs, program, own = student_spec(settings, pair, kd(settings.recipe), 1), own_code.hash_program(), mine()
    assert runs.code == "" == teacher_spec(settings, "resnet20").code
    change(root / "trainables/methods/mine.py")
    assert own_code.hash_program() == program, "an own method changes no other run"
    own = mine()
    change(root / "ekd_core/losses.py")
    assert own_code.hash_program() != program
    assert student_spec(settings, pair, kd(settings.recipe), 1) == runs
    assert mine() == own


def test_an_own_network_and_an_own_data_set_count(root: Path) -> None:
    (root / "trainables/models/mynet.py").write_text("NETWORKS = {}\n")
    (root / "trainables/datasets/digits2.py").write_text("DATASET = None\n")
    _forget()
    with_network, plain = mine("mynet"), mine()
    assert with_network.code != plain.code
    change(root / "trainables/models/mynet.py")
    assert mine("mynet").code != with_network.code
    assert mine() == plain, "a network that the run does not have"
    nothing = frozenset[str]()
    before = own_code.hash_own("kd", "digits2", nothing)
    change(root / "trainables/datasets/digits2.py")
    assert own_code.hash_own("kd", "digits2", nothing) not in ("", before)
    assert own_code.hash_own("kd", "digits", nothing) == ""


def test_a_job_refuses_code_that_has_changed_since_it_was_planned(root: Path, tmp_path: Path) -> None:
    planned = mine()
    file = tmp_path / "job.json"
    file.write_text(job_json([planned], Execution(tmp_path)))
    change(root / "trainables/methods/mine.py")
    specs, execution = read_job(file)
    with pytest.raises(UserError, match=r"the source of .*mine.* has changed since it was planned"):
        next(run(specs, execution))


def test_a_job_by_hand_gets_the_code_of_this_moment(root: Path, tmp_path: Path) -> None:
    file, fields = tmp_path / "job.json", mine().as_dict()
    fields.pop("code")
    file.write_text(json.dumps({"runs": [fields], "execution": {"results": str(tmp_path)}}))
    assert read_job(file)[0] == [mine()]


@pytest.mark.medium
def test_no_run_of_the_program_has_own_code() -> None:
    settings = Settings(dataset="")
    specs = [spec for table in tables().values() for spec in resolve(table, settings).runs]
    assert {spec.code for spec in specs} == {""}
    assert len(own_code.hash_program()) == own_code.DIGITS


def test_packages_that_lie_apart_are_the_same_program(tmp_path: Path) -> None:
    """As Ray lays them out on the machines of a cluster."""
    places = [tmp_path / name for name in ("ekd_core", "trainables")]
    for place in places:
        shutil.copytree(REPOSITORY / place.name, place / place.name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from trainables.own_code import hash_program; print(hash_program())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [own_code.hash_program()], done.stderr


def test_the_list_of_modules_is_that_of_git() -> None:
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "ekd_core", "trainables"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("no git here")
    known = {name for name in listed.stdout.split() if name.endswith(".py")}
    shipped = {f"{folder}/{name}.py" for folder, names in own_code.SHIPPED.items() for name in names.split()}
    assert shipped == known, "SHIPPED of trainables/own_code.py lacks a module, or names one that is gone"


def test_the_list_of_networks_is_complete() -> None:
    assert set(models.names()) == {*own_code.NETWORKS.split()}


def test_a_checkout_with_unknown_modules_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a repository whose only change is a module that git does not know."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    (tmp_path / "pyproject.toml").touch()  # by which a checkout is known
    (module := tmp_path / "trainables" / "storage" / "provenance.py").parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(own_code, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(module))
    try:
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.txt").touch()
    assert provenance._commit()["dirty"] is False, "other files that git does not know are no code"
    module.with_name("mine.py").write_text(MINE)
    assert provenance._commit()["dirty"] is True
