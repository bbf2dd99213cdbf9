"""The pages of a ledger whose names want to be code: well-formed, whole, and nothing else than what is there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import pytest
import reports
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, Page
from web import LOCAL, Answer, ask

from analysis.record.ledger import Ledger
from analysis.table.render import render
from analysis.tables import load_grid
from analysis.watching import page
from analysis.watching.cell_page import cell_href
from analysis.watching.follower import Follower
from analysis.watching.guard import HEADERS, Guard
from analysis.watching.runs_page import choose
from analysis.watching.server import make_application
from trainables.errors import UserError


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_ledger(tmp_path_factory.mktemp("page of # a 100% <b>") / "results")


@pytest.fixture(scope="module")
def follower(results: Path) -> Follower:
    made = Follower(results)
    made.look()
    return made


@pytest.fixture(scope="module")
def application(follower: Follower) -> Guard:
    return make_application(follower)


def pages_behind(application: Guard, start: str = "/") -> dict[str, Answer]:
    """Every page that links lead to from the first one, a few of each kind."""
    found: dict[str, Answer] = {}
    waiting = [start]
    kinds: dict[str, int] = {}
    while waiting:
        target = waiting.pop(0)
        kind = target.partition("?")[0]
        if target in found or kinds.get(kind, 0) > 4:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        found[target] = ask(application, target)
        if found[target].headers["content-type"].startswith("text/html"):
            waiting += [link for link in Page(found[target].text).links if link.startswith("/")]
    return found


def test_every_page_that_a_link_leads_to_is_there_and_well_formed(application: Guard) -> None:
    found = pages_behind(application)
    assert {target.partition("?")[0] for target in found} >= {"/", "/table", "/cell", "/run", "/runs", "/download"}
    for target, answer in found.items():
        assert answer.status == 200, target
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_pages_have_no_style_and_no_script_of_their_own(application: Guard) -> None:
    for answer in pages_behind(application).values():
        if answer.headers["content-type"].startswith("text/html"):
            page = Page(answer.text)
            assert "style" not in page.tags
            assert " style=" not in answer.text
            assert " on" not in {word[:3] for word in answer.text.split("<") if word.startswith("on")}
            assert answer.text.count("<script") == answer.text.count('<script src="/static/watch.js" defer>') == 1


def test_names_of_users_are_text(application: Guard) -> None:
    page = ask(application).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)" in page


def test_the_first_page_has_each_table_with_links_to_its_cells(application: Guard) -> None:
    page = Page(ask(application).text)
    cells = [link for link in page.links if link.startswith("/cell") and "beside" not in link]
    assert len(cells) == 16
    assert page.ids.count("table-table5") == 1
    assert "1 failed" in page.text


def cell(**words: str) -> str:
    usual = {"table": "table5", "part": "main", "row": "kd", "pair": "resnet56/resnet20"}
    return "/cell?" + "&".join(f"{name}={quote(word, safe='')}" for name, word in (usual | words).items())


def test_a_cell_has_all_there_is_to_know(application: Guard, results: Path) -> None:
    page = Page(ask(application, cell()).text)
    assert "KD" in page.title
    seeds = page.table(
        *("Seed", "Run", "State", "Best top-1", "at epoch", "Last top-1", "Epochs", "Seconds an epoch"),
        *("Ended (UTC)", "Weights"),
    )
    assert [line[2] for line in seeds] == ["done"] * 3
    words = " --dataset cifar100 --pairs resnet56/resnet20 --rows kd --results "
    assert f"ekd run table5{words}" in " ".join(page.text.split())
    assert "below" in page.text
    assert "lr 0.05" in page.text
    assert {"svg", "polyline"} <= page.tags


def test_a_cell_beside_others_has_their_curves(application: Guard) -> None:
    alone, both = (ask(application, cell() + more).text for more in ("", "&beside=kd_cutmix&beside=nonsense"))
    assert both.count('class="curve"') == 2 * alone.count('class="curve"') > 0


def test_a_difference_opens_the_best_row_beside_the_other(application: Guard, follower: Follower) -> None:
    chapter = follower.view.chapter("table5")
    assert chapter is not None
    assert chapter.grid is not None
    found = next(value for value in chapter.grid.values if value.kind == "difference" and value.chosen)
    target = cell_href(chapter, found)
    assert target in Page(ask(application).text).links
    page = ask(application, target).text
    for row in (found.chosen, "kd"):
        value = next(value for value in chapter.grid.values if value.row == row and value.pair == found.pair)
        assert f"<title>{value.label}: seed 1" in page


def test_a_failed_seed_says_why_and_how_to_try_again(application: Guard) -> None:
    page = Page(ask(application, cell(row="dkd_he_da")).text)
    assert HOSTILE.split()[0] in page.text
    assert "--retry" in page.text


@pytest.mark.parametrize("form", ["latex", "csv", "markdown", "json"])
def test_a_table_is_had_as_the_command_writes_it(application: Guard, results: Path, form: str) -> None:
    answer = ask(application, f"/download?table=table5&form={form}")
    assert answer.text == render(load_grid("table5", results), form)
    assert answer.headers["content-disposition"].startswith('attachment; filename="table5.')


def test_a_picture_is_drawn(application: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.reporting.pictures.picture", lambda grid, form: b"<svg/>")
    answer = ask(application, "/picture?table=table5&number=0")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/svg+xml", b"<svg/>")


def test_a_page_that_has_not_changed_is_not_sent_again(follower: Follower, application: Guard) -> None:
    page = ask(application).text
    version = page.partition('data-version="')[2].partition('"')[0]
    again = ask(application, headers=LOCAL | {"if-none-match": f'"{version}"'})
    assert (again.status, again.body) == (304, b"")
    assert ask(application, headers=LOCAL | {"if-none-match": '"another"'}).status == 200


def test_a_page_is_made_once_for_each_view(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    render = page.render
    monkeypatch.setattr(page, "render", lambda which, **more: made.append(which.title) or render(which, **more))
    follower = Follower(results)
    follower.look()
    application = make_application(follower)
    answers = {ask(application, target).body for target in ("/", "/", cell(), "/", cell()) for _ in range(3)}
    assert (len(answers), len(made)) == (2, 2)
    follower.look()
    ask(application)
    assert len(made) == 2
    follower._show(trouble="something else")
    assert "something else" in ask(application).text
    assert len(made) == 3


def digest(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "", path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def test_nothing_is_written(application: Guard, follower: Follower, results: Path) -> None:
    before = digest(results)
    pages_behind(application)
    follower.look()
    assert digest(results) == before


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("", lambda spec: True),
        ("method=dkd", lambda spec: spec.method == "dkd"),
        ("method!=dkd seed<2", lambda spec: spec.method != "dkd" and spec.seed == 1),
        ("mixing.rate=0.40", lambda spec: spec.mixing is not None and spec.mixing.rate == 0.4),
        ("params.kd=0.9", lambda spec: dict(spec.params).get("kd") == 0.9),
        ("milestones=150,180,210", lambda spec: spec.milestones == (150, 180, 210)),
        ("RESNET20-dkd-", lambda spec: spec.treatment.startswith("dkd-")),
    ],
)
def test_runs_are_chosen_by_their_fields(follower: Follower, where: str, fits: object) -> None:
    runs = list(follower.view.snapshot.runs.values())
    found = choose(runs, where)
    assert found == [entry for entry in runs if fits(entry.spec)]  # type: ignore[operator]
    assert found


@pytest.mark.parametrize("where", ["sed=1", "__class__=x", "seed<x", "name.__class__=1", "spec=1"])
def test_what_no_run_has_is_refused(follower: Follower, application: Guard, where: str) -> None:
    with pytest.raises(UserError):
        choose(list(follower.view.snapshot.runs.values()), where)
    assert ask(application, f"/runs?where={quote(where)}").status == 400


PATHS = st.one_of(
    st.sampled_from(["/", "/table", "/cell", "/runs", "/run", "/download", "/picture", "/static/watch.css", "/x"]),
    st.text(max_size=40).map(lambda text: "/" + quote(text)),
    st.sampled_from(
        [
            "/static/../../ledger.sqlite",
            "/static/..%2f..%2fledger.sqlite",
            "/static/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/ledger.sqlite",
            "/static/",
            "/%00",
            "/..",
        ]
    ),
)
WORDS = st.one_of(st.text(max_size=30), st.sampled_from(["table5", "/etc/passwd", "../ledger.sqlite", "\0", "0", "kd"]))
NAMES = st.one_of(
    st.sampled_from(["table", "name", "id", "form", "number", "where", "row", "pair"]), st.text(max_size=8)
)
QUERIES = st.lists(st.tuples(NAMES, WORDS), max_size=4)
HEADER = st.dictionaries(
    st.sampled_from(["if-none-match", "cookie", "accept", "x-forwarded-host", "range", "accept-encoding", "origin"]),
    st.text(st.characters(max_codepoint=255), max_size=30),
    max_size=3,
)


@given(PATHS, QUERIES, HEADER, st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "X"]))
def test_anything_odd_is_refused(
    application: Guard,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    method: str,
) -> None:
    words = "&".join(f"{quote(name)}={quote(word)}" for name, word in query)
    answer = ask(application, f"{path}?{words}", LOCAL | headers, method)
    assert answer.status in (200, 304, 400, 404, 405)
    assert b"Traceback" not in answer.body
    assert b"SQLite format" not in answer.body
    assert b"root:" not in answer.body
    if method not in ("GET", "HEAD"):
        assert answer.status in (404, 405)


def test_a_mistake_of_the_program_is_one_line(
    follower: Follower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(view: object) -> None:
        raise RuntimeError("made up")

    monkeypatch.setattr("analysis.watching.server.index_page", fail)
    with pytest.raises(RuntimeError):  # The server's own log has it; what is sent does not.
        ask(make_application(follower))
    assert capsys.readouterr().err == "error: '/': RuntimeError: made up\n"


def test_a_ledger_of_no_sweep_has_a_page(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    follower = Follower(tmp_path)
    follower.look()
    page = Page(ask(make_application(follower)).text)
    assert "0 runs in the ledger" in page.text
