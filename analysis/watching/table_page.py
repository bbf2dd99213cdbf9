"""All that the report says of one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analysis.reporting import pictures
from analysis.reporting.document import Block, Picture
from analysis.reporting.snapshot import Chapter
from analysis.reporting.table_section import details, others
from analysis.watching.follower import Follower, Seen
from analysis.watching.index_page import say_how_far, show_table
from analysis.watching.page import Page, drawing, href, section


def table_page(follower: Follower, view: Seen, chapter: Chapter) -> Page:
    runs = view.snapshot.runs
    if chapter.grid is not None:
        runs = {**runs, **follower.entries(chapter.grid.resolved.run_ids)}
    snapshot = replace(view.snapshot, runs=runs)
    sections = (
        section("table", "", (*others(chapter, snapshot), *show_table(view, chapter))),
        section("picture", "", _pictures(chapter, view)),
        section("details", "", details(chapter, snapshot)),
    )
    return Page(chapter.title, say_how_far(chapter), tuple(each for each in sections if each.blocks))


def _pictures(chapter: Chapter, view: Seen) -> Iterator[Block]:
    """Links, so that the table need not wait until they are drawn."""
    at = say_how_far(chapter)
    for place, picture in enumerate(_found(chapter, view)):
        to = href("picture", table=chapter.table.key, number=str(place), at=at)
        yield Picture(picture.name, picture.alt, None, href=to)


def _found(chapter: Chapter, view: Seen) -> list[Picture]:
    """Those that a sweep has drawn; one to be drawn of the numbers is empty yet."""
    grid = chapter.grid
    if grid is None:
        return []
    if pictures.is_drawn(grid):
        return [Picture(chapter.table.key, chapter.title, None)] if grid.values else []
    return pictures.find_pictures(view.snapshot.results / "tables", chapter.table.key, chapter.title)


def picture_of(chapter: Chapter, view: Seen, number: int) -> bytes | None:
    """SVG or PNG."""
    found = _found(chapter, view)[number : number + 1]
    if not found or chapter.grid is None:
        return None
    if not pictures.is_drawn(chapter.grid):
        return found[0].page
    with drawing:
        return pictures.draw_picture(chapter.grid, printed=False).page
