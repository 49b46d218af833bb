from dataclasses import replace

import pytest

from toolkit.corpus import Utterance
from toolkit.corpus.folds import PARTS, SPEAKER_DEPENDENT_STAMP, Fold, pick_fold
from toolkit.corpus.protocols import make_folds, selects_on
from toolkit.errors import ProtocolError


def corpus(sessions: int = 5, each: int = 3) -> list[Utterance]:
    """IEMOCAP's shape, women first to see the order made."""
    return [
        Utterance(
            id=f"{s}{g}{i}",
            path=f"/d/{s}{g}{i}.wav",
            label="xy"[i % 2],
            speaker=f"{s}{g}",
            gender=g,
            session=f"Session{s}",
        )
        for s in range(1, sessions + 1)
        for g in "FM"
        for i in range(each)
    ]


def plain(speakers, **fields) -> list[Utterance]:
    return [Utterance(id=f"u{i}", path=f"/d/{i}.wav", label="x", speaker=s, **fields) for i, s in enumerate(speakers)]


def speakers(utterances, ids) -> set:
    return {u.speaker for u in utterances if u.id in set(ids)}


def test_loso_tests_each_speaker_and_validates_with_the_partner():
    us = corpus()
    folds = make_folds(us, "loso")
    assert [f.name for f in folds] == ["1M", "1F", "2M", "2F", "3M", "3F", "4M", "4F", "5M", "5F"]
    for fold in folds:
        partner = fold.name[0] + {"M": "F", "F": "M"}[fold.name[1]]
        assert speakers(us, fold.test) == {fold.name}
        assert speakers(us, fold.valid) == {partner}
        assert len(speakers(us, fold.train)) == 8
        assert len(fold.train) + len(fold.valid) + len(fold.test) == len(us)
        assert fold.stamp is None
    assert selects_on("loso") == "valid"


def test_loso_test_epoch_is_loso_with_another_choice_and_says_so():
    us = corpus()
    for a, b in zip(make_folds(us, "loso"), make_folds(us, "loso-test-epoch"), strict=True):
        assert (a.name, a.train, a.valid, a.test) == (b.name, b.train, b.valid, b.test)
        assert "the epoch was chosen on the test speaker" in b.stamp
    assert selects_on("loso-test-epoch") == "test"


def test_loso_as_published_trains_with_the_partner_and_validates_on_the_test_speaker_and_says_so():
    us = corpus()
    folds = make_folds(us, "loso-as-published")
    assert [f.name for f in folds][:3] == ["1M", "1F", "2M"]
    assert folds[0].valid == folds[0].test
    assert speakers(us, folds[0].train) == {"1F", "2M", "2F", "3M", "3F", "4M", "4F", "5M", "5F"}
    assert all("as-published" in f.stamp for f in folds)


def test_session_out_tests_one_session_and_validates_with_the_next():
    us = corpus()
    folds = make_folds(us, "session-out")
    assert [f.name for f in folds] == [f"Session{i}" for i in range(1, 6)]
    assert speakers(us, folds[0].test) == {"1M", "1F"} and speakers(us, folds[0].valid) == {"2M", "2F"}
    assert speakers(us, folds[4].valid) == {"1M", "1F"} and len(speakers(us, folds[4].train)) == 6


def test_every_utterance_is_tested_once_by_the_protocols_that_rotate():
    us = corpus()
    for name in ("loso", "loso-test-epoch", "loso-as-published", "session-out", "groups", "speaker-dependent"):
        folds = make_folds(us, name, **({"k": 3} if name == "speaker-dependent" else {}))
        assert sorted(i for fold in folds for i in fold.test) == sorted(u.id for u in us)
        for fold in folds:  # each utterance is in one part
            validates = () if name == "loso-as-published" else fold.valid
            assert sorted([*fold.train, *validates, *fold.test]) == sorted(u.id for u in us)


def test_groups_of_the_manifest_rotate_in_natural_order():
    us = [Utterance(id=str(i), path=f"{i}", label="x", speaker=f"s{i}", group=str(g)) for i, g in enumerate([10, 2, 9])]
    folds = make_folds(us, "groups")
    assert [(f.name, f.test, f.valid) for f in folds] == [
        ("2", ("1",), ("2",)),
        ("9", ("2",), ("0",)),
        ("10", ("0",), ("1",)),
    ]


def test_without_groups_the_speakers_are_dealt():
    folds = make_folds(plain(["e", "d", "c", "b", "a", "a"]), "groups", k=3)
    assert [f.test for f in folds] == [("u1", "u4", "u5"), ("u0", "u3"), ("u2",)]  # a d, b e, c


def test_dealing_keeps_the_genders_together_where_men_and_women_alternate():
    us = [
        Utterance(id=str(i), path=str(i), label="x", speaker=str(i), gender="FM"[i % 2], session=None)
        for i in range(24)
    ]
    for fold in make_folds(us, "groups", k=6):
        assert sorted(int(i) % 2 for i in fold.test) == [0, 0, 1, 1]


@pytest.mark.parametrize("k", [2, 6, 0])
def test_a_number_of_groups_that_cannot_be_dealt_is_refused(k):
    with pytest.raises(ProtocolError, match=r"cannot deal 5 speakers .* three or more, each with a speaker"):
        make_folds(plain("abcde"), "groups", k=k)


def test_a_protocols_argument_of_another_type_is_refused():
    with pytest.raises(ProtocolError, match=r"protocol\.args\.k: '5' is text; a whole number or null is needed"):
        make_folds(corpus(5), "groups", k="5")


def test_given_takes_the_column_split():
    us = [
        Utterance(id=str(i), path=str(i), label="x", speaker=str(i), split=s)
        for i, s in enumerate(["test", "train", "train", "valid"])
    ]
    (fold,) = make_folds(us, "given")
    assert (fold.train, fold.valid, fold.test, fold.stamp) == (("1", "2"), ("3",), ("0",), None)


@pytest.mark.parametrize(
    "splits",
    [
        ("Train", "Dev", "TEST"),
        ("training", "validation", "testing"),
        ("train", "val", "test"),
        ("TRAIN", "devel", "Test"),
    ],
)
def test_a_split_may_be_spelled_in_the_usual_ways(splits):
    utterances = [Utterance(id=s, path=f"{s}.wav", label="x", speaker=s, split=s) for s in splits]
    (fold,) = make_folds(utterances, "given")
    assert (*fold.train, *fold.valid, *fold.test) == splits


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ([None, None, None], "column split, .* another protocol: 'groups' .* or 'random'"),
        (["train", None, "test"], "needs the column split, and it is empty for utterance '1'"),
        (["train", "valid", "eval"], "split: 'eval' is not one of train, valid, test. It may mean valid or test"),
        (["train", "validate", "test"], "Did you mean 'validat"),
        (["train", "tset", "valid"], "Did you mean 'test'?"),
        (["train", "train", "test"], "has no utterance in part valid"),
    ],
)
def test_a_column_split_that_is_not_a_split_is_refused(splits, says):
    us = [Utterance(id=str(i), path=str(i), label="x", speaker=str(i), split=s) for i, s in enumerate(splits)]
    with pytest.raises(ProtocolError, match=says):
        make_folds(us, "given")


def test_a_shared_speaker_is_refused_with_name_and_parts():
    us = [
        Utterance(id=str(i), path=str(i), label="x", speaker=s, split=p)
        for i, (s, p) in enumerate([("anna", "train"), ("ben", "valid"), ("anna", "test")])
    ]
    with pytest.raises(
        ProtocolError, match=r"fold 'given' .* 1 speaker of test is in train, too: 'anna'; .* speaker-dependent"
    ):
        make_folds(us, "given")
    us = [Utterance(id=str(i), path=str(i), label="x", speaker="abca"[i], group=str(i)) for i in range(4)]
    with pytest.raises(ProtocolError, match="1 speaker of test is in train, too: 'a'"):
        make_folds(us, "groups")


def test_without_speakers_a_file_may_not_be_in_two_parts_and_results_say_that_speakers_are_unknown():
    us = [Utterance(id=str(i), path="same" if i < 2 else str(i), label="x", group=str(i)) for i in range(4)]
    with pytest.raises(ProtocolError, match=r"1 file of \w+ is in \w+, too: '.*same'"):
        make_folds(us, "groups")
    assert all("not every utterance has a speaker" in f.stamp for f in make_folds(us[1:], "groups"))


def test_two_stretches_of_a_file_in_two_parts_are_refused_even_if_one_has_a_speaker():
    us = [Utterance(id=p, path="talk", label="x", start=i, speaker=p, split=p) for i, p in enumerate(PARTS)]
    make_folds(us, "given")
    us[1] = replace(us[1], speaker=None)
    with pytest.raises(ProtocolError, match=r"1 file of valid is in train, too: '.*talk'"):
        make_folds(us, "given")


def test_random_is_stratified_seeded_and_stamped():
    us = [Utterance(id=f"{i:03d}", path=str(i), label="a" if i < 40 else "b") for i in range(60)]
    (fold,) = make_folds(us, "random", seed=3)
    assert fold.stamp == "random split: speakers may be shared"
    label = {u.id: u.label for u in us}
    assert [sum(label[i] == x for i in part) for part in (fold.train, fold.valid, fold.test) for x in "ab"] == [
        28,
        14,
        4,
        2,
        8,
        4,
    ]
    assert make_folds(us[::-1], "random", seed=3)[0].test == fold.test[::-1]
    assert make_folds(us, "random", seed=4)[0].test != fold.test


def test_random_keeps_the_utterances_of_a_file_together():
    us = [Utterance(id=f"{i:03d}", path=str(i // 4), label="a", start=i % 4, end=i % 4 + 1) for i in range(80)]
    (fold,) = make_folds(us, "random")
    files = [{int(i) // 4 for i in part} for part in (fold.train, fold.valid, fold.test)]
    assert [len(f) for f in files] == [14, 2, 4] and len(set.union(*files)) == 20


def test_random_is_refused_where_there_are_speakers_or_too_few_files():
    with pytest.raises(ProtocolError, match="for corpora without speakers, and there are 10: use"):
        make_folds(corpus(), "random")
    with pytest.raises(ProtocolError, match="needs three files of each class; 'x' has 2"):
        make_folds(plain([None, None]), "random")
    with pytest.raises(ProtocolError, match="have to leave one for training"):
        make_folds(plain([None] * 9), "random", test=0.9, valid=0.1)
    (fold,) = make_folds(plain([None] * 3), "random", test=0.6)
    assert [len(p) for p in (fold.train, fold.valid, fold.test)] == [1, 1, 1]


def test_speaker_dependent_folds_hold_every_class_and_speaker_evenly_and_say_so():
    us = [
        Utterance(id=f"{s}{x}{i}", path=f"{s}{x}{i}", label=x, speaker=s) for s in "AB" for x in "xy" for i in range(10)
    ]
    folds = make_folds(us, "speaker-dependent", k=5, seed=2)
    assert sorted(i for fold in folds for i in fold.test) == sorted(u.id for u in us)
    for fold, after in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert (len(fold.train), fold.valid, fold.stamp) == (24, after.test, SPEAKER_DEPENDENT_STAMP)
        assert sorted(i[:2] for i in fold.test) == ["Ax", "Ax", "Ay", "Ay", "Bx", "Bx", "By", "By"]
    assert make_folds(us[::-1], "speaker-dependent", seed=2)[0].digest == folds[0].digest
    assert make_folds(us, "speaker-dependent", seed=3)[0].digest != folds[0].digest
    with pytest.raises(ProtocolError, match="cannot deal 20 files of class 'x' into k = 21 folds"):
        make_folds(us, "speaker-dependent", k=21)
    with pytest.raises(ProtocolError, match="needs the column speaker, and it is empty for 9 utterances"):
        make_folds(plain([None] * 9), "speaker-dependent")


def test_a_given_split_may_share_speakers_if_its_arguments_say_so_and_not_files():
    us = [Utterance(id=str(i), path=str(i), label="x", speaker="a", split=s) for i, s in enumerate(PARTS)]
    (fold,) = make_folds(us, "given", speakers="shared")
    assert fold.stamp == SPEAKER_DEPENDENT_STAMP
    with pytest.raises(ProtocolError, match=r"'a'; .* given with speakers: shared"):
        make_folds(us, "given")
    with pytest.raises(ProtocolError, match=r"args\.speakers: 'yes' is not one of 'apart', 'shared'"):
        make_folds(us, "given", speakers="yes")
    us = [Utterance(id=str(i), path="one.wav", label="x", split=s) for i, s in enumerate(PARTS)]
    with pytest.raises(ProtocolError, match=r"1 file of valid is in train, too: '.*one.wav'"):
        make_folds(us, "given", speakers="shared")


def test_loso_says_what_to_use_where_sessions_have_no_partner():
    with pytest.raises(ProtocolError, match=r"column session, and it is empty for 3 .* 'groups'"):
        make_folds(plain("abc"), "loso")
    with pytest.raises(ProtocolError, match="two speakers who are in no other; in 's' are a, b, c"):
        make_folds(plain("abc", session="s"), "loso")
    with pytest.raises(ProtocolError, match="two sessions or more"):
        make_folds(corpus(sessions=1), "loso")
    us = [*corpus(), Utterance(id="odd", path="odd", label="x", speaker="1M", session="Session2", gender="M")]
    with pytest.raises(ProtocolError, match="in 'Session2' are 1M, 2F, 2M"):
        make_folds(us, "loso")


@pytest.mark.parametrize("name", ["loso", "loso-as-published", "session-out", "groups"])
def test_a_corpus_without_speakers_is_refused_with_what_can_be_done(name):
    with pytest.raises(ProtocolError, match=r"needs the column speaker, and it is empty for 2 utterances \(.*'random'"):
        make_folds(plain([None, None]), name)
    with pytest.raises(ProtocolError, match="it is empty for utterance 'u1': fill it, or use another protocol"):
        make_folds(plain(["a", None]), name)


def test_unknown_protocols_arguments_and_folds_are_answered_with_the_nearest():
    with pytest.raises(ProtocolError, match=r"Did you mean 'loso'?"):
        make_folds(corpus(), "losso")
    with pytest.raises(ProtocolError, match=r"takes no 'kk'; it takes k\. Did you mean 'k'?"):
        make_folds(corpus(), "groups", kk=3)
    with pytest.raises(ProtocolError, match="takes no 'k'; it takes no arguments"):
        make_folds(corpus(), "loso", k=3)
    folds = make_folds(corpus(), "loso")
    assert pick_fold(folds, None).name == "1M" and pick_fold(folds, "3F").name == "3F"
    with pytest.raises(ProtocolError, match=r"No fold is called '6F'.*Folds are 1M, 1F"):
        pick_fold(folds, "6F")
    with pytest.raises(ProtocolError, match="'1F0' occurs twice"):
        make_folds([*corpus(), *corpus()], "loso")


def test_a_fold_checks_itself():
    with pytest.raises(ProtocolError, match="has utterance 'a' twice"):
        Fold("f", "given", ("a", "b"), ("c",), ("a",))
    with pytest.raises(ProtocolError, match="has utterance 'c' twice"):
        Fold("f", "loso", ("a", "b"), ("c",), ("c",))
    with pytest.raises(ProtocolError, match="has utterance 'a' twice"):
        Fold("f", "given", ("a", "a"), ("b",), ("c",))
    with pytest.raises(ProtocolError, match="no utterance in part valid"):
        Fold("f", "given", ("a",), (), ("c",))
    with pytest.raises(ProtocolError, match="has utterance 'c' twice"):
        Fold("f", "loso-as-published", ("a", "c"), ("c",), ("c",), stamp="s")
