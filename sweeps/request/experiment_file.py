"""An experiment as a TOML file: what a command asks for, to be run again on any machine.

The keys are the options of a sweep (`train_fraction = 0.1` is --train-fraction 0.1), with [set] and [vary]. A file that
names no `tables` defines a table of its own under the file's name: title, caption, rows by key and [[row]]. `use` names
files of methods, rules, networks or tables, from the file's folder.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from analysis import paper
from analysis.record.settings import Settings, parse_value, short_name
from analysis.table.experiment import OF_ROW, Definition, make_table, read_definition
from trainables.commands import did_you_mean
from trainables.errors import UserError, reason_of
from trainables.storage.runs import read_text
from trainables.used_files import use, used

ENDING = ".toml"
OPTIONS: dict[str, type] = {
    "tables": list,
    "pairs": list,
    "rows": list,
    "dataset": str,
    "image_size": int,
    "recipe": str,
    "assistant": str,
    "seeds": int,
    "epochs": int,
    "train_fraction": float,
    "imbalance": float,
    "tail_teachers": bool,
    "batch_size": int,
    "precision": str,
    "set": dict,
    "vary": dict,
}
"""Keys that are options of a sweep."""
OF_TABLE: dict[str, type] = {"title": str, "caption": str, "row": list}
"""Keys of a table of one's own."""
PINNED: dict[str, type] = {"data": str, "teachers": dict}
"""What a run's identity has of images and given teachers: checked, for the files are another machine's."""
KEYS = OPTIONS | OF_TABLE | PINNED | {"use": list}
_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Experiment:
    """What a file asks for.

    Attributes:
        path: The file.
        text: Its content.
        arguments: The same as words of the command line.
        own_table: The JSON of the definition of its own table, if it has one.
        pinned: The fingerprint of the images and the SHA-256 of the teachers that it was saved with.
    """

    path: Path
    text: str
    arguments: tuple[str, ...]
    own_table: str
    pinned: Mapping[str, Any]

    def explain(self, error: UserError, beside: Sequence[str] = ()) -> UserError:
        """The error with the file, and the line that it is about where that can be told. One that names a word of the
        command line `beside` the file stays as it is."""
        if any(len(word) > 1 and _names(str(error), word) for word in beside):
            return error
        line = _line_of_error(self.text, str(error))
        return UserError(f"{self.path}{f', line {line}' if line else ''}: {error}")

    def check(self, settings: Settings) -> None:
        """Refuse other images or teachers than those that the file was saved with."""
        if self.pinned.get("data", settings.data) != settings.data:
            found = settings.data or "the published ones"
            raise UserError(f"{self.path}: it was saved for the images {self.pinned['data']}, not for {found}")
        given = dict(settings.teachers)
        for network, digest in self.pinned.get("teachers", {}).items():
            if not re.fullmatch("[0-9a-f]+", str(digest)):
                raise UserError(f"{self.path}: [teachers] has hashes, which --save writes: name files with --teachers")
            if given.get(network) != digest:
                here = f"the one given has {given[network][:12]}" if network in given else "name it with --teachers"
                raise UserError(f"{self.path}: teacher {network} is the file with SHA-256 {digest[:12]}...: {here}")


def is_experiment(word: str) -> bool:
    return word.lower().endswith(ENDING)


def read_experiment(path: Path) -> Experiment:
    """The experiment of a file; refuses what it cannot mean, with the line."""
    try:
        text = read_text(path)
        fields = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no TOML file: {error}") from error
    for key, value in fields.items():
        _check(path, text, key, value)
    if "tables" in fields and (own_only := [key for key in ("title", "caption", "row") if key in fields]):
        _refuse(path, text, own_only[0], f"{own_only[0]} is of a table of its own: leave out `tables`, and name rows")
    use([(path.parent / name).absolute() for name in fields.get("use", ())])
    own = "" if "tables" in fields else _definition(path, text, fields).as_json()
    tables = fields.get("tables", [path.stem])
    arguments = (*tables, *_arguments(fields, own=bool(own)))
    return Experiment(path, text, arguments, own, {key: fields[key] for key in PINNED if key in fields})


def _check(path: Path, text: str, key: str, value: Any) -> None:
    if key not in KEYS:
        near = did_you_mean(key, KEYS)
        _refuse(path, text, key, f"unknown key {key!r}{f': {near}' if near else ''}; there are {', '.join(KEYS)}")
    if not _has_type(value, KEYS[key]):
        _refuse(path, text, key, f"{key} must be {_WORDS[KEYS[key]]}, not {json.dumps(value, default=str)}")
    if key in ("tables", "pairs", "rows", "use") and not all(isinstance(each, str) and each for each in value):
        _refuse(path, text, key, f"{key} must be a list of strings")
    if key == "row" and not all(isinstance(each, dict) for each in value):
        _refuse(path, text, key, "write each row as [[row]]")


def _has_type(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def _definition(path: Path, text: str, fields: Mapping[str, Any]) -> Definition:
    """The file's own table, whose rows and fields exist."""
    key = path.stem
    if not _KEY.fullmatch(key) or key.lower() in (*paper.tables(), paper.ABLATION, "all"):
        raise UserError(f"{path}: a table cannot be called {key!r}: rename the file, to letters and digits of its own")
    rows = []
    for row in fields.get("row", ()):
        for name, value in row.items():
            if name not in OF_ROW:
                near = did_you_mean(name, OF_ROW)
                _refuse(path, text, name, f"unknown field {name!r} of a row{f': {near}' if near else ''}")
            if not _has_type(value, OF_ROW[name]):
                _refuse(path, text, name, f"{name} of a row must be {_WORDS[OF_ROW[name]]}")
        rows.append(json.dumps(row, sort_keys=True))
    definition = Definition(key, fields.get("title", ""), fields.get("caption", ""), (*fields.get("rows", ()), *rows))
    if not definition.rows:
        raise UserError(f"{path}: name `tables`, or `rows` of tables, or write a [[row]]")
    try:
        make_table(definition, {row.key: row for row in paper.ablation().parts[0].rows})
    except UserError as error:
        line = _line_of_error(text, str(error))
        raise UserError(f"{path}{f', line {line}' if line else ''}: {error}") from error
    return definition


def _arguments(fields: Mapping[str, Any], *, own: bool) -> Iterator[str]:
    """The options as words; of an own table all rows are shown."""
    for key in OPTIONS:
        if key not in fields or key == "tables" or (own and key == "rows"):
            continue
        value = fields[key]
        if value is False:
            continue
        yield f"--{key.replace('_', '-')}"
        if isinstance(value, dict):
            yield from (f"{name}={_write_value(each)}" for name, each in _flatten(value))
        elif isinstance(value, list):
            yield from map(str, value)
        elif value is not True:
            yield str(value)


def _flatten(fields: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """The fields, also those in tables of TOML: `mixing.rate = 0.4` is one."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{outer}{name}.")
        else:
            yield outer + name, value


def _write_value(value: Any) -> str:
    """A TOML value as --set and --vary take it."""
    values = value if isinstance(value, list) else [value]
    return ",".join(each if isinstance(each, str) else json.dumps(each) for each in values)


def _refuse(path: Path, text: str, key: str, words: str) -> NoReturn:
    line = _line_of_key(text, key)
    raise UserError(f"{path}{f', line {line}' if line else ''}: {words}")


def _line_of_key(text: str, key: str) -> int | None:
    wanted = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*(=|\]|\.)")
    return next((number for number, line in enumerate(text.splitlines(), 1) if wanted.match(line)), None)


def _names(message: str, word: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(word)}(?![\w/])", message) is not None


def _line_of_error(text: str, message: str) -> int | None:
    """The first line with a string or a key of the file that the message names."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        strings = [word for word in re.findall(r"\"([^\"]+)\"|'([^']+)'", line) for word in word if len(word) > 1]
        if any(_names(message, word) for word in strings):
            return number
    for word in re.findall(r"--([a-z-]+)|\b([a-z]+_[a-z_]+)\b", message):
        found = _line_of_key(text, (word[0] or word[1]).replace("-", "_"))
        if found is not None:
            return found
    return None


def write_experiment(tables: Sequence[str], settings: Settings, folder: Path | None = None) -> str:
    """The TOML text that asks for some tables under some settings. folder: of the file."""
    files = [_relate(folder, Path(word)) for word in used()[1:]]
    out = [f"use = {_toml(files)}"] if files else []
    definition = read_definition(settings.own_table) if settings.own_table else None
    if definition is None:
        out.append(f"tables = {_toml(list(tables))}")
    else:
        named = {"title": definition.title, "caption": definition.caption}
        out += [f"{key} = {_toml(value)}" for key, value in named.items() if value]
        out += [f"rows = {_toml([row for row in definition.rows if not row.startswith('{')])}"]
    words = settings.options()
    for option, values in list(_grouped(words)):
        key = option.removeprefix("--").replace("-", "_")
        if key in ("set", "vary") or (definition is not None and key == "rows"):
            continue
        out.append(f"{key} = {_toml_option(key, values)}")
    out += [f"data = {_toml(settings.data)}"] if settings.data else []
    tabled = {
        "set": {short_name(path): parse_value(value) for path, value in settings.overrides},
        "vary": {short_name(path): [parse_value(value) for value in values] for path, values in settings.vary},
        "teachers": dict(settings.teachers),
    }
    for name, entries in tabled.items():
        if entries:
            out += ["", f"[{name}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in entries.items())]
    for row in definition.rows if definition else ():
        if row.startswith("{"):
            out += ["", "[[row]]", *(f"{key} = {_toml(value)}" for key, value in json.loads(row).items())]
    return "\n".join([*out, ""])


def _relate(folder: Path | None, file: Path) -> str:
    return str(file.relative_to(folder)) if folder is not None and file.is_relative_to(folder) else str(file)


def _grouped(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option with its values."""
    values: list[str] = []
    for word in words:
        if word.startswith("--"):
            values = []
            yield word, values
        else:
            values.append(word)


def _toml_option(key: str, values: list[str]) -> str:
    kind = OPTIONS[key]
    if kind is bool:
        return "true"
    return _toml(list(values) if kind is list else kind(values[0]))


def _toml(value: Any) -> str:
    """A value as TOML, of which JSON's numbers, strings and lists are a part."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
