"""`toolkit report` as it is used; what it writes is tested in test_report.py."""

import re

import pytest
from click.testing import CliRunner
from fake_experiment import SER, FakeExperiment, FakeSystem, paper_experiment

from toolkit.cli.main import main


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "experiment"
    paper_experiment(synthetic=True).write(folder)
    return folder


def test_it_prints_the_path_of_the_page_it_wrote(experiment, tmp_path):
    options = ["--speakers", "1M,1F,2M", "--pair", "ser,mf", "--tsne-fold", "1F", "--output", str(tmp_path)]
    done = CliRunner().invoke(main, ["report", str(experiment), *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "report.html")
    said = r"Next, for mtl, the best by its validation parts: toolkit export \S+/runs/mtl-loso-5F-seed1-\w+ mtl\.zip$"
    assert re.search(said, done.stderr.strip()), "mtl has the highest of skills, fold 5F of its runs"
    page = (tmp_path / "report.html").read_text()
    assert "synthetic corpus" in page and list(tmp_path.glob("tables/*.tex")) and list(tmp_path.glob("figures/*.png"))


def test_the_system_to_export_is_none_with_a_shuffled_covariate(tmp_path):
    systems = {"control": FakeSystem(covariates={"gender": {"source": "shuffled"}}), "ser": SER}
    folder = FakeExperiment(systems, {"1M": ["1M"], "1F": ["1F"]}).write(tmp_path)
    done = CliRunner().invoke(main, ["report", str(folder)])
    assert done.exit_code == 0 and done.stderr.strip().endswith(" ser.zip")


def test_the_system_to_export_has_all_folds_and_is_among_those_that_are_shown(tmp_path):
    systems = {"ser": FakeSystem(skill=1.0), "few": FakeSystem(skill=3.0), "good": FakeSystem(skill=2.0)}
    planned = lambda system, protocol, fold, seed: (system, fold) != ("few", "1F")  # noqa: E731
    folder = FakeExperiment(systems, {"1M": ["1M"], "1F": ["1F"]}, planned=planned).write(tmp_path)
    for options, system in (([], "good"), (["--systems", "few,ser"], "ser")):
        done = CliRunner().invoke(main, ["report", str(folder), *options])
        assert done.exit_code == 0 and done.stderr.strip().endswith(f" {system}.zip")


def test_systems_can_be_left_out_and_the_page_names_them(tmp_path):
    systems = {name: FakeSystem(skill=skill) for name, skill in (("ser", 1.0), ("mf", 1.5), ("bad", 0.1))}
    folder = FakeExperiment(systems, {"1M": ["1M"], "1F": ["1F"]}).write(tmp_path / "experiment")
    done = CliRunner().invoke(main, ["report", str(folder), "--systems", "mf,ser", "--output", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert done.exit_code == 0 and re.search(r"Left out</th>\s*<td[^>]*>by --systems: bad</td>", page)
    assert page.count("bad") == 1 and "4 of 4 done" in page
    rows = (tmp_path / "tables" / "ablation.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["system", "ser", "mf"]
