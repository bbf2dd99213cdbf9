"""Views of a chunk: who is mixed with whom, what the teacher says of it and how often it is asked, temperatures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from small_jobs import VANILLA, CountingTeacher
from torch import Tensor

from ekd_core import energy, energy_temperature, energy_thresholds, gradation_edges, gradation_temperature
from trainables.data.dataset import Dataset, Split
from trainables.data.random_streams import Purpose, generator
from trainables.data.stream import BatchStream, Chunk, normalise
from trainables.data.strong import strong
from trainables.datasets import load
from trainables.models import Network
from trainables.rules import make_rule
from trainables.spec import Mixing, Temperature, params
from trainables.training.evaluation import Scores
from trainables.training.teachers import TeacherFacts
from trainables.training.views import TeacherContext, View, Views

BATCH = 32
ENERGY_KD = replace(
    VANILLA, method="kd", params=params(ce=0.1, kd=0.9), teacher="resnet8", teacher_source=f"sha256:{'0' * 64}"
)


@pytest.fixture
def teaching(plain_model: Network, energies: Tensor) -> TeacherContext:
    facts = TeacherFacts("0" * 64, Scores(0, 0, 0), {"view": energies.float()})
    return TeacherContext(CountingTeacher(plain_model), facts)


@pytest.fixture(scope="module")
def chunks(digits: Dataset) -> list[Chunk]:
    """The five chunks of one epoch: 38 batches, the last of 16 images."""
    return list(digits.stream(seed=3, batch_size=BATCH, augmentation="crop").epoch(2))


@cache
def stream(seed: int) -> BatchStream:
    dataset = load("digits", None)
    return dataset.stream(seed=seed, batch_size=BATCH, augmentation="crop")  # type: ignore[return-value]


def views(chunk: Chunk, teaching: TeacherContext | None, *, seed: int = 3, features: bool = False) -> Views:
    return Views(chunk, stream(seed), torch.float32, teaching, features=features)


def temperatures_of(view: View, rule: Temperature) -> float | Tensor:
    return view.temperature(replace(ENERGY_KD, temperature=rule), make_rule(rule))


def calls(teaching: TeacherContext) -> list[int]:
    assert isinstance(teaching.teacher, CountingTeacher)
    return teaching.teacher.calls


def chosen_rows(chunk: Chunk, above: Tensor) -> list[list[int]]:
    """By step: the rows of the chunk that are chosen, none where there are fewer than two."""
    out = []
    for a, b in pairwise(chunk.bounds):
        rows = [row for row in range(a, b) if above[row]]
        out.append(rows if len(rows) >= 2 else [])
    return out


# --- the images as they are ----------------------------------------------------------------------------------------


def test_weak_view(chunks: list[Chunk], teaching: TeacherContext, plain_model: Network) -> None:
    chunk = chunks[0]
    weak = views(chunk, teaching).weak
    assert torch.equal(weak.images, chunk.images)
    assert torch.equal(weak.labels, chunk.labels)
    assert weak.bounds == tuple(pairwise(chunk.bounds))
    assert weak.teacher is not None
    with torch.no_grad():
        torch.testing.assert_close(weak.teacher.logits, plain_model(chunk.images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weak.energies, energy(weak.teacher.logits))
    assert not weak.teacher.logits.requires_grad


def test_a_student_alone_has_no_teacher(chunks: list[Chunk]) -> None:
    assert views(chunks[0], None).weak.teacher is None


# --- mixed images --------------------------------------------------------------------------------------------------


def expected_choice(mixing: Mixing, weak: View, reference: Tensor) -> Tensor:
    """The released rule: sorted energies of the training set, their elements as thresholds, strict comparison."""
    ordered, size = reference.float().sort().values.tolist(), len(reference)
    rate = mixing.rate / 2 if mixing.selection == "half" else mixing.rate
    here = weak.energies
    if mixing.selection == "all":
        return torch.ones(len(here), dtype=torch.bool)
    share = min(int(size * rate), size - 1)
    above, below = here > ordered[-(share + 1)], here < ordered[share]
    return {"high": above, "low": below, "half": above | below}[mixing.selection]


MIXINGS = [
    Mixing("cutmix"),
    Mixing("cutmix", "high", 0.1),
    Mixing("cutmix", "high", 0.5),
    Mixing("cutmix", "low", 0.3),
    Mixing("cutmix", "half", 0.4),
    Mixing("mixup", alpha=0.2),
    Mixing("mixup", "high", 0.4, alpha=0.2),
    Mixing("mixup", "half", 0.6, alpha=0.2),
]


def box_of(changed: Tensor) -> tuple[int, int, int, int] | None:
    """The smallest box around the changed pixels (H, W), or None where nothing changed."""
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    return None if not len(rows) else (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1]))


def recovered(mixed: Tensor, own: Tensor, others: Tensor, operation: str) -> tuple[int, float]:
    """Whose partner was it and how much of its own stayed, by trying every image of the batch; -1: it is unchanged."""
    if torch.allclose(mixed, own, atol=1e-5):
        return -1, float("nan")
    for j, other in enumerate(others):
        gap = own - other
        if operation == "mixup":
            keep = float(((mixed - other) * gap).sum() / gap.square().sum())
            if torch.allclose(mixed, other + keep * gap, atol=1e-5):
                return j, keep
        else:
            changed = (mixed != own).any(0)
            if bool(changed.any()) and torch.equal(mixed[:, changed], other[:, changed]):
                box = box_of(changed)
                assert box is not None
                top, bottom, left, right = box
                if torch.equal(
                    mixed[:, top : bottom + 1, left : right + 1], other[:, top : bottom + 1, left : right + 1]
                ):
                    return j, float("nan")
    pytest.fail("a mixed image is made of no two images of its batch")


@pytest.fixture(scope="module")
def noise_chunk() -> Chunk:
    """A chunk whose images share no pixel, so that it can be told what came from where."""
    split = torch.randint(0, 256, (250, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(250) % 10
    dataset = Dataset("noise", tuple("0123456789"), *(Split(split, labels),) * 2, (0.5,) * 3, (0.3,) * 3, "", "")
    return next(iter(dataset.stream(seed=3, batch_size=BATCH, augmentation="none").epoch(1)))


@pytest.mark.parametrize("mixing", MIXINGS, ids=lambda m: f"{m.operation}-{m.selection}-{m.rate}")
def test_mixed_view(mixing: Mixing, noise_chunk: Chunk, plain_model: Network) -> None:
    """Exactly the chosen rows, in order; each mixed with another chosen one of its batch by one common share or box."""
    chunk = noise_chunk
    with torch.no_grad():
        reference = energy(plain_model(chunk.images))
    teaching = TeacherContext(
        CountingTeacher(plain_model), TeacherFacts("0" * 64, Scores(0, 0, 0), {"view": reference})
    )
    made = views(chunk, teaching)
    mixed = made.mixed(mixing, "view")
    steps = chosen_rows(chunk, expected_choice(mixing, made.weak, reference))
    assert [b - a for a, b in mixed.bounds] == [len(rows) for rows in steps]
    assert mixed.bounds[-1][1] == len(mixed.images) == len(mixed.labels) == sum(map(len, steps))
    assert sum(map(len, steps)) >= 10
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)

    shares = []
    for rows, (first, last) in zip(steps, mixed.bounds, strict=True):
        own = chunk.images[rows]
        found = [recovered(image, own[i], own, mixing.operation) for i, image in enumerate(mixed.images[first:last])]
        unchanged = [i for i, (j, _) in enumerate(found) if j < 0]
        for i in unchanged:
            torch.testing.assert_close(mixed.images[first + i], own[i])
        partner = {i: j for i, (j, _) in enumerate(found) if j >= 0}
        if not partner:
            continue
        assert len(set(partner.values())) == len(partner)
        assert set(partner.values()) | set(unchanged) == set(range(len(rows)))
        if mixing.operation == "mixup":
            keep = [k for i, (_, k) in enumerate(found) if i in partner]
            assert max(keep) - min(keep) < 1e-4
            share = sum(keep) / len(keep)
        else:
            boxes = {box_of((mixed.images[first + i] != own[i]).any(0)) for i in partner}
            assert len(boxes) == 1
            top, bottom, left, right = next(box for box in boxes if box)
            share = 1 - (bottom + 1 - top) * (right + 1 - left) / 256
        shares.append(round(share, 3))
        if abs(share - 0.5) > 1e-3:
            expected = chunk.labels[[rows[i] if share > 0.5 else rows[partner.get(i, i)] for i in range(len(rows))]]
            assert torch.equal(mixed.labels[first:last], expected)
    assert len(set(shares)) > 2

    assert mixed.teacher is not None
    with torch.no_grad():
        torch.testing.assert_close(mixed.teacher.logits, plain_model(mixed.images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.7, 1.0])
def test_choice_on_real_images(rate: float, chunks: list[Chunk], teaching: TeacherContext, energies: Tensor) -> None:
    mixing = Mixing("cutmix", "high", rate)
    share = 0
    for chunk in chunks:
        made = views(chunk, teaching)
        steps = chosen_rows(chunk, expected_choice(mixing, made.weak, energies))
        mixed = made.mixed(mixing, "view")
        assert [b - a for a, b in mixed.bounds] == [len(rows) for rows in steps]
        for rows, (first, last) in zip(steps, mixed.bounds, strict=True):
            assert sorted(mixed.labels[first:last].tolist()) == sorted(chunk.labels[rows].tolist())
        share += len(mixed.images)
    assert share > 0


def thresholds_between(chunk: Chunk, model: Network, above: int) -> tuple[TeacherContext, Mixing]:
    """A teacher by whose thresholds only the `above` most uncertain images of the chunk have high energy."""
    with torch.no_grad():
        here = energy(model(chunk.images)).sort(descending=True).values
    cut = (here[above - 1] + here[above]) / 2 if above else here[0] + 1
    reference = torch.linspace(-1, 0, 10) * 1e-3 + cut
    teaching = TeacherContext(CountingTeacher(model), TeacherFacts("0" * 64, Scores(0, 0, 0), {"view": reference}))
    return teaching, Mixing("cutmix", "high", 1e-3)


@pytest.mark.parametrize("above", [0, 1])
def test_fewer_than_two_are_not_mixed(above: int, chunks: list[Chunk], plain_model: Network) -> None:
    teaching, mixing = thresholds_between(chunks[0], plain_model, above)
    made = views(chunks[0], teaching)
    mixed = made.mixed(mixing, "view")
    assert len(mixed.images) == len(mixed.labels) == 0
    assert mixed.teacher is None
    assert all(a == b for a, b in mixed.bounds)
    assert len(mixed.bounds) == len(chunks[0].bounds) - 1
    assert calls(teaching) == [len(chunks[0].labels)]


def test_a_step_of_one_between_steps_of_more(chunks: list[Chunk], plain_model: Network) -> None:
    """Among the most uncertain images of a chunk some steps have one only: those are left out, the others stay."""
    for above in range(3, 40):
        teaching, mixing = thresholds_between(chunks[0], plain_model, above)
        made = views(chunks[0], teaching)
        steps = [
            [row for row in range(a, b) if row in set(made.weak.energies.topk(above).indices.tolist())]
            for a, b in pairwise(chunks[0].bounds)
        ]
        sizes = [len(rows) for rows in steps]
        mixed = made.mixed(mixing, "view")
        assert [b - a for a, b in mixed.bounds] == [size if size >= 2 else 0 for size in sizes]
        if 1 in sizes and max(sizes) >= 2:
            return
    pytest.fail("no number of uncertain images left a step with one of them")


def test_mixing_is_a_pure_function_of_seed_and_place(chunks: list[Chunk], teaching: TeacherContext) -> None:
    """The same whoever has asked for what before; another at another seed, epoch or chunk."""
    every, most = Mixing("cutmix"), Mixing("cutmix", "high", 0.7)
    forwards, backwards = views(chunks[0], teaching), views(chunks[0], teaching)
    images = [forwards.mixed(every, "view").images, forwards.mixed(most, "view").images]
    again = [backwards.mixed(most, "view").images, backwards.mixed(every, "view").images]
    assert all(torch.equal(a, b) for a, b in zip(images, reversed(again), strict=True))
    others = [
        views(chunks[0], teaching, seed=4),
        views(replace(chunks[0], epoch=3), teaching),
        views(replace(chunks[0], first_step=8), teaching),
    ]
    assert not any(torch.equal(other.mixed(every, "view").images, images[0]) for other in others)


# --- each thing once -----------------------------------------------------------------------------------------------


def test_teacher_is_asked_once_a_view(chunks: list[Chunk], teaching: TeacherContext) -> None:
    chunk = chunks[0]
    made = views(chunk, teaching)
    for _ in range(3):
        weak = made.weak
        temperatures_of(weak, Temperature(4, "energy", 2, -2, 0.2))
    assert calls(teaching) == [len(chunk.labels)]
    seen = [made.mixed(Mixing("cutmix", "high", rate), "view") for rate in (0.4, 0.4, 0.7, 0.4)]
    assert seen[0] is seen[1] is seen[3] is not seen[2]
    assert calls(teaching) == [len(chunk.labels), len(seen[0].images), len(seen[2].images)]


def test_mixing_alone_asks_for_the_images_as_they_are_once(chunks: list[Chunk], teaching: TeacherContext) -> None:
    made = views(chunks[0], teaching)
    mixed = made.mixed(Mixing("mixup", "high", 0.5, alpha=0.2), "view")
    assert made.weak.teacher is not None
    assert calls(teaching) == [len(chunks[0].labels), len(mixed.images)]


# --- temperatures --------------------------------------------------------------------------------------------------

RATE = 0.3
RULES = {
    "energy": (2.0, -1.5),
    "low": (2.0, 0.0),
    "high": (0.0, -1.5),
    "reversed": (-1.5, 2.0),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mixed", [False, True])
def test_temperature_rules(
    rule: str, mixed: bool, chunks: list[Chunk], teaching: TeacherContext, energies: Tensor
) -> None:
    """As the core gives them from the training set's energies; on mixed images from the mixed images' energy."""
    made = views(chunks[1], teaching)
    view = made.mixed(Mixing("cutmix"), "view") if mixed else made.weak
    assert view.teacher is not None
    low, high = energy_thresholds(energies.float(), RATE, RATE)
    expected = energy_temperature(energy(view.teacher.logits), low, high, 4.0, *RULES[rule])
    found = temperatures_of(view, Temperature(4, rule, 2, -1.5, RATE))
    assert isinstance(found, Tensor)
    assert torch.equal(found, expected)
    assert {*expected.unique().tolist()} == {4.0, *(4 + change for change in RULES[rule])}


def test_reversed_gives_high_temperature_to_high_energy(chunks: list[Chunk], teaching: TeacherContext) -> None:
    weak = views(chunks[0], teaching).weak
    for rule, sign in (("energy", -1), ("reversed", 1)):
        temperature = temperatures_of(weak, Temperature(4, rule, 2, -2, 0.2))
        assert isinstance(temperature, Tensor)
        assert sign * torch.corrcoef(torch.stack([weak.energies, temperature]))[0, 1] > 0.5


def test_gradation(chunks: list[Chunk], teaching: TeacherContext, energies: Tensor) -> None:
    weak = views(chunks[0], teaching).weak
    for values in ((6.0, 5.0, 4.0, 3.0, 2.0), (6.0, 2.0)):
        found = temperatures_of(weak, Temperature(4, "gradation", values=values))
        edges = gradation_edges(energies.float(), len(values))
        assert isinstance(found, Tensor)
        assert torch.equal(found, gradation_temperature(weak.energies, edges, values))
        assert {*found.tolist()} == {*values}


def test_plain_is_a_number(chunks: list[Chunk], teaching: TeacherContext) -> None:
    assert temperatures_of(views(chunks[0], teaching).weak, Temperature(3.0)) == 3.0


def test_rules_of_one_view_are_kept_apart(chunks: list[Chunk], teaching: TeacherContext) -> None:
    weak = views(chunks[0], teaching).weak
    one = temperatures_of(weak, Temperature(4, "energy", 2, -2, 0.2))
    two = temperatures_of(weak, Temperature(4, "energy", 2, -2, 0.4))
    assert isinstance(one, Tensor)
    assert isinstance(two, Tensor)
    assert not torch.equal(one, two)
    assert temperatures_of(weak, Temperature(4, "energy", 2, -2, 0.2)) is one


# --- what some methods ask for -------------------------------------------------------------------------------------


def test_answers_by_batch_are_those_of_each_step_alone(chunks: list[Chunk], teaching: TeacherContext) -> None:
    made = views(chunks[-1], teaching)
    found = made.batch_answers
    for start, end in made.weak.bounds:
        alone = teaching.teacher.batch_outputs(made.weak.images[start:end])
        assert torch.equal(found.logits[start:end], alone.logits)
        assert torch.equal(found.preactivations[-1][start:end], alone.preactivations[-1])


def test_a_teacher_that_nobody_asks_in_evaluation_mode_does_not_answer(
    chunks: list[Chunk], teaching: TeacherContext
) -> None:
    made = Views(chunks[0], stream(3), torch.float32, teaching, asked=False)
    assert made.weak.teacher is None
    assert len(made.batch_answers.logits) == len(made.weak.images)
    assert calls(teaching) == []


def test_a_strong_view_has_a_crop_of_its_own(chunks: list[Chunk], teaching: TeacherContext) -> None:
    chunk, made = chunks[0], stream(3)
    pixels = strong(made.anew(chunk), generator(3, Purpose.STRONG_AUGMENTATION, chunk.epoch, chunk.first_step))
    found = views(chunk, teaching).strong
    assert torch.equal(found.images, normalise(pixels, made.mean, made.std))
    assert found.index is chunk.index


def test_both_labels_of_mixed_images(chunks: list[Chunk], teaching: TeacherContext) -> None:
    """In each step, every image is mixed once as itself and once as a partner."""
    made = views(chunks[0], teaching)
    one, both = (made.mixed(Mixing("cutmix", "high", 0.5, target=target), "view") for target in ("larger", "both"))
    assert one.others is None
    assert both.others is not None
    assert torch.equal(one.images, both.images)
    assert torch.equal(one.labels, both.labels)
    for start, end in both.bounds:
        together = torch.cat([both.labels[start:end], both.others[start:end]]).bincount(minlength=10)
        assert (together % 2 == 0).all()
    assert not torch.equal(both.labels, both.others)
