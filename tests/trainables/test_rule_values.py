"""What a rule gives to each image: as in training, and without a student."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from small_jobs import VANILLA
from torch import Tensor

from ekd_core import energy
from trainables.models import Outputs
from trainables.rule_values import AT_ONCE, PARTS, rule_values
from trainables.rules import make_rule
from trainables.spec import Temperature, params
from trainables.training.evaluation import Scores
from trainables.training.teachers import Teacher, TeacherFacts
from trainables.training.views import TeacherContext, View

SIZE = AT_ONCE + 9
DRAW = torch.Generator().manual_seed(1)
TEACHER, STUDENT = (4 * torch.randn(SIZE, 5, generator=DRAW) for _ in range(2))
LABELS = torch.randint(5, (SIZE,), generator=DRAW)
AS_THEY_ARE = torch.randn(SIZE, generator=DRAW)
ENERGY = Temperature(4, "energy", 2, -1, 0.3)


def values(temperature: Temperature, student: Tensor | None = None, membership: str = "view") -> dict[str, np.ndarray]:
    taught = None if student is None else student.numpy()
    images = AS_THEY_ARE.numpy() if membership == "image" else None
    return rule_values(temperature, TEACHER.numpy(), LABELS.numpy(), student=taught, as_they_are=images)


@pytest.mark.parametrize("membership", ["view", "image"])
@pytest.mark.parametrize(
    "temperature", [ENERGY, Temperature(4, "gradation", values=(6, 4, 2))], ids=lambda one: one.rule
)
def test_energies_are_cut_as_in_training(temperature: Temperature, membership: str) -> None:
    facts = TeacherFacts("", Scores(0, 0, 0), {"view": energy(TEACHER), "image": AS_THEY_ARE})
    context = TeacherContext(cast(Teacher, None), facts)
    index = torch.arange(SIZE)
    view = View(torch.empty(SIZE), LABELS, Outputs.of_logits(TEACHER), ((0, SIZE),), index, context)
    taught = replace(VANILLA, method="kd", teacher="resnet8", teacher_source="sha256:0")
    spec = replace(taught, temperature=temperature, membership=membership)
    trained = view.temperature(spec, make_rule(temperature))
    assert isinstance(trained, Tensor)
    found = values(temperature, membership=membership)
    assert [*found] == [*PARTS]
    for part, wanted in (("teacher", trained), ("student", trained), ("factor", trained**2)):
        np.testing.assert_array_equal(found[part], wanted.numpy())


def test_the_values_of_all_images_are_those_of_the_formulas() -> None:
    teacher, student = (each.std(dim=1).numpy() for each in (TEACHER, STUDENT))
    found = values(Temperature(0, "normkd", numbers=params(tau=2)), STUDENT)
    for part, wanted in (("teacher", 2 * teacher), ("student", 2 * student), ("factor", (2 * teacher) ** 2)):
        np.testing.assert_allclose(found[part], wanted, rtol=1e-5)


def test_of_a_temperature_for_each_class_that_of_the_label_is_given() -> None:
    found = values(Temperature(0, "ats", numbers=params(true=5, other=3, student=2)))
    assert {part: np.unique(found[part]).tolist() for part in PARTS} == {"teacher": [5], "student": [2], "factor": [4]}


@pytest.mark.parametrize(
    ("rule", "numbers", "known"),
    [
        ("lskd", {"tau": 2}, "teacher factor"),
        ("normkd", {"tau": 2}, "teacher factor"),
        ("dtkd", {}, ""),
        ("spherical", {}, "teacher factor"),
        ("ctkd", {}, "teacher student factor"),
        ("wsld", {}, "teacher student"),
        ("wttm", {"gamma": 0.2}, "teacher student factor"),
    ],
)
def test_without_a_student_what_depends_on_it_is_missing(rule: str, numbers: dict[str, float], known: str) -> None:
    base = 4 if rule in ("dtkd", "spherical", "wsld") else 0
    temperature = Temperature(base, rule, numbers=params(**numbers))
    alone, together = values(temperature), values(temperature, STUDENT)
    assert " ".join(alone) == known
    assert [*together] == [*PARTS]
    for part, found in alone.items():
        np.testing.assert_array_equal(found, together[part])
