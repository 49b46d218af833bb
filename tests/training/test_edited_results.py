"""A results.json that someone edited is one line that names the file and the key."""

import json

import pytest

from toolkit.errors import CheckpointError
from toolkit.training.run_folder import RESULT_TYPES, read_results


@pytest.mark.parametrize("key", RESULT_TYPES)
def test_another_type_is_refused(key, tmp_path):
    path = tmp_path / "results.json"
    for wrong in (None, True, [7], {"a": 7}):
        path.write_text(json.dumps({key: wrong}))
        with pytest.raises(CheckpointError, match=rf"results\.json is damaged \({key}: .*delete it"):
            read_results(path)


def test_what_is_not_there_or_not_known_is_left_to_the_reader(tmp_path):
    (tmp_path / "results.json").write_text('{"seed": 1, "seconds": 2, "other": null}')
    assert read_results(tmp_path / "results.json") == {"seed": 1, "seconds": 2, "other": None}
