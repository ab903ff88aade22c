"""The page in a real browser: typed, dropped, spoken; English and Chinese; by keyboard and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import penjing
from http_server import listening
from penjing.apps.confidence import builtin_folder
from penjing.apps.search import Embedding, index
from penjing.index.choice import Wanted
from penjing.scenes.scene import draw, imagine
from penjing.serve.limits import Limits
from penjing.serve.shelf import Goods, open_shelf

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
NAMELESS = """[...document.querySelectorAll('input, select, textarea, button')]
  .filter(node => node.checkVisibility() && !(node.labels?.length || node.ariaLabel || node.textContent.trim()))
  .map(node => node.outerHTML)"""
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "photos").mkdir()
    for seed in range(6):
        draw(imagine(seed)).save(folder / "photos" / f"scene-{seed}.png")
    times = np.arange(16000 * 3) / 16000
    soundfile.write(folder / "voice.wav", 0.3 * np.sin(2 * np.pi * (200 + 100 * np.sin(times)) * times), 16000)
    return folder


@pytest.fixture(scope="module")
def running(seedling_artifact, files) -> Iterator[Any]:
    """The tiny seedling under two names, with an index of six scenes."""
    twin = files / "twin"
    shutil.copytree(seedling_artifact, twin)
    runner = penjing.load(seedling_artifact, engine="onnxruntime", threads=1, warm_up=False)
    index(Embedding(runner, seedling_artifact), [str(files / "photos")], str(files / "idx"), Wanted())
    limits = Limits()
    shelf = open_shelf(
        Goods(
            [str(seedling_artifact), str(twin)],
            str(files / "idx"),
            str(builtin_folder() / "knowledge"),
            "onnxruntime",
            1,
        ),
        limits,
    )
    with listening(shelf, limits) as found:
        yield found


@pytest.fixture(scope="module")
def browser(files) -> Iterator[Any]:
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={files / 'voice.wav'}"]  # fmt: skip
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=[*flags, "--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser, running) -> Iterator[Any]:
    context = browser.new_context(locale="en-GB", permissions=["microphone"])
    context.set_default_timeout(20_000)
    found, faults = context.new_page(), []
    found.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda request: faults.append(request.url) if not is_local(request.url, running.url) else None)
    found.goto(running.url)
    found.get_by_role("tab", name="Search").wait_for()
    yield found
    shots = os.environ.get("PENJING_SCREENSHOTS")
    if shots:
        found.screenshot(path=f"{shots}/{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1].split(' ')[0]}.png")
    context.close()
    assert faults == []


def is_fault(message: Any) -> bool:
    """A refusal is told in the page; the browser notes it, too."""
    return message.type == "error" and "status of 400" not in message.text


def is_local(address: str, url: str) -> bool:
    return address.startswith((url, "blob:", "data:"))


def test_search_by_typing_and_by_a_picture(page, files):
    page.get_by_role("searchbox").fill("a red star")
    page.keyboard.press("Enter")
    page.get_by_text("6 found in").wait_for()
    assert page.locator("#search .hits li").count() == 6
    page.locator("#search input[type=file]").set_input_files(files / "photos" / "scene-4.png")
    page.locator("#search .hits li").first.get_by_text("scene-4.png").wait_for()
    assert float(page.locator("#search .hits li .score").first.inner_text()) > 0.98
    image = page.locator("#search .hits img").first
    image.evaluate("image => image.decode()")
    assert image.evaluate("image => image.naturalWidth") > 0


def test_search_by_speaking(page):
    page.locator("#search .record").click()
    page.get_by_text("Listening").wait_for()
    page.wait_for_timeout(1500)
    page.locator("#search .record").click()
    page.get_by_text("6 found in").wait_for()
    assert page.locator("#search .record").inner_text() == "Speak"


def test_transcribe_a_file(page, files):
    page.get_by_role("tab", name="Transcribe").click()
    page.locator("#hear input[type=file]").set_input_files(files / "voice.wav")
    page.locator("#hear .state").get_by_text("ms").wait_for()
    assert page.get_by_role("link", name="Subtitles").get_attribute("download") == "speech.srt"


def test_ask_about_a_picture(page, files):
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat input[type=file]").set_input_files(files / "photos" / "scene-1.png")
    page.locator("#chat textarea").fill("how many circles are there?")
    page.keyboard.press("Enter")
    page.locator("#talk li.user img").wait_for()
    page.locator("#talk li.assistant").wait_for()
    assert page.locator("#talk li.user").inner_text().strip() == "how many circles are there?"
    page.get_by_role("button", name="Start over").click()
    assert page.locator("#talk li").count() == 0


def test_the_support_desk_in_the_chat(page):
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat [name=model]").select_option("assistant")
    page.locator("#chat textarea").fill("what are your shipping costs")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#talk li.assistant')?.textContent.length > 20")
    assert page.locator("#talk li.user").inner_text() == "what are your shipping costs"


def test_two_artifacts_side_by_side(page, files):
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare input[type=file]").set_input_files(files / "photos" / "scene-2.png")
    page.get_by_role("textbox", name="A text or a question").fill("what is in the middle?")
    page.locator("#compare button[type=submit]").click()
    page.locator("#sides article").nth(1).wait_for()
    left, right = (page.locator("#sides article").nth(place) for place in range(2))
    answers = [side.locator(".text").inner_text() for side in (left, right)]
    assert answers[0] == answers[1]
    for side in (left, right):
        assert side.locator("dd").first.inner_text().endswith("ms")
        assert side.locator("dd").last.inner_text().endswith(("kB", "MB"))


def test_faults_are_told_in_the_page(page, files):
    (files / "broken.png").write_bytes(b"no picture")
    page.locator("#search input[type=file]").set_input_files(files / "broken.png")
    page.locator("#search .state.fault").get_by_text("is not an image").wait_for()
    page.get_by_role("searchbox").fill("a circle")
    page.keyboard.press("Enter")
    page.get_by_text("6 found in").wait_for()
    page.evaluate("console.clear()")
    assert not page.locator("#search .state.fault").count()


def test_chinese(page):
    page.get_by_role("button", name="中文").click()
    assert page.get_by_role("tab", name="搜索").is_visible()
    assert page.evaluate("document.documentElement.lang") == "zh"
    assert page.locator("#search input[type=search]").get_attribute("placeholder") == "您要找什么？"
    left = [text for text in page.locator("[data-say]:visible").all_inner_texts() if text.isascii() and text.strip()]
    assert left == []
    page.get_by_role("button", name="English").click()
    assert page.get_by_role("tab", name="Search").is_visible()


def test_tabs_by_keyboard(page):
    page.get_by_role("tab", name="Search").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-hear"
    assert page.locator("#hear").is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#compare").is_visible()
    names = page.evaluate(NAMELESS)
    assert names == []  # everything that can be used has a name


def test_on_a_phone(page, files):
    page.set_viewport_size(PHONE)
    page.get_by_role("searchbox").fill("a red star")
    page.keyboard.press("Enter")
    page.get_by_text("6 found in").wait_for()
    for name in ("Search", "Transcribe", "Chat", "Compare"):
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
