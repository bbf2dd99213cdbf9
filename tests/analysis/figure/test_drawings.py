"""Pictures of images, predictions, features and correlations: what is drawn is what was given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from few import fast
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from analysis.figure import drawings, letters
from analysis.figure.drawings import ACROSS, MARKERS, common_class, correlation_gap, mean_gap
from analysis.figure.embedding import ClassGroup, ClassMap, embed
from analysis.figure.style import render_figure
from trainables.errors import UserError

RNG = np.random.default_rng(1)
TITLE = ["Figure 0: made up", "digits, training images; ResNet20, 12 epochs, seed 1", "not the paper's data $1"]
CLASSES = [*"abcdefgh", "an_animal_of_long_name", "other"]
IMAGES = 60
SHOWN = 20


def made_up_certainty() -> dict[str, np.ndarray]:
    arrays = {
        "classes": np.array(CLASSES),
        "energies": RNG.normal(-9, 2, IMAGES),
        "labels": RNG.integers(0, 10, IMAGES),
        "predicted": RNG.integers(0, 10, IMAGES),
        "confidence": RNG.random(IMAGES),
    }
    for end in ("low", "high"):
        arrays |= {
            f"{end}_index": RNG.permutation(IMAGES)[:SHOWN],
            f"{end}_pixels": RNG.integers(0, 256, (SHOWN, 16, 16, 3), dtype=np.uint8),
            f"{end}_by_rank": -np.sort(-RNG.dirichlet(np.ones(10))),
            f"{end}_by_class": RNG.dirichlet(np.ones(10), 10),
            f"{end}_count": RNG.integers(3, 9, 10),
        }
    return arrays


CERTAINTY = made_up_certainty()


def made_up_panels(group: ClassGroup) -> list[tuple[ClassGroup, ClassMap]]:
    labels = np.arange(50) % len(group.classes)
    return [(group, ClassMap(RNG.normal(size=(50, 2)), labels, 0.625, -0.125))]


GROUP = ClassGroup("All classes", tuple(CLASSES))
PANELS = {"KD": made_up_panels(GROUP), "Energy KD": made_up_panels(GROUP)}
LOGITS = [RNG.normal(size=(40, 10)).astype(np.float32) for _ in range(3)]
GAPS = {name: correlation_gap(logits, LOGITS[2]) for name, logits in zip(("KD", "Energy KD"), LOGITS, strict=False)}


FIGURES: dict[str, Callable[[], Figure]] = {
    "figure4": lambda: drawings.images(CERTAINTY, range(16), TITLE),
    "figure8": lambda: drawings.images(CERTAINTY, range(16, SHOWN), TITLE),
    "figure5": lambda: drawings.predictions(CERTAINTY, 0.2, TITLE),
    "figure6": lambda: drawings.embedding(PANELS, TITLE),
    "figure7": lambda: drawings.correlation(GAPS, TITLE),
}


def with_images(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize("ranks", [range(16), range(16, SHOWN)])
def test_images_stand_in_their_order_with_class_prediction_confidence_and_energy(ranks: range) -> None:
    figure = drawings.images(CERTAINTY, ranks, TITLE)
    panels = with_images(figure)
    assert len(panels) == 2 * len(ranks)
    for number, axes in enumerate(panels):
        end = ("low", "high")[number // len(ranks)]
        rank = ranks[number % len(ranks)]
        assert (np.asarray(axes.images[0].get_array()) == CERTAINTY[f"{end}_pixels"][rank]).all()
        image = CERTAINTY[f"{end}_index"][rank]
        label, predicted = CERTAINTY["labels"][image], CERTAINTY["predicted"][image]
        own, answer, numbers = (text.get_text() for text in axes.texts)
        assert own == CLASSES[label].replace("_", " ")
        assert answer == f"{'✓' if label == predicted else '✗'} {CLASSES[predicted].replace('_', ' ')}"
        confidence, energy = numbers.split(", E ")
        assert float(confidence) == pytest.approx(CERTAINTY["confidence"][image], abs=0.0051)
        assert float(energy.replace("−", "-")) == pytest.approx(CERTAINTY["energies"][image], abs=0.051)
    heads = [part.get_suptitle() for part in figure.subfigs]
    assert heads == ["Certain images (low energy)", "Uncertain images (high energy)"]
    assert max(axes.get_subplotspec().colspan.stop for axes in panels if axes.get_subplotspec()) == min(  # type: ignore[union-attr]
        ACROSS, len(ranks)
    )


@pytest.mark.medium
@pytest.mark.parametrize("ranks", [range(16), range(16, SHOWN)])
def test_a_heading_stands_nearer_to_its_own_images_than_to_those_above(ranks: range) -> None:
    figure = drawings.images(CERTAINTY, ranks, TITLE)
    figure.draw_without_rendering()
    above, below = (part.axes for part in figure.subfigs)
    words = figure.subfigs[1].texts[0].get_window_extent()
    caption = min(box.y0 for axes in above if axes.axison and (box := axes.get_tightbbox()) is not None)
    images = max(axes.get_window_extent().y1 for axes in below if axes.axison)
    assert images < words.y0 < words.y1 < caption
    assert caption - words.y1 > 1.2 * (words.y0 - images)


def test_predictions_by_rank_and_of_the_class_that_both_ends_have() -> None:
    arrays = CERTAINTY | {"low_count": np.full(10, 3), "high_count": np.full(10, 3)}
    arrays["low_count"], arrays["high_count"] = arrays["low_count"].copy(), arrays["high_count"].copy()
    arrays["low_count"][2], arrays["low_count"][5], arrays["high_count"][5] = 90, 7, 6
    assert common_class(arrays) == 5
    ranked, named = drawings.predictions(arrays, 0.2, TITLE).axes
    for line, end in zip(ranked.lines, ("low", "high"), strict=True):
        assert list(np.asarray(line.get_xdata())) == list(range(1, 11))
        assert (np.asarray(line.get_ydata()) == arrays[f"{end}_by_rank"]).all()
    assert "class “f”" in named.get_title()
    shown = [CLASSES.index(text.get_text().replace(" ", "_")) for text in named.get_yticklabels()]
    total = arrays["low_by_class"][5] + arrays["high_by_class"][5]
    assert shown == list(np.argsort(-total)[: len(shown)])
    for bars, end in zip(named.containers, ("low", "high"), strict=True):
        assert isinstance(bars, BarContainer)
        assert [bar.get_width() for bar in bars] == pytest.approx(arrays[f"{end}_by_class"][5][shown])
    labels = [text.get_text() for axes in (ranked, named) for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels[2:] == ["certain, 7 images", "uncertain, 6 images"]


def test_points_of_a_class_share_a_marker_of_their_own() -> None:
    figure = drawings.embedding(PANELS, TITLE)
    assert [axes.get_title().splitlines()[0] for axes in figure.axes] == ["KD", "Energy KD"]
    assert all("silhouette: map 0.62, features −0.12" in axes.get_title() for axes in figure.axes)
    for axes, panels in zip(figure.axes, PANELS.values(), strict=True):
        clouds = [cloud for cloud in axes.collections if isinstance(cloud, PathCollection)]
        assert len(clouds) == len(CLASSES)
        for place, cloud in enumerate(clouds):
            assert (np.asarray(cloud.get_offsets()) == panels[0][1].points[panels[0][1].labels == place]).all()
        shapes = {cloud.get_paths()[0].vertices.tobytes() for cloud in clouds}  # type: ignore[union-attr]
        assert len(shapes) == len(MARKERS) == len(CLASSES)
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [name.replace("_", " ") for name in CLASSES]


def test_the_gap_is_that_of_numpys_correlations_and_its_mean_leaves_out_the_diagonal() -> None:
    one, other = (logits.astype(np.float64) for logits in LOGITS[:2])
    expected = np.abs(np.corrcoef(one, rowvar=False) - np.corrcoef(other, rowvar=False))
    gap = correlation_gap(*LOGITS[:2])
    assert gap == pytest.approx(expected, abs=1e-12)
    by_hand = np.corrcoef(one[:, 2], one[:, 7])[0, 1] - np.corrcoef(other[:, 2], other[:, 7])[0, 1]
    assert gap[2, 7] == pytest.approx(abs(by_hand))
    assert mean_gap(gap) == pytest.approx(sum(gap[i, j] for i in range(10) for j in range(10) if i != j) / 90)
    assert correlation_gap(LOGITS[0], 3 * LOGITS[0] + 1).max() < 1e-6


def luminance(colours: Colormap) -> np.ndarray:
    shades: np.ndarray = colours(np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    return shades


def test_both_matrices_have_one_scale_on_which_more_is_darker() -> None:
    panels = with_images(drawings.correlation(GAPS, TITLE))[:2]
    scales = {(axes.images[0].norm.vmin, axes.images[0].norm.vmax) for axes in panels}
    assert scales == {(0, max(gap.max() for gap in GAPS.values()))}
    for axes, (name, gap) in zip(panels, GAPS.items(), strict=True):
        assert (np.asarray(axes.images[0].get_array()) == gap).all()
        assert (np.diff(luminance(axes.images[0].get_cmap())) < 0).all()
        assert axes.get_title().startswith(f"{name}\nmean {mean_gap(gap):.4f}")


def test_shades_of_classes_differ_in_grey_too() -> None:
    assert (np.diff(luminance(colormaps["viridis"])) > 0).all()


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_and_all_is_said_above(name: str) -> None:
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    assert figure.get_suptitle().replace(r"\$", "$").splitlines() == TITLE
    parts = [figure, *figure.subfigs]
    words = [text for part in parts for text in [*part.texts, *(t for one in part.legends for t in one.texts)]]
    boxes = [text.get_window_extent() for text in words if text.get_text()]
    boxes += [box for axes in figure.axes if axes.axison and (box := axes.get_tightbbox()) is not None]
    for box in boxes:
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    above = boxes[0]
    assert not any(above.overlaps(box) for box in boxes[1:])


def renamed(*names: str) -> dict[str, np.ndarray]:
    """The made-up images with other names of the first classes."""
    return CERTAINTY | {"classes": np.array([*names, *CLASSES[len(names) :]])}


def drawn_of_all_kinds(*names: str) -> list[Figure]:
    arrays, group = renamed(*names), ClassGroup("All classes", (*names, *CLASSES[len(names) :]))
    panels = {"KD": made_up_panels(group)}
    return [
        drawings.images(arrays, range(8), TITLE),
        drawings.predictions(arrays, 0.2, TITLE),
        drawings.embedding(panels, TITLE),
    ]


@pytest.mark.medium
@pytest.mark.parametrize("form", fast(["png", "pdf"], "png"))
def test_names_of_any_script_and_of_none_are_drawn_without_a_warning(form: str) -> None:
    for figure in drawn_of_all_kinds(b"cat\xff\xfe".decode("utf-8", "surrogateescape"), "плюс", "猫", "แมว"):
        assert render_figure(figure, form, "x", dpi=40)


def test_a_name_that_no_font_has_is_numbered_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "_find_other_fonts", lambda: ())
    figure = drawn_of_all_kinds("dog", "猫")[2]
    labels = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert labels[:3] == ["dog", "class 2", "c"]
    assert "the Nth class by the names of the folders" in figure.get_suptitle().replace("\n", " ")


def test_a_font_that_has_the_letters_is_taken() -> None:
    only = sorted(letters._letters("STIXGeneral") - letters._letters(letters.USUAL))[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters, "_find_other_fonts", lambda: ("STIXNonUnicode", "STIXGeneral"))
        assert letters.fonts_for(["a", only]) == [letters.USUAL, "STIXGeneral"]
        figure = drawn_of_all_kinds("dog", only)[2]
    texts = figure.subfigs[0].legends[0].get_texts()
    assert texts[1].get_text() == only
    assert texts[1].get_fontfamily() == [letters.USUAL, "STIXGeneral"]
    assert render_figure(figure, "png", "x", dpi=40)


def test_too_few_images_are_one_line() -> None:
    few = CERTAINTY | {f"{end}_index": CERTAINTY[f"{end}_index"][:16] for end in ("low", "high")}
    with pytest.raises(UserError, match="the images of rank 17 to 48 by energy, and there are 60 training images"):
        drawings.images(few, range(16, 48), TITLE)
    with pytest.raises(UserError, match="no training image has so low an energy"):
        drawings.predictions(CERTAINTY | {"low_count": np.zeros(10, int)}, 0.01, TITLE)
    for labels in ([0, 1, 2], [1, 1, 1], [0]):
        features = RNG.normal(size=(len(labels), 4))
        with pytest.raises(UserError, match="a map needs test images of two classes"):
            embed(features, np.array(labels), CLASSES, GROUP)
    assert len(embed(RNG.normal(size=(3, 4)), np.array([0, 0, 1]), CLASSES, GROUP).points) == 3
