"""Imports only point down: between packages, between the departments of a package, and never in a circle.

By the source (imports in functions and for type checking count too), and by fresh processes.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("ekd_core", "trainables", "analysis", "sweeps")
DEPARTMENTS = {
    "ekd_core": ("divergences", "rules", "logit_losses losses mixing multilevel", "energy softening temperature"),
    "trainables": (
        "tune_trainable ray_trial job evaluate observe",
        "training",
        "methods",
        "run_names",
        "datasets",
        "data models",
        "storage",
        "baselines rivals",
        "recipes shares",
        "rule_values",
        "rules",
        "own_code",
        "spec",
        "temperature mixing network_names",
        "canonical",
        "commands",
        "used_files",
        "additions",
        "errors error_texts time_limits console cores environment",
    ),
    "analysis": (
        "results tables figures report watch export claims",
        "watching",
        "reporting",
        "figure",
        "paper",
        "claim",
        "table",
        "record",
    ),
    "sweeps": ("api check_folder ekd run search", "display searching", "running", "request", "planning"),
}
"""Of each package, top down: the commands, then the departments and single modules. Those on one line, commands apart,
do not import each other."""
MOST_LINES = 400
ONLY_RAY = {ROOT / "trainables" / name for name in ("ray_trial.py", "tune_trainable.py")}
ONLY_OPTUNA = ROOT / "analysis" / "record" / "study.py"
# Planning and drawing tables need these, and must not wait for torch.
TORCH_FREE = (
    "spec",
    "temperature",
    "own_code",
    "recipes",
    "errors",
    "storage/runs",
    "storage/locks",
    "data/counts",
    "data/definition",
    "data/folders",
)


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(code: str, package: tuple[str, ...]) -> set[str]:
    """The full names of all modules (or their members) that code imports anywhere, relative ones resolved."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            found |= {".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return found


@functools.cache
def imported(source: Path) -> set[str]:
    return imports(source.read_text(), source.relative_to(ROOT).parts[:-1])


def tops(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(source)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(source: Path) -> str:
    return ".".join(source.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


ALL = [source for layer in LAYERS for source in sources(layer)]
MODULES = {module_of(source) for source in ALL}


def project_imports(source: Path) -> set[str]:
    """The modules of this project that a file imports: the longest name that is one, for each import."""
    names = {name if name in MODULES else name.rpartition(".")[0] for name in imported(source)}
    return (names & MODULES) - {module_of(source)}


@functools.cache
def graph() -> dict[str, set[str]]:
    return {module_of(source): project_imports(source) for source in ALL}


def test_every_layer_has_files() -> None:
    for layer in LAYERS:
        assert len(sources(layer)) >= 3, layer


def test_every_form_of_import_is_seen() -> None:
    code = (
        "import torch.nn as nn\ndef f():\n    from ..spec import RunSpec\n    from . import facts\n    import ray, os\n"
    )
    found = imports(code, ("trainables", "data"))
    assert found == {"torch.nn", "trainables.spec.RunSpec", "trainables.data.facts", "ray", "os"}


def test_imports_point_down() -> None:
    wrong = {
        relative(source): above
        for number, layer in enumerate(LAYERS)
        for source in sources(layer)
        if (above := tops(source) & {*LAYERS[number + 1 :], "tests", "benchmarks"})
    }
    assert not wrong


def department(module: str) -> str:
    """The department of a package that a module is in, or the module itself where it stands alone."""
    return module.split(".")[1]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_department_has_its_place(layer: str) -> None:
    there = {path.stem for path in (ROOT / layer).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(" ".join(DEPARTMENTS[layer]).split()) == sorted(there - {"__init__"})


@pytest.mark.parametrize("layer", LAYERS)
def test_departments_import_what_stands_below_them(layer: str) -> None:
    level = {name: number for number, line in enumerate(DEPARTMENTS[layer]) for name in line.split()}
    together = set(DEPARTMENTS[layer][0].split())
    wrong = [
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if module.startswith(f"{layer}.") and other.startswith(f"{layer}.")
        if (one := department(module)) != (two := department(other)) and not {one, two} <= together
        if level[one] >= level[two]
    ]
    assert not wrong


def test_no_circle_of_imports() -> None:
    graphlib.TopologicalSorter(graph()).prepare()


def test_modules_are_short() -> None:
    lines = {relative(source): len(source.read_text().splitlines()) for source in ALL}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_a_public_class_name_is_defined_once() -> None:
    found = defaultdict(list)
    for source in ALL:
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(relative(source))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_core_needs_torch_alone() -> None:
    needed = {name for source in sources("ekd_core") for name in tops(source)}
    assert needed <= {"torch", "ekd_core"} | sys.stdlib_module_names


def test_who_of_a_job_knows_ray() -> None:
    below = [*sources("trainables"), *sources("ekd_core")]
    assert {source for source in below if "ray" in tops(source)} == ONLY_RAY
    above = [source for source in below if any(name.startswith("trainables.ray_trial") for name in imported(source))]
    assert {*above} <= ONLY_RAY


@pytest.mark.parametrize(
    ("files", "heavy"),
    [
        (
            [source for source in sources("analysis") if source != ONLY_OPTUNA],
            {"torch", "torchvision", "ray", "ekd_core", "optuna"},
        ),
        (
            [ROOT / "trainables" / f"{name}.py" for name in TORCH_FREE],
            {"torch", "torchvision", "ray", "ekd_core", "numpy"},
        ),
    ],
    ids=["analysis", "planning"],
)
def test_what_is_loaded_early_needs_nothing_heavy(files: list[Path], heavy: set[str]) -> None:
    assert {relative(source): found for source in files if (found := tops(source) & heavy)} == {}


def loaded(*modules: str) -> set[str]:
    """Which of the heavy packages a fresh process has loaded after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*({{'torch', 'ray', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def modules(layer: str) -> list[str]:
    return sorted(module_of(source) for source in sources(layer))


def test_planning_and_all_of_analysis_load_without_torch_or_ray() -> None:
    names = (f"trainables.{name.replace('/', '.')}" for name in TORCH_FREE)
    assert loaded(*names, *modules("analysis")) == set()


def test_a_job_loads_without_ray() -> None:
    assert loaded("trainables.job", "trainables.evaluate") == {"torch"}
