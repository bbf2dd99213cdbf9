"""Contrastive distillation: against loops and torchdistill, who is drawn, both forms, the memories, the state."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.errors import UserError
from trainables.methods import Batch, Method, Setup, find, make
from trainables.methods.crd import Contrast, MemoryBank
from trainables.models import Outputs
from trainables.spec import params

C, M, N, D = 5, 60, 6, 8
STUDENT, TEACHER = 7, 9
LABELS = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(C), [20, 10, 14, 6, 10])))
NUMBERS = {"ce": 1.0, "weight": 0.8, "dimensions": D, "negatives": 16, "temperature": 0.07, "momentum": 0.5}


class Seen(NamedTuple):
    """What a loss is of."""

    student: Outputs
    batch: Batch


def crd(**changed: float) -> Method:
    return make("crd", params(**(NUMBERS | changed)))


def said(width: int, seed: int, count: int = N, dtype: torch.dtype = torch.float32) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    logits, pooled = (torch.randn(count, size, generator=draw, dtype=dtype) for size in (C, width))
    return Outputs(logits, (), pooled, ())


def contrast(labels: Tensor = LABELS, *, whole: bool | None = None, **changed: float) -> Contrast:
    setup = Setup(said(STUDENT, 0, 1), said(TEACHER, 0, 1), (), labels, C)
    torch.manual_seed(0)
    extra = crd(**changed).extra(setup)
    assert isinstance(extra, Contrast)
    extra.whole = extra.whole if whole is None else whole
    return extra


def step(extra: nn.Module, number: int = 0, labels: Tensor = LABELS, dtype: torch.dtype = torch.float32) -> Seen:
    index = torch.from_numpy(np.random.default_rng(number).permutation(len(labels))[:N])
    student, teacher = said(STUDENT, 2 * number + 1, dtype=dtype), said(TEACHER, 2 * number + 2, dtype=dtype)
    batch = Batch(
        images=torch.zeros(N, 3, 16, 16),
        labels=labels[index],
        epoch=1,
        temperature=4.0,
        teacher=teacher,
        index=index,
        extra=extra,
        draw_seed=lambda: 1000 + number,
    )
    return Seen(student, batch)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_loops(extra: Contrast, seen: Seen, chosen: list[list[int]], z: list[float | None]) -> tuple[float, list[float]]:
    """Both directions, one score at a time; Z of both, found where not given."""
    assert seen.batch.index is not None
    total, constants = 0.0, []
    for own, other, outputs, known in (
        (extra.student, extra.teacher, seen.student, z[0]),
        (extra.teacher, extra.student, seen.batch.teacher_outputs, z[1]),
    ):
        embedded = outputs.pooled @ own.embed.weight.T + own.embed.bias
        embedded = (embedded / embedded.square().sum(1, keepdim=True).sqrt()).detach().double().numpy()
        memory = other.memory.double().numpy()
        rows = [[int(i), *negatives] for i, negatives in zip(seen.batch.index, chosen, strict=True)]
        scores = np.array(
            [[math.exp(v @ memory[j] / 0.07) for j in row] for v, row in zip(embedded, rows, strict=True)]
        )
        constant = len(memory) * scores.mean() if known is None else known
        noise = len(chosen[0]) / len(memory)
        for positive, *negatives in scores / constant:
            total -= math.log(positive / (positive + noise))
            total -= sum(math.log(noise / (negative + noise)) for negative in negatives)
        constants.append(constant)
    return total / N, constants


def chosen_by(extra: Contrast, seen: Seen) -> list[list[int]]:
    assert seen.batch.index is not None
    draws = generator(seen.batch.draw_seed())
    if extra.whole:
        weights = extra.weights(seen.batch.index, draws)
        assert set(weights.unique().tolist()) == {0.0, 1.0}
        return [row.nonzero().flatten().tolist() for row in weights]
    rows: list[list[int]] = extra.drawn(seen.batch.index, draws).tolist()
    return rows


def without_ce(seen: Seen, **changed: float) -> Tensor:
    loss: Tensor = crd(ce=0, weight=1, **changed).loss(*seen)
    return loss


def test_its_needs() -> None:
    cls = find("crd")
    assert (cls.FEATURES, cls.COUPLED, cls.TEACHER) == (True, True, True)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "rows"])
def test_against_loops(whole: bool) -> None:
    """Two steps: the second keeps the constants of the first, and meets the memories as the first left them."""
    extra = contrast(whole=whole)
    known: list[float | None] = [None, None]
    for number in (0, 1):
        seen = step(extra, number)
        expected, constants = by_loops(extra, seen, chosen_by(extra, seen), known)
        found = without_ce(seen)
        assert found.shape == ()
        assert found.item() == pytest.approx(expected, rel=1e-4)
        known = list(constants)
        banks = (extra.teacher, extra.student)
        assert [bank.z.item() for bank in banks] == pytest.approx(constants, rel=1e-5)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "rows"])
def test_against_torchdistill(whole: bool) -> None:
    """Three steps of its CRDLoss, given our negatives and our first memories."""
    mid_level = pytest.importorskip("torchdistill.losses.mid_level")
    extra = contrast(whole=whole)
    theirs = mid_level.CRDLoss("student", "index", "teacher", D, M, 16, M)
    theirs.memory_v1.copy_(extra.student.memory)
    theirs.memory_v2.copy_(extra.teacher.memory)
    for number in range(3):
        seen = step(extra, number)
        rows = torch.cat([seen.batch.index[:, None], torch.tensor(chosen_by(extra, seen))], dim=1)
        with torch.no_grad():
            student, teacher = extra.student(seen.student.pooled), extra.teacher(seen.batch.teacher_outputs.pooled)
        said_of = {
            "student": {"output": student},
            "index": {"input": {"pos_idx": seen.batch.index, "contrast_idx": rows}},
        }
        expected = theirs(said_of, {"teacher": {"output": teacher}})
        torch.testing.assert_close(without_ce(seen), expected.squeeze(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(extra.student.memory, theirs.memory_v1)
        torch.testing.assert_close(extra.teacher.memory, theirs.memory_v2)


def test_both_forms_are_the_same_numbers() -> None:
    """Rows that are the ones of the whole form's weights: value and gradients."""
    losses, gradients = [], []
    for whole in (True, False):
        extra = contrast(whole=whole)
        seen = step(extra)
        rows = torch.tensor(chosen_by(contrast(whole=True), seen))
        if not whole:
            extra.drawn = lambda index, generator, rows=rows: rows
        loss = without_ce(seen)
        loss.backward()
        losses.append(loss)
        gradients.append([weight.grad for weight in extra.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "rows"])
def test_gradients_by_finite_differences(whole: bool) -> None:
    extra = contrast(whole=whole).double()
    seen = step(extra, dtype=torch.float64)
    without_ce(seen)

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        """Each time with the memories as they are now."""
        said = seen.batch.teacher_outputs._replace(pooled=teacher)
        batch = dataclasses.replace(seen.batch, teacher=said, extra=copy.deepcopy(extra))
        return without_ce(Seen(seen.student._replace(pooled=student), batch))

    pooled = (outputs.pooled.clone().requires_grad_() for outputs in (seen.student, seen.batch.teacher_outputs))
    assert torch.autograd.gradcheck(loss, tuple(pooled), fast_mode=True)


# --- who is drawn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("negatives", [1, 16, 40])
def test_negatives_are_of_other_classes_and_each_drawn_once(negatives: int) -> None:
    extra = contrast(negatives=negatives)
    assert extra.fewest == 40
    index = torch.arange(M)
    weights = extra.weights(index, generator(3))
    assert bool((weights.sum(dim=1) == negatives).all())
    assert set(weights.unique().tolist()) <= {0.0, 1.0}
    assert not bool(weights[LABELS[:, None] == LABELS].any())


def test_more_negatives_than_other_samples() -> None:
    """Each counts as often as it would be drawn on average."""
    extra = contrast(negatives=1000)
    weights = extra.weights(torch.arange(M), generator(0))
    others = LABELS[:, None] != LABELS
    torch.testing.assert_close(weights.sum(dim=1), torch.full((M,), 1000.0))
    torch.testing.assert_close(weights[0], others[0] * 1000 / others[0].sum())
    assert not bool(weights[~others].any())


def test_rows_are_of_other_classes() -> None:
    extra = contrast(negatives=300)
    index = torch.arange(M)
    rows = extra.drawn(index, generator(0))
    assert rows.shape == (M, 300)
    assert bool((LABELS[rows] != LABELS[:, None]).all())


@pytest.mark.parametrize("rows", [False, True], ids=["whole", "rows"])
def test_all_others_are_drawn_equally_often(rows: bool) -> None:
    """1,000 batches of one sample each of two classes: counts within five standard deviations."""
    extra = contrast(negatives=10)
    counts = torch.zeros(2, M)
    index = torch.tensor([int((kind == LABELS).nonzero()[0]) for kind in (0, 3)]).repeat(1000)
    if rows:
        drawn = extra.drawn(index, generator(1))
        seen = torch.zeros(len(index), M).scatter_add_(1, drawn, torch.ones(drawn.shape))
    else:
        seen = extra.weights(index, generator(1))
    counts = seen.view(1000, 2, M).sum(dim=0)
    for kind, count in zip((0, 3), counts, strict=True):
        others = count[kind != LABELS]
        expected = 10_000 / len(others)
        assert others.sum() == 10_000
        assert (others - expected).abs().max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("choose", [Contrast.weights, Contrast.drawn])
def test_draws_follow_from_the_seed(choose: Callable[[Contrast, Tensor, torch.Generator], Tensor]) -> None:
    extra, index = contrast(), torch.arange(N)
    one, same, other = (choose(extra, index, generator(seed)) for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_global_generator_is_left_alone() -> None:
    seen = step(contrast())
    before = torch.get_rng_state()
    without_ce(seen)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("samples", "negatives", "whole"), [(340, 20, False), (336, 20, True), (60, 16, True)])
def test_which_form_is_taken(samples: int, negatives: int, whole: bool) -> None:
    assert contrast(torch.arange(samples) % C, negatives=negatives).whole == whole


# --- memories and state --------------------------------------------------------------------------------------------


def test_memories_start_uniform() -> None:
    torch.manual_seed(0)
    memory = MemoryBank(4, 128, 1000).memory
    bound = math.sqrt(3 / 128)
    assert memory.abs().max() <= bound
    assert memory.mean().abs() < 0.01 * bound
    assert memory.std().item() == pytest.approx(1 / math.sqrt(128), rel=0.01)


def test_only_samples_of_the_batch_move() -> None:
    extra = contrast(momentum=0.75)
    seen = step(extra)
    before = copy.deepcopy(extra)
    assert seen.batch.index is not None
    without_ce(seen, momentum=0.75)
    others = torch.ones(M, dtype=torch.bool).index_fill(0, seen.batch.index, False)
    for bank, earlier, outputs in (
        (extra.student, before.student, seen.student),
        (extra.teacher, before.teacher, seen.batch.teacher_outputs),
    ):
        moved = 0.75 * earlier.memory[seen.batch.index] + 0.25 * earlier(outputs.pooled)
        moved = moved / moved.norm(dim=1, keepdim=True)
        torch.testing.assert_close(bank.memory[seen.batch.index], moved.detach())
        assert torch.equal(bank.memory[others], earlier.memory[others])
        assert not bank.memory.requires_grad


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "rows"])
def test_state_restored_trains_on_alike(whole: bool) -> None:
    """Four steps in one go; or two, and two more by modules that were made anew and got the state."""

    def train(extra: Contrast, numbers: range) -> None:
        optimizer = torch.optim.SGD(extra.parameters(), lr=0.1)
        for number in numbers:
            optimizer.zero_grad()
            without_ce(step(extra, number)).backward()
            optimizer.step()

    one, first, second = (contrast(whole=whole) for _ in range(3))
    train(one, range(4))
    train(first, range(2))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, range(2, 4))
    assert set(one.state_dict()) == {
        f"{who}.{name}" for who in ("student", "teacher") for name in ("embed.weight", "embed.bias", "memory", "z")
    }
    for name, value in one.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_the_whole_loss() -> None:
    seen = step(contrast())
    nce = without_ce(Seen(seen.student, dataclasses.replace(seen.batch, extra=contrast())))
    ce = torch.nn.functional.cross_entropy(seen.student.logits, seen.batch.labels)
    torch.testing.assert_close(crd(ce=0.5).loss(*seen), 0.5 * ce + 0.8 * nce)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dimensions": 0}, "whole number of dimensions"),
        ({"dimensions": 1.5}, "whole number of dimensions"),
        ({"negatives": 0}, "whole number of negatives"),
        ({"temperature": 0}, "temperature above 0"),
        ({"momentum": 1}, "momentum in"),
        ({"momentum": -0.5}, "momentum in"),
    ],
)
def test_numbers_that_make_no_sense(changed: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        crd(**changed)


def test_one_class() -> None:
    with pytest.raises(UserError, match="all of one"):
        contrast(torch.zeros(M, dtype=torch.int64))
