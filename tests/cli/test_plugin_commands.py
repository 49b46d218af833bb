import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from throwaway import good, install

import toolkit
from toolkit.cli.main import main


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_the_table_names_kind_name_distribution_and_version():
    result = run("list-plugins")
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if " cross_entropy " in line)
    assert row.split()[:4] == ["loss", "cross_entropy", "audio-classification-toolkit", toolkit.__version__]


def test_json_is_an_array_with_seven_fields_per_plugin():
    infos = json.loads(run("list-plugins", "--json").stdout)
    fields = {"kind", "name", "distribution", "version", "summary", "status", "error"}
    assert all(set(info) == fields for info in infos)
    assert {info["status"] for info in infos if info["distribution"] == "audio-classification-toolkit"} == {"ok"}


def test_the_option_kind_keeps_one_kind():
    infos = json.loads(run("list-plugins", "--kind", "corpus", "--json").stdout)
    assert {info["kind"] for info in infos} == {"corpus"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list-plugins", "--kind", "extracto"], "No kind of plugin is called 'extracto'. Did you mean 'extractor'?"),
        (["show-plugin", "cros_entropy"], "No plugin is called 'cros_entropy'. Did you mean 'cross_entropy'?"),
        (["show-plugin", "loss", "cros_entropy"], "No loss is called 'cros_entropy'. Did you mean 'cross_entropy'?"),
        (["show-plugin", "fusion", "cross_entropy"], "Its kind is loss."),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_2(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_show_plugin_prints_arguments_types_defaults_meaning_and_paper():
    result = run("show-plugin", "loss", "cross_entropy")
    assert result.exit_code == 0
    assert "label_smoothing   float" in result.output
    assert "'none' | 'balanced' | list[float]" in result.output
    assert "fraction of the target" in result.output
    assert "Given by the system: classes, class_counts" in result.output
    assert "Source: Szegedy et al." in result.output
    assert run("show-plugin", "cross_entropy").output == result.output


def test_every_first_party_plugin_explains_all_its_arguments():
    from toolkit.plugins.registry import default_registry
    from toolkit.plugins.signatures import read_arguments

    registry = default_registry()
    unexplained = []
    for info in registry.list_plugins():
        if info.distribution == "audio-classification-toolkit":
            plugin = registry.find(info.kind, info.name)
            for argument in read_arguments(plugin.load()):
                if argument.name not in plugin.context and not (argument.meaning and argument.type):
                    unexplained.append(f"{info.kind} {info.name}: {argument.name}")
    assert unexplained == []


def command(folder, *arguments, **more):
    environment = {**os.environ, "PYTHONPATH": str(folder), "TOOLKIT_PROBE_SECONDS": "2"}
    return subprocess.run(
        [sys.executable, "-m", "toolkit", *arguments], env=environment, capture_output=True, text=True, **more
    )


def test_the_real_command_lists_broken_hanging_and_ambiguous_distributions(tmp_path):
    install(tmp_path, "broken-dist", "import no_such_module")
    asked = tmp_path / "asked"
    install(tmp_path, "hang-dist", f"import time; open({str(asked)!r}, 'a').write('x'); time.sleep(60)")
    install(tmp_path, "shadow-dist", good("corpus", "manifest"))
    result = command(tmp_path, "list-plugins", "--json")
    assert result.returncode == 0
    infos = json.loads(result.stdout)
    broken = {info["distribution"]: info["error"] for info in infos if info["status"] == "broken"}
    assert broken.keys() == {"broken-dist", "hang-dist"}
    assert "No module named 'no_such_module'" in broken["broken-dist"]
    assert "took longer than 2 s" in broken["hang-dist"]
    ambiguous = {info["distribution"] for info in infos if info["status"] == "ambiguous"}
    assert ambiguous == {"audio-classification-toolkit", "shadow-dist"}

    table = command(tmp_path, "list-plugins")
    assert asked.read_text() == "x", "the hanging distribution was asked again"
    assert "broken: importing broken_dist_declaration failed" in table.stdout
    assert "ambiguous: also declared by shadow-dist" in table.stdout

    only = command(tmp_path, "list-plugins", "--kind", "loss", "--json")
    assert {info["kind"] for info in json.loads(only.stdout)} == {"loss"}
    assert "2 broken: `toolkit list-plugins` lists them" in only.stderr

    refused = command(tmp_path, "show-plugin", "manifest")
    assert refused.returncode == 2
    assert "Write corpus audio-classification-toolkit:manifest or corpus shadow-dist:manifest." in refused.stderr
    assert "Class: toolkit.corpus:Corpus" in command(tmp_path, "show-plugin", "shadow-dist:manifest").stdout
