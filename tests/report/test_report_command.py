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
    assert re.search(r"Next, .*: toolkit export \S+/runs/ser-loso-1M-seed1-\w+ ser\.zip$", done.stderr.strip())
    page = (tmp_path / "report.html").read_text()
    assert "synthetic corpus" in page and list(tmp_path.glob("tables/*.tex")) and list(tmp_path.glob("figures/*.png"))


def test_the_system_to_export_is_none_with_a_shuffled_covariate(tmp_path):
    systems = {"control": FakeSystem(covariates={"gender": {"source": "shuffled"}}), "ser": SER}
    folder = FakeExperiment(systems, {"1M": ["1M"], "1F": ["1F"]}).write(tmp_path)
    done = CliRunner().invoke(main, ["report", str(folder)])
    assert done.exit_code == 0 and done.stderr.strip().endswith(" ser.zip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline", "serr"], "No system of this experiment is called 'serr'. Did you mean 'ser'?"),
        (["--protocol", "losso"], "'losso'"),
    ],
)
def test_an_option_that_names_something_unknown_is_one_line(experiment, options, message):
    done = CliRunner().invoke(main, ["report", str(experiment), *options])
    assert done.exit_code == 2 and message in done.output and len(done.output.strip().splitlines()) == 1
