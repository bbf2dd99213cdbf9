"""One run on two processes: the same gradients, statistics and weights as on one, and one writer."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from few import NETWORKS, fast
from forked import CONTEXT
from small_jobs import DKD, VANILLA, GivenTeacher, outcome, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.data.stream import Share
from trainables.job import Execution, run
from trainables.models import build, names
from trainables.spec import RunSpec, Temperature, params
from trainables.storage.runs import weights_path
from trainables.training.distributed import convert_batch_norms, wrap_ddp
from trainables.training.student import initial_model

WORLD = 2
SAMPLES = 7
METHODS = {
    "dkd": DKD,
    "at": params(ce=1, weight=1000, power=2),
    "fitnet": params(ce=1, weight=100, feature=2),
    "vid": params(ce=1, weight=1, variance=5, eps=1e-5),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_each(work: Callable[..., None], *arguments: Any, world: int = WORLD) -> None:
    """`work(share, ...)` in several processes of one group; fails if one of them does."""
    port = free_port()
    processes = [
        CONTEXT.Process(target=member, args=(Share(rank, world), port, work, arguments)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0] * world


def member(share: Share, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=share.rank, world_size=share.world)
    work(share, *arguments)
    gc.collect()  # What still holds threads of the group must go before it does.
    dist.barrier()
    dist.destroy_process_group()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 3, 16, 16, dtype=torch.float64, generator=draw)
    return images, torch.randint(10, (SAMPLES,), generator=draw)


def network() -> nn.Module:
    torch.manual_seed(1)
    return build("resnet8", 10).double().train()


def one_step(share: Share, folder: Path) -> None:
    """Gradients and statistics of one batch, of which each process has its share."""
    images, labels = batch()
    model = network()
    convert_batch_norms(model, "cpu")
    first, last = share.of(SAMPLES)
    answer = wrap_ddp(model.double())
    loss = cross_entropy(answer(images[first:last]), labels[first:last])
    (loss * (last - first) * share.world / SAMPLES).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save({"gradients": gradients, "state": model.state_dict()}, folder / f"{share.rank}.pt")


def test_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    images, labels = batch()
    model = network()
    cross_entropy(model(images), labels).backward()
    on_each(one_step, tmp_path)
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found["gradients"][name], parameter.grad, rtol=1e-8, atol=1e-10)
        assert found["state"].keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found["state"][name], value, rtol=1e-8, atol=1e-10)


def trained(share: Share, specs: list[RunSpec], execution: Execution, until: int | None) -> None:
    """The runs together; all of them, or until an epoch is reported."""
    going = run(specs, execution)
    for report in going:
        if report.epoch == until:
            going.close()  # type: ignore[attr-defined]
            return


def groups_of(teacher: GivenTeacher) -> list[list[RunSpec]]:
    """Plain and mutual; KD and more.

    At a rate so low that rounding does not grow: uniform areas of digits flip whole ReLUs at the last bit."""
    slow = {"lr": 1e-4, "batch_size": 9, "milestones": ()}
    taught = [replace(teacher.spec(**slow), method=name, params=numbers) for name, numbers in METHODS.items()]
    learning = Temperature(0, "ctkd", numbers=params(lowest=1, span=20, start=1, warmup=2))
    by_student = Temperature(0, "lskd", numbers=params(tau=2))
    taught += [teacher.spec(**slow, temperature=rule) for rule in (learning, by_student)]
    mutual = replace(VANILLA, **slow, method="dml", params=params(ce=1, mutual=1), peer="resnet8")
    return [[replace(VANILLA, **slow), mutual], [teacher.spec(**slow), *taught]]


def learns(spec: RunSpec) -> bool:
    """Whether something beside the student does."""
    return spec.method in ("dml", "fitnet", "vid") or "ctkd" in spec.name


def few_of(groups: list[list[RunSpec]]) -> list[list[RunSpec]]:
    """Modules of a method and a temperature that is learned."""
    return [[spec for spec in groups[1] if spec.method == "vid" or "ctkd" in spec.name]]


def whole_state(results: Path, spec: RunSpec) -> dict[str, Tensor]:
    """Of a run's network and of its method's modules."""
    stored = torch.load(weights_path(results, spec.run_id), weights_only=True)
    return stored["model"] | {f"method.{name}": value for name, value in stored.get("method", {}).items()}


@pytest.mark.medium
@pytest.mark.parametrize(
    ("stopped", "chosen"),
    [(True, few_of), *(pytest.param(stopped, list, marks=pytest.mark.slow) for stopped in (True, False))],
    ids=["few, stopped", "all, stopped", "all"],
)
def test_two_processes_train_what_one_does(
    stopped: bool,
    chosen: Callable[[list[list[RunSpec]]], list[list[RunSpec]]],
    teacher: GivenTeacher,
    tmp_path: Path,
) -> None:
    alone, together = teacher.execution(tmp_path / "alone"), teacher.execution(tmp_path / "together")
    groups = chosen(groups_of(teacher))
    for group in groups:
        train(group, alone)
        if stopped:
            on_each(trained, group, together, 1)
            assert not list((tmp_path / "together" / "runs").glob(f"{group[0].run_id}/result.json"))
        on_each(trained, group, together, None)
    for spec in (spec for group in groups for spec in group):
        one, two = (whole_state(execution.results, spec) for execution in (alone, together))
        result, other = (outcome(execution.results, spec)[1] for execution in (alone, together))
        assert any(key.startswith("method.") for key in one) == learns(spec)
        start = initial_model(spec, 10).state_dict()
        moved = sum((one[key].float() - start[key].float()).square().sum() for key in start)
        apart = sum((one[key].float() - two[key].float()).square().sum() for key in one)
        assert moved > 0
        assert apart < 1e-3 * moved, spec.name
        assert other["train_loss"] == pytest.approx(result["train_loss"], rel=1e-3)
        assert other["last_loss"] == pytest.approx(result["last_loss"], rel=1e-3)
        assert other["parameters"] == result["parameters"]


@pytest.mark.medium
@pytest.mark.parametrize("chosen", [few_of, pytest.param(list, marks=pytest.mark.slow)], ids=["few", "all"])
def test_a_device_may_have_no_sample_of_a_small_last_batch(
    chosen: Callable[[list[list[RunSpec]]], list[list[RunSpec]]], teacher: GivenTeacher, tmp_path: Path
) -> None:
    """Of 64 images, batches of 31 leave 2 for the last, which go to two of three devices."""
    alone, together = teacher.execution(tmp_path / "alone"), teacher.execution(tmp_path / "together")
    for group in chosen(groups_of(teacher)):
        runs = [replace(spec, batch_size=31) for spec in group]
        train(runs, alone)
        on_each(trained, runs, together, None, world=3)
        for spec in runs:
            result, other = (outcome(execution.results, spec)[1] for execution in (alone, together))
            assert other["train_loss"] == pytest.approx(result["train_loss"], rel=1e-3)
            assert other["last_loss"] == pytest.approx(result["last_loss"], rel=1e-3)


@pytest.mark.parametrize("network", fast(names(), *NETWORKS))
def test_every_network_takes_the_norms_of_several_gpus(network: str) -> None:
    plain, shared = build(network, 10).eval(), build(network, 10).eval()
    shared.load_state_dict(plain.state_dict())
    convert_batch_norms(shared, "cuda")
    kinds = {type(module) for module in shared.modules()}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(shared(images), plain(images))


@pytest.mark.medium
def test_what_cannot_be_split_is_refused_alone(teacher: GivenTeacher, tmp_path: Path) -> None:
    fine = teacher.spec(epochs=1, milestones=())
    coupled = replace(fine, method="pkt", params=params(ce=1, weight=30000))
    on_each(trained, [fine, coupled], teacher.execution(tmp_path), None)
    assert outcome(tmp_path, fine)[1]["status"] == "done"
    text = (tmp_path / "runs" / coupled.run_id / "result.json").read_text()
    assert "pkt needs whole batches" in text
