"""Every rule of the temperature in training: it learns, the same bits alone, in a pack, resumed and from recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from few import some_or_all
from small_jobs import VANILLA, GivenTeacher, Recorder, assert_same, outcome, stop_after, train

from ekd_core import kd_loss, rules
from ekd_core.rules import Samples
from ekd_core.rules.lskd import LSKD
from trainables import job
from trainables.baselines import multi_plain
from trainables.data.stream import WHOLE
from trainables.errors import UserError
from trainables.job import Execution
from trainables.methods import Batch, check_method, make
from trainables.methods.kd_equal import EqualKD, Scale
from trainables.models import Outputs
from trainables.recipes import DIGITS, Treatment, dkd, energy_kd, kd
from trainables.rivals import (
    ats,
    ctkd,
    dist,
    dkd_lskd,
    dkd_normkd,
    dtkd,
    eakd,
    lskd,
    nkd,
    normkd,
    rld,
    spherical,
    ttm,
    with_kd_gradient,
    wsld,
    wttm,
)
from trainables.spec import Mixing, RunSpec
from trainables.storage.runs import weights_path

PAIR = DIGITS.pairs[0]
OF_RULES: dict[str, Treatment] = {
    "plain": kd(DIGITS),
    **{rule: energy_kd(DIGITS, PAIR, rule) for rule in ("energy", "reversed", "low", "high", "gradation")},
    "lskd": lskd(DIGITS, PAIR),
    "normkd": normkd(DIGITS, PAIR),
    "dtkd": dtkd(DIGITS, PAIR),
    "dtkd_energy": dtkd(DIGITS, PAIR, "dtkd_energy"),
    "ttm": ttm(DIGITS, PAIR),
    "wttm": wttm(DIGITS, PAIR),
    "spherical": spherical(DIGITS, PAIR),
    "ctkd": ctkd(DIGITS, PAIR),
    "ats": ats(DIGITS, PAIR),
    "eakd": eakd(DIGITS, PAIR),
    "wsld": wsld(DIGITS, PAIR),
}
HE_DA = Mixing("cutmix", "high", 0.4)
MIXED = {
    "dkd_lskd": dkd_lskd(DIGITS, PAIR),
    "dkd_normkd": dkd_normkd(DIGITS, PAIR),
    "he_normkd": replace(normkd(DIGITS, PAIR), mixing=HE_DA),
    "mixup_dkd_lskd": replace(dkd_lskd(DIGITS, PAIR), mixing=Mixing("mixup", target="both")),
    "equal_lskd": with_kd_gradient(lskd(DIGITS, PAIR), DIGITS),
}
ALL = OF_RULES | MIXED


def make_runs(base: RunSpec, source: str) -> dict[str, RunSpec]:
    return {
        name: replace(
            base,
            teacher=base.student,
            teacher_source=source,
            method=each.method,
            params=each.params,
            temperature=each.temperature,
            mixing=each.mixing,
        )
        for name, each in ALL.items()
    }


FEW = ("energy", "lskd", "ctkd", "wttm", "he_normkd", "equal_lskd")
"""Of the teacher; of the student; learned; with a loss of its own; on mixed images; with a measured weight."""
Trained = tuple[dict[str, RunSpec], Path]


@pytest.fixture(scope="module", params=some_or_all(FEW, ALL))
def alone(request: pytest.FixtureRequest, teacher: GivenTeacher, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of few digits, each rule in a job of its own."""
    runs = {name: make_runs(VANILLA, f"sha256:{teacher.digest}")[name] for name in request.param}
    execution = teacher.execution(tmp_path_factory.mktemp("alone"))
    for run in runs.values():
        train([run], execution)
    return runs, execution.results


def test_every_rule_is_trained_here() -> None:
    assert {*OF_RULES} == {*rules.names()}


@pytest.mark.slow
def test_they_learn(tmp_path: Path) -> None:
    """Four epochs of half of the digits, under a teacher that was trained here. Chance is 10 per cent.

    At a low learning rate: some have weights for long schedules, 45 (TTM), 9 and 72 (DKD with LSKD).
    """
    base = replace(VANILLA, batch_size=16, train_fraction=0.5, epochs=4, milestones=(3,), lr=0.01)
    execution = Execution(tmp_path, threads=1)
    train([base], execution)
    runs = make_runs(base, f"run:{base.run_id}")
    train(list(runs.values()), execution)
    reached = {name: outcome(tmp_path, run)[1]["last_top1"] for name, run in runs.items()}
    assert all(top1 > 20 for top1 in reached.values()), reached


@pytest.mark.medium
def test_packed_with_a_cache_stopped_and_resumed_with_recordings_they_have_the_same_bits(
    teacher: GivenTeacher, alone: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, results = alone
    execution = teacher.execution(tmp_path, teacher_cache_gb=1.0)
    stop_after(list(runs.values()), execution, 1)
    recorder = Recorder()
    monkeypatch.setattr(job, "capture_on", lambda execution: recorder)
    train(list(runs.values()), execution)
    assert_same(results, tmp_path, list(runs.values()))
    assert sum(recorder.replays.values()) > len(runs)


@pytest.mark.medium
def test_the_learned_temperature_has_moved_and_is_saved(alone: Trained) -> None:
    runs, results = alone
    theta = torch.load(weights_path(results, runs["ctkd"].run_id), weights_only=True)["method"]["rule.theta"]
    assert theta.dtype == torch.float32
    assert theta.item() != 1.0


def test_a_measured_weight_gives_the_gradient_of_kd() -> None:
    """By LSKD, whose own gradient is another: the mean over the samples is that of 0.9 KD at T = 4."""
    method = EqualKD(ce=0.1, kd=0.9, reference=4)
    teacher, student = (3 * torch.randn(32, 10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    student.requires_grad_()

    def batch() -> Batch:
        softening = LSKD(2).soften(Samples(teacher, student))
        return Batch(student, torch.zeros(32).long(), 1, softening, teacher=Outputs.of_logits(teacher), extra=scale)

    def pull(loss: torch.Tensor) -> float:
        (gradient,) = torch.autograd.grad(loss, student)
        return gradient.norm(dim=1).mean().item()

    scale = Scale()
    wanted = pull(0.9 * kd_loss(student, teacher, 4.0))
    assert pull(method.distillation_loss(Outputs.of_logits(student), batch())) != pytest.approx(wanted, rel=0.1)
    method.measure(Outputs.of_logits(student), batch())
    assert pull(method.distillation_loss(Outputs.of_logits(student), batch())) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.medium
def test_a_measured_weight_is_kept_with_the_weights(alone: Trained) -> None:
    runs, results = alone
    scale = torch.load(weights_path(results, runs["equal_lskd"].run_id), weights_only=True)["method"]["value"]
    assert scale.item() > 0
    assert scale.item() != 1.0


@pytest.mark.parametrize(
    ("treatment", "words"),
    [
        (replace(ats(DIGITS, PAIR), mixing=HE_DA), "ats looks at the label, of which a mixed image has two"),
        (replace(wsld(DIGITS, PAIR), mixing=HE_DA), "wsld looks at the label"),
        (replace(dkd(DIGITS, PAIR), temperature=wsld(DIGITS, PAIR).temperature), "dkd is not defined with .* wsld"),
        (replace(dkd(DIGITS, PAIR), temperature=ats(DIGITS, PAIR).temperature), "dkd is not defined with .* ats"),
        (
            replace(multi_plain(DIGITS, PAIR), temperature=lskd(DIGITS, PAIR).temperature),
            "multi is not .* lskd",
        ),
        (replace(dist(DIGITS, PAIR), temperature=OF_RULES["energy"].temperature), "dist is not defined .* energy"),
        (replace(rld(DIGITS, PAIR), temperature=OF_RULES["normkd"].temperature), "rld is not defined .* normkd"),
        (replace(nkd(DIGITS, PAIR), mixing=HE_DA), "nkd has no loss on mixed images"),
    ],
)
def test_what_is_not_defined_is_refused_by_name(treatment: Treatment, words: str, teacher: GivenTeacher) -> None:
    spec = replace(
        teacher.spec(),
        method=treatment.method,
        params=treatment.params,
        temperature=treatment.temperature,
        mixing=treatment.mixing,
    )
    with pytest.raises(UserError, match=words):
        check_method(make(spec.method, spec.params), spec, WHOLE)
