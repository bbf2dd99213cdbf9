"""Names of classes in whatever script: fonts that have their letters, or a number where none has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib import rcParams
from matplotlib.font_manager import fontManager, get_font

USUAL = "DejaVu Sans"
"""matplotlib brings it."""
UNFIT = ("Last Resort", "STIX", "cm", "DejaVu Math")
"""How fonts of boxes and of formulas are called."""
NUMBERED = "class N: the Nth class by the names of the folders, where no font here has the letters of its name"


def prepare_names(names: Sequence[str]) -> list[str]:
    """The names as they can be drawn; those that no font can show are numbers. Bytes that are no text become marks.

    Chooses the fonts of the `rc_context` that it is called in.
    """
    texts = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
    fonts = fonts_for(letter for text in texts for letter in text)
    rcParams["font.family"] = fonts
    known = frozenset[str]().union(*(_letters(font) for font in fonts))
    return [text if known.issuperset(text) else f"class {number}" for number, text in enumerate(texts, 1)]


def note(names: Sequence[str], shown: Sequence[str]) -> str:
    """What to say below the title of a picture some of whose names are numbers."""
    numbered = any(own != name and own.startswith("class ") for name, own in zip(names, shown, strict=True))
    return NUMBERED if numbered else ""


def fonts_for(letters: Iterable[str]) -> list[str]:
    """USUAL, and as few other fonts of this machine as have those letters that it lacks."""
    fonts, missing = [USUAL], set(letters) - _letters(USUAL)
    while missing:
        best = max(_find_other_fonts(), key=lambda font: len(missing & _letters(font)), default=USUAL)
        if not missing & _letters(best):
            break
        fonts.append(best)
        missing -= _letters(best)
    return fonts


@cache
def _find_other_fonts() -> tuple[str, ...]:
    return tuple(sorted({font.name for font in fontManager.ttflist if not font.name.startswith((USUAL, *UNFIT))}))


@cache
def _letters(family: str) -> frozenset[str]:
    """What a family has, by its most usual file."""
    files = [font for font in fontManager.ttflist if font.name == family]
    usual = min(files, key=lambda font: (font.style != "normal", str(font.weight) not in ("400", "normal"), font.fname))
    return frozenset(map(chr, get_font(usual.fname).get_charmap()))
