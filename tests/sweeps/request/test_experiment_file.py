"""An experiment's file: what it says comes back, and each error names its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import Command, no_measuring, refused

from analysis import paper
from sweeps.request.arguments import Options, parse
from sweeps.request.experiment_file import write_experiment
from sweeps.request.request import Request, make_request
from trainables.recipes import Pair

PAIR = Pair("resnet20", "resnet8")
MINE = """\
title = "Which T+?"
caption = "Two ways."
rows = ["kd", "energy_kd"]
pairs = ["resnet20/resnet8"]
dataset = "digits"
seeds = 2
epochs = 6

[vary]
"T+" = [1, 2]

[[row]]
key = "strong"
label = "KD, strong"
temperature = {T = 6, rule = "energy", "T+" = 2, "T-" = -2, r = 0.3}
params = {kd = 1.5}
mixing = {operation = "cutmix", selection = "high", rate = 0.4}
lr = 0.02
"""


def asked(path: Path, text: str, *more: str) -> Options:
    path.write_text(text)
    return parse([str(path), "--gpus", "0", *more])


def requested(path: Path, text: str, *more: str) -> Request:
    return make_request(asked(path, text, *more))


def test_a_file_is_what_the_command_would_be(tmp_path: Path) -> None:
    words = [
        "table5",
        "--dataset",
        "digits",
        "--rows",
        "kd",
        "kd_he_da_40",
        "--seeds",
        "2",
        "--set",
        "lr=0.1",
        "mixing.rate=0.3",
    ]
    by_command = make_request(parse([*words, "--vary", "T=2,4", "--train-fraction", "0.5"]))
    text = write_experiment(["table5"], by_command.settings)
    assert requested(tmp_path / "mine.toml", text) == by_command


def test_a_field_with_a_dot_needs_no_quotes(tmp_path: Path) -> None:
    found = requested(tmp_path / "mine.toml", 'rows = ["kd_he_da_40"]\n[set]\nmixing.rate = 0.3\n')
    assert found.settings.overrides == (("mixing.rate", "0.3"),)


def test_two_methods_at_once_are_rows_of_a_file(tmp_path: Path) -> None:
    text = 'rows = ["kd+at"]\npairs = ["resnet20/resnet8"]\ndataset = "digits"\n'
    text += '[[row]]\nkey = "weak"\nfrom = "kd+at"\nparams = {"at.factor" = 0.5}\n'
    (table,) = requested(tmp_path / "mine.toml", text).resolved
    found = {row: dict(specs[0].params) for (_, row, _), specs in table.cells.items()}
    words = ["ablation", "--rows", "kd+at", "--pairs", "resnet20/resnet8", "--dataset", "digits"]
    ((plain, *_),) = make_request(parse(words)).resolved[0].cells.values()
    assert found == {"kd+at": dict(plain.params), "weak": dict(plain.params) | {"at.factor": 0.5}}


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    request = requested(tmp_path / "mine.toml", MINE)
    (table,) = request.resolved
    assert (table.table.key, table.title) == ("mine", "Which T+?")
    assert [row.key for row in table.rows][:3] == ["kd", "energy_kd", "strong"]
    strong = table.cells["main", "strong", PAIR][0]
    assert (strong.lr, dict(strong.params), strong.epochs) == (0.02, {"ce": 0.1, "kd": 1.5}, 6)
    assert strong.temperature is not None
    assert (strong.temperature.base, strong.temperature.rate) == (6, 0.3)
    assert strong.mixing is not None
    assert strong.mixing.rate == 0.4


def test_a_saved_own_table_has_the_same_runs(tmp_path: Path) -> None:
    request = requested(tmp_path / "mine.toml", MINE)
    (tmp_path / "elsewhere").mkdir()
    saved = write_experiment(["mine"], request.settings)
    assert requested(tmp_path / "elsewhere" / "mine.toml", saved) == request


def test_options_of_the_command_come_behind_the_file(tmp_path: Path) -> None:
    options = asked(tmp_path / "mine.toml", MINE, "--seeds", "5", "--rows", "strong")
    assert (options.settings.seeds, options.settings.epochs, options.settings.rows) == (5, 6, ("strong",))


def test_the_own_table_is_found_again_by_its_settings(tmp_path: Path) -> None:
    request = requested(tmp_path / "mine.toml", MINE)
    assert paper.find("mine", request.settings) == request.tables[0]


def test_saving_writes_the_file_and_trains_nothing(command: Command) -> None:
    words = ["table5", "--dataset", "digits", "--rows", "kd", "--save", "mine.toml"]
    status, out, _ = command(*words)
    assert status == 0
    assert "mine.toml" in out
    assert sorted(Path.cwd().iterdir()) == [Path.cwd() / "mine.toml"]
    assert "is there already" in refused(command, *words)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds = 2", 'seeds = "2"', 'line 6: seeds must be a whole number, not "2"'),
        ("seeds = 2", "seed = 2", "line 6: unknown key 'seed': did you mean seeds"),
        ("seeds = 2", "seeds = 0", "line 6: .*--seeds"),
        ("seeds = 2", "seeds = 2 2", "is no TOML file: .*line 6"),
        ('"energy_kd"', '"energy_dk"', "line 3: unknown row 'energy_dk'"),
        ("resnet20/resnet8", "resnet20/resnet9", "line 4: unknown network 'resnet9'"),
        ('"T+" = [1, 2]', '"T*" = [1, 2]', r"line 10: .*unknown field 'T\*'"),
        ('label = "KD, strong"', "labl = 1", "line 14: unknown field 'labl' of a row: did you mean label"),
        ('key = "strong"', 'key = "kd"', "two rows are called kd"),
        ("params = {kd = 1.5}", 'method = "kd"\nfrom = "kd"', "row strong: `from` names a row"),
        ('rule = "energy"', 'rule = "plain"', "row strong: a plain temperature has no plus"),
        ('label = "KD, strong"', 'from = "later"', "row strong: unknown row 'later'.* stands above"),
        ("lr = 0.02", "lr = -0.02", "line 13: row strong: learning rate -0.02 must be above 0"),
        ("lr = 0.02", "epochs = 0", "row strong: epochs 0 must be at least 1"),
        ("lr = 0.02", 'milestones = ["late"]', "row strong: milestones must be whole numbers, not .*late"),
        ("lr = 0.02", 'method = "takd"\nassistant = "resnet9"', "unknown network 'resnet9' in assistant"),
        ('key = "strong"', 'key = ""', r"needs a key, its name$"),
        ("params = {kd = 1.5}", "params = {kx = 1.5}", "row strong: method kd takes the parameters"),
        ("[vary]", '[teachers]\nresnet20 = "resnet20.pth"\n[vary]', "has hashes, which --save writes: name files"),
        ("seeds = 2", 'tables = ["table5"]', "line 1: title is of a table of its own: leave out `tables`"),
        ("seeds = 2", 'data = "0123"', "saved for the images 0123, not for the published ones"),
        ("[vary]", '[teachers]\nresnet20 = "abcd"\n[vary]', "teacher resnet20 is the file with SHA-256 abcd"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(command: Command, old: str, new: str, says: str) -> None:
    Path("mine.toml").write_text(MINE.replace(old, new, 1))
    assert re.search(f"mine.toml.*{says}", refused(command, "mine.toml", "--gpus", 0, "--plan"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_as_windows_writes_it(command: Command, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.planning.estimate.measure_costs", no_measuring)
    Path("mine.toml").write_bytes(MINE.replace("\n", "\r\n").encode(encoding))
    assert command("mine.toml", "--gpus", 0, "--plan")[0] == 0


def test_letters_of_another_encoding_are_told_with_their_line(command: Command) -> None:
    Path("mine.toml").write_bytes(MINE.replace("KD, strong", "KD, größer").encode("latin-1"))
    assert "mine.toml, line 14: a letter that is not UTF-8: save" in refused(command, "mine.toml", "--plan")


def test_own_rows_stand_where_their_keys_do_and_start_from_others_above(tmp_path: Path) -> None:
    own = '[[row]]\nkey = "wide"\nfrom = "energy_kd"\n[[row]]\nkey = "wider"\nfrom = "wide"\n[[row]]\nkey = "last"\n'
    table = requested(tmp_path / "mine.toml", f'rows = ["wider", "kd", "wide"]\n{own}').tables[0]
    assert [row.key for row in table.parts[0].rows] == ["wider", "kd", "wide", "last"]


def test_a_file_is_not_saved_over_itself(command: Command) -> None:
    Path("mine.toml").write_text(MINE)
    assert "is there already" in refused(command, "mine.toml", "--save", "mine.toml")


def test_a_wrong_word_of_the_command_line_is_not_the_files(command: Command) -> None:
    Path("mine.toml").write_text(MINE)
    assert "mine.toml" not in refused(command, "mine.toml", "--pairs", "nosuch/resnet8", "--gpus", 0, "--plan")


@pytest.mark.parametrize("name", ["table5", "all", "ablation", "my table"])
def test_a_file_with_the_name_of_a_table(command: Command, name: str) -> None:
    Path(f"{name}.toml").write_text(MINE)
    assert "rename the file" in refused(command, f"{name}.toml", "--gpus", 0)
