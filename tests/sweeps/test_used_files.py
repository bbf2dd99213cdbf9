"""--use: files of a user's own from anywhere, as methods, rules, networks and tables."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Command, refused
from small_jobs import GivenTeacher, train

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from sweeps.request.arguments import parse
from sweeps.request.request import make_request
from trainables import used_files
from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import load_state, save_weights
from trainables.rules import make_rule
from trainables.spec import RunSpec
from trainables.storage.job_file import job_json, read_job
from trainables.storage.runs import read_result, weights_path
from trainables.temperature import Temperature
from trainables.used_files import share, split_arguments, stop_using, use, used

METHOD = """\
from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from trainables.methods import Batch, Method


@dataclass(frozen=True)
class Mine(Method):
    TEMPERED = True
    weight: float = 2

    def loss(self, student, batch: Batch):
        taught = kd_loss(student.logits, batch.teacher_outputs.logits, batch.temperature)
        return cross_entropy(student.logits, batch.labels) + self.weight * taught


METHOD = Mine
"""
RULE = """\
from dataclasses import dataclass

from ekd_core.rules import Rule, Samples


@dataclass(frozen=True)
class Sharp(Rule):
    share: float = 0.5

    def soften(self, samples: Samples):
        return 1 + self.share * samples.teacher.softmax(1).amax(1)


RULE = Sharp
"""
NETWORKS = """\
from trainables.models.resnet import NETWORKS as KNOWN

NETWORKS = {"my_net": KNOWN["resnet8"]}
"""
TABLE = """\
from dataclasses import replace

from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import Pair, Treatment, kd
from trainables.spec import Temperature

ROWS = (
    Row("my_method", "Mine", lambda recipe, pair: Treatment("my_method", temperature=recipe.temperature)),
    Row("sharp", "KD, sharp", lambda recipe, pair: replace(kd(recipe), temperature=Temperature(0, "my_rule"))),
)
TABLE = Table(
    key="my_table",
    title="Mine",
    parts=(Part("main", "", lambda recipe: (Pair("resnet8", "my_net"),), (Block(ROWS),)),),
    caption="Mine.",
)
"""
FILES = {"my_method": METHOD, "my_rule": RULE, "my_networks": NETWORKS, "my_table": TABLE}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    found = {name: tmp_path / f"{name}.py" for name in FILES}
    for name, path in found.items():
        path.write_text(FILES[name])
    yield found
    for word in used()[1:]:
        stop_using(Path(word))


def spec(seeds: int = 1) -> RunSpec:
    """The run of my_table's first row."""
    asked = Settings("digits", seeds=seeds, epochs=1, train_fraction=0.05)
    return next(specs[0] for specs in resolve(paper.find("my_table"), asked).cells.values())


def test_a_table_of_own_method_and_network_trains_as_a_job_elsewhere(files: dict[str, Path], tmp_path: Path) -> None:
    use([*files.values()])
    run = spec()
    assert (run.student, run.method, len(run.code)) == ("my_net", "my_method", 16)
    assert make_rule(Temperature(0, "my_rule", numbers=(("share", 1.0),))) is not None
    torch.manual_seed(0)
    path = tmp_path / "resnet8.pth"
    teacher = GivenTeacher(path, save_weights(build("resnet8", 10), path))
    run = replace(run, teacher_source=f"sha256:{teacher.digest}")
    results = tmp_path / "results"
    job = tmp_path / "job.json"
    job.write_text(job_json([run], teacher.execution(results, used=share(results))))
    for file in files.values():
        stop_using(file)
        file.unlink()
    for name in ("trainables.methods.my_method", "trainables.models.my_networks"):
        assert name not in sys.modules
    specs, execution = read_job(job)
    try:
        train(specs, execution)
        found = read_result(results, run.run_id)
    finally:
        used_files.remove_root(Path(execution.used))
    assert found is not None
    assert found["status"] == "done"
    assert load_state(weights_path(results, run.run_id))


def test_the_content_is_part_of_the_identity(files: dict[str, Path]) -> None:
    use([*files.values()])
    before = spec().run_id
    use([*files.values()])
    assert spec().run_id == before
    files["my_method"].write_text(METHOD.replace("weight: float = 2", "weight: float = 3"))
    use([*files.values()])
    assert spec().run_id != before


def test_the_words_of_the_command_line() -> None:
    found, rest = split_arguments(["--use", "a.py", "b.py", "table5", "--use=c.py", "--gpus", "0"])
    assert [path.name for path in found] == ["a.py", "b.py", "c.py"]
    assert rest == ["table5", "--gpus", "0"]
    with pytest.raises(UserError, match="--use needs files that end in"):
        split_arguments(["--use", "table5"])


def test_an_experiment_names_its_files(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('use = ["my_method.py"]\nrows = ["my_method"]\ndataset = "digits"\npairs = ["resnet20/resnet8"]\n')
    (table,) = make_request(parse([str(path)])).resolved
    assert {specs[0].method for specs in table.cells.values()} == {"my_method"}


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("mine", "x = 1", "it defines none of METHOD, RULE"),
        ("mine", "def f(:\n", "mine.py, line 1: SyntaxError"),
        ("kd", METHOD, "trainables.methods has a module kd already"),
        ("my-method", METHOD, "is no name of a module"),
        ("mine", METHOD.replace("@data", "raise ValueError('no')\n@data"), r"ValueError: no \(.*mine.py, line 9"),
        ("mine", METHOD.replace("METHOD = Mine", "METHOD = 3"), "mine.py: METHOD is no Method"),
    ],
)
def test_refused(command: Command, name: str, code: str, says: str) -> None:
    Path(f"{name}.py").write_text(code)
    words = ["--use", f"{name}.py", "ablation", "--rows", name, "--dataset", "digits", "--pairs", "resnet20/resnet8"]
    try:
        assert re.search(says, refused(command, *words, "--gpus", 0, "--plan"))
    finally:
        for word in used()[1:]:
            stop_using(Path(word))


def test_a_file_that_is_not_there(command: Command) -> None:
    assert "cannot be read" in refused(command, "--use", "nosuch.py", "table5", "--gpus", 0)


def test_a_neighbour_is_not_imported(command: Command) -> None:
    Path("helper.py").write_text("x = 1")
    Path("mine.py").write_text(f"from helper import x\n{METHOD}")
    assert "line 1: it imports helper.py beside it" in refused(command, "--use", "mine.py", "table5", "--gpus", 0)


def test_a_pipe_is_not_waited_for(command: Command) -> None:
    os.mkfifo("mine.py")
    assert "it is a pipe: name a file" in refused(command, "--use", "mine.py", "table5", "--gpus", 0)
