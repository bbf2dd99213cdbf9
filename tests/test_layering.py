"""Imports only point down: sweeps, analysis, trainables, ekd_core. By the source, and by fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("ekd_core", "trainables", "analysis", "sweeps")
ONLY_RAY = ROOT / "trainables" / "ray_trial.py"
# Planning and drawing tables need these, and must not wait for torch.
TORCH_FREE = (
    "spec",
    "recipes",
    "errors",
    "storage/runs",
    "storage/locks",
    "data/facts",
    "data/folders",
    "data/__init__",
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


def imported(source: Path) -> set[str]:
    return imports(source.read_text(), source.relative_to(ROOT).parts[:-1])


def tops(source: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(source)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


ALL = [source for layer in LAYERS for source in sources(layer)]


def test_every_layer_has_files() -> None:
    for layer in LAYERS:
        assert len(sources(layer)) >= 3, layer


def test_every_form_of_import_is_seen() -> None:
    code = (
        "import torch.nn as nn\ndef f():\n    from ..spec import RunSpec\n    from . import facts\n    import ray, os\n"
    )
    found = imports(code, ("trainables", "data"))
    assert found == {"torch.nn", "trainables.spec.RunSpec", "trainables.data.facts", "ray", "os"}


@pytest.mark.parametrize("source", ALL, ids=relative)
def test_imports_point_down(source: Path) -> None:
    layer = LAYERS.index(source.relative_to(ROOT).parts[0])
    above = tops(source) & set(LAYERS[layer + 1 :])
    assert not above, f"{relative(source)} imports {', '.join(sorted(above))}, which is above it"
    assert not tops(source) & {"tests", "benchmarks"}


@pytest.mark.parametrize("source", sources("ekd_core"), ids=relative)
def test_core_needs_torch_alone(source: Path) -> None:
    assert tops(source) <= {"torch", "ekd_core"} | sys.stdlib_module_names


@pytest.mark.parametrize("source", [*sources("trainables"), *sources("ekd_core")], ids=relative)
def test_one_file_of_a_job_knows_ray(source: Path) -> None:
    assert ("ray" in tops(source)) == (source == ONLY_RAY)
    if source != ONLY_RAY:
        assert not any(name.startswith("trainables.ray_trial") for name in imported(source))


@pytest.mark.parametrize("source", sources("analysis"), ids=relative)
def test_analysis_needs_neither_torch_nor_ray(source: Path) -> None:
    assert not tops(source) & {"torch", "torchvision", "ray", "ekd_core", "optuna"}


@pytest.mark.parametrize("name", TORCH_FREE)
def test_files_that_planning_reads(name: str) -> None:
    found = imported(ROOT / "trainables" / f"{name}.py")
    assert not {each.partition(".")[0] for each in found} & {"torch", "torchvision", "ray", "ekd_core", "numpy"}


def loaded(*modules: str) -> set[str]:
    """Which of the heavy packages a fresh process has loaded after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*({{'torch', 'ray', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def modules(layer: str) -> list[str]:
    names = (".".join(source.relative_to(ROOT).with_suffix("").parts) for source in sources(layer))
    return sorted(name.removesuffix(".__init__") for name in names)


def test_all_of_analysis_loads_without_torch_or_ray() -> None:
    assert loaded(*modules("analysis")) == set()


def test_planning_loads_without_torch_or_ray() -> None:
    names = (f"trainables.{name.replace('/', '.').removesuffix('.__init__')}" for name in TORCH_FREE)
    assert loaded(*names) == set()


def test_a_job_loads_without_ray() -> None:
    assert loaded("trainables.job", "trainables.evaluate") == {"torch"}
