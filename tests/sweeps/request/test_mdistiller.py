"""Configuration files of mdistiller give the runs of the tables here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from commands import Command, refused

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from sweeps.request.arguments import parse
from sweeps.request.mdistiller import read_config
from sweeps.request.request import make_request
from trainables.spec import RunSpec

DATA = os.environ.get("EKD_DATA")
CONFIGS = sorted(Path(DATA, "reference", "mdistiller_configs").rglob("*.yaml")) if DATA else []
NONE_HERE = {"nst", "sp", "kdsvd", "vanilla"}
OTHERWISE = {
    # Reversed, as in all released configurations; the row here has the paper's direction.
    "energy_dkd_vgg13_vgg8": {"temperature"},
}
CONFIG = """\
DISTILLER:
  TYPE: "DKD"
  TEACHER: "vgg13"
  STUDENT: "vgg8"
SOLVER:
  EPOCHS: 240
  WEIGHT_DECAY: 5e-4
DKD:
  BETA: 6.0
"""


def translated(path: Path) -> RunSpec:
    """The first seed of the one row that a configuration asks for."""
    settings = read_config(path, "mine").settings
    table = resolve(paper.find("mine", settings), settings)
    return next(specs[0] for (_, row, _), specs in table.cells.items() if row != "kd" or len(table.rows) == 1)


def of_tables(key: str, pair: str) -> RunSpec:
    settings = Settings(pairs=(pair,), rows=(key,))
    return next(specs[0] for specs in resolve(paper.ablation(), settings).cells.values())


@pytest.mark.skipif(not CONFIGS, reason="EKD_DATA names no folder with reference/mdistiller_configs")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_released_configurations_are_the_rows_of_the_tables(path: Path) -> None:
    kind = path.stem.split("_")[0] if path.parent.name == "mdistiller" else path.stem[:10].strip("_")
    if kind in NONE_HERE:
        with pytest.raises(Exception, match=r"no method here|the student alone"):
            read_config(path, "mine")
        return
    spec = translated(path)
    rate = f"{spec.mixing.rate * 100:.0f}" if spec.mixing else ""
    keys = {"energy_kd": "energy_kd_reversed", "energy_dkd": "energy_dkd", "energy_aug": f"kd_he_da_{rate}"}
    expected = of_tables(keys.get(kind, kind), f"{spec.teacher}/{spec.student}")
    differ = {name for name, value in vars(spec).items() if value != getattr(expected, name) and name != "run_id"}
    assert differ == OTHERWISE.get(path.stem, set())
    assert (spec.run_id == expected.run_id) == (not differ)


def test_what_a_file_leaves_out_is_mdistillers_default(tmp_path: Path) -> None:
    path = tmp_path / "dkd.yaml"
    path.write_text(CONFIG)
    assert translated(path) == of_tables("dkd", "vgg13/vgg8")
    path.write_text(CONFIG.replace("  WEIGHT_DECAY: 5e-4\n", ""))
    assert translated(path).weight_decay == 1e-4


def test_what_has_no_counterpart_is_told(tmp_path: Path) -> None:
    path = tmp_path / "dkd.yaml"
    path.write_text(CONFIG + "  GAMMA: 3\nSOMETHING:\n  ELSE: 1\n")
    assert read_config(path, "mine").told == ("DKD.GAMMA = 3", "SOMETHING.ELSE = 1")


def test_the_command_writes_the_experiment(command: Command) -> None:
    Path("dkd.yaml").write_text(CONFIG + "  GAMMA: 3\n")
    status, out, _ = command("--from-mdistiller", "dkd.yaml", "--save", "mine.toml")
    assert status == 0
    assert "not translated: DKD.GAMMA = 3" in out
    assert of_tables("dkd", "vgg13/vgg8").run_id in make_request(parse(["mine.toml"])).run_ids


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is no YAML file"),
        ("a: 1", "it has no DISTILLER"),
        (CONFIG.replace("DKD", "NST"), "NST: it is no method here"),
        (CONFIG.replace("6.0", "six"), "DKD.BETA = 'six' is no number"),
        (CONFIG.replace('"vgg8"', "8"), "STUDENT names no network"),
        (CONFIG + "DATASET:\n  TYPE: mnist\n", "DATASET.TYPE: use one of cifar100"),
    ],
)
def test_refused(command: Command, text: str, says: str) -> None:
    Path("c.yaml").write_text(text)
    assert re.search(says, refused(command, "--from-mdistiller", "c.yaml", "--save", "mine.toml"))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("mine.toml", "vgg8", "vgg888", "mine.toml, line 3: unknown network 'vgg888'"),
        ("table5.toml", "", "", "table5.toml: a table cannot be called 'table5': rename"),
    ],
)
def test_what_cannot_be_trained_is_told_when_it_is_written(
    command: Command, name: str, old: str, new: str, says: str
) -> None:
    Path("c.yaml").write_text(CONFIG.replace(old, new))
    status, out, err = command("--from-mdistiller", "c.yaml", "--save", name)
    assert status == 2
    assert "trains it" not in out
    assert says in err
    assert Path(name).exists()
