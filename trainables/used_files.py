"""Files of a user's own that lie anywhere (--use): methods, rules, networks, data sets and tables, a file each.

Each is copied into a folder that is laid out as the packages are (trainables/methods/mine.py), and from there it counts
as a module that anybody may add. Jobs read the copy in the results folder, which all machines share.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.additions import ORIGINS, add_root, modules_in, remove_root
from trainables.errors import UserError, reason_of

PLACES = {
    "METHOD": "trainables.methods",
    "RULE": "ekd_core.rules",
    "NETWORKS": "trainables.models",
    "DATASET": "trainables.datasets",
    "TABLE": "analysis.paper",
}
"""What a file may define, and the package that it is looked for in."""
OPTION = "--use"
ENDING = ".py"


@dataclass(frozen=True)
class Used:
    """A file that is used: the root of its copy, a hash of its content, and the modules that it is."""

    root: Path
    digest: str
    modules: tuple[str, ...]


_used: dict[Path, Used] = {}


def split_arguments(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files behind --use (--use=FILE), and the arguments without them."""
    files: list[Path] = []
    rest: list[str] = []
    waiting = False
    for word in arguments:
        if word == OPTION:
            waiting = True
            files.append(Path())
        elif word.startswith(f"{OPTION}="):
            files.append(Path(word.partition("=")[2]))
        elif waiting and word.endswith(ENDING):
            files = [file for file in files if file != Path()]
            files.append(Path(word))
        else:
            waiting = False
            rest.append(word)
    if Path() in files:
        raise UserError(f"{OPTION} needs files that end in {ENDING}, which define one of {', '.join(PLACES)}")
    return [file.expanduser().absolute() for file in files], rest


def use(files: Sequence[Path]) -> None:
    """Let the program find what some files define; one that has changed is read anew. Refuses a file that defines
    nothing, or has a name that is taken."""
    for file in dict.fromkeys(files):
        known = _used.get(file)
        if known is not None and file.is_file() and hash_of(file.read_bytes()) == known.digest:
            continue
        if known is not None:
            stop_using(file)
        content, packages = _read(file)
        root = Path(tempfile.mkdtemp(prefix="ekd-use-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        names = [f"{package}.{file.stem}" for package in packages]
        copies = [name.replace(".", "/") + ENDING for name in names]
        _write(root, dict.fromkeys(copies, content), dict.fromkeys(copies, str(file)))
        add_root(root)
        _used[file] = Used(root, hash_of(content), tuple(names))


def stop_using(file: Path) -> None:
    """Forget a file."""
    known = _used.pop(file)
    remove_root(known.root)
    for name in known.modules:
        sys.modules.pop(name, None)


def used() -> list[str]:
    """The files that are used, as words of a command line."""
    return [OPTION, *map(str, _used)] if _used else []


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(root: Path, files: Mapping[str, bytes], origins: Mapping[str, str]) -> None:
    """Files by their paths below a root, with where they are from; what is there stays."""
    for name, content in {**files, ORIGINS: json.dumps(origins).encode()}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)


def _read(file: Path) -> tuple[bytes, list[str]]:
    """The content of a file, and the packages that it belongs to."""
    if file.is_fifo():
        raise UserError(f"{OPTION} {file}: it is a pipe: name a file")
    try:
        content = file.read_bytes()
        nodes = ast.parse(content).body
    except OSError as error:
        raise UserError(f"{OPTION} {file}: cannot be read: {reason_of(error)}") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(f"{OPTION} {file}{line}: {type(error).__name__}: {why}") from error
    for number, name in _imports(nodes):
        beside = file.with_name(f"{name}{ENDING}")
        if name not in sys.stdlib_module_names and beside.exists() and _comes_from(name) in (None, str(beside)):
            raise UserError(f"{OPTION} {file}, line {number}: it imports {beside.name} beside it: put that into it")
    names = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = [package for name, package in PLACES.items() if name in names]
    if not found:
        raise UserError(f"{OPTION} {file}: it defines none of {', '.join(PLACES)} (docs/extend)")
    if not file.stem.isidentifier() or file.stem.startswith("_"):
        raise UserError(f"{OPTION} {file}: {file.stem!r} is no name of a module: rename the file")
    for package in found:
        if file.stem in modules_in(package):
            raise UserError(f"{OPTION} {file}: {package} has a module {file.stem} already: rename the file")
    return content, found


def _imports(nodes: Sequence[ast.stmt]) -> Iterator[tuple[int, str]]:
    """What a file imports, by its first name, and in which line."""
    for node in ast.walk(ast.Module(list(nodes), [])):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def _comes_from(name: str) -> str | None:
    found = importlib.util.find_spec(name)
    return None if found is None else found.origin


def share(results: Path) -> str:
    """Copy what is used to where the jobs of a results folder find it; returns that folder, empty where nothing is."""
    if not _used:
        return ""
    origins = {name.replace(".", "/") + ENDING: str(file) for file, known in _used.items() for name in known.modules}
    digest = hash_of("\n".join(sorted(f"{file.name} {known.digest}" for file, known in _used.items())).encode())
    folder = results / "used" / digest
    files = {name: (_used[Path(origin)].root / name).read_bytes() for name, origin in origins.items()}
    _write(folder, files, origins)
    return str(folder)


def use_shared(folder: str) -> None:
    """Let this process find what `share` copied."""
    if folder:
        add_root(Path(folder))
