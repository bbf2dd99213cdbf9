"""The site of the documentation: built strictly, whole, and readable from disk in a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import browser
import pytest
from browser import Browser
from site_pages import Page, dead_links, fetched, read_pages

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.medium,
    pytest.mark.skipif(
        not (find_spec("material") and find_spec("mkdocstrings")),
        reason="no documentation tools: pip install -e '.[docs]'",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("a site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return read_pages(site)


def test_no_link_is_dead(pages: dict[Path, Page]) -> None:
    assert len(pages) > 20
    assert dead_links(pages) == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    links = ("b.html", "b.html#there", "b.html#not", "c.html", "#self", "https://example.com/x")
    (tmp_path / "a.html").write_text("".join(f"<a id=self href='{link}'>x</a>" for link in links))
    (tmp_path / "b.html").write_text("<h1 id=there>b</h1>")
    assert dead_links(read_pages(tmp_path)) == [
        "a.html: b.html#not: no such anchor",
        "a.html: c.html: no such file",
    ]


def test_nothing_is_loaded_from_the_network(pages: dict[Path, Page]) -> None:
    assert fetched(pages) == set()


def test_the_reference_has_all_of_the_mathematics(site: Path, pages: dict[Path, Page]) -> None:
    exported = re.findall(r'^    "(\w+)",$', (ROOT / "ekd_core" / "__init__.py").read_text(), re.MULTILINE)
    documented = pages[(site / "api" / "ekd_core.html").resolve()].anchors
    assert len(exported) > 10
    assert {name.rpartition(".")[2] for name in documented} >= {*exported}


@pytest.fixture(scope="module")
def opened(site: Path, pages: dict[Path, Page], tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Every page was opened from disk, and something was searched for."""
    if browser.program() is None:
        pytest.skip(f"no browser: install one of {', '.join(browser.NAMES)}")
    with Browser(tmp_path_factory.mktemp("profile"), "--window-size=1200,900") as found:
        for path in pages:
            if path.name != "404.html":
                found.open(path.as_uri())
        found.open((site / "index.html").absolute().as_uri())
        yield found


def test_no_page_complains(opened: Browser) -> None:
    assert opened.called("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    assert opened.called("Network.loadingFailed") == []
    asked = {event["request"]["url"].partition(":")[0] for event in opened.called("Network.requestWillBeSent")}
    assert asked <= {"file", "data", "blob"}


SEARCH = """
new Promise((resolve, reject) => {
  const field = document.querySelector("input.md-search__input");
  field.focus();
  field.value = "energy_thresholds";
  field.dispatchEvent(new Event("keyup", {bubbles: true}));
  field.dispatchEvent(new Event("input", {bubbles: true}));
  const started = Date.now();
  const wait = setInterval(() => {
    const found = document.querySelectorAll(".md-search-result__item").length;
    if (found || Date.now() - started > 20000) { clearInterval(wait); resolve(found); }
  }, 100);
})
"""


def test_the_search_finds_something_from_disk(opened: Browser) -> None:
    assert opened.evaluate(SEARCH) > 0
