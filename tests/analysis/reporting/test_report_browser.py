"""The report's page in a real browser, from the disk: every image is shown, nothing is fetched, nothing complains."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest
import reports
from browser import Browser

from analysis.report import main

pytestmark = pytest.mark.skipif(
    browser.program() is None, reason=f"no browser: install one of {', '.join(browser.NAMES)}"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    place = tmp_path_factory.mktemp("page of # a 100%")
    results = reports.write_ledger(place / "results")
    (results / "tables").mkdir()
    assert main(["--results", str(results), "--no-pdf", "--title", reports.HOSTILE]) == 0
    with Browser(place / "profile", "--window-size=800,600") as found:
        found.open((results / "report" / "report.html").absolute().as_uri())
        yield found


@pytest.mark.medium
def test_every_image_is_shown(opened: Browser) -> None:
    sizes = opened.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(sizes) == 2
    assert min(sizes) > 100


def test_nothing_is_fetched_but_the_page(opened: Browser) -> None:
    asked = [event["request"]["url"] for event in opened.called("Network.requestWillBeSent")]
    files = [url for url in asked if not url.startswith("data:image/")]
    assert len(files) == 1
    assert files[0].startswith("file:///")
    assert files[0].endswith("/report.html")


def test_this_browser_notices_what_is_fetched_and_what_complains(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<img src='missing.png'><script>console.error('made up'); undefined()</script>")
    with Browser(tmp_path / "profile") as other:
        other.open((tmp_path / "bad.html").as_uri())
        assert [event["request"]["url"].rpartition("/")[2] for event in other.called("Network.requestWillBeSent")] == [
            "bad.html",
            "missing.png",
        ]
        assert other.called("Runtime.consoleAPICalled")
        assert other.called("Runtime.exceptionThrown")
        assert other.called("Network.loadingFailed")


def test_nothing_complains(opened: Browser) -> None:
    assert opened.called("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    assert opened.called("Network.loadingFailed", "Page.javascriptDialogOpening") == []


def test_it_is_no_wider_than_the_window(opened: Browser) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_it_is_read_by_day_and_by_night(opened: Browser) -> None:
    colours = []
    for scheme in ("light", "dark"):
        opened.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours.append(opened.evaluate("getComputedStyle(document.body).color"))
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]


def test_the_list_of_sections_leads_to_them(opened: Browser) -> None:
    assert opened.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
