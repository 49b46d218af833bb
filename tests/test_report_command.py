"""`toolkit report` as it is used, and its page in a real browser."""

import json
import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from fake_experiment import SYNTHETIC, paper_experiment

from toolkit.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const found = [];
addEventListener("load", () => setTimeout(() => {
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement;
    found.push({
      width: root.clientWidth,
      overflow: root.scrollWidth - root.clientWidth,
      scripts: page.scripts.length,
      images: [...page.images].length,
      unloaded: [...page.images].filter((i) => !(i.complete && i.naturalWidth > 0)).length,
      drawings: [...page.querySelectorAll("svg")].filter((s) => s.getBoundingClientRect().width < 50).length,
      pictures: page.querySelectorAll("svg, img").length,
      broken: [...page.querySelectorAll("a[href^='#']")]
        .filter((a) => !page.querySelector(a.getAttribute("href"))).length,
    });
  }
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
}, 500));
</script>
<iframe src="report.html" style="width:1400px;height:900px;border:0"></iframe>
<iframe src="report.html" style="width:390px;height:900px;border:0"></iframe>
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """An experiment with synthetic stamps, reported by the command."""
    folder = tmp_path_factory.mktemp("report") / "experiment"
    paper_experiment(synthetic=True).write(folder)
    done = CliRunner().invoke(main, ["report", str(folder), "--speakers", "1M,1F,2M"])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(folder / "report.html")
    return folder


def test_it_writes_a_page_tables_and_figures_that_all_say_what_must_be_said(reported):
    page = (reported / "report.html").read_text()
    assert "<script" not in page and SYNTHETIC in page
    tables, figures = list((reported / "tables").iterdir()), list((reported / "figures").iterdir())
    assert {path.suffix for path in tables} == {".csv", ".md", ".tex"}
    assert {path.suffix for path in figures} == {".png", ".svg"}
    assert len({path.stem for path in tables}) >= 6 and len({path.stem for path in figures}) >= 5
    for path in tables:
        assert "synthetic corpus" in path.read_text(), path.name
    for path in figures:
        if path.suffix == ".svg":
            assert "synthetic corpus" in path.read_text(), path.name


def test_nothing_on_the_page_is_fetched_from_elsewhere(reported):
    page = (reported / "report.html").read_text()
    loaded = re.findall(r'(?:src|xlink:href|href)="(https?:[^"]*)"', re.sub(r"<a [^>]*>", "", page))
    assert loaded == [] and "@import" not in page


def test_the_same_experiment_gives_the_same_page(reported, tmp_path):
    done = CliRunner().invoke(main, ["report", str(reported), "--speakers", "1M,1F,2M", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for path in reported.glob("figures/*"):
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes(), path.name
    for path in reported.glob("tables/*"):
        assert (tmp_path / "tables" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline", "serr"], "No system of this experiment is called 'serr'. Did you mean 'ser'?"),
        (["--pair", "ser"], "pair"),
        (["--pair", "ser,mff"], "'mff'"),
        (["--speakers", "9M"], "'9M'"),
        (["--tsne-fold", "9M"], "'9M'"),
        (["--protocol", "losso"], "'losso'"),
    ],
)
def test_what_the_experiment_has_not_is_one_line(reported, options, message):
    done = CliRunner().invoke(main, ["report", str(reported), *options])
    assert done.exit_code == 2 and message in done.output and len(done.output.strip().splitlines()) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
def test_in_a_browser_every_picture_is_drawn_and_nothing_overflows(reported, tmp_path):
    (reported / "probe.html").write_text(PROBE)
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
    ]
    command += [f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([*command, (reported / "probe.html").as_uri()], capture_output=True, text=True, timeout=120)
    (found,) = re.findall(r"FOUND(\[.*\])END", done.stdout)
    wide, narrow = json.loads(found)
    assert (wide["width"], narrow["width"]) == (1400, 390)
    for frame in (wide, narrow):
        assert frame["overflow"] == 0 and frame["unloaded"] == 0 and frame["drawings"] == 0 and frame["broken"] == 0
        assert frame["pictures"] >= 5
    assert not re.search(r"CONSOLE.*(Uncaught|Error)", done.stderr), done.stderr
