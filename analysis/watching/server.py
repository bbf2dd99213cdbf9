"""The page's addresses. What they name is looked up among tables and runs; no path is ever made of it."""

from __future__ import annotations

import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from analysis.reporting.snapshot import Chapter
from analysis.table.render import render as render_table
from analysis.watching import page
from analysis.watching.cell_page import cell_page, find_cell
from analysis.watching.follower import Follower, Seen
from analysis.watching.guard import Guard
from analysis.watching.index_page import DOWNLOADS, index_page
from analysis.watching.runs_page import Y, run_page, runs_page
from analysis.watching.search_page import draw_picture, find_study, search_page
from analysis.watching.table_page import picture_of, table_page
from trainables.errors import UserError

if TYPE_CHECKING:
    from analysis.record.study import StudyRecord

ENDINGS = {"latex": "tex", "csv": "csv", "markdown": "md", "json": "json"}
POLL_SECONDS = 2.0
UNCHANGED_SECONDS = 0.1
"""Until a browser hears that nothing has changed: one that asks without rest would take time from the driver."""
MOST_KEPT = 64
"""Pages of one view."""


def make_application(follower: Follower, *, token: str | None = None, port: int = 0) -> Guard:
    routes = _Routes(follower)
    application = Starlette(
        routes=[
            Route("/", routes.index),
            Route("/table", routes.table),
            Route("/cell", routes.cell),
            Route("/runs", routes.runs),
            Route("/run", routes.run),
            Route("/search", routes.search),
            Route("/search-picture", routes.search_picture),
            Route("/download", routes.download),
            Route("/picture", routes.picture),
            Route("/static/{name}", routes.static),
        ],
        exception_handlers={HTTPException: _refused, UserError: _bad_input, Exception: _failed},
    )
    application.router.redirect_slashes = False
    return Guard(application, token, port)


class _Routes:
    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.start = secrets.token_hex(4)
        self.making = threading.Lock()
        self.kept: dict[tuple[str, bytes], bytes] = {}
        self.kept_version = ""

    def index(self, request: Request) -> Response:
        _words(request)
        return self._page(request, index_page)

    def table(self, request: Request) -> Response:
        words = _words(request, "name")
        return self._page(request, lambda view: table_page(self.follower, view, _chapter(view, words["name"])))

    def cell(self, request: Request) -> Response:
        words = _words(request, "table", "row", "pair", "part", many=("beside",))

        def make(view: Seen) -> page.Page:
            chapter = _chapter(view, words["table"])
            value = find_cell(chapter, words["part"], words["row"], words["pair"])
            if value is None:
                raise HTTPException(404, "this table has no such entry")
            return cell_page(self.follower, view, chapter, value, request.query_params.getlist("beside"))

        return self._page(request, make)

    def runs(self, request: Request) -> Response:
        words = _words(request, "where", "y")
        y = words["y"] or next(iter(Y))
        if y not in Y:
            raise HTTPException(400, f"y is one of {', '.join(Y)}")
        return self._page(request, lambda view: runs_page(self.follower, view, words["where"], y))

    def run(self, request: Request) -> Response:
        words = _words(request, "id")

        def make(view: Seen) -> page.Page:
            found = run_page(self.follower, view, words["id"])
            if found is None:
                raise HTTPException(404, "the ledger has no such run")
            return found

        return self._page(request, make)

    def download(self, request: Request) -> Response:
        words = _words(request, "table", "form")
        chapter = _chapter(self.follower.view, words["table"])
        if words["form"] not in DOWNLOADS or chapter.grid is None:
            raise HTTPException(404, f"a table can be had as {', '.join(DOWNLOADS)}")
        name = re.sub(r"\W", "_", chapter.table.key, flags=re.ASCII)
        return PlainTextResponse(
            render_table(chapter.grid, words["form"]).encode(errors="replace"),
            headers={"content-disposition": f'attachment; filename="{name}.{ENDINGS[words["form"]]}"'},
        )

    def picture(self, request: Request) -> Response:
        words = _words(request, "table", "number", "at")
        view = self.follower.view
        number = int(words["number"]) if re.fullmatch(r"\d{1,3}", words["number"], re.ASCII) else -1
        image = picture_of(_chapter(view, words["table"]), view, number) if number >= 0 else None
        if image is None:
            raise HTTPException(404, "there is no such picture")
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/svg+xml"
        return Response(image, media_type=kind)

    def search(self, request: Request) -> Response:
        words = _words(request, "name")
        return self._page(request, lambda view: search_page(view, _find_study(view, words["name"])))

    def search_picture(self, request: Request) -> Response:
        words = _words(request, "name", "kind", "at")
        image = draw_picture(_find_study(self.follower.view, words["name"]), words["kind"])
        if image is None:
            raise HTTPException(404, "there is no such picture")
        return Response(image, media_type="image/svg+xml")

    def static(self, request: Request) -> Response:
        _words(request)
        name = request.path_params["name"]
        if name not in page.FILES:
            raise HTTPException(404, "there is no such file")
        content, kind = page.static(name)
        return Response(content, media_type=kind)

    def _page(self, request: Request, make: Callable[[Seen], page.Page]) -> Response:
        """The page, made once for each view; or that it is still the one that the browser has."""
        view = self.follower.view
        version = f"{self.start}-{view.version}"
        if request.headers.get("if-none-match") == f'"{version}"':
            time.sleep(UNCHANGED_SECONDS)
            return Response(status_code=304)
        address = request.scope["path"], request.scope["query_string"]
        with self.making:
            if self.kept_version != version or len(self.kept) >= MOST_KEPT:
                self.kept, self.kept_version = {}, version
            if address not in self.kept:
                with self.follower.working():
                    made = page.render(make(view), version=version, trouble=view.trouble, seconds=POLL_SECONDS)
                self.kept[address] = made.encode(errors="replace")
            return HTMLResponse(self.kept[address])


def _words(request: Request, *names: str, many: tuple[str, ...] = ()) -> dict[str, str]:
    """The query's words, each once, empty where it does not have one; refuses others."""
    query = request.query_params
    for name in query:
        if name not in (*names, *many):
            raise HTTPException(400, "this page is not asked for like that")
        if name in names and len(query.getlist(name)) > 1:
            raise HTTPException(400, f"{name} is given twice")
    return {name: query.get(name, "") for name in names}


def _chapter(view: Seen, key: str) -> Chapter:
    found = view.chapter(key)
    if found is None:
        raise HTTPException(404, "no sweep of this folder has asked for such a table")
    return found


def _find_study(view: Seen, name: str) -> StudyRecord:
    found = find_study(view, name)
    if found is None:
        raise HTTPException(404, "this folder has no such search")
    return found


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, headers=error.headers)


def _bad_input(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error).encode(errors="replace"), 400)


def _failed(request: Request, error: Exception) -> Response:
    print(f"error: {request.scope['path']!r}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return PlainTextResponse("this page has a mistake of the program; the command that shows it says which", 500)
