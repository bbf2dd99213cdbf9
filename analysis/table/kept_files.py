"""The files of a table in a results folder: those of another sweep are kept under another name."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.table.command_line import write
from analysis.table.resolved import ResolvedTable
from trainables.errors import UserError, reason_of
from trainables.storage.runs import read_file

INDEX = "sweeps.json"
"""By table, whose files lie in the folder: a hash of the runs and settings, and the options that ask for them."""
UNKNOWN = "earlier"


def keep_earlier(folder: Path, resolved: ResolvedTable) -> list[str]:
    """Rename the table's files in `folder` if another sweep wrote them. Says so, in a line or none."""
    key = resolved.table.key
    index = _read(folder / INDEX)
    found, own = index.get(key), _digest(resolved)
    earlier = found if isinstance(found, dict) else {}
    if earlier.get("sweep") == own:
        return []
    name = kept_name(key) + str(earlier.get("sweep", UNKNOWN))
    moved = [*_rename(folder, key, name)]
    index[key] = {"sweep": own, "options": shlex.join(resolved.settings.options())}
    write(folder / INDEX, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
    if not moved:
        return []
    options = earlier.get("options")
    return [f"kept: {folder}{os.sep}{name}*, the files of an earlier sweep{f' ({options})' if options else ''}"]


def kept_name(key: str) -> str:
    """How the names of a table's files begin that are kept of other sweeps."""
    return f"{key}-sweep-"


def _digest(resolved: ResolvedTable) -> str:
    text = "\n".join([resolved.settings.as_json(), *resolved.run_ids])
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _read(path: Path) -> dict[str, Any]:
    """What cannot be read is as good as nothing: the files are kept all the same."""
    try:
        index = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return index if isinstance(index, dict) else {}


def _rename(folder: Path, key: str, name: str) -> Iterator[Path]:
    """Only what a sweep writes: a table's forms, and the pictures of its pairs."""
    written = re.compile(rf"{key}(\.(tex|md|csv|html|png|pdf)|-(?!sweep-)[A-Za-z0-9_]+(-[A-Za-z0-9_]+)?\.(png|pdf))")
    for path in sorted(each for each in folder.glob(f"{key}*") if written.fullmatch(each.name)):
        target = path.with_name(name + path.name.removeprefix(key))
        try:
            os.replace(path, target)
        except OSError as error:
            raise UserError(f"cannot rename {path}: {reason_of(error)}") from error
        yield target
