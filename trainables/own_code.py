"""Which code trains a run, by its sources: a hash of the program's, and of a user's own, which is part of a run's id.

A module is a user's own if SHIPPED does not have it, whether git knows it or not. Reads files and imports none.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainables.additions import remembered, roots
from trainables.spec import RunSpec

ROOT = Path(__file__).resolve().parents[1]
METHODS, DATASETS, MODELS = (f"trainables/{name}" for name in ("methods", "datasets", "models"))
RULES = "ekd_core/rules"
SHIPPED = {
    "ekd_core": "__init__ divergences energy logit_losses losses mixing multilevel softening temperature",
    "ekd_core/rules": (
        "__init__ ats ctkd dtkd dtkd_energy eakd energy gradation high low lskd normkd plain reversed spherical ttm "
        "wsld wttm"
    ),
    "trainables": (
        "__init__ additions baselines canonical commands console cores environment error_texts errors evaluate job "
        "mixing network_names observe own_code ray_trial recipes rivals rule_values rules run_names shares spec "
        "temperature time_limits tune_trainable used_files"
    ),
    "trainables/data": (
        "__init__ cifar cifar_files cifar_parquet cifar_python counts dataset decoding definition fetching file_source "
        "folders image_files loader parquet random_streams source stream strong subset tinyimagenet_folders"
    ),
    "trainables/datasets": "__init__ cifar10 cifar100 cifar100_lt digits imagefolder imagenet tinyimagenet",
    "trainables/methods": (
        "__init__ _features abkd at crd dist dkd dml fitnet kd kd_equal multi nkd ofd pkt reviewkd rkd rld vanilla vid"
    ),
    "trainables/models": (
        "__init__ _plain_types checkpoint cost imagenet_resnet library mobilenetv1 mobilenetv2 network published "
        "resnet resnet50 shufflenet_v1 shufflenet_v2 vgg wrn"
    ),
    "trainables/storage": "__init__ checkpoints job_file locks provenance runs stopping writer",
    "trainables/training": (
        "__init__ cpu_memory cuda_graphs cuda_streams distributed evaluation steps student teacher_cache teachers views"
    ),
}
"""By folder, the modules of the packages that train. A new module of the program belongs here."""
NETWORKS = """
resnet8 resnet14 resnet20 resnet32 resnet44 resnet56 resnet110 resnet8x4 resnet32x4 wrn_16_1 wrn_16_2 wrn_40_1 wrn_40_2
vgg8 vgg13 MobileNetV2 ShuffleV1 ShuffleV2 ResNet50 imagenet_resnet18 imagenet_resnet34 imagenet_resnet50 MobileNetV1
"""
_PACKAGES = ("ekd_core", "trainables")
_OTHERS = ("analysis", "sweeps")
"""Packages of the program that train nothing."""
DIGITS = 16


def with_own_code(spec: RunSpec) -> RunSpec:
    """The run as it is trained by the code of this moment: its `code` names what of it is a user's own."""
    code = hash_own(*_find_needs(spec))
    return spec if code == spec.code else dataclasses.replace(spec, code=code)


@remembered
def hash_own(method: str, dataset: str, networks: frozenset[str], rule: str = "plain") -> str:
    """A hash of the user's own modules that a run needs, with those that they import; empty where it needs none.

    Of networks that the program does not have, all own modules beside its networks count.
    """
    files = _find_own_files(method, dataset, networks, rule)
    return _hash_files(files) if files else ""


def beside_packages(specs: Iterable[RunSpec]) -> list[str]:
    """The own files that some runs need and that lie beside the packages, which alone go to the machines of a
    cluster."""
    files = {path for needs in set(map(_find_needs, specs)) for path in _find_own_files(*needs)}
    found = {path.relative_to(ROOT) for path in files if path.is_relative_to(ROOT)}
    return sorted(str(path) for path in found if path.parts[0] not in _PACKAGES)


def _find_needs(spec: RunSpec) -> tuple[str, str, frozenset[str], str]:
    """Method, data set, networks and temperature rule of a run."""
    rule = spec.temperature.rule if spec.temperature is not None else "plain"
    return spec.method, spec.dataset, frozenset(filter(None, (spec.student, spec.teacher, spec.peer))), rule


def _find_own_files(method: str, dataset: str, networks: frozenset[str], rule: str) -> set[Path]:
    """The own files among the modules that a run needs and what these import, and so on."""
    at_side = re.sub(r"_\d+$", "", dataset)
    waiting = [*(f"{METHODS}/{part}" for part in method.split("+")), f"{RULES}/{rule}"]
    waiting += [f"{DATASETS}/{dataset}", f"{DATASETS}/{at_side}"]
    if not {network for network in networks if ":" not in network} <= {*NETWORKS.split()}:
        waiting += [_name(path).removesuffix("/__init__") for path in _modules(MODELS) if _is_own(path)]
    found: set[Path] = set()
    while waiting:
        module = waiting.pop()
        places = [place for root in roots() for place in (root / f"{module}.py", root / module / "__init__.py")]
        for path in places:
            if module and path not in found and path.is_file() and _is_own(path):
                found.add(path)
                waiting += _imports(path)
    return found


@remembered
def hash_program() -> str:
    """A hash of the sources that train, without a user's own methods, rules, data sets and networks."""
    places = tuple(f"{place}/" for place in (METHODS, RULES, DATASETS, MODELS))
    files = (path for package in _PACKAGES for path in _modules(package))
    return _hash_files(path for path in files if not (_is_own(path) and _name(path).startswith(places)))


def _name(path: Path) -> str:
    """`trainables/methods/kd` of that file."""
    root = next(root for root in reversed(roots()) if path.is_relative_to(root))
    return path.relative_to(root).with_suffix("").as_posix()


def _modules(folder: str) -> list[Path]:
    return [path for root in roots() for path in sorted((root / folder).rglob("*.py"))]


def _is_own(path: Path) -> bool:
    folder, _, module = _name(path).rpartition("/")
    return folder.partition("/")[0] not in _OTHERS and module not in SHIPPED.get(folder, "").split()


def _hash_files(files: Iterable[Path]) -> str:
    """Of names and contents; ends of lines count as one whatever the system."""
    contents = {_name(path): path.read_bytes().replace(b"\r\n", b"\n") for path in files}
    lines = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted(contents.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:DIGITS]


def _imports(path: Path) -> Iterator[str]:
    """The modules of this folder that a file imports anywhere, with the packages that they are in."""
    package = _name(path).split("/")[:-1]
    try:
        nodes = [*ast.walk(ast.parse(path.read_bytes()))]
    except (SyntaxError, ValueError):
        return  # to import it will say so
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            names = [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] in _PACKAGES or is_checkout():
                yield from ("/".join(parts[:end]) for end in range(1, len(parts) + 1))


def is_checkout() -> bool:
    """Whether what lies beside the packages is part of the project; of an installed program it is other libraries."""
    return (ROOT / "pyproject.toml").is_file()
