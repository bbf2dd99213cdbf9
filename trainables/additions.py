"""What anybody may add as a module of its own: methods, rules, data sets, networks, tables. Loads one; names the line
of an error in one."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
_EKD_CORE = importlib.util.find_spec("ekd_core")
assert _EKD_CORE is not None
TOPS = [
    *dict.fromkeys([ROOT, *(Path(folder).resolve().parent for folder in _EKD_CORE.submodule_search_locations or ())])
]
"""The folders that the packages are in: one, but on the machines of a cluster, where each package has its own."""
Found = TypeVar("Found", bound=Callable[..., Any])
PACKAGES = ("ekd_core.rules", "trainables.methods", "trainables.datasets", "trainables.models", "analysis.paper")
DEBUG_HINT = "--debug shows the whole traceback"


_roots: list[Path] = []
_caches: list[Any] = []
ORIGINS = "origins.json"
"""In a root: by the path of each file in it, the file that it is a copy of."""


def remembered(function: Found) -> Found:
    """`functools.cache` of what depends on which modules there are."""
    cached: Any = cache(function)
    _caches.append(cached)
    return cached


def add_root(folder: Path) -> None:
    """Look for modules in `folder` too, where they lie as in the packages (trainables/methods/mine.py)."""
    if folder not in _roots:
        _roots.append(folder)
        importlib.invalidate_caches()
        forget()


def remove_root(folder: Path) -> None:
    """Look there no longer."""
    _roots.remove(folder)
    for package in [sys.modules[name] for name in PACKAGES if name in sys.modules]:
        package.__path__ = [place for place in package.__path__ if not Path(place).is_relative_to(folder)]
    forget()


def forget() -> None:
    """Look anew which modules there are."""
    for cached in _caches:
        cached.cache_clear()


def roots() -> list[Path]:
    """The folders of the packages, and those of files that lie elsewhere."""
    return [*TOPS, *_roots]


def origins() -> dict[Path, Path]:
    """Of each file that was copied into a root, where it is from."""
    found: dict[Path, Path] = {}
    for root in _roots:
        own: dict[str, str] = json.loads((root / ORIGINS).read_text(encoding="utf-8"))
        found |= {root / name: Path(origin) for name, origin in own.items()}
    return found


def folders_of(package: str) -> list[Path]:
    """The folders of a package, which is not imported."""
    top, *inner = package.split(".")
    if package in sys.modules:
        known = [Path(folder) for folder in sys.modules[package].__path__]
        return list(dict.fromkeys([*known, *(root.joinpath(top, *inner) for root in _roots)]))
    found = importlib.util.find_spec(top)
    assert found is not None
    own = [Path(folder, *inner) for folder in found.submodule_search_locations or ()]
    return own + [root.joinpath(top, *inner) for root in _roots]


def modules_in(package: str) -> tuple[str, ...]:
    """The public modules of a package; neither it nor they are imported."""
    found = pkgutil.iter_modules(map(str, folders_of(package)))
    return tuple(sorted(each.name for each in found if not each.name.startswith("_")))


def load(package: str, name: str, attribute: str, kind: type) -> Any:
    """What a module of a package defines under `attribute`: an instance of `kind`, or a class that inherits from it."""
    try:
        parent = importlib.import_module(package)
        parent.__path__ = list(dict.fromkeys([*parent.__path__, *map(str, folders_of(package))]))
        module = importlib.import_module(f"{package}.{name}")
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"cannot load {package}.{name}: {in_one_line(error)}") from error
    if hasattr(module, "__path__") and (hidden := Path(module.__path__[0]).with_suffix(".py")).exists():
        raise UserError(f"the folder {shown(hidden.with_suffix(''))} hides {shown(hidden)}: rename one of them")
    found = getattr(module, attribute, None)
    if not isinstance(found, kind) and not (isinstance(found, type) and issubclass(found, kind)):
        file = shown(Path(str(module.__file__)))
        what = f"{attribute} is no {kind.__name__}" if hasattr(module, attribute) else f"there is no {attribute}"
        raise UserError(f"{file}: {what}; define {attribute}, a {kind.__name__}, there (docs/extend)")
    if lacking := getattr(found, "__abstractmethods__", None):
        file = shown(Path(str(module.__file__)))
        raise UserError(f"{file}: {attribute} has no {', '.join(sorted(lacking))}: define it there (docs/extend)")
    return found


def in_one_line(error: BaseException) -> str:
    """An error in one line, with the line of an added module that it comes from."""
    text = " ".join(str(error).split()) or "no message"
    return with_place(error, f"{type(error).__name__}: {text}")


def with_place(error: BaseException, line: str) -> str:
    """`line` and the error's `place_of`, if it has one."""
    place = place_of(error)
    return line if place is None else f"{line} ({place}; {DEBUG_HINT})"


def place_of(error: BaseException) -> str | None:
    """File, line and function of the innermost call in a module that anybody may add; None where there is none."""
    if isinstance(error, SyntaxError) and error.filename and _is_added(Path(error.filename)):
        return f"{shown(Path(error.filename))}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_added(Path(frame.filename))]
    if not frames:
        return None
    last = frames[-1]
    function = "" if last.name == "<module>" else f", in {last.name}"
    return f"{shown(Path(last.filename))}, line {last.lineno}{function}"


def _is_added(file: Path) -> bool:
    folders = [Path(folder) for name in PACKAGES if name in sys.modules for folder in sys.modules[name].__path__]
    return not file.name.startswith("_") and any(file.is_relative_to(folder) for folder in folders)


def shown(file: Path) -> str:
    """A file as people name it: from the project's folder, if it is in there; of a copy the file that was copied."""
    file = origins().get(file, file)
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
