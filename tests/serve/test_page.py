"""The page in a real browser: typed, dropped, spoken; English and Chinese; by keyboard and on a phone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

import penjing
from http_server import listening
from penjing.apps.assistant import Tools, open_desk
from penjing.apps.confidence import builtin_folder
from penjing.apps.search import Embedding, index
from penjing.index.choice import Wanted
from penjing.scenes.scene import draw, imagine
from penjing.serve.assistant import DeskRunner
from penjing.serve.limits import Limits
from penjing.serve.shelf import Goods, Served, Shelf, open_shelf
from penjing.serve.worker import Worker
from tiny_colours import Colours, paint
from tiny_runners import Answerer, Slow
from tiny_speech import RATE_HZ, voice

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
    soundfile.write(folder / "voice.wav", voice(3), RATE_HZ)
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


@contextmanager
def visited(browser, url: str) -> Iterator[Any]:
    """The page of a server; what goes wrong in it is a fault."""
    context = browser.new_context(locale="en-GB", permissions=["microphone"])
    context.set_default_timeout(20_000)
    found, faults = context.new_page(), []
    found.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("request", lambda request: faults.append(request.url) if not is_local(request.url, url) else None)
    found.goto(url)
    found.get_by_role("tab", selected=True).wait_for()
    yield found
    shots = os.environ.get("PENJING_SCREENSHOTS")
    if shots:
        found.screenshot(path=f"{shots}/{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1].split(' ')[0]}.png")
    context.close()
    assert faults == []


@pytest.fixture
def page(browser, running) -> Iterator[Any]:
    with visited(browser, running.url) as found:
        yield found


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
    # The hits of the words before may begin with the same picture: its score tells that these were replaced.
    playwright.expect(page.locator("#search .hits li .score").first).to_have_text(
        re.compile(r"0\.9[89]|1\.0"), timeout=20_000
    )
    page.locator("#search .hits li").first.get_by_text("scene-4.png").wait_for()
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


def test_a_question_is_spoken_in_the_chat(page, files):
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat input[type=file]").set_input_files(files / "photos" / "scene-1.png")
    page.locator("#chat .record").click()
    page.get_by_text("Listening").wait_for()
    page.wait_for_timeout(1500)
    page.locator("#chat .record").click()
    page.locator("#talk li.assistant").wait_for()
    playwright.expect(page.locator("#chat .state")).to_have_text("")
    assert page.locator("#talk li.user").inner_text().strip() == "🎤"
    page.locator("#chat [name=model]").select_option("assistant")
    page.locator("#chat .record").click()
    page.get_by_text("Listening").wait_for()
    page.wait_for_timeout(1500)
    page.locator("#chat .record").click()
    playwright.expect(page.locator("#talk li.user")).not_to_have_text("🎤")  # what the desk heard
    assert page.locator("#talk li.assistant").inner_text()


def test_the_support_desk_in_the_chat(page):
    page.get_by_role("tab", name="Chat").click()
    page.locator("#chat [name=model]").select_option("assistant")
    page.locator("#chat textarea").fill("what are your shipping costs")
    page.keyboard.press("Enter")
    page.locator("#talk li.assistant").get_by_text("shipping.md#Shipping costs").wait_for()
    assert page.locator("#talk li.user").inner_text() == "what are your shipping costs"
    excerpts = page.locator("#talk li.assistant small")
    excerpts.first.get_by_text("[1] Delivery costs 6.90").wait_for()
    assert excerpts.count() == 1, "what does not hold the answer is no source of it"


def offered(folder: Path, **runners: Any) -> Any:
    """A server of runners by their names."""
    limits = Limits()
    models = [Served(name, folder, Worker(runner, limits), 1) for name, runner in runners.items()]
    return listening(Shelf(models), limits)


def send(page, text: str, picture: Path | None = None) -> Any:
    """Say something in the chat; returns what the server was asked, once it is answered."""
    count = page.locator("#talk li.assistant").count()
    if picture is not None:
        page.locator("#chat input[type=file]").set_input_files(picture)
    page.locator("#chat textarea").fill(text)
    with page.expect_response("**/v1/chat/completions") as answer:
        page.keyboard.press("Enter")
    page.locator("#talk li.assistant").nth(count).wait_for()
    playwright.expect(page.locator("#chat .state")).to_have_text("")
    return answer.value.request.post_data_json["messages"]


def test_who_cannot_be_compared_is_not(browser, tmp_path):
    desk = DeskRunner(open_desk(builtin_folder() / "knowledge", Tools()))
    with offered(tmp_path, writer=Slow(0.0), assistant=desk) as alone, visited(browser, alone.url) as page:
        assert page.get_by_role("tab", name="Chat").is_visible()
        assert not page.get_by_role("tab", name="Compare").is_visible()
    with offered(tmp_path, one=Slow(0.0), assistant=desk, two=Slow(0.0)) as both, visited(browser, both.url) as page:
        page.get_by_role("tab", name="Compare").click()
        assert page.locator("#compare [name=right]").input_value() == "two"
        page.get_by_role("textbox", name="A text or a question").fill("hello")
        page.locator("#compare button[type=submit]").click()
        page.locator("#sides article").nth(1).wait_for()
        assert page.locator("#sides h2").all_inner_texts() == ["one", "two"]


def test_a_file_that_misses_the_field_does_not_take_the_place_of_the_page(page):
    drop = """kind => { const data = new DataTransfer();
      if (kind === "file") data.items.add(new File(["x"], "x.png", { type: "image/png" })); 
      else data.setData("text/plain", "x");
      const event = name => new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true });
      return ["dragover", "drop"].map(name => document.querySelector("h1").dispatchEvent(event(name))) }"""
    assert page.evaluate(drop, "file") == [False, False]  # the browser does nothing of its own
    assert page.evaluate(drop, "text") == [True, True]  # a word may be moved into a field


def test_what_was_shown_stays_what_is_asked_about(browser, tmp_path):
    picture = paint(tmp_path, "red.png", (200, 30, 30))
    with offered(tmp_path, answerer=Answerer()) as running, visited(browser, running.url) as page:
        page.locator("#chat input[type=file]").set_input_files(picture)
        page.locator("#chat button[type=submit]").click()
        page.get_by_text("This model writes no captions").wait_for()
        first = send(page, "what is it?", picture)
        second = send(page, "how many?")
        assert [len(first), len(second)] == [1, 1]
        assert second[0]["content"][0] == first[0]["content"][0]
        assert second[0]["content"][1]["text"] == "how many?"
        page.get_by_role("button", name="Start over").click()
        page.locator("#chat textarea").fill("and now?")
        page.keyboard.press("Enter")
        page.get_by_text("does not chat").wait_for()


def test_a_picture_shown_to_the_desk_stays_in_the_conversation(browser, tmp_path):
    folder = tmp_path / "k"
    folder.mkdir()
    picture = paint(folder, "red.png", (200, 30, 30))
    (folder / "a.md").write_text("# Red pot\n\n![pot](red.png)\nIt costs 12 euros.\n\n# Parking\n\nNowhere.\n")
    desk = DeskRunner(open_desk(folder, Tools(sees=Colours())))
    with offered(tmp_path, assistant=desk) as running, visited(browser, running.url) as page:
        send(page, "parking?")
        shown = send(page, "", picture)
        assert [message["role"] for message in shown] == ["user", "assistant", "user"]
        after = send(page, "and the price?")
        assert after[2] == {"role": "user", "content": "Red pot"}
        assert "12 euros" in after[3]["content"]
        assert after[4]["content"] == "and the price?"


def test_refusals_and_the_hand_over_in_chinese(page, files):
    page.get_by_role("button", name="中文").click()
    (files / "broken.png").write_bytes(b"no picture")
    page.locator("#search input[type=file]").set_input_files(files / "broken.png")
    page.locator("#search .state.fault").get_by_text("无法处理：").wait_for()
    page.get_by_role("tab", name="对话").click()
    page.locator("#chat [name=model]").select_option("assistant")
    send(page, "who won the cup in 1974")
    page.get_by_text("我没有找到能回答这个问题的内容").wait_for()
    page.locator("#chat [name=model]").select_option("twin")
    page.locator("#chat textarea").fill("hello")
    page.keyboard.press("Enter")
    page.locator("#chat .state.fault").get_by_text("这个模型做不到。").wait_for()
    assert not page.locator("#chat .state").inner_text().isascii()


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
