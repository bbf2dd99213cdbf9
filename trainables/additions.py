"""What anybody may add as a module of its own: methods, rules, data sets, networks, tables. Loads one; names the line
of an error in one."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ekd_core.rules", "trainables.methods", "trainables.datasets", "trainables.models", "analysis.paper")
DEBUG_HINT = "--debug shows the whole traceback"


def folders_of(package: str) -> list[Path]:
    """The folders of a package, which is not imported."""
    top, *inner = package.split(".")
    found = importlib.util.find_spec(top)
    assert found is not None
    return [Path(folder, *inner) for folder in found.submodule_search_locations or ()]


def modules_in(package: str) -> tuple[str, ...]:
    """The public modules of a package; neither it nor they are imported."""
    found = pkgutil.iter_modules(map(str, folders_of(package)))
    return tuple(sorted(each.name for each in found if not each.name.startswith("_")))


def load(package: str, name: str, attribute: str, kind: type) -> Any:
    """What a module of a package defines under `attribute`: an instance of `kind`, or a class that inherits from it."""
    try:
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
    """A file as people name it: from the project's folder, if it is in there."""
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
