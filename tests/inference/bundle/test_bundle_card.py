"""The model card: intervals if there are enough speakers, what the corpus states, and what is unknown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_bundle import train

from toolkit.corpus.targets import Target
from toolkit.inference.bundle.card import card_text
from toolkit.inference.bundle.config import CONFIG, BundleConfig, read_config
from toolkit.inference.bundle.export import export_bundle, weights_name
from toolkit.inference.summary import TestSummary
from toolkit.report.tables.table import DASH
from toolkit.statistics.comparison import interval
from toolkit.statistics.metrics import speaker_confusions
from toolkit.training.predictions import Answers
from toolkit_plugins.corpora.iemocap import Iemocap
from toolkit_plugins.corpora.ravdess import Ravdess

LABELS = ("noise", "tone")
TARGET = Target("label", LABELS)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> BundleConfig:
    folder = tmp_path_factory.mktemp("bundle")
    bundle = export_bundle(train(folder, "--training.epochs=1"), folder / "b")
    found = read_config((bundle / CONFIG).read_bytes())
    assert card_text(found) == (bundle / "README.md").read_text()
    return found


def answers(speakers: int, *, named: bool = True, gender: str | None = None) -> Answers:
    """Four utterances for each speaker, the first one wrong; men and women in turn, or one gender for all."""
    names = np.repeat([f"s{i}" if named else "" for i in range(speakers)], 4)
    genders = np.repeat(["FM"[i % 2] if gender is None else gender for i in range(speakers)], 4)
    reference = np.tile(["noise", "noise", "tone", "tone"], speakers)
    predicted = np.tile(["tone", "noise", "tone", "tone"], speakers)
    probabilities = np.where(predicted[:, None] == np.array(LABELS), 0.8, 0.2)
    ids = np.array([str(i) for i in range(4 * speakers)])
    return Answers(ids, names, genders, np.ones(4 * speakers), reference, predicted, probabilities)


def card(config: BundleConfig, found: Answers | None = None, **training) -> str:
    if found is not None:
        speakers = {"train": 9, "valid": 1, "test": len(set(found.speaker) - {""})}
        training |= {"test": TestSummary.of(found, TARGET), "speakers": speakers}
    return card_text(replace(config, training=replace(config.training, **training)))


def test_the_figures_are_those_of_the_answers():
    test = TestSummary.of(answers(2), TARGET)
    assert (test.n_utterances, test.wa, test.ua) == (8, 0.75, 0.75)
    assert test.confusion == ((2, 2), (0, 4)) and test.recall == {"noise": 0.5, "tone": 1.0}
    assert test.ece == pytest.approx(0.05) and test.confidence == pytest.approx(0.8)  # 80 % sure, 75 % right
    assert [(gender, a.n, a.wa) for gender, a in test.by_gender.items()] == [("F", 4, 0.75), ("M", 4, 0.75)]


def test_six_speakers_have_intervals(config):
    found = answers(6)
    found.predicted[:8] = found.reference[:8]  # two speakers without an error, so that speakers differ
    by_speaker = speaker_confusions(found.speaker.tolist(), found.reference, found.predicted, classes=LABELS)
    counts = np.stack([*by_speaker.values()])
    ends = interval(counts, "wa")
    text = card(config, found)
    assert f"| WA | 83.33 | {100 * ends.low:.2f}{DASH}{100 * ends.high:.2f} |" in text
    assert "by a bootstrap over the speakers" in text


def test_fewer_speakers_have_no_intervals_and_the_card_gives_the_reason(config):
    text = card(config, answers(5))
    assert f"| WA | 75.00 | {DASH} |" in text
    assert "No interval is given: it needs 6 test speakers, and there are 5." in text
    assert "No interval is given: the speakers are not known." in card(config, answers(8, named=False))
    some = answers(8)
    some.speaker[:4] = ""
    assert "No interval is given: some utterances have no speaker." in card(config, some)


def test_gender_is_broken_down_where_it_is_known(config):
    text = card(config, answers(2))
    assert "| women | 4 | 75.00 | 75.00 |" in text and "| men | 4 | 75.00 | 75.00 |" in text
    assert "By gender: not known." in card(config, answers(2, gender=""))


def test_a_manifests_licence_is_not_stated(config):
    text = card_text(config)
    assert "Data: not stated." in text and "Ask the data's owner before passing the model on." in text
    assert "What it contains is not stated." in text


@pytest.mark.parametrize("corpus", [Iemocap, Ravdess])
def test_the_description_of_a_corpus_is_quoted(config, corpus):
    text = card(config, description=corpus.description, licence=corpus.licence)
    assert f"Data: {corpus.licence}" in text and text.count(corpus.description) == 2
    assert "acted emotion" in text.lower() and "English" in text


def test_stamps_come_before_everything_else(config):
    stamps = ("synthetic corpus: the figures say nothing about real speech", "random split: speakers may be shared")
    text = card(config, stamps=stamps)
    for stamp in stamps:
        assert text.index(f"> NOTE: {stamp}") < text.index("## Use")


def test_pre_trained_and_random_weights_are_distinguished(config):
    text = card(config, pretrained={"mfcc": "facebook/wav2vec2-base-960h"})
    assert "Training started from pre-trained weights: facebook/wav2vec2-base-960h (mfcc)." in text
    assert "The licence of the pre-trained weights may restrict it too: facebook/wav2vec2-base-960h (mfcc)." in text
    text = card(config, random_backbones=("mfcc",))
    assert "Levels with random weights instead of their usual pre-trained ones: mfcc." in text
    assert "No part was pre-trained." in card_text(config)


def test_a_base_model_is_a_name_of_the_hub(config, tmp_path, monkeypatch):
    text = card(config, pretrained={"mfcc": "facebook/wav2vec2-base-960h@v1.0"})
    assert 'base_model: ["facebook/wav2vec2-base-960h"]' in text
    assert weights_name("facebook/wav2vec2-base-960h@refs/pr/1") == "facebook/wav2vec2-base-960h@refs/pr/1"
    assert weights_name("/ada@home/data/w2v") == "w2v"
    monkeypatch.chdir(tmp_path)
    assert weights_name("checkpoints/w2v") == "checkpoints/w2v"
    Path("checkpoints/w2v").mkdir(parents=True)
    assert weights_name("checkpoints/w2v") == "w2v"


def test_names_from_the_data_cannot_become_markdown(config):
    evil = "<script>|`x`"
    text = card(config, fold=evil, hardware="a\n# b")
    assert "<script>" not in text and "\n# b" not in text
    renamed = replace(config, classes={"label": (evil, "tone")})
    text = card_text(renamed)
    assert "<script>" not in text and r"\<script\>\|\`x\`" in text


def test_the_page_shows_the_parts_of_a_card(config):
    page = (Path(__file__).parents[3] / "docs" / "bundles.md").read_text()
    heads = [line.removeprefix("## ").lower() for line in card_text(config).splitlines() if line.startswith("## ")]
    assert heads == ["use", "data", "protocol", "results", "limits", "licence"]
    assert ", ".join(heads[:-1]) + " and the licence of the data" in page
