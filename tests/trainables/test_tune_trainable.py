"""The trainable in a `ray.tune.Tuner` of one's own: ASHA stops trials early, PBT hands checkpoints on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from small_jobs import GivenTeacher

from trainables.models import build
from trainables.models.checkpoint import save_weights
from trainables.tune_trainable import STATE, WEIGHTS, make_trainable

pytestmark = pytest.mark.slow
METRICS = {"epoch", "top1", "top5", "loss", "train_loss"}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivenTeacher]:
    path = tmp_path_factory.mktemp("teacher") / "resnet8.pth"
    torch.manual_seed(0)
    digest = save_weights(build("resnet8", 10), path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield GivenTeacher(path, digest)
    ray.shutdown()


def fit(teacher: GivenTeacher, tmp_path: Path, scheduler: object, epochs: int) -> tune.ResultGrid:
    spec = teacher.spec(epochs=epochs)
    train = make_trainable(spec, teacher.execution(tmp_path / "unused"))
    tuner = tune.Tuner(
        train,
        param_space={"lr": tune.grid_search([0.05, 0.0001]), "temperature.base": 3.0, "params": {"kd": 0.5}},
        tune_config=tune.TuneConfig(metric="top1", mode="max", scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    return tuner.fit()


def test_asha_stops_the_worse_trial(teacher: GivenTeacher, tmp_path: Path) -> None:
    asha = ASHAScheduler(time_attr="epoch", grace_period=1, reduction_factor=2, max_t=4)
    found = fit(teacher, tmp_path, asha, 4)
    assert not found.errors
    frame = found.get_dataframe()
    assert set(frame.columns) >= METRICS
    assert frame["epoch"].max() == 4
    best = found.get_best_result()
    assert best.checkpoint is not None
    with best.checkpoint.as_directory() as place:
        assert (Path(place) / WEIGHTS).exists()
    assert [*best.metrics_dataframe["epoch"]] == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:Consider boosting PBT")
def test_pbt_goes_on_from_the_better_ones_checkpoint(teacher: GivenTeacher, tmp_path: Path) -> None:
    pbt = PopulationBasedTraining(
        time_attr="epoch",
        perturbation_interval=1,
        hyperparam_mutations={"lr": [0.05, 0.02]},
        quantile_fraction=0.5,
        require_attrs=False,
        synch=True,
    )
    found = fit(teacher, tmp_path, pbt, 3)
    assert not found.errors
    for result in found:
        epochs = [*result.metrics_dataframe["epoch"]]
        assert epochs[-1] == 3
        assert epochs == sorted(epochs)
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as place:
            assert (Path(place) / STATE).exists()
