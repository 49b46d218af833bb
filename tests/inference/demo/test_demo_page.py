"""`toolkit demo` as a process: what a program and a browser get, what is refused, and that nothing is kept."""

import asyncio
import re
import shutil
import signal
import socket
import zipfile
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from demo_server import BUNDLE, Demo, served_demo, sweep
from small_bundle import edit_config, replace_file

from toolkit.cli.main import main
from toolkit.inference.demo.page import DemoSystem, Page

gradio = pytest.importorskip("gradio")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --mute-audio"
MICROPHONE = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
HACK = "window.hacked = true"
LABELS = [f"<img src=x onerror='{HACK}'>", "${" + HACK + "}{{" + HACK + "}}"]
CARD = f"# Card\n![](http://192.0.2.1/a.png) <img src='http://192.0.2.1/b.png'><script>{HACK}</script> **Corpus**: any"

CONTRASTS = """() => {  // of each text that is seen, with the text
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, channel) => sum + part * [0.2126, 0.7152, 0.0722][channel], 0.05)
    const paper = at => {
        const colour = getComputedStyle(at).backgroundColor
        return at === document.documentElement || (numbers(colour)[3] ?? 1) === 1 ? colour : paper(at.parentElement)
    }
    const seen = [...document.querySelectorAll("body *")].filter(at => at.checkVisibility() && at.innerText?.trim()
        && [...at.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    return seen.map(at => [light(getComputedStyle(at).color), light(paper(at)), at.innerText])
        .map(([one, other, text]) => [Math.max(one, other) / Math.min(one, other), text])
}"""

FOCUSED = """() => {  // its name and its outline
    const at = document.activeElement, label = at.labels?.[0] ?? at
    const name = at === document.body ? "page" : at.ariaLabel || label.innerText.replace("▼", "").trim()
    return [name, getComputedStyle(at).outlineStyle]
}"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    hostile = folder / "a<i>b&amp;"
    with zipfile.ZipFile(BUNDLE) as bundle:
        bundle.extractall(hostile)
    replace_file(hostile, "README.md", CARD.encode())
    edit_config(hostile, lambda values: values["classes"].update(label=LABELS))
    with served_demo(folder, BUNDLE, hostile, "--max-minutes", 0.1, "--max-megabytes", 0.5) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with driver.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=f"{FLAGS} {MICROPHONE}".split())
        yield found
        found.close()


@pytest.fixture
def opened(demo, browser):
    """Opens the page in a width and a colour scheme; the page must ask only this server."""
    asked, refused, contexts = [], [], []

    def open_page(width: int, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: refused.append(request.url) if request.failure == "csp" else None)
        page.goto(demo.url)
        page.get_by_role("button", name="Model card").nth(1).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = (demo.url, "data:", f"blob:{demo.url}")
    assert [url for url in asked if not url.startswith(own) and url not in refused] == []


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> bytes:
    return sweep(tmp_path_factory.mktemp("audio") / "sweep.wav").read_bytes()


def test_a_recording_is_labelled_and_deleted(demo, recording):
    path = demo.upload("sweep.wav", recording)
    assert Path(path) in demo.files()
    refused, answer, _ = demo.label(path)
    assert refused == "" and "<strong>noise</strong>\n58%" in answer
    assert demo.files() == []


def test_below_the_threshold_there_is_no_answer(demo, recording):
    _, answer, _ = demo.label(demo.upload("sweep.wav", recording), share=0.6)
    assert "<strong>no answer</strong>\nnoise has 58%, below 60%" in answer


def test_a_rule_that_a_system_cannot_keep_is_one_line(demo, recording):
    refused, answer, _ = demo.label(demo.upload("sweep.wav", recording), kind="coverage", share=0.5)
    assert refused == "" and 'role="alert">coverage:0.5 needs thresholds from a validation part' in answer


def test_two_uploads_of_the_same_file_both_have_an_answer(demo, recording):
    path = demo.upload("sweep.wav", recording)
    assert demo.upload("sweep.wav", recording) == path
    for files in ([Path(path)], []):
        refused, answer, _ = demo.label(path)
        assert refused == "" and "<strong>noise</strong>" in answer and demo.files() == files


def test_a_file_that_goes_is_named_without_its_folder(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    path = sweep(tmp_path / "own" / "a.wav")
    monkeypatch.setattr("toolkit.inference.demo.page.outline", lambda audio: audio.path.unlink())
    page = Page([DemoSystem.read(str(BUNDLE), "system", "cpu")], 1, ("confidence", 0))
    _, refusal, answer = page.label(str(path), "confidence", 0, "F")
    assert refusal == "" and "a.wav" in answer and str(tmp_path) not in answer


@pytest.mark.parametrize(
    ("seconds", "content", "gender", "line"),
    [
        (7, None, "F", "a.wav lasts 7 s: up to 0.1 min are allowed."),
        (0, b"RIFF, says who?", "F", "a.wav is not audio that can be read"),
        (0, b"", "F", "a.wav is an empty file"),
        (1, None, None, "Choose the gender first, then give the recording again."),
    ],
)
def test_what_cannot_be_labelled_is_one_line_and_deleted(demo, tmp_path, seconds, content, gender, line):
    content = sweep(tmp_path / "a.wav", seconds).read_bytes() if content is None else content
    refused, *answers = demo.label(demo.upload("a.wav", content), gender=gender)
    assert answers == ["", ""] and f'role="alert">{line}' in refused and refused.count("\n") == 0
    assert demo.files() == []


def test_a_file_that_is_too_large_is_refused_before_it_is_kept(demo, recording):
    with pytest.raises(HTTPError) as error:
        demo.upload("large.wav", recording * 6)
    assert error.value.code == 413 and "maximum allowed size of 524288 bytes" in error.value.read().decode()
    assert demo.files() == []


def test_only_what_was_uploaded_is_labelled(demo):
    assert demo.label(str(BUNDLE)) == [] and BUNDLE.exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.wav", "https://a.invalid/a.wav"])
def test_an_address_is_refused_and_not_fetched(monkeypatch, address):
    fetched = []

    async def fetch(url, **options):
        fetched.append(url)
        return "a.wav"

    async def give():
        blocks = Page([DemoSystem.read(str(BUNDLE), "system", "cpu")], 1, ("confidence", 0)).blocks().blocks.values()
        (audio,) = (block for block in blocks if isinstance(block, gradio.Audio))
        file = {"path": address, "meta": {"_type": "gradio.FileData"}}
        await gradio.processing_utils.async_move_files_to_cache(file, audio, check_in_upload_folder=True)

    monkeypatch.setattr(gradio.processing_utils, "async_ssrf_protected_download", fetch)
    with pytest.raises(gradio.Error, match="Upload the recording"):
        asyncio.run(give())
    assert fetched == []


def test_the_browser_is_told_to_ask_nobody_else(demo):
    for name in ("", "theme.css", "gradio_api/info"):
        with urlopen(demo.url + name) as answer:
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self' ")


def test_only_this_machine_can_ask(demo):
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", demo.url).groups()
    assert host == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError):
        other.connect(("127.0.0.2", int(port)))  # another address of this machine


def test_a_wrong_host_or_port_is_refused_before_anything_is_read(demo):
    port = demo.url.rstrip("/").rpartition(":")[2]
    for words, where in ((["--port", port], f"port {port} of 127.0.0.1"), (["--host", "192.0.2.1"], "192.0.2.1")):
        done = CliRunner().invoke(main, ["demo", "no such bundle", *words], prog_name="toolkit")
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"toolkit: The page cannot be served at {where} (")
        assert done.stderr.endswith("): choose another --port or --host.\n")


def give(page, recording):
    """Give a file to the page, and wait for both answers."""
    page.get_by_role("radio", name="F").check()
    page.locator("input[type=file]").set_input_files({"name": "sweep.wav", "mimeType": "", "buffer": recording})
    page.locator(".answer").nth(1).wait_for()
    return page.locator(".answer").all()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_systems_are_side_by_side_or_below_each_other_and_can_be_read(opened, recording, width, scheme):
    page = opened(width, scheme)
    first, second = (answer.bounding_box() for answer in give(page, recording))
    assert (first["y"] == second["y"]) is (first["x"] != second["x"]) is (width == 1400)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 20 and min(contrast for contrast, _ in contrasts) >= 4.5, min(contrasts)  # WCAG 2.2, AA


def test_segments_are_named_in_their_places(opened, recording):
    first, _ = give(opened(1400), recording)
    assert first.locator(".said").inner_text().split() == ["noise", "58%"]
    assert first.locator(".probabilities").inner_text().split() == ["noise", "58%", "tone", "42%"]
    wave, *segments = (part.bounding_box() for part in first.locator(".timeline svg, .timeline li").all())
    edges = [edge for box in segments for edge in (box["x"], box["x"] + box["width"])]
    assert edges == pytest.approx([wave["x"], *edges[2::2] * 2, wave["x"] + wave["width"]], abs=1), "no gaps"


def test_what_users_write_is_text(opened, recording):
    page = opened(1400)
    _, hostile = give(page, recording)
    names = [heading.inner_text() for heading in page.locator("h2").all()]
    assert names[:2] == [BUNDLE.name, "a<i>b&amp;"]
    assert hostile.locator(".said strong").inner_text() == LABELS[0]
    assert {text.inner_text() for text in hostile.locator(".probabilities span").all()} == set(LABELS)
    page.get_by_role("button", name="Model card").nth(1).click()
    page.get_by_text("Corpus: any").wait_for()
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None


def test_the_keyboard_alone_is_enough(demo, opened):
    page = opened(1400)

    def press(name, *keys):
        """Tab to the element with this name, past others whose focus must be visible, and press keys."""
        for _ in range(60):
            page.keyboard.press("Tab")
            found, outline = page.evaluate(FOCUSED)
            assert outline == "solid" or found == "page", found
            if found == name:
                for key in keys:
                    page.keyboard.press(key)
                return
        raise AssertionError(f"{name} cannot be reached")

    press("F", "Space")
    press("Record audio", "Enter")
    press("Record", "Enter")
    page.get_by_role("button", name="Stop").wait_for()
    page.wait_for_timeout(1000)
    press("Stop", "Enter")
    page.locator(".answer").nth(1).wait_for()
    assert demo.files() == []
    page.evaluate("document.activeElement.blur()")
    press("range slider for No answer below", "End")
    page.get_by_text("below 100%").nth(1).wait_for()
    press("Segments as a table", "Enter")
    page.get_by_role("columnheader", name="probability").first.wait_for()
    press("Model card", "Enter")
    page.get_by_text("The bundle holds no code.").wait_for()


def test_nothing_is_left_after_a_signal_to_end(demo, recording):
    assert Path(demo.upload("sweep.wav", recording)) in demo.files()  # and never labelled
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(timeout=30) == 128 + signal.SIGTERM
    assert demo.process.stdout.read() == ""
    assert demo.files() == [] and list(demo.folder.glob("toolkit-demo-*")) == []
