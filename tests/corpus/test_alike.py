"""Names that differ only in case, spaces or Unicode form: found, refused where they would be in two parts, joined."""

import pytest

from toolkit.corpus import Utterance
from toolkit.corpus.folds import Fold, refuse_shared
from toolkit.corpus.utterance import alike_names, join_names, spellings
from toolkit.errors import ProtocolError


def spoken(*speakers, label="x"):
    return [Utterance(id=str(i), path=f"{i}.wav", label=label, speaker=who) for i, who in enumerate(speakers)]


@pytest.mark.parametrize(
    "pair",
    [("Anna", "anna"), ("spk 1", "spk1"), ("Mar\u00eda", "Mari\u0301a"), ("\uff21", "A"), ("Stra\u00dfe", "STRASSE")]
    + [("O'Neil", f"O{mark}Neil") for mark in "\u2018\u2019\u02bc\u00b4`\u2032\uff07"]
    + [("Jean-Luc", f"Jean{dash}Luc") for dash in "\u2010\u2011\u2013\u2212\ufe63\uff0d"]
    + [("\u2764", "\u2764\ufe0f"), ('"J"', "\u201cJ\u201d"), ("a...", "a\u2026")],
)
def test_two_spellings_of_one_speaker_in_two_parts_are_refused_with_what_to_do(pair):
    utterances = spoken(*pair, "other")
    fold = Fold("f", "given", train=("0",), valid=("2",), test=("1",))
    refuse_shared(fold, utterances)  # as written, they are two speakers
    with pytest.raises(ProtocolError, match=r"in train and .* in test, .*--normalize true joins them, --normalize fal"):
        refuse_shared(fold, utterances, alike=True)


@pytest.mark.parametrize(
    "names", [("a b", "a_b"), (".c", "c"), ("x/y", "x:y"), ("1", "01"), ("\u200b", " "), ("oneil", "o'neil")]
)
def test_other_differences_make_two_names(names):
    assert spellings(names) == []


def test_the_most_frequent_spelling_wins_unless_the_recipe_has_another():
    utterances = spoken("Ann", "ann", "ann", "Bob", label="Hap ") + spoken("ann", label="hap")
    joined = join_names(utterances, ["speaker", "label"])
    assert [(u.speaker, u.label) for u in joined] == [("ann", "Hap")] * 3 + [("Bob", "Hap"), ("ann", "Hap")]
    assert {u.label for u in join_names(utterances, ["label"], known=["HAP"])} == {"HAP"}
    assert {found.message.partition(" differ")[0] for found in alike_names(utterances, ["speaker", "label"])} == {
        "speaker: 'ann', 'Ann'",
        "label: 'Hap', 'hap'",
    }


def test_further_columns_are_joined_too():
    rows = [Utterance(id=x, path="a.wav", label="l", extra={"valence": x, "n": "1"}) for x in ("High", "high")]
    assert [u.extra for u in join_names(rows, ["valence"])] == [{"valence": "High", "n": "1"}] * 2
