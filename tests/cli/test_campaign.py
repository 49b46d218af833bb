"""A sample of the robustness campaign; TOOLKIT_CAMPAIGN=1 runs all of it (docs/robustness.md)."""

import os
from itertools import islice

import pytest
from campaign import Case, run_case, workspace
from campaign_inputs import cases

EVERY = 1 if os.environ.get("TOOLKIT_CAMPAIGN") else 61  # a prime, so that the sample goes through commands and inputs


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("xdg")))
        yield workspace(tmp_path_factory.mktemp("campaign"))


def test_the_campaign_has_at_least_500_inputs_that_differ():
    assert len({case.about for case in cases()}) >= 500


def test_no_input_of_the_sample_ends_in_a_traceback_a_hang_or_silence(work):
    outcomes = [run_case(case, work, number) for number, case in enumerate(islice(cases(), 0, None, EVERY))]
    assert not [f"{outcome.about}: {outcome.fault}" for outcome in outcomes if outcome.fault]


def test_a_fault_is_found(work):
    """The campaign itself can fail: it tells when wrong input is accepted in silence."""
    assert run_case(Case(["list-recipes", "--json"], "nothing"), work, 10_001).fault.startswith("silent acceptance")
