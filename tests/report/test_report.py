"""The report as a whole: the stamps on every table and figure, and how a browser shows the page."""

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from fake_experiment import SER, SYNTHETIC, TEN, FakeExperiment, FakeSystem

from toolkit.corpus.protocols import STAMPS
from toolkit.errors import ExperimentError
from toolkit.report.page import write_report

RANDOM = "random weights instead of pre-trained ones: <wav2vec2>"
LABELS = ("a$b", "<script>c</script>", "d_e%", "f|g")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def stamped(tmp_path_factory):
    """A report with odd names, failures, two protocols and stamps on everything."""
    folder = tmp_path_factory.mktemp("an experiment & more")
    systems = {
        "a_b+c.d-e": FakeSystem(stamps=[RANDOM]),
        "x__y": FakeSystem(stamps=[RANDOM], skill=0.3, covariates={"gender": {"source": "label"}}),
        "w2e": FakeSystem(levels=("wav2vec2",), stamps=[RANDOM], skill=0.2),
    }
    experiment = FakeExperiment(
        systems,
        protocols=("loso", "loso-as-published"),
        folds={speaker: (speaker,) for speaker in TEN[:7]},
        labels=LABELS,
        synthetic=True,
        utterances=12,
        failed={("w2e", "loso", "1M", 1): "Out of memory: <b>64</b> & more"},
    )
    experiment.write(folder)
    return write_report(folder)


def test_every_table_and_figure_carries_its_stamps(stamped):
    folder = stamped.parent
    tables = sorted(folder.glob("tables/*"))
    assert len(tables) > 3 * 10 and len({path.suffix for path in tables}) == 3
    for path in tables:
        text = path.read_text()
        said = {
            ".csv": (SYNTHETIC, RANDOM),
            ".md": (SYNTHETIC, r"random weights instead of pre-trained ones: \<wav2vec2\>"),
            ".tex": (SYNTHETIC, r"random weights instead of pre-trained ones: \textless{}wav2vec2\textgreater{}"),
        }
        assert all(stamp in text for stamp in said[path.suffix]), path
        if path.suffix == ".csv":
            assert all(SYNTHETIC in row["note"] for row in csv.DictReader(io.StringIO(text)))
    drawings = sorted(folder.glob("figures/*.svg"))
    for ending in ("png", "pdf"):
        assert {path.stem for path in drawings} == {path.stem for path in folder.glob(f"figures/*.{ending}")}
    assert len(drawings) >= 7
    for path in drawings:
        assert f"NOTE: {SYNTHETIC}" in path.read_text() and "NOTE: random weights" in path.read_text()
    page = stamped.read_text()
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)
    assert len(figures) == len(drawings) + len(tables) // 3
    assert all(html.escape(RANDOM) in figure and SYNTHETIC in figure for figure in figures)


def test_a_protocols_stamp_is_only_on_what_shows_that_protocol(stamped):
    carrying = {path.stem for path in stamped.parent.glob("tables/*.md") if "loso\\-as" in path.read_text()}
    carrying |= {
        path.stem for path in stamped.parent.glob("tables/*.md") if STAMPS["loso-as-published"] in path.read_text()
    }
    assert carrying == {"protocols", "protocol_steps", "run", "systems", "missing_cells"}
    assert STAMPS["loso-as-published"] in re.sub(r"\s+", " ", stamped.read_text())


def test_what_comes_from_data_is_escaped(stamped):
    page = stamped.read_text()
    assert "<script" not in page and "<b>64</b>" not in page and "<wav2vec2>" not in page
    assert "Out of memory: &lt;b&gt;64&lt;/b&gt; &amp; more" in page
    assert "&lt;script&gt;c&lt;/script&gt;" in page


def test_a_long_name_may_wrap_after_its_underscores_and_plus_signs(stamped):
    assert "a_<wbr>b+<wbr>c.d-e" in stamped.read_text()


def test_the_page_needs_nothing_but_itself(stamped):
    page = stamped.read_text()
    assert not re.search(r'(?:src|href)="(?:https?:|//)', page) and "@import" not in page
    images = [base64.b64decode(image) for image in re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', page)]
    assert sorted(images) == sorted(path.read_bytes() for path in stamped.parent.glob("figures/*.svg"))


def test_the_page_says_how_its_figures_were_computed(stamped):
    methods = stamped.read_text().partition('<section id="methods">')[2]
    assert methods.count("<p>") >= 5 and methods.count("<li>") == 8
    assert all(name in methods for name in ("Intervals", "Holm", "Hesterberg", "Guo", "Angelopoulos", "t-SNE"))


class Page(HTMLParser):
    """Collects anchors, references to them, heads of tables and links to files."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.used, self.links, self.heads, self.figures = [], set(), [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        for name in ("href", "xlink:href", "aria-labelledby"):
            value = attrs.get(name) or ""
            if value.startswith("#"):
                self.used.add(value[1:])
            elif name == "aria-labelledby" and value:
                self.used.add(value)
            elif value:
                self.links.append(value)
        self.heads += [attrs.get("scope")] if tag == "th" else []
        self.figures += tag == "img" and bool(attrs.get("alt"))


def test_headings_have_a_scope_figures_a_label_anchors_a_target_and_links_a_file(stamped):
    page = Page(stamped.read_text())
    assert len(set(page.ids)) == len(page.ids), "an id is there twice"
    assert page.used <= set(page.ids)
    assert set(page.heads) == {"col", "colgroup", "row"}
    assert page.figures == len(list(stamped.parent.glob("figures/*.svg")))
    assert page.links and all((stamped.parent / link).is_file() for link in page.links)


def test_the_same_experiment_gives_the_same_bytes(tmp_path):
    folder = FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}).write(tmp_path / "experiment")
    found = []
    for output in ("first", "second"):
        page = write_report(folder, output=str(tmp_path / output))
        files = sorted(path for path in page.parent.rglob("*") if path.is_file())
        found.append({path.relative_to(page.parent): path.read_bytes() for path in files})
    assert found[0] == found[1] and len(found[0]) > 25
    assert not (folder / "report.html").exists()


def test_an_experiment_without_a_finished_cell_is_one_line(tmp_path):
    experiment = FakeExperiment({"ser": SER}, left=lambda *place: True)
    with pytest.raises(ExperimentError, match="no cell of protocol loso is done"):
        write_report(experiment.write(tmp_path))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pair": ("ser", "mff")}, r"--pair: this experiment has no system 'mff'. Did you mean 'mf'\? It has ser, mf"),
        ({"pair": ("ser",)}, "--pair takes two systems, for example ser,mf; found 1"),
        ({"pair": ("ser", "mf")}, "--pair: 'mf' has no finished run under loso"),
        ({"baseline": "serr"}, r"--baseline: this experiment has no system 'serr'. Did you mean 'ser'\?"),
        ({"systems": ("serr",)}, r"--systems: this experiment has no system 'serr'. Did you mean 'ser'\?"),
        ({"systems": ("ser",), "baseline": "mf"}, "--systems leaves out the baseline, 'mf'"),
        ({"protocol": "los"}, r"--protocol: this experiment has no protocol 'los'. Did you mean 'loso'\?"),
        ({"tsne_fold": "9F"}, "--tsne-fold: this experiment has no fold '9F'.* It has 1M, 1F"),
        ({"tsne_fold": "1F"}, "--tsne-fold: no seed has finished runs of ser on '1F'"),
        ({"speakers": ("1M", "6X")}, "--speakers: this experiment has no test fold '6X'"),
    ],
)
def test_an_option_that_names_something_unknown_is_refused_in_one_line(tmp_path, options, said):
    experiment = FakeExperiment(
        {"ser": SER, "mf": FakeSystem()},
        folds={"1M": ("1M",), "1F": ("1F",)},
        left=lambda system, protocol, fold, seed: system == "mf" or fold == "1F",
    )
    with pytest.raises(ExperimentError, match=said) as caught:
        write_report(experiment.write(tmp_path), **options)
    assert "\n" not in str(caught.value) and not (tmp_path / "report.html").exists()


LOOK = """\
<!DOCTYPE html><meta charset="utf-8">
<iframe src="report.html" width="1400" height="900"></iframe>
<iframe src="report.html" width="390" height="844"></iframe>
%(images)s
<script>
const errors = [];
window.onerror = message => errors.push(message);
window.onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, style = frame.contentWindow.getComputedStyle;
    const wide = root.clientWidth, boxes = [...page.querySelectorAll("main > *, .scroll, p, dl, figcaption, nav")];
    return {
      wide, scroll: root.scrollWidth, scripts: page.scripts.length, title: page.title,
      outside: boxes.filter(box => box.getBoundingClientRect().right > wide + 1).map(box => box.outerHTML.slice(0, 60)),
      empty: [...page.images].filter(image => image.naturalWidth == 0 || image.height < 50).length,
      pictures: page.images.length, tables: page.querySelectorAll("table").length,
      paper: style(page.body).backgroundColor, ink: style(page.body).color,
    };
  });
  const images = [...document.images].map(image => image.naturalWidth);
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = "FOUND" + JSON.stringify({found, images, errors}) + "END";
};
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, and there is none on the PATH")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_whole_at_the_width_of_a_screen_and_of_a_phone(stamped, tmp_path, scheme):
    drawings = sorted(path for path in stamped.parent.glob("figures/*") if path.suffix != ".pdf")
    images = "".join(f'<img src="figures/{path.name}">' for path in drawings)
    look = stamped.parent / f"look-{scheme}.html"
    look.write_text(LOOK % {"images": images})
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
        "--window-size=1900,1200",
        "--virtual-time-budget=20000",
        "--dump-dom",
        look.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(html.unescape(re.search(r"FOUND(.*)END", done.stdout, flags=re.DOTALL)[1]))
    assert found["errors"] == []
    assert len(found["images"]) == len(drawings) and min(found["images"]) > 0
    screen, phone = found["found"]
    assert screen["wide"] > 1350 and 360 <= phone["wide"] <= 390
    for page in (screen, phone):
        assert page["scroll"] <= page["wide"] and page["outside"] == []
        assert page["pictures"] == len(drawings) // 2 and page["empty"] == 0 and page["tables"] > 10
        assert page["scripts"] == 0 and page["title"].startswith("Experiment an experiment & more")
        paper, ink = (sum(map(int, re.findall(r"\d+", page[key])[:3])) for key in ("paper", "ink"))
        assert paper > 600 > 200 > ink if scheme == "light" else paper < 200 < 600 < ink
