"""Two methods at once: the sum of their losses, one cross-entropy; a factor of 0 leaves the other as it is alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from few import fast
from small_jobs import VANILLA, GivenTeacher, outcome, train
from torch.nn.functional import cross_entropy

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.resolved import resolve
from trainables import datasets
from trainables.errors import UserError
from trainables.methods import Batch, Setup, find, make, whole_batches
from trainables.models import Outputs
from trainables.recipes import Pair
from trainables.run_names import name_of
from trainables.spec import RunSpec, params

CRD = {"weight": 0.8, "dimensions": 8, "negatives": 16, "temperature": 0.07, "momentum": 0.5}
AT = {"weight": 10, "power": 2}
FIRST = {"kd": {"kd": 0.9}, "dkd": {"alpha": 1, "beta": 2, "warmup": 2}, "nkd": {"gamma": 1.5}, "at": AT}


def named(method: str, numbers: dict[str, float]) -> dict[str, float]:
    return {f"{method}.{name}": value for name, value in numbers.items()}


def outputs(seed: int) -> Outputs:
    draw = torch.Generator().manual_seed(seed)
    features = tuple(torch.rand(6, 4, side, side, generator=draw) for side in (8, 8, 4))
    return Outputs(torch.randn(6, 5, generator=draw), features, torch.rand(6, 4, generator=draw), features)


@pytest.mark.parametrize(("kd", "at"), [(1, 1), (0.5, 3)])
def test_a_sum_is_one_cross_entropy_and_both_terms(kd: float, at: float) -> None:
    numbers = {"ce": 0.7, "kd.kd": 0.9, "kd.factor": kd, "at.factor": at} | named("at", AT)
    batch = Batch(torch.zeros(6, 3, 8, 8), torch.arange(6) % 5, 1, temperature=4.0, base=4.0, teacher=outputs(1))
    found = make("kd+at", params(**numbers)).loss(outputs(2), batch)
    one = make("kd", params(ce=0, kd=0.9)).loss(outputs(2), batch)
    two = make("at", params(ce=0, **AT)).loss(outputs(2), batch)
    expected = 0.7 * cross_entropy(outputs(2).logits, batch.labels) + kd * one + at * two
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", fast(FIRST, "dkd", others="medium"))
def test_with_a_factor_of_0_it_is_the_first_bit_for_bit(teacher: GivenTeacher, tmp_path: Path, method: str) -> None:
    own = FIRST[method]
    temperature = VANILLA.temperature if find(method).TEMPERED else None
    alone = teacher.spec(epochs=1, milestones=())
    alone = replace(alone, method=method, params=params(ce=0.7, **own), temperature=temperature)
    numbers = {"ce": 0.7, "crd.factor": 0} | named(method, own) | named("crd", CRD)
    both = replace(alone, method=f"{method}+crd", params=params(**numbers))
    train([alone, both], teacher.execution(tmp_path))
    (one, first), (two, second) = outcome(tmp_path, alone), outcome(tmp_path, both)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert first["curve"] == second["curve"]


def test_a_sum_needs_what_its_methods_need(teacher: GivenTeacher) -> None:
    both = find("dkd+crd")
    assert (both.TEMPERED, both.FEATURES, both.COUPLED, both.MIXES, both.MEASURES) == (True, True, True, True, False)
    assert find("at+fitnet").TEMPERED is False
    made = make("at+crd", params(ce=1, **named("at", AT), **named("crd", CRD)))
    said = outputs(0).map(lambda tensor: tensor[:1])
    extra = made.extra(Setup(said, said, (), torch.arange(40) % 5, 5))
    assert extra is not None
    assert {name.partition(".")[0] for name, _ in extra.named_parameters()} == {"crd"}
    spec = teacher.spec()
    assert whole_batches(replace(spec, method="kd+crd", params=()))
    assert not whole_batches(replace(spec, method="kd+at", params=()))


@pytest.mark.parametrize(
    ("method", "numbers", "message"),
    [
        ("kd+cdr", {}, r"unknown method 'cdr' \(did you mean crd\?\)"),
        ("kd+kd", {}, "the method kd.kd names one twice"),
        ("kd+dml", {}, "dml cannot be part of kd.dml: only a method with a teacher and a cross-entropy"),
        ("kd+ofd", {}, "ofd cannot be part of kd.ofd"),
        ("kd+at", {"ce": 1}, "method kd.at takes the parameters at.factor, at.power, at.weight, ce, kd.factor, kd.kd"),
        ("kd+at", {"ce": 1, "kd.kd": 1, "kd.ce": 1} | named("at", AT), "takes the parameters at.factor"),
        ("kd+at", {"ce": 1, "kd.kd": 1, "kd.factor": 0} | named("at", AT), "that of the first method must be above 0"),
        (
            "kd+multi",
            {"ce": 1, "kd.kd": 1, "multi.kd": 1, "multi.released": 1, "multi.strong": 1},
            "multi cannot be part of kd.multi: it wants strong views",
        ),
    ],
)
def test_what_cannot_be_summed_is_refused(method: str, numbers: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(method, params(**numbers))


def test_rows_of_the_ablation_are_summed() -> None:
    settings = Settings(dataset="digits", pairs=("resnet20/resnet8",), rows=("energy_kd+crd", "kd+at"), seeds=1)
    cells = resolve(paper.ablation(), settings).cells
    energy, kd = (specs[0] for specs in cells.values())
    assert [row for _, row, _ in cells] == ["energy_kd+crd", "kd+at"]
    assert (energy.method, energy.temperature.rule) == ("kd+crd", "energy")  # type: ignore[union-attr]
    recipe, pair = datasets.find("digits").recipe, Pair("resnet20", "resnet8")
    assert dict(kd.params) == {
        "ce": dict(paper.find("table5").parts[0].rows[0].treat(recipe, pair).params)["ce"],
        "kd.kd": 0.9,
        "kd.factor": 1,
        "at.weight": 1000,
        "at.power": 2,
        "at.factor": 1,
    }
    assert name_of(kd).startswith("digits-resnet20-resnet8-kd+at-e12-s1-")
    assert name_of(replace(kd, params=params(**dict(kd.params) | {"at.weight": 5}))).startswith(
        "digits-resnet20-resnet8-kd+at-at.weight5-e12"
    )
    assert RunSpec.__name__ in repr(kd)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("kd+takd", "rows with an assistant, a peer or no teacher cannot be summed"),
        ("kd+energy_dkd", "the rows have another temperature each"),
    ],
)
def test_rows_that_cannot_be_summed_are_refused(rows: str, message: str) -> None:
    settings = Settings(dataset="digits", pairs=("resnet20/resnet8",), rows=(rows,), seeds=1)
    with pytest.raises(UserError, match=message):
        _ = resolve(paper.ablation(), settings).runs
