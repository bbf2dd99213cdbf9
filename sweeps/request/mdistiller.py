"""Configuration files of mdistiller and its forks (Energy KD's among them), read as an experiment of one row.

What a file leaves out has mdistiller's default; the defaults of the Energy KD code's own sections are those of its
released configurations. What has no counterpart here is told, not passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.experiment import Definition
from trainables import datasets
from trainables.errors import UserError, reason_of
from trainables.recipes import Pair
from trainables.storage.runs import read_text

DATASETS = {
    "cifar100": "cifar100",
    "imagenet": "imagenet",
    "tiny_imagenet": "tinyimagenet",
    "tinyimagenet": "tinyimagenet",
}
OF_IMAGENET = {"ResNet18": "imagenet_resnet18", "ResNet34": "imagenet_resnet34", "ResNet50": "imagenet_resnet50"}
SOLVER: dict[str, Any] = {
    "BATCH_SIZE": 64,
    "EPOCHS": 240,
    "LR": 0.05,
    "LR_DECAY_STAGES": [150, 180, 210],
    "LR_DECAY_RATE": 0.1,
    "WEIGHT_DECAY": 0.0001,
    "MOMENTUM": 0.9,
}
"""mdistiller's defaults."""
SILENT = ("EXPERIMENT", "LOG", "DATASET.NUM_WORKERS", "DATASET.TEST.BATCH_SIZE", "SOLVER.TRAINER")
"""Keys without influence on the weights; SOLVER.TRAINER only chooses how a method gets its batches."""


@dataclass(frozen=True)
class Known:
    """A method of mdistiller.

    Attributes:
        row: The row here that it starts from.
        section: The key of its numbers.
        numbers: Its keys, each with the number of the method here and mdistiller's default.
        temperature: The key of its temperature.
        fixed: Keys that only this value of has a counterpart here.
    """

    row: str
    section: str
    numbers: Mapping[str, tuple[str, float]]
    temperature: tuple[str, float] | None = None
    fixed: Mapping[str, Any] | None = None


_KD = {"LOSS.CE_WEIGHT": ("ce", 0.1), "LOSS.KD_WEIGHT": ("kd", 0.9)}
_DKD = {"CE_WEIGHT": ("ce", 1.0), "ALPHA": ("alpha", 1.0), "BETA": ("beta", 8.0), "WARMUP": ("warmup", 20.0)}
_CE = ("ce", 1.0)
METHODS = {
    "KD": Known("kd", "KD", _KD, ("TEMPERATURE", 4.0)),
    "DKD": Known("dkd", "DKD", _DKD, ("T", 4.0)),
    "ENERGYKD": Known("energy_kd_reversed", "energyKD", _KD, ("TEMPERATURE", 4.0)),
    "ENERGYDKD": Known("energy_dkd", "energyDKD", _DKD, ("T.BASE", 4.0)),
    "ENERGYAUG": Known("kd", "energyAUG", _KD, ("TEMPERATURE", 4.0)),
    "AT": Known("at", "AT", {"LOSS.CE_WEIGHT": _CE, "LOSS.FEAT_WEIGHT": ("weight", 1000.0), "P": ("power", 2.0)}),
    "FITNET": Known(
        "fitnet",
        "FITNET",
        {"LOSS.CE_WEIGHT": _CE, "LOSS.FEAT_WEIGHT": ("weight", 100.0), "HINT_LAYER": ("feature", 2.0)},
        fixed={"INPUT_SIZE": None},
    ),
    "RKD": Known(
        "rkd",
        "RKD",
        {"LOSS.CE_WEIGHT": _CE, "DISTANCE_WEIGHT": ("distance", 25.0), "ANGLE_WEIGHT": ("angle", 50.0)},
        fixed={"LOSS.FEAT_WEIGHT": 1.0, "PDIST.EPSILON": 1e-12, "PDIST.SQUARED": False},
    ),
    "PKT": Known("pkt", "PKT", {"LOSS.CE_WEIGHT": _CE, "LOSS.FEAT_WEIGHT": ("weight", 30000.0)}),
    "VID": Known(
        "vid",
        "VID",
        {
            "LOSS.CE_WEIGHT": _CE,
            "LOSS.FEAT_WEIGHT": ("weight", 1.0),
            "INIT_PRED_VAR": ("variance", 5.0),
            "EPS": ("eps", 1e-5),
        },
        fixed={"INPUT_SIZE": None},
    ),
    "CRD": Known(
        "crd",
        "CRD",
        {
            "LOSS.CE_WEIGHT": _CE,
            "LOSS.FEAT_WEIGHT": ("weight", 0.8),
            "FEAT.DIM": ("dimensions", 128.0),
            "NCE.K": ("negatives", 16384.0),
            "NCE.MOMENTUM": ("momentum", 0.5),
            "NCE.TEMPERATURE": ("temperature", 0.07),
        },
        fixed={"MODE": "exact", "FEAT.STUDENT_DIM": None, "FEAT.TEACHER_DIM": None},
    ),
    "OFD": Known(
        "ofd",
        "OFD",
        {"LOSS.CE_WEIGHT": _CE, "LOSS.FEAT_WEIGHT": ("weight", 0.001)},
        fixed={"CONNECTOR.KERNEL_SIZE": 1},
    ),
    "REVIEWKD": Known(
        "reviewkd",
        "REVIEWKD",
        {
            "CE_WEIGHT": _CE,
            "REVIEWKD_WEIGHT": ("weight", 1.0),
            "WARMUP_EPOCHS": ("warmup", 20.0),
            "STU_PREACT": ("preactivations", 0.0),
        },
        fixed=dict.fromkeys(("SHAPES", "OUT_SHAPES", "IN_CHANNELS", "OUT_CHANNELS", "MAX_MID_CHANNEL")),
    ),
}
"""By the name in DISTILLER.TYPE. A `fixed` key of None follows from the networks here."""


@dataclass(frozen=True)
class Translated:
    """settings: of the experiment, with its own table of that name. told: what has no counterpart here, a line each."""

    settings: Settings
    name: str
    told: tuple[str, ...]


def read_config(path: Path, name: str) -> Translated:
    """The experiment of a configuration file, whose table has that name; refuses a method that there is not here."""
    found = _flat(_read(path))
    kind = str(found.pop("DISTILLER.TYPE", "NONE"))
    method = METHODS.get(kind.upper())
    if method is None:
        alone = kind.upper() in ("NONE", "VANILLA")
        why = "the student alone stands above every table" if alone else "it is no method here"
        raise UserError(f"{path}: DISTILLER.TYPE {kind}: {why}; there are {', '.join(METHODS)}")
    dataset = DATASETS.get(str(found.pop("DATASET.TYPE", "cifar100")).lower())
    if dataset is None:
        raise UserError(f"{path}: DATASET.TYPE: use one of {', '.join(DATASETS)}")
    pair = Pair(*(_network(path, found, role, dataset) for role in ("TEACHER", "STUDENT")))
    numbers = _numbers(path, found, method)
    row: dict[str, Any] = {"key": kind.lower(), "label": kind, "from": method.row, "params": numbers}
    row |= _temperature(path, found, kind.upper(), method) | _mixing(path, found, kind.upper())
    told = [f"{key} = {value}" for key, value in found.items() if _is_told(key, value, method)]
    solver = {key: found.get(f"SOLVER.{key}", usual) for key, usual in SOLVER.items()}
    row |= _schedule(path, solver, method, pair, dataset)
    recipe = datasets.find(dataset).recipe
    usual = {"lr_decay": 0.1, "weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
    asked = {name: _number(path, f"SOLVER.{name.upper()}", solver[_SOLVER[name]]) for name in usual}
    definition = Definition(
        name, rows=("kd", json.dumps(row, sort_keys=True)) if method.row != "kd" else (json.dumps(row, sort_keys=True),)
    )
    size = int(_number(path, "SOLVER.BATCH_SIZE", solver["BATCH_SIZE"]))
    settings = Settings(
        dataset=dataset,
        pairs=(pair.key,),
        batch_size=None if size == recipe.batch_size else size,
        overrides=tuple((name, f"{value:g}") for name, value in asked.items() if value != usual[name]),
        own_table=definition.as_json(),
    )
    return Translated(settings, name, tuple(told))


_SOLVER = {"lr_decay": "LR_DECAY_RATE", "weight_decay": "WEIGHT_DECAY", "momentum": "MOMENTUM"}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(read_text(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or "DISTILLER" not in found:
        raise UserError(f"{path} is no configuration of mdistiller: it has no DISTILLER")
    return found


def _flat(fields: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in fields.items():
        path = f"{outer}{key}"
        out |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return out


def _network(path: Path, found: dict[str, Any], role: str, dataset: str) -> str:
    name = found.pop(f"DISTILLER.{role}", None)
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: DISTILLER.{role} names no network")
    return OF_IMAGENET.get(name, name) if dataset == "imagenet" else name


def _number(path: Path, key: str, value: Any) -> float:
    if isinstance(value, str):
        # YAML 1.1 reads 1e-4 as a string.
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, int | float):
        raise UserError(f"{path}: {key} = {value!r} is no number")
    return float(value)


def _numbers(path: Path, found: dict[str, Any], method: Known) -> dict[str, float]:
    return {
        name: _number(path, f"{method.section}.{key}", found.pop(f"{method.section}.{key}", usual))
        for key, (name, usual) in method.numbers.items()
    }


def _temperature(path: Path, found: dict[str, Any], kind: str, method: Known) -> dict[str, Any]:
    """KD's or DKD's temperature; of the energy methods the high one at high energy, as in the released code."""
    if method.temperature is None:
        return {}
    key, usual = method.temperature
    base = _number(path, key, found.pop(f"{method.section}.{key}", usual))
    if kind not in ("ENERGYKD", "ENERGYDKD"):
        return {"temperature": {"T": base}}
    ends = (("HIGH", 6), ("LOW", 2))
    high, low = (_number(path, f"T.{end}", found.pop(f"{method.section}.T.{end}", each)) for end, each in ends)
    rates = [_number(path, f"ENERGY.{end}_RATE", found.pop(f"ENERGY.{end}_RATE", 0.2)) for end in ("HIGH", "LOW")]
    if rates[0] != rates[1]:
        raise UserError(f"{path}: ENERGY.HIGH_RATE and LOW_RATE differ: there is one r for both ends here")
    return {"temperature": {"T": base, "rule": "reversed", "T+": high - base, "T-": low - base, "r": rates[0]}}


def _mixing(path: Path, found: dict[str, Any], kind: str) -> dict[str, Any]:
    """HE-DA's images: those of high energy, of low energy, or half of each."""
    if kind != "ENERGYAUG":
        return {}
    operation = str(found.pop("energyAUG.AUGMENTATION", "CUTMIX")).lower()
    high, low = (_number(path, end, found.pop(f"ENERGY.{end}_RATE", 0.0)) for end in ("HIGH", "LOW"))
    if high and low and high != low:
        raise UserError(f"{path}: ENERGY.HIGH_RATE and LOW_RATE differ: half of each is mixed here, or one end")
    selection = "half" if high and low else "high" if high else "low"
    return {"mixing": {"operation": operation, "selection": selection, "rate": high + low}}


def _schedule(path: Path, solver: Mapping[str, Any], method: Known, pair: Pair, dataset: str) -> dict[str, Any]:
    """Epochs, milestones and learning rate, where they are not those of the row here."""
    recipe = datasets.find(dataset).recipe
    base = next(row for row in paper.ablation().parts[0].rows if row.key == method.row).treat(recipe, pair)
    usual = recipe.schedule_of(base)
    epochs = int(_number(path, "SOLVER.EPOCHS", solver["EPOCHS"]))
    stages = solver["LR_DECAY_STAGES"]
    if not isinstance(stages, list) or not all(isinstance(stage, int) for stage in stages):
        raise UserError(f"{path}: SOLVER.LR_DECAY_STAGES must be a list of epochs")
    out: dict[str, Any] = {}
    if (epochs, tuple(stages)) != (usual.epochs, usual.milestones):
        out = {"epochs": epochs, "milestones": stages}
    lr = _number(path, "SOLVER.LR", solver["LR"])
    return out if lr == (base.lr or recipe.lr_of(pair.student)) else {**out, "lr": lr}


def _is_told(key: str, value: Any, method: Known) -> bool:
    """Whether a key has an influence that is lost here."""
    outer, _, inner = key.partition(".")
    if key.startswith(SILENT) or (outer == "SOLVER" and inner in SOLVER) or (key, value) == ("SOLVER.TYPE", "SGD"):
        return False
    fixed = method.fixed or {}
    return outer != method.section or inner not in fixed or fixed[inner] not in (None, value)
