"""Names of networks. Those of libraries are `LIBRARY:NAME+ARGUMENT=VALUE@MODULE+MODULE`: what the library makes by NAME
with these arguments, its features the outputs of these modules. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from trainables.errors import UserError

LIBRARIES = ("timm", "torchvision")
LONGEST = 100
"""In a file's name, of which file systems take 255 letters."""
FORM = "LIBRARY:NAME, LIBRARY:NAME+ARGUMENT=VALUE or LIBRARY:NAME@MODULE+MODULE"
MODULES = "@"
"""Before the modules whose outputs are the features."""
WORDS = {"true": True, "false": False, "none": None}
Argument = bool | int | float | str | None | tuple[int, ...]


@dataclass(frozen=True)
class LibraryName:
    """The parts of a name: `timm:vit_tiny_patch16_224+patch_size=4@blocks.2+blocks.5`."""

    library: str
    name: str
    arguments: tuple[tuple[str, Argument], ...]
    modules: tuple[str, ...]
    """None of them: the library's network has features by default."""

    @property
    def base(self) -> str:
        """Without arguments and modules."""
        return f"{self.library}:{self.name}"

    @property
    def architecture(self) -> str:
        """Without the name of some weights, which timm has behind a dot: `timm:resnet18.a1_in1k`."""
        return self.base.partition(".")[0]


@cache
def parse(network: str) -> LibraryName | None:
    """The parts of a library's network; None for a network of this program or of a user's own."""
    library, colon, rest = network.partition(":")
    if not colon:
        return None
    if library not in LIBRARIES:
        raise UserError(f"unknown library {library!r} of the network {network}: use one of {', '.join(LIBRARIES)}")
    made, at, modules = rest.partition(MODULES)
    name, *arguments = made.split("+")
    found = [argument.partition("=") for argument in arguments]
    names = [key for key, _, _ in found]
    whole = name and all(key and value for key, _, value in found) and (not at or all(modules.split("+")))
    if not whole or len({*names}) < len(names) or re.search(r"[\s,/:]", rest):
        raise UserError(f"cannot read the network {network!r}: write {FORM}")
    return LibraryName(
        library,
        name,
        tuple((key, _value(text)) for key, _, text in found),
        tuple(modules.split("+")) if at else (),
    )


def _value(text: str) -> Argument:
    """`4`, `0.1`, `true`, `2x2x6x2` (a tuple); anything else is a word."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(map(int, text.split("x")))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def file_name(network: str) -> str:
    """A network's name (or two) as part of a file's: `timm_resnet18`. Several may share it."""
    return re.sub(r"[^\w.+=-]", "_", network)[:LONGEST]
