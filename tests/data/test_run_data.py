"""A run's data: covariates that are given, and loaders whose batches are measured in seconds."""

from collections import Counter

import pytest
from small_system import write_recipe

from toolkit.corpus.targets import shuffled_value
from toolkit.errors import RecipeError
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run_data import RunData


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("data"))


def run_data(recipe, *options: str) -> RunData:
    return RunData(prepare(load_source(recipe, ["--audio.segment_seconds=1", *options])), fixed_samples=None)


def test_a_covariate_has_its_labels_and_its_control_has_drawn_values(recipe):
    with_gender = recipe.with_name("gender.yaml")
    covariates = "  covariates: {gender: {source: label}}\n  fusion:"
    with_gender.write_text(recipe.read_text().replace("  fusion:", covariates))
    given, control = (run_data(with_gender, f"--model.covariates.gender.source={s}") for s in ("label", "shuffled"))
    counts, seed = Counter(u.gender for u in given.preparation.utterances), given.recipe.seed
    genders = [u.gender for u in given.train.utterances]
    drawn = [shuffled_value(u.id, seed, counts, "gender") for u in given.train.utterances]
    found = [["FM"[index] for index in data.train.covariates["gender"].tolist()] for data in (given, control)]
    assert found == [genders, drawn] and genders != drawn


def test_whole_utterances_come_in_batches_of_so_many_seconds(recipe):
    data = run_data(recipe, "--training.batch_seconds=1", "--training.batch_size=3")
    batches = data.training_batches()
    loaded = list(data.loader(data.train, batches))
    # six of 0.25 s in threes, then two of 0.4 s, which are as many as a second holds
    assert sorted(tuple(batch.inputs.values.shape) for batch in loaded) == [(2, 6400), (3, 4000), (3, 4000)]
    assert len(loaded) == len(batches)


def test_an_evaluation_has_every_segment_once_from_short_to_long(recipe):
    data = run_data(recipe, "--training.batch_seconds=1", "--training.batch_size=3")
    loaded = list(data.loader(data.evaluation))
    seen = [index for batch in loaded for index in batch.utterances.tolist()]
    assert sorted(seen) == list(range(len(data.evaluation.utterances)))
    widths = [batch.inputs.values.shape[1] for batch in loaded]
    assert widths == sorted(widths)


@pytest.mark.parametrize("options", [(), ("--training.batch_seconds=1",)])
def test_every_batch_of_an_evaluation_is_read_by_one_rank(recipe, monkeypatch, options):
    data = run_data(recipe, "--training.batch_size=3", *options)
    whole = [batch.utterances.tolist() for batch in data.loader(data.evaluation)]
    monkeypatch.setattr("toolkit.training.run_data.ranks", lambda: 2)
    read = []
    for rank in (0, 1):
        monkeypatch.setattr("toolkit.training.run_data.rank", lambda rank=rank: rank)
        read.append([batch.utterances.tolist() for batch in data.loader(data.evaluation)])
    assert read == [whole[0::2], whole[1::2]] and len(whole) > 2


def test_an_utterance_that_is_longer_than_a_batch_is_named(recipe):
    data = run_data(recipe, "--training.batch_seconds=0.3")
    with pytest.raises(RecipeError, match=r"batch_seconds is 0\.3, and a segment of .*3\.wav takes 0\.40 s: give"):
        data.training_batches()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--training.batch_seconds=0"], "batch_seconds.*must be above 0"),
        (
            ["--training.batch_seconds=9", "--training.sampler=balanced"],
            "batch_seconds.*goes with sampler: shuffle only",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(recipe, options, message):
    with pytest.raises(RecipeError, match=message):
        run_data(recipe, *options)
