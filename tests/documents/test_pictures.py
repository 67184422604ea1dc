"""The pictures of the documents, rendered by a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.support.redis_server import unavailable
from tests.support.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

PICTURES = sorted((ROOT / "docs").rglob("*.svg"))
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu"]
MARGIN = 4

# Returns the texts that leave the picture, or the box that they start in.
OVERFLOW = """margin => {
    const right = element => element.getBoundingClientRect().right
    const paper = document.documentElement.viewBox.baseVal.width
    const scale = document.documentElement.getBoundingClientRect().width / paper
    const boxes = [...document.querySelectorAll("rect[rx]")].map(box => box.getBoundingClientRect())
    return [...document.querySelectorAll("text")].filter(text => {
        const place = text.getBoundingClientRect()
        const around = boxes.filter(box =>
            box.left <= place.left && place.left < box.right &&
            box.top <= place.top && place.bottom <= box.bottom)
        const limits = [paper * scale, ...around.map(box => box.right - margin * scale)]
        return place.left < 0 || right(text) > Math.min(...limits)
    }).map(text => text.textContent)
}"""
# Returns the colours of all texts.
COLOURS = """() => [...document.querySelectorAll("text, tspan")]
    .filter(text => text.childElementCount === 0)
    .map(text => getComputedStyle(text).fill)"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page in the installed Chromium, in the colours of a light theme."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        unavailable("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser.new_page(color_scheme="light", reduced_motion="reduce")
        browser.close()


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as `rgb(31, 35, 40)` (WCAG 2.2)."""
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_no_text_leaves_its_box(page: Page, picture: Path) -> None:
    page.goto(f"file://{picture}")
    assert page.evaluate(OVERFLOW, MARGIN) == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_it_is_readable_on_a_light_page(page: Page, picture: Path) -> None:
    page.goto(f"file://{picture}")
    colours = set(page.evaluate(COLOURS))
    assert colours
    for colour in colours:
        # WCAG 2.2, 1.4.3, against white.
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, colour
