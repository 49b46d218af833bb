"""A bundle's temperature and thresholds, from the validation part, and what they do on the test part."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_bundle import edit_config, train

import toolkit
from toolkit.cli.main import main
from toolkit.corpus import read_manifest
from toolkit.errors import PredictionError
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.config import SINCE_3
from toolkit.inference.bundle.export import export_bundle
from toolkit.statistics.confidence import (
    RULES,
    UNFITTED,
    at_temperature,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)

LABELS = ["noise", "tone"]
OLD = Path(__file__).parents[2] / "data" / "bundle-0.1.0.zip"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "--training.epochs=1")


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    return export_bundle(run, tmp_path_factory.mktemp("bundle") / "small")


def part(run: Path, file: str) -> tuple[np.ndarray, list[str], list[Path]]:
    """Probabilities, reference and paths of validation.csv or predictions.csv."""
    rows = list(csv.DictReader((run / file).read_text().splitlines()))
    paths = {u.id: u.path for u in read_manifest(run / "manifest.csv")}
    probabilities = np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])
    return probabilities, [row["reference"] for row in rows], [paths[row["id"]] for row in rows]


def test_probabilities_are_at_the_temperature_of_the_validation_part_and_labels_are_those_of_the_run(run, bundle):
    model = toolkit.load(bundle, device="cpu")
    probabilities, reference, _ = part(run, "validation.csv")
    temperature = fit_temperature(probabilities, reference, labels=LABELS)
    assert model.usage.confidence.temperature == temperature and abs(np.log(temperature)) > 0.1
    for file in ("validation.csv", "predictions.csv"):
        computed, _, paths = part(run, file)
        answers = list(model.predict_many(paths))
        found = np.array([[answer.probabilities[label] for label in LABELS] for answer in answers])
        assert found == pytest.approx(at_temperature(computed, temperature), abs=1e-5)
        assert [answer.label for answer in answers] == [LABELS[row.argmax()] for row in computed]


def test_config_and_card_have_the_calibration_before_and_after_and_what_abstaining_does(run, bundle):
    computed, reference, _ = part(run, "predictions.csv")
    values, card = json.loads((bundle / "config.json").read_text()), (bundle / "README.md").read_text()
    after = at_temperature(computed, values["confidence"]["temperature"])
    for when, probabilities in (("before", computed), ("after", after)):
        found = values["calibration"][when]
        assert found["ece"] == pytest.approx(expected_calibration_error(probabilities, reference, labels=LABELS))
        assert found["nll"] == pytest.approx(negative_log_likelihood(probabilities, reference, labels=LABELS))
        assert sum(count for _, _, count in found["bins"]) == len(reference)
        assert f" | {100 * found['ece']:.2f} | {found['nll']:.3f} | {100 * found['confidence']:.2f} |" in card
    assert values["training"]["test"]["ece"] == values["calibration"]["before"]["ece"]
    threshold = values["confidence"]["coverage"][50 - 1]
    answered = after.max(axis=1) >= threshold
    wrong = np.array(LABELS)[after.argmax(axis=1)] != np.array(reference)
    found = values["abstaining"]["coverage:0.5"]
    assert found["coverage"] == pytest.approx(answered.mean())
    assert found["error"] == pytest.approx((wrong & answered).sum() / answered.sum())
    assert "| error:0.1 | cannot be promised | | |" in card  # by two speakers
    assert [rule for rule in RULES if f"| {rule} |" in card] == list(RULES)


def test_evaluate_finds_on_the_test_part_what_the_card_says(run, bundle, tmp_path):
    _, reference, paths = part(run, "predictions.csv")
    speakers = {u.path: u.speaker for u in read_manifest(run / "manifest.csv")}
    rows = [f"{path},{label},{speakers[path]}" for path, label in zip(paths, reference, strict=True)]
    (tmp_path / "test.csv").write_text("\n".join(["path,label,speaker", *rows]))
    command = ["evaluate", str(bundle), str(tmp_path / "test.csv"), "--device", "cpu"]
    found = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    values = json.loads((bundle / "config.json").read_text())
    assert found["temperature"] == values["confidence"]["temperature"] and found["abstaining"] == values["abstaining"]
    for when, expected in values["calibration"].items():
        for key in ("ece", "nll", "confidence"):
            assert found["calibration"][when][key] == pytest.approx(expected[key], abs=1e-5), key
    shown = CliRunner().invoke(main, command).stdout
    assert "as computed" in shown and f"at temperature {found['temperature']:.2f}" in shown and "coverage:0.8" in shown


def test_recordings_above_the_threshold_of_a_coverage_get_a_label(run, bundle):
    _, _, paths = part(run, "validation.csv")
    command = ["predict", str(bundle), *map(str, paths), "--format", "jsonl", "--device", "cpu", "--abstain"]
    done = CliRunner().invoke(main, [*command, "coverage:0.5"])
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and sum(label is not None for label in labels) == 4  # of eight
    model = toolkit.load(bundle, device="cpu")
    assert labels == [model.predict(path).label_above(model.threshold("coverage:0.5")) for path in paths]
    note = "--abstain coverage:0.5 was fitted on whole recordings"
    assert note not in done.stderr and note in CliRunner().invoke(main, [*command, "coverage:0.5", "--segments"]).stderr


def test_an_error_rate_that_two_speakers_cannot_promise_is_one_line(run, bundle):
    _, _, (path, *_) = part(run, "validation.csv")
    done = CliRunner().invoke(main, ["predict", str(bundle), str(path), "--abstain", "error:0.1"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "error:0.1 cannot be promised: that takes a validation part of 9 or more speakers" in done.stderr
    assert "(there are 2)" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_without_predictions_for_a_validation_part_there_is_no_temperature_and_export_says_so(run, tmp_path):
    copy = tmp_path / run.name
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "validation.csv").unlink()
    said = []
    bundle = export_bundle(copy, tmp_path / "b", say=said.append)
    assert [line for line in said if line.startswith("NOTE: no temperature")]
    assert read_bundle(bundle).usage.confidence == UNFITTED
    card = (bundle / "README.md").read_text()
    assert "No temperature was fitted" in card and "at temperature" not in card and "coverage:0.8" not in card


def test_bundles_of_earlier_formats_have_no_temperature(bundle, tmp_path):
    for model in (toolkit.load(OLD, device="cpu"), toolkit.load(_as_format_2(bundle, tmp_path), device="cpu")):
        assert model.usage.confidence == UNFITTED and model.threshold("0.6") == model.threshold(0.6) == 0.6
        with pytest.raises(PredictionError, match=r"coverage:0\.8 needs thresholds from a validation part"):
            model.threshold("coverage:0.8")


def _as_format_2(bundle: Path, folder: Path) -> Path:
    copy = folder / "old"
    copy.mkdir()
    for path in bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())

    def change(values: dict) -> None:
        values.pop("sha256")
        values["format_version"] = 2
        for key in SINCE_3:
            del values[key]

    edit_config(copy, change)
    return copy
