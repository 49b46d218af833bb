"""The documentation as a site: it builds without a warning, its links lead somewhere, its search finds how-to words."""

import json
import re
import warnings
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        warnings.simplefilter("ignore")
        pytest.importorskip("material")
        from mkdocs.commands.build import build
        from mkdocs.config import load_config

        folder = tmp_path_factory.mktemp("site")
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))  # a warning aborts it
    return folder


def test_links_of_the_site_lead_somewhere(site):
    pages = {page: page.read_text() for page in site.rglob("*.html") if page.name != "404.html"}
    anchors = {page: set(re.findall(r'id="([^"]+)"', text)) for page, text in pages.items()}
    for page, text in pages.items():
        for link in set(re.findall(r'href="(?!\w+:)([^"]+)"', text)):
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or target.suffix != ".html" or anchor in anchors[target], f"{page.name}: {link}"
    assert {"hub.html", "CONTRIBUTING.html", "examples", "decisions", "first-model.ipynb"} <= {
        p.name for p in site.iterdir()
    }
    assert (site / "examples/opensmile-functionals/opensmile_plugin/__init__.py").exists()
    assert not [
        page.name for page, text in pages.items() if re.search(r'<(link|script|img)[^>]*(href|src)="https?:', text)
    ]


WORDS = {
    "fine-tune on my data": "fine-tuning",
    "k-fold by speaker": "protocols|your-data",
    "class imbalance": "recipes|your-data",
    "hyper-parameters": "tuning",
    "augmentation": "augmentation",
    "push a model to the hub": "hub",
    "wandb": "run-folder",
}


@pytest.fixture(scope="module")
def search(site):
    lunr = pytest.importorskip("lunr").lunr
    documents = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    fields = [{"field_name": "title", "boost": 1000}, {"field_name": "text", "boost": 1}]  # as mkdocs-material has them
    return lunr(ref="location", fields=fields, documents=documents).search


@pytest.mark.parametrize(("words", "page"), WORDS.items())
def test_the_search_finds_how_to_words(search, words, page):
    found = search(words.replace("-", " "))
    assert any(re.match(rf"({page})\.html", result["ref"]) for result in found[:2]), found[:5]


def test_the_citation_names_what_its_format_demands():
    values = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(values) and "version" not in values
