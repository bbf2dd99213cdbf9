"""Pictures from weights: whose weights, what is kept, what the command says. The networks are small and untrained."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from few import some_or_all
from made_up import cells
from PIL import Image
from sklearn import manifold
from untrained import make_weights

from analysis import figures, paper
from analysis.figure import embedding, from_weights, observations
from analysis.figure.embedding import SUPERCLASSES, ClassGroup, embed, groups
from analysis.figure.from_weights import write_figure_from_runs
from analysis.figure.observations import Folders, Weights, answers, certainty, given
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.recipes import Pair
from trainables.run_names import name_of
from trainables.spec import RunSpec
from trainables.storage.runs import weights_path

ROOT = Path(__file__).resolve().parents[3]
PAIR = Pair("wrn_16_1", "resnet8")
SETTINGS = Settings(dataset="digits", epochs=2, train_fraction=0.2, pairs=(PAIR.key,))
FIGURES = ("figure4", "figure5", "figure6", "figure7", "figure8")
RANKS = {"figure4": range(4), "figure8": range(44, 48)}
"""Fewer images than are usually drawn."""
ITERATIONS = 250
"""The fewest that t-SNE takes."""
FIGURE4, FIGURE6, FIGURE7 = (paper.find(name) for name in ("figure4", "figure6", "figure7"))


def specs_of(settings: Settings = SETTINGS) -> list[RunSpec]:
    """What Figure 7 shows: teacher, KD, Energy KD."""
    return [*resolve(FIGURE7, settings).teachers, *(spec for cell in cells(FIGURE7, settings) for spec in cell.specs)]


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_weights, "RANKS", RANKS)
        patch.setattr(manifold, "TSNE", partial(manifold.TSNE, max_iter=ITERATIONS))
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All weights, and a ledger that names the sweep."""
    folder = tmp_path_factory.mktemp("results")
    for seed, spec in enumerate(specs_of()):
        make_weights(spec.student, weights_path(folder, spec.run_id), seed)
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        ledger.remember(FIGURES, SETTINGS, "python sweeps/run.py (made up)")
    return folder


@pytest.fixture(scope="module")
def drawn(results: Path) -> Callable[[str], list[Path]]:
    @cache
    def draw(name: str) -> list[Path]:
        return write_figure_from_runs(resolve(paper.find(name), SETTINGS), results, None, (), results / "tables")

    return draw


@pytest.mark.parametrize("names", some_or_all(("figure4", "figure7"), FIGURES))
@pytest.mark.medium
def test_every_figure_is_written_as_png_and_pdf(
    names: Sequence[str], results: Path, drawn: Callable[[str], list[Path]]
) -> None:
    for name in names:
        paths = drawn(name)
        assert paths == [results / "tables" / f"{name}.{form}" for form in ("png", "pdf")]
        assert paths[0].read_bytes().startswith(b"\x89PNG")
        assert paths[1].read_bytes().startswith(b"%PDF")
        assert b"/Type3" not in paths[1].read_bytes()


def test_the_weights_are_those_of_the_runs_that_the_tables_show(results: Path) -> None:
    teacher, kd, energy_kd = specs_of()
    resolved, place = resolve(FIGURE7, SETTINGS), Folders(results)
    (part,) = resolved.parts
    found = [observations.student(resolved, part, PAIR, row, place) for row in part.rows]
    assert [one.path for one in found] == [weights_path(results, spec.run_id) for spec in (kd, energy_kd)]
    assert (kd.treatment, energy_kd.treatment, kd.seed, energy_kd.seed) == ("kd", "energy_kd", 1, 1)
    table5 = {spec.run_id for cell in cells(paper.find("table5"), SETTINGS) for spec in cell.specs}
    assert kd.run_id in table5
    own = observations.teacher(resolved, PAIR, place)
    assert (own.path, own.network) == (weights_path(results, teacher.run_id), "wrn_16_1")
    assert (own.training, own.shortened) == ("2 epochs, seed 1", True)


@pytest.mark.parametrize("names", some_or_all(("figure7",), FIGURES))
def test_a_known_answer_needs_neither_torch_nor_the_images(
    names: Sequence[str], results: Path, drawn: Callable[[str], list[Path]]
) -> None:
    before = [path for name in names for path in drawn(name)]
    code = (
        "import sys; from pathlib import Path; from analysis import paper;"
        "from analysis.record.settings import from_json;from analysis.table.resolved import resolve;"
        "from analysis.figure.from_weights import write_figure_from_runs;"
        "import trainables.data as data; data.load = None; from analysis.figure import from_weights;"
        f"from_weights.RANKS = {RANKS!r};"
        f"from functools import partial; from sklearn import manifold;"
        f"manifold.TSNE = partial(manifold.TSNE, max_iter={ITERATIONS});"
        f"results = Path({str(results)!r}); settings = from_json({SETTINGS.as_json()!r});"
        f"[write_figure_from_runs(resolve(paper.find(name), settings), results, None, (), results / 'again')"
        f" for name in {names}];"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
    for path in before:
        assert (results / "again" / path.name).read_bytes() == path.read_bytes()


def test_what_is_kept_is_of_these_weights_and_these_images(results: Path, tmp_path: Path) -> None:
    spec = specs_of()[1]
    one = Weights("resnet8", weights_path(results, spec.run_id), "1" * 64, "")
    place = Folders(tmp_path)
    asked = [
        (one, SETTINGS),
        (Weights("resnet8", one.path, "2" * 64, ""), SETTINGS),
        (one, Settings(dataset="digits")),
    ]
    kept = tmp_path / "observations"
    for number, (weights, settings) in enumerate(asked, 1):
        answers(weights, settings, place)
        answers(weights, settings, place)
        assert len(list(kept.iterdir())) == number
    certainty(one, SETTINGS, place)
    assert len(list(kept.iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda content: content[:500], lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_file_is_made_again(results: Path, tmp_path: Path, damage: object) -> None:
    spec = specs_of()[1]
    weights = Weights("resnet8", weights_path(results, spec.run_id), "1" * 64, "")
    before = answers(weights, SETTINGS, Folders(tmp_path))
    (path,) = (tmp_path / "observations").iterdir()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    after = answers(weights, SETTINGS, Folders(tmp_path))
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_objects_in_a_kept_file_are_never_loaded(results: Path, tmp_path: Path) -> None:
    weights = Weights("resnet8", weights_path(results, specs_of()[1].run_id), "1" * 64, "")
    answers(weights, SETTINGS, Folders(tmp_path))
    (path,) = (tmp_path / "observations").iterdir()
    np.savez(path, logits=np.array([{}], dtype=object))
    assert answers(weights, SETTINGS, Folders(tmp_path))["logits"].dtype == np.float32


def test_missing_weights_are_named_with_the_command_that_trains_them(tmp_path: Path) -> None:
    settings = Settings(dataset="digits", epochs=2, overrides=(("lr", "0.1"),))
    for name, spec in (("figure6", specs_of(settings)[1]), ("figure4", resolve(FIGURE4, settings).teachers[0])):
        with pytest.raises(UserError) as error:
            write_figure_from_runs(resolve(paper.find(name), settings), tmp_path, None, (), tmp_path / "tables")
        text = str(error.value)
        assert f"{name} needs the weights of {name_of(spec)}" in text
        command = f"ekd run {name} --dataset digits --seeds 1 --epochs 2 --set lr=0.1 --results {tmp_path}"
        assert text.endswith(command)
        assert "\n" not in text
    assert not (tmp_path / "tables").exists()


@pytest.mark.medium
def test_a_given_teacher_is_known_by_its_content(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "anything.pth"
    sha256 = make_weights("wrn_16_1", path, seed=9)
    settings = Settings(dataset="digits", pairs=(PAIR.key,), teachers=(("wrn_16_1", sha256),))
    write_figure_from_runs(resolve(FIGURE4, settings), tmp_path, None, [(sha256, str(path))], tmp_path)
    with pytest.raises(UserError, match="were not given: use --teachers"):
        write_figure_from_runs(resolve(FIGURE4, settings), tmp_path, None, (), tmp_path)
    make_weights("wrn_16_1", path, seed=8)
    with pytest.raises(UserError, match="has changed since"):
        write_figure_from_runs(resolve(FIGURE4, settings), tmp_path, None, [(sha256, str(path))], tmp_path)


@pytest.mark.medium
def test_each_pair_has_a_picture_and_each_teacher_one_of_its_own(results: Path, tmp_path: Path) -> None:
    settings = Settings(dataset="digits", epochs=2, pairs=("wrn_16_1/resnet8", "wrn_16_1/resnet20", "resnet8/resnet8"))
    for spec in {spec.run_id: spec for table in (FIGURE4, FIGURE7) for spec in [*specs_of(settings)]}.values():
        make_weights(spec.student, weights_path(tmp_path, spec.run_id))
    place = Folders(tmp_path)
    assert list(from_weights.figures(resolve(FIGURE4, settings), place)) == ["figure4", "figure4-resnet8"]
    assert list(from_weights.figures(resolve(FIGURE7, settings), place)) == [
        "figure7",
        "figure7-wrn_16_1-resnet20",
        "figure7-resnet8-resnet8",
    ]


@pytest.mark.medium
def test_titles_say_data_network_training_and_what_differs_from_the_paper(results: Path) -> None:
    found = {
        name: from_weights.figures(resolve(paper.find(name), SETTINGS), Folders(results))[name].get_suptitle()
        for name in FIGURES
    }
    assert found["figure4"].splitlines()[1:] == [
        "digits, 0.2 of the training images; teacher WRN-16-1, 2 epochs, seed 1",
        "not the paper's data (ImageNet); shortened, not the paper's schedule",
    ]
    assert found["figure7"].splitlines()[1:] == [
        "digits, test images; WRN-16-1 / ResNet8, 2 epochs, seed 1; teacher 2 epochs, seed 1",
        "not the paper's data (CIFAR-100); shortened, not the paper's schedule",
    ]


def test_rows_that_were_not_asked_for_are_not_drawn(results: Path) -> None:
    place = Folders(results)
    one = from_weights.figures(resolve(FIGURE7, replace(SETTINGS, rows=("kd",))), place)["figure7"]
    assert [axes.get_title().partition("\n")[0] for axes in one.axes if axes.get_title()] == ["KD"]
    assert from_weights.figures(resolve(FIGURE7, replace(SETTINGS, rows=("dkd",))), place) == {}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = figures.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.medium
def test_the_command_draws_from_a_sweep(
    results: Path, drawn: Callable[[str], list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = drawn("figure7")[0].read_bytes()
    status, out, err = run(capsys, "figure7", "--results", results, "--dataset", "digits")
    assert (status, out.split(), err) == (0, [str(path) for path in drawn("figure7")], "")
    assert drawn("figure7")[0].read_bytes() == before


@pytest.mark.medium
def test_the_command_needs_no_sweep_for_weights_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "mine.pth"
    make_weights("resnet8", weights)
    common = ("--dataset", "digits", "--results", tmp_path / "results")
    for name in ("figure5", "figure8"):
        out = tmp_path / f"{name}.pdf"
        assert run(capsys, name, *common, "--network", "resnet8", "--weights", weights, "--out", out) == (
            0,
            f"{out}\n",
            "",
        )
        assert out.read_bytes().startswith(b"%PDF")
    teacher = tmp_path / "resnet20.pth"
    make_weights("resnet20", teacher)
    assert run(capsys, "figure4", *common, "--teachers", teacher)[0] == 0


def test_bad_input_is_one_line_and_status_2(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "mine.pth"
    make_weights("resnet8", weights)
    none = ("--results", tmp_path / "none")
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        (("figure4", *none), "there is no sweep in"),
        (("figure6", *none, "--weights", weights), "figure6 shows students, which a sweep must train"),
        (("figure4", *none, "--weights", tmp_path / "gone", "--dataset", "digits"), "no such file"),
        (("figure4", *none, "--weights", weights, "--dataset", "mnist"), "unknown data set 'mnist'"),
        (("figure4", *none, "--weights", weights, "--dataset", "digits"), "does not fit resnet20"),
        (("figure4", "--results", results, "--dataset", "cifar100"), "is on digits"),
        (("figure4", "--results", results, "--sweep", 7), "there is no sweep 7"),
        (("figure4", "--results", results, "--out", "figure.gif"), "figure.gif should end in .png"),
    )
    for arguments, words in cases:
        status, _, err = run(capsys, *arguments)
        assert (status, err.count("\n")) == (2, 1), arguments
        assert words in err


def test_a_figure_without_rows_has_no_table(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from analysis import tables

    assert tables.main(["figure4", "--results", str(results)]) == 2
    assert "figure4 has no numbers: ekd figures figure4 draws it" in capsys.readouterr().err


def test_superclasses_are_those_of_the_published_data(ekd_data: Path) -> None:
    from trainables.datasets.cifar100 import CLASSES

    (file,) = (ekd_data / "data" / "cifar100").rglob("test-*.parquet")
    columns = pq.read_table(file, columns=["fine_label", "coarse_label"]).to_pydict()
    published = set(zip(columns["fine_label"], columns["coarse_label"], strict=True))
    ours = {(CLASSES.index(name), number) for number, names in enumerate(SUPERCLASSES.values()) for name in names}
    assert ours == published


def test_groups_are_the_papers_three_on_cifar_100_and_at_most_twenty_classes_elsewhere() -> None:
    from trainables.datasets.cifar100 import CLASSES

    different, vehicles, similar = groups(CLASSES)
    homes = {name: home for home, names in SUPERCLASSES.items() for name in names}
    assert len({homes[name] for name in different.classes}) == len(different.classes) == 10
    assert {homes[name] for name in vehicles.classes} == {"vehicles 1"}
    assert sorted({homes[name] for name in similar.classes}) == ["flowers", "trees"]
    assert len(similar.classes) == 10
    many = tuple(f"class {number}" for number in range(30))
    assert groups(many) == (ClassGroup("The first 20 of 30 classes", many[:20]),)
    assert groups(many[:9]) == (ClassGroup("All classes", many[:9]),)


def test_an_embedding_keeps_far_classes_apart_and_says_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "TSNE", manifold.TSNE.func)  # With all its steps.
    rng = np.random.default_rng(0)
    labels = np.repeat([4, 0, 2], 20)
    features = rng.normal(0, 0.1, (60, 5)) + 10 * np.eye(5)[labels]
    panel = embed(features, labels, ("a", "b", "c", "d", "e"), ClassGroup("some", ("e", "a")))
    assert panel.points.shape == (40, 2)
    assert panel.labels.tolist() == [0] * 20 + [1] * 20
    assert panel.feature_silhouette == pytest.approx(by_hand(features[:40], panel.labels))
    assert panel.map_silhouette == pytest.approx(by_hand(panel.points, panel.labels), abs=1e-4)
    assert panel.map_silhouette > 0.8
    again = embed(features, labels, ("a", "b", "c", "d", "e"), ClassGroup("some", ("e", "a")))
    assert (panel.points == again.points).all()
    assert embedding.STATE == 0


def by_hand(points: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette of two classes."""
    distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    values = []
    for place, label in enumerate(labels):
        own = distances[place, labels == label].sum() / ((labels == label).sum() - 1)
        other = distances[place, labels != label].mean()
        values.append((other - own) / max(own, other))
    return float(np.mean(values))


def test_a_class_that_was_renamed_is_drawn_under_its_new_name(tmp_path: Path) -> None:
    """The images are the same, so their fingerprint is; the order of the classes too."""
    rng = np.random.default_rng(1)
    for split, name in itertools.product(("train", "val"), ("a_dog", "b_cat")):
        (tmp_path / "own" / split / name).mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
            image.save(tmp_path / "own" / split / name / f"{number}.png")
    settings = Settings(dataset="imagefolder")
    path = tmp_path / "w.pt"
    save_weights(build("resnet8", 2), path)
    place, weights = Folders(tmp_path / "results", tmp_path / "own"), given("resnet8", path)
    assert certainty(weights, settings, place)["classes"].tolist() == ["a_dog", "b_cat"]
    for split in ("train", "val"):
        (tmp_path / "own" / split / "a_dog").rename(tmp_path / "own" / split / "a_hound")
    assert certainty(weights, settings, place)["classes"].tolist() == ["a_hound", "b_cat"]
    away = Folders(tmp_path / "results", tmp_path / "nowhere")
    assert certainty(weights, settings, away)["classes"].tolist() == ["a_hound", "b_cat"], "without the images"
