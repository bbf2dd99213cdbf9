"""What a table is called: as in the paper on the paper's data, by the data that it is made of elsewhere."""

from __future__ import annotations

import json

from analysis.record.settings import Settings, short_name
from analysis.table import names
from analysis.table.layout import PAPER_TITLE, Table
from trainables import datasets


def title(table: Table, settings: Settings) -> str:
    """The table's title with the data set of the settings. On other data than the paper's it is no table of the paper,
    which stands behind it as the one that it follows."""
    match = PAPER_TITLE.fullmatch(table.title)
    if match and settings.dataset == table.dataset and not settings.data and not settings.vary:
        return table.title
    words = subject(table, settings)
    return f"{words} (after {match[1]} of the Energy KD paper)" if match else words


def subject(table: Table, settings: Settings) -> str:
    """The title without the number that the paper's table has."""
    if settings.own_table and json.loads(settings.own_table)["title"] == table.title:
        return table.title
    match = PAPER_TITLE.fullmatch(table.title)
    own = f"{match[2][0].upper()}{match[2][1:]}" if match else table.title
    if settings.vary:
        own += f": {names.listed([short_name(path) for path, _ in settings.vary])} varied"
    on_its_data = settings.dataset == table.dataset and not settings.data
    return own if on_its_data else _replace_dataset(own, names.dataset(table.dataset), images(settings))


def images(settings: Settings) -> str:
    """The data set as it is printed; `own images in the form of ImageNet` where they are none that were published."""
    printed = names.dataset(settings.dataset)
    published = settings.data and datasets.find(settings.dataset).published is not None
    return f"own images in the form of {printed}" if published else printed


def _replace_dataset(words: str, own: str, here: str) -> str:
    """A title with the data set of here instead of its own, or behind it."""
    if own in words:
        return words.replace(own, here)
    named = any(names.dataset(name) in words for name in datasets.names())
    return f"{words}; here on {here}" if named else f"{words}, on {here}"
