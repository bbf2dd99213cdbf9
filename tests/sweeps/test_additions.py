"""The examples of the pages in docs/extend, run as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command, no_measuring
from plans import plan_of
from small_jobs import train

from analysis import paper
from analysis.record.settings import Settings
from ekd_core.rules import Samples
from trainables import additions, methods, models, temperature
from trainables.additions import place_of
from trainables.datasets import load
from trainables.errors import UserError
from trainables.rule_values import rule_values
from trainables.rules import make_rule
from trainables.spec import Temperature, params
from trainables.storage.job_file import Execution
from trainables.storage.runs import read_result

PAGES = Path(__file__).parents[2] / "docs" / "extend"
TEXT = "\n".join(page.read_text() for page in sorted(PAGES.glob("*.md")))
BLOCKS = dict(re.findall(r"```python\n# (\S+)\.py\n(.*?)```", TEXT, re.DOTALL))
ASKED = ("--dataset", "digits", "--pairs", "resnet8/resnet8", "--seeds", "1", "--epochs", "1", "--gpus", "0")
Add = Callable[[str, str], Path]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Put a module, by its path in the project, into a folder that is searched too."""
    added: list[str] = []

    def write(name: str, code: str) -> Path:
        package, _, module = name.replace("/", ".").rpartition(".")
        folder = tmp_path / "added" / Path(*package.split("."))
        if not folder.exists():
            folder.mkdir(parents=True)
            found = import_module(package)
            monkeypatch.setattr(found, "__path__", [*found.__path__, str(folder)])
            monkeypatch.setattr(additions, "folders_of", lambda name: [*map(Path, import_module(name).__path__)])
        (folder / f"{module}.py").write_text(code)
        added.append(f"{package}.{module}")
        forget()
        return folder / f"{module}.py"

    yield write
    for name in added:
        sys.modules.pop(name, None)
    forget()


def forget() -> None:
    for cached in (paper.tables, paper.ablation, methods.find, models._networks, temperature.rule_names, make_rule):
        cached.cache_clear()


def trained(table: str, asked: Settings, execution: Execution) -> list[str]:
    """The names of the runs of a table, all of which end well."""
    names = []
    for job in plan_of([paper.find(table)], asked, {}, pack=None).jobs:
        train(job.specs, execution)
        for spec in job.specs:
            result = read_result(execution.results, spec.run_id)
            assert result is not None
            assert result["status"] == "done"
            names.append(spec.treatment)
    return names


def test_a_method_and_a_table_as_their_pages_have_them(add: Add, command: Command, tmp_path: Path) -> None:
    for name in ("trainables/methods/mine", "analysis/paper/mytable"):
        add(name, BLOCKS[name])
    status, out, _ = command("--list", "mytable")
    assert status == 0
    assert "kd  mine  energy_mine" in out
    asked = Settings(dataset="digits", pairs=("resnet8/resnet8",), seeds=1, epochs=1, train_fraction=0.05)
    done = trained("mytable", asked, Execution(tmp_path / "results"))
    assert sorted(done) == ["energy_mine", "kd", "mine", "vanilla"]


def write_mydata(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for name, size in (("train", 80), ("test", 20)):
        images = draw.integers(256, size=(size, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=np.arange(size) % 2)


@pytest.mark.medium
def test_a_data_set_as_its_page_has_it(add: Add, command: Command, tmp_path: Path) -> None:
    add("trainables/datasets/mydata", BLOCKS["trainables/datasets/mydata"])
    write_mydata(tmp_path)
    status, out, _ = command("--list")
    assert status == 0
    assert "My data" in out
    assert "mydata       train.npz and test.npz in --data-dir DIR: 40 a class, 80 images" in out
    asked = Settings(dataset="mydata", rows=("kd",), pairs=("resnet14/resnet8",), seeds=1, epochs=1)
    assert "kd" in trained("table5", asked, Execution(tmp_path / "results", data_dir=tmp_path))


def test_a_row_as_its_page_has_it(add: Add, command: Command, tmp_path: Path) -> None:
    add("analysis/paper/more_rates", BLOCKS["analysis/paper/more_rates"])
    rows, pairs = ("kd", "kd_he_da_60", "kd_warm"), ("resnet8/resnet8",)
    asked = Settings(dataset="digits", pairs=pairs, rows=rows, seeds=1, epochs=1, train_fraction=0.05)
    done = trained("more_rates", asked, Execution(tmp_path / "results"))
    assert sorted(done) == ["kd", "kd", "kd-he_cutmix60", "vanilla"]
    status, out, _ = command("table5", "more_rates", *ASKED, "--rows", *rows, "--plan")
    assert status == 0
    assert "3 cells in 2 tables; 2 runs saved by sharing" in out


@pytest.mark.medium
def test_a_network_as_its_page_has_it(add: Add, command: Command, tmp_path: Path) -> None:
    add("trainables/models/plain", BLOCKS["trainables/models/plain"])
    status, out, _ = command("--list")
    assert status == 0
    assert "plain16" in out
    asked = Settings(dataset="digits", rows=("kd", "at"), pairs=("plain32/plain16",), seeds=1, epochs=1)
    done = trained("table1", replace(asked, train_fraction=0.05), Execution(tmp_path / "results"))
    assert sorted(done) == ["at", "kd", "vanilla", "vanilla"]


def test_a_folder_that_hides_a_module_is_named(add: Add) -> None:
    code = BLOCKS["trainables/methods/mine"]
    hidden = add("trainables/methods/mine", code)
    (hidden.parent / "mine").mkdir()
    (hidden.parent / "mine" / "__init__.py").write_text(code)
    forget()
    with pytest.raises(UserError, match=f"the folder {hidden.with_suffix('')} hides {hidden}: rename one of them"):
        methods.find("mine")


def test_a_network_of_a_name_that_there_is_already_is_refused(add: Add) -> None:
    add("trainables/models/plain", BLOCKS["trainables/models/plain"].replace('"plain16"', '"resnet8"'))
    with pytest.raises(UserError, match="plain: there is a network resnet8 already: choose another name"):
        models.names()


def test_a_network_that_is_no_function_is_refused(add: Add) -> None:
    add("trainables/models/plain", 'NETWORKS = {"plain16": 16}')
    with pytest.raises(UserError, match="plain16 of NETWORKS is no function of the number of classes"):
        models.names()


def test_a_data_set_that_cannot_be_loaded_is_not_called_unknown(add: Add, command: Command) -> None:
    add("trainables/datasets/brokendata", "import no_such_package")
    status, _, err = command("table5", "--dataset", "brokendata", "--plan", "--gpus", "0")
    assert status == 2
    assert "ModuleNotFoundError: No module named 'no_such_package'" in err


RULE = (("temperature.rule", "confident"), ("temperature.base", "4"), ("temperature.spread", "2"))
SET = ("--rows", "kd", "--set", *(f"{path}={value}" for path, value in RULE))


def test_a_rule_as_its_page_has_it(add: Add, tmp_path: Path) -> None:
    add("ekd_core/rules/confident", BLOCKS["ekd_core/rules/confident"])
    asked = Settings(dataset="digits", pairs=("resnet8/resnet8",), rows=("kd",), seeds=1, epochs=1, train_fraction=0.05)
    done = trained("table5", replace(asked, overrides=RULE), Execution(tmp_path / "results"))
    assert sorted(done) == ["confident_kd", "vanilla"]
    teacher = torch.tensor([[0.0, 0.0], [9.0, -9.0]])
    soft = make_rule(Temperature(4, "confident", numbers=params(spread=2))).soften(Samples(teacher))
    assert torch.allclose(torch.as_tensor(soft), torch.tensor([5.0, 6.0]))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("RULE = Confident", "", "{file}: there is no RULE; define RULE, a Rule, there"),
        ("import Tensor", "import Tensors", "ImportError: cannot import name 'Tensors' .* ({file}, line 5"),
        ("@dataclass(frozen=True)\n", "", "the rule confident is no dataclass: write @dataclass(frozen=True) above"),
        ("def soften", "def softens", "{file}: RULE has no soften: define it there"),
        (
            "    spread: float = 1",
            "    spread: float = 1\n    base: float = 1",
            "cannot call a number base: choose another",
        ),
        ("spread=self.spread)", "spread=0)", "the temperature rule confident: spread is 0; it must be above 0"),
    ],
)
def test_a_rule_that_cannot_be_used_is_one_line(add: Add, command: Command, old: str, new: str, told: str) -> None:
    file = add("ekd_core/rules/confident", BLOCKS["ekd_core/rules/confident"].replace(old, new))
    status, _, err = command("table5", *ASKED, *SET, "--plan")
    pattern = ".*".join(re.escape(part) for part in told.format(file=file).split(".*"))
    assert status == 2
    assert re.search(pattern, err.splitlines()[-1])


def test_a_rule_that_gives_no_temperature_is_not_drawn(add: Add) -> None:
    add(
        "ekd_core/rules/confident", BLOCKS["ekd_core/rules/confident"].replace("return self.temperature", "self.spread")
    )
    logits = np.zeros((10, 3), np.float32)
    with pytest.raises(UserError, match="a rule's soften returns NoneType: return a temperature or a Softening"):
        rule_values(Temperature(4, "confident", numbers=params(spread=2)), logits, np.zeros(10, np.int64))


def test_an_error_in_an_own_rule_has_its_place(add: Add, tmp_path: Path) -> None:
    code = BLOCKS["ekd_core/rules/confident"].replace("samples.teacher.softmax", "samples.teachers.softmax")
    file = add("ekd_core/rules/confident", code)
    asked = Settings(dataset="digits", pairs=("resnet8/resnet8",), rows=("kd",), seeds=1, epochs=1, train_fraction=0.05)
    with pytest.raises(AttributeError) as error:
        trained("table5", replace(asked, overrides=RULE), Execution(tmp_path / "results"))
    assert place_of(error.value) == f"{file}, line {code[: code.index('teachers')].count(chr(10)) + 1}, in soften"


def test_own_images_as_their_page_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS["make_photos"], {})
    asked = Settings(dataset="imagefolder", rows=("kd",), pairs=("resnet8/resnet8",), seeds=1, epochs=1)
    asked = replace(asked, data=load("imagefolder", tmp_path / "photos").fingerprint)
    assert "kd" in trained("table1", asked, Execution(tmp_path / "results", data_dir=tmp_path / "photos"))


@pytest.mark.medium
def test_the_commands_of_the_pages_work(
    add: Add, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in BLOCKS.items():
        if "/" in name:
            add(name, code)
    (tmp_path / "DIR").mkdir()
    write_mydata(tmp_path / "DIR")
    exec(BLOCKS["make_photos"], {})
    exec(BLOCKS["make_tables"], {})
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    commands = re.findall(r"^ekd run (.*?)(?: +#.*)?$", TEXT, re.MULTILINE)
    assert len(commands) > 5
    for words in commands:
        status, _, err = command(*words.split(), *([] if "--plan" in words else ["--plan"]), "--gpus", "0")
        assert status == 0, (words, err)


def test_every_example_of_the_pages_is_tested() -> None:
    source = Path(__file__).read_text()
    assert sorted(BLOCKS) == sorted(set(re.findall(r'BLOCKS\["(.+?)"\]', source)))


def test_numbers_with_a_default_need_not_be_given(add: Add) -> None:
    add("trainables/methods/mine", BLOCKS["trainables/methods/mine"])
    assert methods.make("mine", params(weight=2)) == methods.make("mine", params(weight=2, ce=1))
    with pytest.raises(UserError, match="method mine takes the parameters ce, weight; given: ce"):
        methods.make("mine", params(ce=1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("METHOD = Mine", "", "{file}: there is no METHOD; define METHOD, a Method, there"),
        ("METHOD = Mine", "METHOD = 3", "{file}: METHOD is no Method; define"),
        ("@dataclass(frozen=True)\n", "", "the method mine is no dataclass: write @dataclass(frozen=True) above"),
        ("import Batch,", "import params,", "ImportError: cannot import name 'params' .* ({file}, line 6"),
        ("METHOD = Mine", "raise SystemExit(0)", "SystemExit: 0 ({file}, line"),
        ("class Mine(", "class Mine((", "SyntaxError: .* ({file}, line 10"),
    ],
)
def test_a_module_that_cannot_be_used_is_one_line(add: Add, old: str, new: str, told: str) -> None:
    file = add("trainables/methods/mine", BLOCKS["trainables/methods/mine"].replace(old, new))
    pattern = ".*".join(re.escape(part) for part in told.format(file=file).split(".*"))
    with pytest.raises(UserError, match=pattern):
        methods.find("mine")


@pytest.mark.parametrize("ask", [("--plan",), ()])
def test_a_missing_flag_is_told_before_anything_is_trained(
    add: Add, command: Command, tmp_path: Path, ask: tuple[str, ...]
) -> None:
    mixed = BLOCKS["analysis/paper/mytable"].replace("Temperature(4))", 'Temperature(4), Mixing("cutmix"))')
    add("trainables/methods/mine", BLOCKS["trainables/methods/mine"])
    add("analysis/paper/mytable", mixed.replace("import Temperature,", "import Mixing, Temperature,"))
    status, _, err = command("mytable", *ASKED, *ask)
    assert status == 2
    assert err.startswith("error: mine has no loss on mixed images: mix with kd or dkd")
    assert not (tmp_path / "results" / "ledger.sqlite").exists()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("student.logits, batch.teacher_outputs", "student.logits, batch.teacher_outputz", "no attribute"),
        ("student.logits, batch.teacher_outputs.logits,", "student.logits, batch.labels,", "Error: "),
    ],
)
def test_an_error_in_an_own_loss_has_its_place(
    add: Add, command: Command, tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = add("trainables/methods/mine", BLOCKS["trainables/methods/mine"].replace(old, new))
    add("analysis/paper/mytable", BLOCKS["analysis/paper/mytable"])
    status, _, err = command("mytable", *ASKED, "--rows", "mine", "--plan")
    last = err.splitlines()[-1]
    assert status == 1
    assert told in last
    assert last.endswith(f"({file}, line 17, in loss; --debug shows the whole traceback)")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("new", "told"),
    [("return student.logits  #", "a tensor of shape"), ("return None  #", "None: return a tensor of one number")],
)
def test_what_is_no_loss_of_one_number_is_refused(add: Add, command: Command, new: str, told: str) -> None:
    add("trainables/methods/mine", BLOCKS["trainables/methods/mine"].replace("return", new))
    add("analysis/paper/mytable", BLOCKS["analysis/paper/mytable"])
    status, _, err = command("mytable", *ASKED, "--rows", "mine", "--plan")
    assert status == 2
    assert f"error: the loss of mine is {told}" in err
