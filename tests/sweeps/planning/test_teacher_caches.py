"""What a plan says of teacher caches: who shares one, what they take, and whose teacher is spared."""

from __future__ import annotations

import pytest
from plans import plan_of

from analysis import paper
from analysis.record.settings import Settings
from sweeps.display.forecast import teacher_cache_lines
from sweeps.planning import estimate as estimate_module
from sweeps.planning.estimate import Cost, estimate
from sweeps.planning.plan import Plan
from sweeps.planning.resources import Resources
from sweeps.planning.teacher_caches import TeacherCaches, find_teacher_caches
from trainables.datasets import count_images

GB = 10**9
PAIRS = ("resnet56/resnet20", "vgg13/vgg8", "vgg13/MobileNetV2")


def planned(*tables: str, pack: int | None = None, **settings: object) -> Plan:
    fields = {"dataset": "cifar100", "seeds": 1, "pairs": PAIRS} | settings
    return plan_of([paper.find(table) for table in tables], Settings(**fields), {}, pack=pack)  # type: ignore[arg-type]


def caches(plan: Plan, most: float = 1000 * GB) -> TeacherCaches:
    return find_teacher_caches(plan.jobs, None, most)


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("bf16", 2)])
def test_a_cache_for_each_teacher_and_seed(precision: str, size: int) -> None:
    """VGG8 and MobileNetV2 learn from one VGG13; 2.4 GB each at two bytes a logit."""
    found = caches(planned("table5", seeds=2, precision=precision))
    assert found.count == 2 * 2
    assert found.bytes == 4 * 240 * 50_000 * 100 * size
    assert sorted(found.spared.values()) == [0, 0, 0, 0, 240, 240]


def test_whoever_trains_longer_asks_for_the_rest_itself() -> None:
    """Energy KD's 360 epochs make the cache longer than KD's 240 fill it."""
    found = caches(planned("table1", pairs=("vgg13/vgg8",), rows=("kd", "energy_kd"), pack=1))
    assert found.bytes == 360 * 50_000 * 100 * 4
    assert set(found.spared.values()) <= {0, 240, 360}
    assert sum(found.spared.values()) == 240


def test_feature_methods_and_measured_times_have_none() -> None:
    assert caches(planned("table1", rows=("reviewkd", "crd"))).count == 0
    assert caches(planned("table7")).count == 0


def test_what_does_not_fit_is_said() -> None:
    plan = planned("table5", pairs=("vgg13/vgg8",))
    found = caches(plan, 4 * GB)
    assert found == TeacherCaches(too_large=("vgg13 on cifar100", 240 * 50_000 * 100 * 4))
    (line,) = teacher_cache_lines(found, 4)
    assert line.startswith("the logits of vgg13 on cifar100 would take 4.8 GB, more than --teacher-cache 4")
    assert caches(plan, 0) == TeacherCaches()
    assert teacher_cache_lines(TeacherCaches(), 0) == []


def test_images_that_are_decoded_have_none() -> None:
    plan = planned("table3", dataset="imagenet", pairs=("imagenet_resnet34/imagenet_resnet18",), rows=("kd",))
    found = caches(plan)
    assert found == TeacherCaches(streamed="imagenet_resnet34 on imagenet")
    (line,) = teacher_cache_lines(found, 1000)
    assert line.startswith("the logits of imagenet_resnet34 on imagenet are not cached")


class Costs(dict[object, Cost]):
    def __missing__(self, work: object) -> Cost:
        return Cost(step=0.01, image=0.001, bytes=1000)


def test_the_estimate_counts_a_shared_teacher_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine jobs of one student each, eight do not ask; mixed images are asked about all the same."""
    small = {"dataset": "digits", "pairs": ("resnet20/resnet8",), "epochs": 1000}
    plan = planned("table5", pack=1, rows=("kd", "dkd"), **small)
    found = caches(plan)
    assert sorted(found.spared.values()) == [0, 1000]
    monkeypatch.setattr(estimate_module, "measure_costs", lambda *_: Costs())
    with_caches, without = (
        estimate(plan, None, Resources(0), device="cpu", at_once=1, caches=each).device_hours
        for each in (found, TeacherCaches())
    )
    assert (without - with_caches) * 3600 == pytest.approx(1000 * count_images("digits", None).train_size * 0.001)
