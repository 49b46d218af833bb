"""`training.init_from`: what is taken from a bundle, what is refused; a run that has begun no longer needs it."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load, save
from small_bundle import edit_config, replace_file, train, with_gender
from small_system import PROBED, write_recipe
from transformers import WhisperConfig, WhisperModel
from wav2vec2_checkpoints import save_checkpoint

from toolkit.contracts import Seq
from toolkit.data.cache.features import FeatureCache
from toolkit.errors import BundleError, PluginError, RecipeError
from toolkit.experiment.plan import make_plan
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.export import export_bundle
from toolkit.recipe.loading import load_recipe
from toolkit.training.data_check import check_source
from toolkit.training.init_from import AUDIO_SEEN, SPEAKERS_SEEN
from toolkit.training.loop.brain import SystemBrain
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A recipe, and a bundle of its system."""
    folder = tmp_path_factory.mktemp("init_from")
    run = train(folder)
    return folder / "small.yaml", export_bundle(run, folder / "first.zip")


FITTED = """\
extends: small.yaml
model:
  levels: {mfcc: null, functionals: {plugin: functionals}}
  fusion: {plugin: concat, args: {pooling: mean, project: false}}
  heads: {emotion: {plugin: discriminant, on: fused}, level: null}
  losses: {center: null}
training: {epochs: 0}
"""


ENCODER = """\
extends: small.yaml
model:
  levels:
    mfcc: null
    encoder: {plugin: %(plugin)s, args: {source: %(source)s, tune: frozen}}
  fusion: {plugin: concat, args: {pooling: statistics, standardize: true, dim: 8}}
  heads: {level: {on: encoder}}
"""


def started(recipe: Path, bundle: object, *overrides: str, lines: list | None = None) -> Run:
    source = load_source(recipe, [f"--init_from={bundle}", "--training.epochs=2", *overrides])
    return Run(prepare(source), say=(lines if lines is not None else []).append)


def test_all_that_fits_is_taken_and_other_classes_start_from_scratch(trained):
    recipe, bundle = trained
    there = read_bundle(bundle).system.state_dict()
    same = started(recipe, bundle)
    assert all(torch.equal(value, there[name]) for name, value in same.system.state_dict().items())
    assert same.started.startswith("Starts from first.zip (small sha256:") and "From scratch" not in same.started
    fresh = started(recipe, "null", "--seed=5").system.state_dict()
    other = started(recipe, bundle, "--label_map.tone=hum", "--seed=5")
    assert other.started.endswith(": levels.mfcc and fusion. From scratch: heads.emotion and heads.level.")
    for name, value in other.system.state_dict().items():
        assert torch.equal(value, (fresh if name.startswith("heads.") else there)[name]), name
    wider = started(recipe, bundle, "--model.heads.emotion.args.hidden=[6]")
    assert wider.started.endswith("heads.level. From scratch: heads.emotion.")


@pytest.fixture
def tuned(tmp_path):
    """Writes a recipe that tunes a small Whisper in some way."""
    write_recipe(tmp_path)

    def write(tune: str) -> Path:
        recipe = tmp_path / f"{tune}.yaml"
        recipe.write_text(PROBED.replace("tune: all", f"tune: {tune}"))
        return recipe

    return write


@pytest.mark.parametrize("tune", ["all", "frozen", "lora"])
def test_adapters_start_beside_the_weights_of_any_bundle_and_change_nothing_at_first(tuned, tmp_path, tune):
    settings = ["--training.epochs=1", "--training.probe.epochs=0"]
    run = Run(prepare(load_source(tuned(tune), settings)), say=lambda line: None).train().parent
    bundle = export_bundle(run, tmp_path / "first.zip")
    adapted = started(tuned("lora"), bundle, "--training.probe.epochs=0")
    assert adapted.started.endswith(": levels.whisper, fusion, heads.emotion and heads.level.")
    there, wave = read_bundle(bundle).system, Seq(torch.randn(2, 4800), torch.tensor([4800, 4000]))
    with torch.no_grad():
        expected, found = (system.eval()(wave, {}).logits for system in (there, adapted.system))
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    adapters = {name: p for name, p in adapted.system.named_parameters() if "lora_" in name}
    assert adapters and all(p.requires_grad for p in adapters.values())
    assert all(bool(p.any()) == ("lora_A" in name) for name, p in adapters.items())  # a fresh adapter's B is zero


def save_whisper(folder: Path) -> None:
    settings = {"d_model": 8, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2}
    WhisperModel(WhisperConfig(**settings, **decoder)).save_pretrained(folder)


def save_hubert(folder: Path) -> None:
    save_checkpoint("hubert-stable", folder)


@pytest.mark.parametrize(
    ("plugin", "save", "fewer_layers"),
    [("whisper", save_whisper, "{encoder_layers: 1}"), ("wav2vec2", save_hubert, "{num_hidden_layers: 1}")],
)
def test_weights_that_cannot_be_downloaded_are_the_bundles(plugin, save, fewer_layers, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    there, gone = (write_recipe(tmp_path).with_name(f"{name}.yaml") for name in ("there", "gone"))
    save(tmp_path / "weights")
    there.write_text(ENCODER % {"plugin": plugin, "source": tmp_path / "weights"})
    gone.write_text(ENCODER % {"plugin": plugin, "source": "owner/weights"})
    run = Run(prepare(load_source(there, ["--training.epochs=1"])), say=[].append).train()
    bundle = export_bundle(run, tmp_path / "first.zip")
    with pytest.raises(PluginError, match="'owner/weights' is not in the hub's local cache"):
        started(gone, "null")
    one, other = (started(recipe, bundle, "--label_map.tone=hum") for recipe in (there, gone))
    state = other.system.state_dict()
    taken = {name: value for name, value in one.system.state_dict().items() if not name.startswith("heads.")}
    assert len(taken) > 20 and all(torch.equal(value, state[name]) for name, value in taken.items())
    assert other.system.levels["encoder"].front_end_args == one.system.levels["encoder"].front_end_args
    assert other.system.pretrained == one.system.pretrained and other.system.random_backbones == []
    report = check_source(load_source(gone, [f"--init_from={bundle}", "--label_map.tone=hum"]))
    assert not report.stops, report.problems
    results = other.train()
    assert load_recipe(results.with_name("recipe.yaml")).model == load_recipe(gone).model, "as written"
    assert (
        read_bundle(export_bundle(results, tmp_path / "second.zip")).config.training.pretrained == one.system.pretrained
    )
    with pytest.raises(RecipeError, match=r"encoder\.\S+ is \[.*\] in first\.zip, and missing in the recipe's system"):
        started(gone, bundle, f"--model.levels.encoder.args.config={fewer_layers}")


def test_scaling_is_taken_and_not_fitted_again(trained, tmp_path):
    recipe, bundle = trained
    run = started(recipe, bundle, "--fold=S2", "--training.optimizer.learning_rate=0", f"--output_folder={tmp_path}")
    before = {name: value.clone() for name, value in run.system.state_dict().items()}
    results = json.loads(run.train().read_text())
    assert all(torch.equal(value, before[name]) for name, value in run.system.state_dict().items())
    assert results["pretrained"]["mfcc"].startswith("small sha256:")


def test_a_test_on_what_trained_the_bundle_is_stamped_and_the_next_bundle_says_it_too(trained, tmp_path):
    recipe, bundle = trained  # session S3 trained it, S2 validated
    runs = {fold: started(recipe, bundle, f"--fold={fold}", f"--output_folder={tmp_path}") for fold in ("S1", "S3")}
    results = {fold: json.loads(run.train().read_text()) for fold, run in runs.items()}
    assert {fold: result["stamps"] for fold, result in results.items()} == {"S1": [], "S3": [AUDIO_SEEN]}
    for fold, said in (("S1", []), ("S3", [f"fold 'S3': {AUDIO_SEEN}"])):
        report = check_source(load_source(recipe, [f"--training.init_from={bundle}", f"--fold={fold}"]))
        assert [problem.message for problem in report.problems if problem.kind == "init-from"] == said
    same_names = tmp_path / "corpus"  # other audio of speakers who are called the same
    shutil.copytree(recipe.parent / "corpus", same_names)
    for file in same_names.glob("*.wav"):
        soundfile.write(file, 0.5 * soundfile.read(file)[0], 16000)
    other = started(
        recipe, bundle, "--fold=S3", f"--corpus.args.path={same_names / 'manifest.csv'}", f"--output_folder={tmp_path}"
    )
    assert json.loads(other.train().read_text())["stamps"] == [SPEAKERS_SEEN]
    second = read_bundle(export_bundle(runs["S3"].folder.path, tmp_path / "second.zip"))  # S2 trained it, S1 validated
    assert len(read_bundle(bundle).seen.speakers) == 4 and len(second.seen.speakers) == 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--model.fusion.args.dim=12"], r"fusion\.\S+ is \[.*\] in first\.zip, and \[.*\] in the recipe's system"),
        (["--model.levels.mfcc.args.hidden=6"], r"levels\.mfcc\.\S+ is \[.*\] in first\.zip, and \["),
        (
            ["--audio.sample_rate=8000"],
            r"first\.zip has levels mfcc \(\S+\) at 16000 Hz, the recipe has .* 8000 Hz",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(trained, overrides, message):
    with pytest.raises(RecipeError, match=message):
        started(*trained, *overrides)


def test_another_level_and_a_bundle_that_is_not_there_are_one_line(trained, tmp_path):
    recipe, bundle = trained
    other = recipe.with_name("other.yaml")
    other.write_text("extends: small.yaml\nmodel: {levels: {more: {plugin: functionals}}}\n")
    with pytest.raises(
        RecipeError, match=r"first\.zip has levels mfcc \(\S+\) at .*, the recipe has levels mfcc .* and more"
    ):
        started(other, bundle)
    with pytest.raises(BundleError, match=r"No bundle at .*Did you mean .first\.zip"):
        started(recipe, bundle.with_name("frst.zip"))


def test_a_weight_of_no_part_is_one_line(trained, tmp_path):
    recipe, bundle = trained
    shutil.unpack_archive(bundle, tmp_path / "more")
    weights = load((tmp_path / "more" / "model.safetensors").read_bytes())
    replace_file(tmp_path / "more", "model.safetensors", save(weights | {"other.weight": torch.zeros(3)}))
    with pytest.raises(RecipeError, match=r"other\.weight is \[3\] in more, and missing in the recipe's system"):
        started(recipe, tmp_path / "more")


def test_a_bundle_of_which_nothing_can_be_taken_is_one_line(trained, tmp_path):
    recipe = trained[0].with_name("fitted.yaml")
    recipe.write_text(FITTED)
    settings = [f"--output_folder={tmp_path / 'results'}"]
    run = Run(prepare(load_source(recipe, settings)), say=lambda line: None).train().parent
    bundle = export_bundle(run, tmp_path / "fitted.zip")
    with pytest.raises(RecipeError, match=r"nothing can be taken from fitted\.zip: its levels"):
        started(recipe, bundle)


def test_given_covariates_have_to_be_those_of_the_bundle_with_their_values(tmp_path):
    bundle = export_bundle(train(tmp_path, "--training.epochs=1", change=with_gender("label")), tmp_path / "first.zip")
    recipe, manifest = tmp_path / "small.yaml", tmp_path / "corpus" / "manifest.csv"
    rows = manifest.read_text().splitlines()
    accents = ["accent", *(("british", "indian")[number % 2] for number in range(len(rows) - 1))]
    manifest.write_text("\n".join(f"{row},{accent}" for row, accent in zip(rows, accents, strict=True)) + "\n")
    started(recipe, bundle)
    renamed = recipe.read_text().replace("gender: {source", "accent: {source")
    recipe.with_name("accent.yaml").write_text(renamed)
    message = r"first\.zip has .* covariates gender \['F', 'M'\], the recipe has .* accent \['british', 'indian'\]\."
    with pytest.raises(RecipeError, match=message):
        started(recipe.with_name("accent.yaml"), bundle)
    manifest.write_text(manifest.read_text().replace("british", "scottish"))
    bundle = export_bundle(
        Run(prepare(load_source(recipe.with_name("accent.yaml"), ["--training.epochs=1"])), say=[].append).train(),
        tmp_path / "second.zip",
    )
    manifest.write_text(manifest.read_text().replace("scottish", "british"))
    with pytest.raises(RecipeError, match=r"accent \['indian', 'scottish'\], the recipe has .* accent \['british'"):
        started(recipe.with_name("accent.yaml"), bundle)
    recipe.write_text(recipe.read_text().replace("source: label", "source: predicted, level: mfcc"))
    assert started(recipe, bundle).started.endswith("From scratch: covariates.gender.")  # predicted: takes any place


def test_the_weights_hash_names_the_run_and_the_path_does_not(trained, tmp_path):
    recipe, bundle = trained
    moved = shutil.copy(bundle, tmp_path / "moved.zip")
    unpacked = tmp_path / "second"
    shutil.unpack_archive(bundle, unpacked)
    edit_config(unpacked, lambda values: values["files"]["model.safetensors"].update(sha256="0" * 64))
    first = started(recipe, bundle).folder.path
    assert started(recipe, moved).folder.path == first != started(recipe, "null").folder.path
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file that was exported"):
        started(recipe, unpacked)
    plans = [make_plan([load_source(recipe, [f"--init_from={path}"])]) for path in (bundle, moved, unpacked)]
    names = [plan.cells[0].fingerprint for plan in plans]
    assert names[0] == names[1] != names[2]


def test_a_run_that_has_begun_goes_on_without_the_bundle(trained, tmp_path, monkeypatch):
    recipe, bundle = trained
    here = shutil.copy(bundle, tmp_path / "here.zip")
    whole = started(recipe, here, "--fold=S3", f"--output_folder={tmp_path / 'whole'}").train()
    ended = SystemBrain.on_stage_end

    def killed(brain, stage, loss, epoch=None):
        if epoch == 2:
            raise KeyboardInterrupt
        ended(brain, stage, loss, epoch)

    for begun in (False, True):
        monkeypatch.setattr(SystemBrain, "on_stage_end" if begun else "on_fit_start", killed if begun else _stop)
        with pytest.raises(KeyboardInterrupt):
            started(recipe, here, "--fold=S3", f"--output_folder={tmp_path / str(begun)}").train()
        monkeypatch.undo()
    Path(here).unlink()
    lines = []
    run = started(recipe, here, "--fold=S3", f"--output_folder={tmp_path / 'True'}", lines=lines)
    kept = torch.load(next(run.folder.path.glob("checkpoints/*/system.ckpt")), weights_only=True)
    assert all(torch.equal(value, kept[name]) for name, value in run.system.state_dict().items()), "for its features"
    resumed = run.train()
    assert resumed.parent.name == whole.parent.name and any(line.startswith("Resumes in epoch 2") for line in lines)
    finished = []
    assert started(recipe, here, "--fold=S3", f"--output_folder={tmp_path / 'True'}", lines=finished).train() == resumed
    said = f"{here} is gone; the run that started from it goes on: {resumed.parent}"
    assert lines[0] == finished[0] == said and finished[1].startswith("This run is finished")
    with pytest.raises(BundleError, match=r"No bundle at .*hare\.zip"):  # another bundle's run is not taken for its own
        started(recipe, tmp_path / "hare.zip", "--fold=S3", f"--output_folder={tmp_path / 'True'}")
    results = [json.loads(path.read_text()) for path in (whole, resumed)]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0} and results[0]["stamps"] == [AUDIO_SEEN]
    monkeypatch.setattr(FeatureCache, "fill", lambda *args: pytest.fail("features were computed first"))
    with pytest.raises(BundleError, match="No bundle at"):  # nothing was kept of it yet
        started(recipe, here, "--fold=S3", f"--output_folder={tmp_path / 'False'}").train()


def _stop(brain):
    raise KeyboardInterrupt
