"""The page in a real browser, driven as a person would: open, click, filter, follow a folder that grows, on a phone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import made_up
import pytest
import reports
from browser import Browser
from made_up import cells

from analysis import paper
from analysis.record.ledger import Ledger

ROOT = Path(__file__).resolve().parents[3]
CELL = '#table-table5 a[href*="row=dkd&"]'
"""Of a row that has no run yet."""
DEADLINE = 60
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason=f"no browser: install one of {', '.join(browser.NAMES)}"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_ledger(tmp_path_factory.mktemp("page") / "results")


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    command = [sys.executable, str(ROOT / "analysis" / "watch.py"), "--results", str(results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def opened(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), "--window-size=1200,900") as found:
        yield found


def click(page: Browser, selector: str) -> None:
    """With the mouse, and wait for the page that it leads to."""
    box = f"document.querySelector('{selector}')"
    page.evaluate(f"{box}.scrollIntoView({{block: 'center'}})")
    x, y = page.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box}.getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        page.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def wait_for(page: Browser, condition: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def test_a_cell_opens_beside_another(opened: Browser, address: str) -> None:
    opened.open(address)
    click(opened, '#table-table5 a[href*="row=kd&"]')
    wait_for(opened, "document.querySelectorAll('.curve').length == 6")
    assert "KD*" in opened.evaluate("document.title")
    click(opened, 'input[value="kd_cutmix"]')
    click(opened, "form button")
    wait_for(opened, "document.querySelectorAll('.curve').length == 12")


def test_runs_are_filtered_with_the_keyboard(opened: Browser, address: str) -> None:
    opened.open(f"{address}runs")
    opened.evaluate("document.querySelector('input[name=where]').focus()")
    opened.ask("Input.insertText", text="treatment=dkd-cutmix100 seed<=2")
    for kind in ("keyDown", "keyUp"):
        opened.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    wait_for(opened, "document.querySelector('#runs h2')?.textContent.startsWith('2 runs')")


def test_it_follows_a_folder_and_keeps_what_is_open(opened: Browser, address: str, results: Path) -> None:
    opened.open(address)
    opened.evaluate("document.getElementById('table-table13-fold').open = false")
    opened.evaluate("document.getElementById('ran-fold').open = true")
    opened.evaluate(f"document.querySelector('{CELL}').focus()")
    opened.evaluate("window.scrollTo(0, 300)")
    before = opened.evaluate("[scrollY, document.querySelector('main').children.length]")
    gone = next(cell for cell in cells(paper.find("table5"), reports.SETTINGS) if cell.row == "dkd")
    with Ledger.open(results / "ledger.sqlite") as ledger:
        for spec in gone.specs:
            assert ledger.record(made_up.result(spec, 66.25))
    wait_for(opened, f"document.querySelector('{CELL}').textContent == '66.25'")
    assert opened.evaluate("[scrollY, document.querySelector('main').children.length]") == before
    assert opened.evaluate("document.getElementById('table-table13-fold').open") is False
    assert opened.evaluate("document.getElementById('ran-fold').open") is True
    assert opened.evaluate(f"document.activeElement == document.querySelector('{CELL}')")


@pytest.mark.parametrize("width", [400, 1200])
def test_it_is_no_wider_than_the_window(opened: Browser, address: str, width: int) -> None:
    opened.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    for target in ("", "table?name=table5", "cell?table=table5&part=main&row=kd&pair=resnet56/resnet20", "runs"):
        opened.open(f"{address}{target}")
        assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), target
    opened.ask("Emulation.clearDeviceMetricsOverride")


def test_it_is_read_by_day_and_by_night(opened: Browser, address: str) -> None:
    opened.open(address)
    colours = []
    for scheme in ("light", "dark"):
        opened.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours.append(opened.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(22, 24, 26)"]


def test_nothing_complains(opened: Browser, address: str) -> None:
    """No script fails, the policy refuses nothing, and all that is asked for is this server's."""
    assert opened.called("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    asked = {event["request"]["url"] for event in opened.called("Network.requestWillBeSent")}
    assert all(url.startswith((address, "data:")) for url in asked)
