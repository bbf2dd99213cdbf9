"""Methods on features: the released implementations' values, gradients, plain second implementations, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_steps import METHODS, STUDENT, TEACHER, Shapes, batch, extra, learnable, norms, outputs, setup
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from trainables.errors import UserError
from trainables.methods import Batch, Method, make
from trainables.methods._features import average
from trainables.methods.ofd import margin_of, partial_l2
from trainables.models import Outputs
from trainables.spec import params

ONE, OTHER = outputs(STUDENT), outputs(TEACHER, pooled=7, seed=1)


def alone(name: str, **numbers: float) -> Method:
    """The method without cross-entropy, with some numbers changed."""
    method: Any = METHODS[name]
    changed: Method = dataclasses.replace(method, ce=0.0, **numbers)
    return changed


@pytest.fixture(scope="module")
def golden(ekd_data: Path) -> dict[str, Any]:
    return json.loads((ekd_data / "reference" / "losses.json").read_text())


def golden_inputs(inputs: dict[str, Any]) -> tuple[Outputs, Batch]:
    """The reference's two maps stand behind a first one, which methods on features leave out."""
    first = torch.zeros(16, 1, 1, 1, dtype=torch.float64)
    both = []
    for side in ("student", "teacher"):
        maps = tuple(torch.tensor(one, dtype=torch.float64) for one in inputs[f"feats_{side}"])
        logits, pooled = (
            torch.tensor(inputs[name], dtype=torch.float64) for name in (f"{side}_logits", f"pooled_{side}")
        )
        both.append(Outputs(logits=logits, features=(first, *maps), pooled=pooled, preactivations=()))
    student, teacher = both
    return student, dataclasses.replace(batch(teacher), labels=torch.tensor(inputs["labels"]))


@pytest.mark.parametrize(
    ("value", "name", "numbers"),
    [
        ("at_p2", "at", {"weight": 1, "power": 2}),
        ("pkt", "pkt", {"weight": 1}),
        ("rkd_distance25_angle50", "rkd", {"distance": 25, "angle": 50}),
        ("rkd_distance_only", "rkd", {"distance": 1, "angle": 0}),
        ("rkd_angle_only", "rkd", {"distance": 0, "angle": 1}),
    ],
)
def test_the_released_implementations_values(
    golden: dict[str, Any], value: str, name: str, numbers: dict[str, float]
) -> None:
    loss = alone(name, **numbers).loss(*golden_inputs(golden["inputs"]))
    expected = torch.tensor(golden["expected"][value], dtype=torch.float64)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def torchdistills(loss: str, pairs: list[tuple[Any, Tensor]]) -> Tensor:
    """Its loss of that name, which looks values up by module path, as forward hooks would leave them."""
    mid_level = pytest.importorskip("torchdistill.losses.mid_level")
    student, teacher = ({str(i): {"output": pair[side]} for i, pair in enumerate(pairs)} for side in (0, 1))
    places = {name: {"io": "output", "path": name} for name in student}
    module = getattr(mid_level, loss)({name: {"student": place, "teacher": place} for name, place in places.items()})
    found: Tensor = module(student, teacher)
    return found


def test_attention_against_torchdistill() -> None:
    other = ONE._replace(features=tuple(maps.roll(1, 0) for maps in ONE.features))
    pairs = list(zip(ONE.features[1:], other.features[1:], strict=True))
    found = alone("at", weight=1.0, power=2.0).loss(ONE, batch(other))
    torch.testing.assert_close(found, torchdistills("ATLoss", pairs))


def test_vid_against_torchdistill() -> None:
    modules = extra(METHODS["vid"], ONE, ONE).double()
    pairs = [(one(maps), maps) for one, maps in zip(modules, ONE.features[1:], strict=True)]
    found = alone("vid", weight=1.0).loss(ONE, batch(ONE, modules))
    torch.testing.assert_close(found, torchdistills("VIDLoss", pairs))


@pytest.mark.parametrize("name", METHODS)
def test_cross_entropy_is_added(name: str) -> None:
    modules = extra(METHODS[name], ONE, OTHER)
    seen = batch(OTHER, modules.double() if modules else None)
    entropy = METHODS[name].loss(ONE, seen) - alone(name).loss(ONE, seen)
    torch.testing.assert_close(entropy, cross_entropy(ONE.logits, seen.labels))


@pytest.mark.parametrize("name", METHODS)
def test_gradients(name: str) -> None:
    """Of the student's outputs and of the method's own modules, against differences, in float64."""
    method = METHODS[name]
    student, leaves = learnable(ONE)
    modules = extra(method, ONE, OTHER)
    own = [*modules.double().parameters()] if modules else []
    assert torch.autograd.gradcheck(
        lambda *_: method.loss(student, batch(OTHER, modules)), (*leaves, *own), fast_mode=True
    )


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(name: str) -> None:
    """On tensors without content, which have nothing to wait for: whatever reads a number raises."""
    modules = extra(METHODS[name], ONE, OTHER)
    modules = modules.to("meta") if modules else None
    student, leaves = learnable(ONE.map(lambda tensor: tensor.float().to("meta")))
    loss = METHODS[name].loss(student, batch(OTHER.map(lambda tensor: tensor.float().to("meta")), modules))
    loss.backward()
    assert loss.shape == ()
    assert any(leaf.grad is not None for leaf in leaves[:-1])


@pytest.mark.parametrize("name", ["at", "pkt", "rkd"])
def test_a_student_that_is_the_teacher_has_nothing_to_learn(name: str) -> None:
    student, leaves = learnable(OTHER)
    loss = alone(name).loss(student, batch(OTHER))
    loss.backward()
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-12)
    for leaf in leaves:
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        torch.testing.assert_close(gradient, torch.zeros_like(leaf), rtol=0, atol=1e-2 if name == "pkt" else 1e-12)
    assert alone(name).loss(outputs(TEACHER, pooled=7, seed=2), batch(OTHER)) > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_samples_are_compared_with_each_other_only_where_the_method_says_so(name: str) -> None:
    modules = extra(METHODS[name], ONE, OTHER)
    modules = modules.double().eval() if modules else None
    losses = []
    for part in (slice(0, 4), slice(0, 2), slice(2, 4)):
        one, other = (each.map(lambda tensor, part=part: tensor[part]) for each in (ONE, OTHER))
        losses.append(alone(name).loss(one, batch(other, modules)))
    whole, *halves = losses
    assert torch.allclose(sum(halves) / 2, whole) != METHODS[name].COUPLED


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_finite_where_features_are_zero_or_equal(name: str) -> None:
    def dull(tensor: Tensor) -> Tensor:
        tensor = tensor.float()
        tensor[0], tensor[2] = 0, tensor[1]
        return tensor

    student, leaves = learnable(ONE.map(dull))
    modules = extra(METHODS[name], ONE, OTHER)
    loss = METHODS[name].loss(student, batch(OTHER.map(lambda tensor: tensor.float()), modules))
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad.isfinite().all() and leaf.grad.abs().max() < 1e6 for leaf in leaves if leaf.grad is not None)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one(name: str) -> None:
    one, other = (each.map(lambda tensor: tensor[:1].float()) for each in (ONE, OTHER))
    student, leaves = learnable(one)
    loss = METHODS[name].loss(student, batch(other, extra(METHODS[name], one, other)))
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves if leaf.grad is not None)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (4, 5), (3, 2), (1, 1)])
def test_averaging_is_adaptive_pooling(height: int, width: int) -> None:
    maps = torch.randn(2, 3, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(average(maps, height, width), adaptive_avg_pool2d(maps, (height, width)))


def test_maps_are_matched_from_the_last() -> None:
    """More maps on one side: those in front play no part."""
    more = OTHER._replace(features=(torch.randn(4, 9, 8, 8, dtype=torch.float64), *OTHER.features))
    for student, teacher in ((ONE, more), (more, ONE)):
        fewer = [OTHER if each is more else each for each in (student, teacher)]
        torch.testing.assert_close(
            METHODS["at"].loss(student, batch(teacher)), METHODS["at"].loss(fewer[0], batch(fewer[1]))
        )


@pytest.mark.parametrize("power", [2, 3, 4])
def test_attention_of_any_power(power: float) -> None:
    expected = torch.zeros((), dtype=torch.float64)
    for student, teacher in zip(ONE.features[1:], OTHER.features[1:], strict=True):
        teacher = adaptive_avg_pool2d(teacher, student.shape[2:])
        q = [(maps.abs() ** power).sum(dim=1).flatten(1) for maps in (student, teacher)]
        s, t = (attention / (attention**2).sum(dim=1, keepdim=True).sqrt() for attention in q)
        expected = expected + ((s - t) ** 2).mean()
    torch.testing.assert_close(alone("at", weight=1, power=power).loss(ONE, batch(OTHER)), expected)


@pytest.mark.parametrize(
    ("student", "teacher", "kind", "kernel", "stride"),
    [
        ((3, 8, 8), (5, 8, 8), nn.Conv2d, 1, 1),
        ((3, 16, 16), (5, 8, 8), nn.Conv2d, 3, 2),
        ((3, 16, 16), (5, 4, 4), nn.Conv2d, 7, 4),
        ((3, 9, 9), (5, 3, 3), nn.Conv2d, 5, 3),
        ((3, 7, 7), (5, 4, 4), nn.Conv2d, 4, 1),
        ((3, 8, 8), (5, 16, 16), nn.ConvTranspose2d, 4, 2),
        ((3, 4, 4), (5, 16, 16), nn.ConvTranspose2d, 8, 4),
        ((3, 3, 3), (5, 9, 9), nn.ConvTranspose2d, 5, 3),
    ],
)
def test_the_regressor_of_fitnet(
    student: tuple[int, int, int], teacher: tuple[int, int, int], kind: type, kernel: int, stride: int
) -> None:
    """Kernels by the sides; the loss against norm and ReLU by hand, with every entry alive in the convolution."""
    one, other = outputs([student] * 3), outputs([teacher] * 3, seed=1)
    modules = extra(METHODS["fitnet"], one, other)
    assert isinstance(modules, nn.Sequential)
    convolution: Any = modules[0]
    assert type(convolution) is kind
    assert (convolution.kernel_size, convolution.stride) == ((kernel, kernel), (stride, stride))
    maps = modules.double()[0](one.features[2])
    assert maps.shape == other.features[2].shape
    deviation, mean = torch.std_mean(maps, dim=(0, 2, 3), keepdim=True, correction=0)
    hint = ((maps - mean) / (deviation**2 + 1e-5).sqrt()).clamp(min=0)
    loss = alone("fitnet", weight=1).loss(one, batch(other, modules))
    torch.testing.assert_close(loss, ((hint - other.features[2]) ** 2).mean())


def test_vid_is_the_likelihood_of_a_normal_distribution() -> None:
    modules = extra(METHODS["vid"], ONE, OTHER)
    assert isinstance(modules, nn.ModuleList)
    modules.double()
    expected = torch.zeros((), dtype=torch.float64)
    for gaussian, student, teacher in zip(modules, ONE.features[1:], OTHER.features[1:], strict=True):
        teacher = adaptive_avg_pool2d(teacher, student.shape[2:])
        mean, variance = gaussian(student)
        torch.testing.assert_close(variance, torch.full_like(variance, 5.0), rtol=1e-6, atol=0)
        likelihood = Normal(mean, variance.sqrt().expand_as(mean)).log_prob(teacher)
        expected = expected - likelihood.mean() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(alone("vid").loss(ONE, batch(OTHER, modules)), expected)


def test_the_variance_of_vid_learns_the_mean_square_of_the_error() -> None:
    """Its best value, found by gradient alone; and never less than eps."""
    modules = extra(METHODS["vid"], ONE, OTHER)
    assert isinstance(modules, nn.ModuleList)
    modules.double()
    spreads = [gaussian.spread for gaussian in modules]
    optimizer = torch.optim.Adam(spreads, lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        alone("vid").loss(ONE, batch(OTHER, modules)).backward()
        optimizer.step()
    for gaussian, student, teacher in zip(modules, ONE.features[1:], OTHER.features[1:], strict=True):
        mean, variance = gaussian(student)
        error = (adaptive_avg_pool2d(teacher, student.shape[2:]) - mean) ** 2
        torch.testing.assert_close(variance.flatten(), error.mean(dim=(0, 2, 3)), rtol=1e-3, atol=0)
        gaussian.spread.data.fill_(-1000)
        assert torch.equal(gaussian(student)[1], torch.full_like(variance, 1e-5))


@pytest.mark.parametrize(("weight", "bias"), [*product((0.2, -1.3), (-2.0, -0.1, 0.0, 0.3, 0.55))])
def test_the_margin_of_ofd_is_the_mean_of_negative_values(weight: float, bias: float) -> None:
    """Against numerical integration; -3 s where next to nothing is negative."""
    deviation = abs(weight)
    x = torch.linspace(min(bias, 0) - 12 * deviation, 0, 200_001, dtype=torch.float64)
    density = torch.exp(-(((x - bias) / deviation) ** 2) / 2)
    share = torch.trapezoid(density, x) / (deviation * math.sqrt(2 * math.pi))
    mean = torch.trapezoid(x * density, x) / torch.trapezoid(density, x)
    expected = mean if share > 0.001 else torch.tensor(-3 * deviation, dtype=torch.float64)
    margin = margin_of(*(torch.tensor([number], dtype=torch.float64) for number in (weight, bias)))
    torch.testing.assert_close(margin, expected[None], rtol=1e-6, atol=1e-9)


def test_the_margin_of_a_norm_without_weight() -> None:
    margin = margin_of(torch.zeros(3), torch.tensor([-0.5, 0.0, 0.5]))
    torch.testing.assert_close(margin, torch.tensor([-0.5, 0.0, 0.0]))


def test_partial_l2_entry_by_entry() -> None:
    """Above 0 all counts; below, only a student that says too much, and nothing below the margin matters."""
    margin = torch.tensor([-0.5, -1.0])
    values = [-2.0, -0.7, -0.3, 0.0, 0.4, 3.0]
    for channel, (student, teacher) in product(range(2), product(values, values)):
        low = margin[channel].item()
        target = max(teacher, low)
        expected = 0.0 if student <= target <= 0 else (student - target) ** 2
        ones = [torch.full((1, 2, 1, 1), low - 1) for _ in range(2)]
        ones[0][0, channel], ones[1][0, channel] = student, teacher
        ones[0][0, 1 - channel] = margin[1 - channel]
        assert partial_l2(*ones, margin[:, None, None]).item() == pytest.approx(expected)


def test_each_stage_of_ofd_weighs_half_of_the_next() -> None:
    modules = extra(METHODS["ofd"], ONE, OTHER)
    assert isinstance(modules, nn.ModuleList)
    modules.double()
    expected = torch.zeros((), dtype=torch.float64)
    for place, weight in ((0, 0.5), (1, 1.0)):
        connected: Any = modules[place]
        student = connected(ONE.preactivations[1 + place])
        teacher = adaptive_avg_pool2d(OTHER.preactivations[1 + place], student.shape[2:])
        margin = margin_of(*norms(OTHER)[place])[:, None, None].double()
        expected = expected + weight * partial_l2(student, teacher, margin) / 4
    torch.testing.assert_close(alone("ofd", weight=1).loss(ONE, batch(OTHER, modules)), expected)


@pytest.mark.parametrize("name", METHODS)
def test_modules_of_a_method_all_learn(name: str) -> None:
    modules = extra(METHODS[name], ONE, OTHER)
    assert (modules is None) == (name in ("at", "pkt", "rkd"))
    if modules is not None:
        METHODS[name].loss(ONE, batch(OTHER, modules.double())).backward()
        assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in modules.parameters())
        again = extra(METHODS[name], ONE, OTHER)
        assert again is not None
        assert all(torch.equal(a, b.double()) for a, b in zip(modules.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("name", ["at", "vid", "ofd"])
def test_a_network_with_one_map(name: str) -> None:
    shapes: Shapes = [(2, 4, 4)]
    with pytest.raises(UserError, match=rf"^{name} cannot serve this pair: .* \(the student's maps are 2x4x4; .*\)$"):
        METHODS[name].extra(setup(outputs(shapes), OTHER))


def test_ofd_wants_norms_of_the_preactivations() -> None:
    given = setup(ONE, OTHER)
    for wrong in ((), given.teacher_norms[:1], given.teacher_norms[::-1]):
        with pytest.raises(UserError, match=r"ofd cannot serve this pair: .* norms .*3x4x4, 4x4x4, 5x4x4"):
            METHODS["ofd"].extra(dataclasses.replace(given, teacher_norms=wrong))


@pytest.mark.parametrize("feature", [-1, 0.5, 3])
def test_fitnet_without_such_a_feature(feature: float) -> None:
    with pytest.raises(UserError, match=rf"there is no feature {feature:g}, choose 0 to 2 .*2x4x4, .*3x4x4"):
        alone("fitnet", feature=feature).extra(setup(ONE, OTHER))


def test_fitnet_without_a_regressor() -> None:
    with pytest.raises(UserError, match=r"fitnet cannot serve this pair: no convolution .*3x3x3.*3x7x7"):
        METHODS["fitnet"].extra(setup(outputs([(3, 3, 3)] * 3), outputs([(3, 7, 7)] * 3)))


def test_numbers_without_meaning() -> None:
    with pytest.raises(UserError, match="power of 2 or more, not 1"):
        make("at", params(ce=1, weight=1000, power=1))
    for variance, eps in ((1e-5, 1e-5), (5, 0)):
        with pytest.raises(UserError, match="vid starts from a variance above its eps"):
            make("vid", params(ce=1, weight=1, variance=variance, eps=eps))
