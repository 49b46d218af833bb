import pytest
from throwaway import good, install

from toolkit import PluginSpec
from toolkit.errors import PluginError, RecipeError, UnknownPlugin
from toolkit.plugins.declarations import Declaration
from toolkit.plugins.plugin import Plugin
from toolkit.plugins.registry import Registry, default_registry, discover
from toolkit.recipe.checks import Keys, Location, Mark

HEAD = "from toolkit import PluginSpec, hookimpl\n"
NEEDED = "a toolkit_register, marked with @toolkit.hookimpl, that returns a list of PluginSpec, is needed"
PITCH = '''
from toolkit.contracts import Extractor

class Pitch(Extractor):
    """Pitch.

    Args:
        low: lower bound in Hz.
        high: upper bound in Hz.
    """

    def __init__(self, *, sample_rate: int, low: float, high: float = 400.0, method: str | None = None):
        super().__init__()
        if high <= low:
            raise ValueError(f"high must be above {low}, not {high}") if high else ValueError
        self.sample_rate, self.low, self.high = sample_rate, low, high
'''


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The registry beside many distributions that are broken, each in another way."""
    folder = tmp_path_factory.mktemp("zoo")
    sources = {
        "fine-dist": good("extractor", "pitch"),
        "import-error-dist": "import no_such_module",
        "exit-dist": "raise SystemExit(3)",
        "hard-exit-dist": "import os; os._exit(7)",
        "type-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    return {'a': 1}",
        "none-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    pass",
        "item-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    return ['mfcc']",
        "misspelt-dist": HEAD + "@hookimpl\ndef toolkit_registre():\n    return []",
        "signature-dist": HEAD + "@hookimpl\ndef toolkit_register(config):\n    return []",
        "unmarked-dist": "def toolkit_register():\n    return []",
        "empty-dist": "",
        "raise-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    raise RuntimeError('no\\nlicence')",
        "kind-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    return [PluginSpec('a', 'b', 'c:D', 'e'), "
        "PluginSpec('head', 'b', 'toolkit.contracts:Head', 'e')]",
        "loud-dist": "print('hello')\n" + good("loss", "loud"),
        "one-dist": good("fusion", "same"),
        "two-dist": good("fusion", "same"),
        "contract-dist": good("fusion", "same", contract=">=7,<8"),
        "range-dist": good("head", "ranged", contract="1 to 2"),
        "number-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    return [PluginSpec('head', 5, 'c:D', 'e')]",
        "crash-dist": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "hook-exit-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    raise SystemExit('bye')",
        "deep-dist": HEAD + "@hookimpl\ndef toolkit_register():\n    return toolkit_register()",
        "twice-dist": good("head", "twice").replace("]\n", "] * 2\n"),
    }
    for name, source in sources.items():
        install(folder, name, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("TOOLKIT_PROBE_SECONDS", raising=False)
        return discover()


def info_of(registry, distribution):
    return [info for info in registry.list_plugins() if info.distribution.replace("_", "-") == distribution]


@pytest.mark.parametrize(
    ("distribution", "error"),
    [
        ("import-error-dist", "importing import_error_dist_declaration failed: ModuleNotFoundError: No module named"),
        ("exit-dist", "SystemExit: 3"),
        ("hard-exit-dist", "ended the process (exit code 7)"),
        ("type-dist", NEEDED),
        ("none-dist", NEEDED),
        ("item-dist", NEEDED),
        ("misspelt-dist", "unknown hook 'toolkit_registre'"),
        ("signature-dist", "config"),
        ("unmarked-dist", NEEDED),
        ("empty-dist", NEEDED),
        ("raise-dist", "RuntimeError: no licence"),
        ("number-dist", "name 5 of plugin 5 is not made of lower case letters"),
        ("crash-dist", "ended the process (exit code -11)"),
        ("hook-exit-dist", "SystemExit: bye"),
        ("deep-dist", "RecursionError"),
    ],
)
def test_a_broken_distribution_is_listed_with_its_reason(zoo, distribution, error):
    (info,) = info_of(zoo, distribution)
    assert (info.status, info.kind) == ("broken", None)
    assert error in info.error
    assert "\n" not in info.error


@pytest.mark.parametrize(
    ("distribution", "name", "what", "needed", "others"),
    [
        ("range-dist", "ranged", "contract '1 to 2'", "a range, for example '>=1,<2'", []),
        ("kind-dist", "b", "kind 'a'", "one of extractor, fusion, head, loss, augmentation, corpus", ["head"]),
    ],
)
def test_a_plugin_of_unknown_kind_or_contract_is_broken_alone(zoo, distribution, name, what, needed, others):
    info, *fine = sorted(info_of(zoo, distribution), key=lambda info: info.status)
    assert (info.status, info.name, info.error) == ("broken", name, f"{what} of plugin {name!r} is not {needed}")
    assert [(other.status, other.kind) for other in fine] == [("ok", kind) for kind in others]


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [("", [0, 1, 2, 3]), (">=1,<2", [1]), (">0, <= 2", [1, 2]), ("==3", [3]), (">=2,<1", [])],
)
def test_a_contract_is_a_range_of_versions(monkeypatch, contract, allowed):
    spec = PluginSpec("loss", "l", "toolkit.contracts:Loss", "x", contract)
    found = []
    for version in range(4):
        monkeypatch.setattr("toolkit.plugins.plugin.CONTRACT_VERSION", version)
        if not Plugin(spec, Declaration("some-dist", "2.0", "plugins", "some_dist")).problem:
            found.append(version)
    assert found == allowed


def test_the_others_work_beside_broken_distributions(zoo):
    (info,) = info_of(zoo, "fine-dist")
    assert (info.kind, info.name, info.version, info.status, info.error) == ("extractor", "pitch", "1.0", "ok", None)
    assert {"concat", "same"} <= {info.name for info in zoo.list_plugins("fusion")}


def test_a_distribution_may_print_at_import(zoo):
    assert info_of(zoo, "loud-dist")[0].status == "ok"


def test_one_name_in_two_distributions_is_refused_until_the_distribution_is_named(zoo):
    statuses = {info.distribution: info.status for info in zoo.list_plugins() if info.name == "same"}
    assert statuses == {"one-dist": "ambiguous", "two-dist": "ambiguous", "contract-dist": "broken"}
    with pytest.raises(PluginError, match="Write 'one-dist:same' or 'two-dist:same'"):
        zoo.find("fusion", "same").load()
    assert zoo.find("fusion", "two_dist:same").load().__name__ == "Fusion"


def test_a_plugin_for_another_contract_is_listed_with_what_to_do_and_never_chosen(zoo):
    (info,) = info_of(zoo, "contract-dist")
    assert (info.status, info.kind, info.name) == ("broken", "fusion", "same")
    assert info.error == (
        "it was written for contract >=7,<8, and this toolkit has contract 1; "
        "install a release of contract-dist for contract 1, or a toolkit with contract >=7,<8"
    )
    with pytest.raises(PluginError, match=r"^fusion 'same' from contract-dist 1\.0 cannot be used: it was written for"):
        zoo.find("fusion", "contract-dist:same")


def test_a_new_contract_leaves_plugins_that_were_written_for_it_or_for_any(monkeypatch):
    specs = [PluginSpec("loss", f"l{i}", "toolkit.contracts:Loss", "x", c) for i, c in enumerate(("", ">=1", ">=1,<2"))]
    monkeypatch.setattr("toolkit.plugins.plugin.CONTRACT_VERSION", 2)
    registry = Registry([(Declaration("some-dist", "2.0", "plugins", "some_dist"), specs)])
    assert [info.status for info in registry.list_plugins("loss")] == ["ok", "ok", "broken"]
    assert registry.find("loss", "l1").load().__name__ == "Loss"
    with pytest.raises(PluginError, match=r"^model\.losses\.x\.plugin: loss 'l2' from .* this toolkit has contract 2"):
        registry.find("loss", "l2", Location("model.losses.x"))


def test_one_declaration_twice_in_one_distribution_counts_once(zoo):
    assert [info.status for info in info_of(zoo, "twice-dist")] == ["ok"]
    assert zoo.find("head", "twice").load().__name__ == "Head"


def test_an_unknown_name_gets_the_nearest_and_what_is_broken(zoo):
    with pytest.raises(UnknownPlugin, match=r"^No extractor is called 'pich'\. Did you mean 'pitch'\? .*exit-dist"):
        zoo.find("extractor", "pich").load()


def declared(**targets):
    specs = [PluginSpec("extractor", name, target, "Made for a test") for name, target in targets.items()]
    return Registry([(Declaration("some-dist", "2.0", "plugins", "some_dist"), specs)])


@pytest.fixture
def registry(tmp_path, monkeypatch):
    (tmp_path / "pitch_for_registry.py").write_text(PITCH)
    (tmp_path / "broken_for_registry.py").write_text("raise ImportError('no\\ncompiler')")
    (tmp_path / "exit_for_registry.py").write_text("raise SystemExit(1)")
    monkeypatch.syspath_prepend(str(tmp_path))
    return declared(
        pitch="pitch_for_registry:Pitch",
        broken="broken_for_registry:X",
        quits="exit_for_registry:X",
        missing="pitch_for_registry:Pich",
        module="no_such_module_here:X",
        function="os.path:join",
        counter="collections:Counter",
    )


def test_the_message_for_an_unknown_name_is_one_line():
    with pytest.raises(UnknownPlugin) as error:
        declared(mfcc="a:B").find("extractor", "mfc").load()
    expected = "No extractor is called 'mfc'. Did you mean 'mfcc'? `toolkit list-plugins` lists all."
    assert str(error.value) == expected


def test_a_name_of_another_kind_is_pointed_out():
    with pytest.raises(UnknownPlugin, match="Its kind is extractor"):
        declared(mfcc="a:B").find("fusion", "mfcc").load()


def test_a_declaration_of_a_misspelt_kind_is_named_where_its_plugin_is_looked_for():
    specs = [PluginSpec("extracter", "pitch", "a:B", "x"), PluginSpec("extractor", "pitches", "a:B", "x")]
    registry = Registry([(Declaration("some-dist", "2.0", "plugins", "some_dist"), specs)])
    for kind in ("extractor", None):
        with pytest.raises(PluginError, match=r"^extracter 'pitch' from some-dist"):
            registry.find(kind, "pitch")


def test_an_unknown_kind_gets_the_nearest():
    with pytest.raises(PluginError, match="Did you mean 'extractor'"):
        declared().list_plugins("extracto")


def test_a_location_stands_before_the_message():
    with pytest.raises(UnknownPlugin, match=r"^model\.levels\.x\.plugin: No extractor"):
        declared(mfcc="a:B").find("extractor", "mfc", Location("model.levels.x"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "ImportError: no compiler"),
        ("quits", "SystemExit: 1"),
        ("missing", "AttributeError"),
        ("module", "ModuleNotFoundError"),
        ("function", "os.path:join is not a toolkit.contracts.Extractor"),
        ("counter", "collections:Counter is not a toolkit.contracts.Extractor"),
    ],
)
def test_a_class_that_cannot_be_imported_is_one_line_that_names_its_distribution(registry, name, reason):
    with pytest.raises(PluginError, match=r"from some-dist 2\.0") as error:
        registry.find("extractor", name).build()
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_build_gives_the_context_that_the_constructor_names(registry):
    pitch = registry.find("extractor", "pitch").build({"low": 60}, {"sample_rate": 16000, "segment_samples": 48000})
    assert (pitch.low, pitch.high, pitch.sample_rate) == (60.0, 400.0, 16000)
    assert isinstance(pitch.low, float)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"low": 60, "hihg": 3},
            r"args\.hihg in ser\.yaml, line 4: extractor 'pitch' has no argument 'hihg'\. .*'high'",
        ),
        ({}, r"args in ser\.yaml, line 3: extractor 'pitch' needs the argument 'low' \(float\)"),
        ({"low": "60"}, r"args\.low in ser\.yaml, line 3: '60' is text; a number is needed"),
        ({"low": 60, "sample_rate": 8000}, r"args\.sample_rate in .*: 'sample_rate' is given to extractor 'pitch' by"),
        ({"low": 60, "high": 0}, r"args in ser\.yaml, line 3: extractor 'pitch': ValueError$"),
        ({"low": 60, "high": 50}, r"args\.high in .*: extractor 'pitch': high must be above 60\.0, not 50\.0"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_with_its_location(registry, args, message):
    keys = Keys({"args": Keys(args, {"hihg": Mark("ser.yaml", 4)})}, {"args": Mark("ser.yaml", 3)})
    where = Location("model.levels.p", Mark("ser.yaml", 3), keys)
    with pytest.raises(RecipeError, match=r"^model\.levels\.p\." + message):
        registry.find("extractor", "pitch", where).build(args, {"sample_rate": 1})


FITTED = """
from toolkit.contracts import Augmentation, Extractor, Head, Loss

class Forgetful(Head):
    def fit(self, rows):
        pass

class Conditional(Forgetful):
    def __init__(self, *, learn: bool):
        super().__init__()
        self.fits = learn

class Stated(Forgetful):
    fits = False

class Closed(Loss):
    def fit(self, rows):
        pass

class Wavy(Augmentation):
    reads = "waveform"

class Spectral(Augmentation):
    def __init__(self):
        self.reads = "feature"

class Greedy(Extractor):
    def features(self, wave, rate):
        return wave

class Hasty(Loss):
    def after_step(self):
        pass

class Mute(Head):
    forward = None

class Roomy(Head):
    def forward(self, vectors, *others, scale=1.0):
        return vectors

class Borrowed(Head):
    forward = staticmethod(abs)
"""


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """Build a plugin from a class of FITTED."""
    (tmp_path / "fitted_for_registry.py").write_text(FITTED)
    monkeypatch.syspath_prepend(str(tmp_path))

    def build(kind, name, **args):
        spec = PluginSpec(kind, "x", f"fitted_for_registry:{name}", "Made for a test")
        return Registry([(Declaration("some-dist", "2.0", "plugins", "d"), [spec])]).find(kind, "x").build(args)

    return build


def test_a_fit_that_would_never_be_called_is_refused(fitted):
    assert (fitted("head", "Conditional", learn=False).fits, fitted("head", "Stated").fits) == (False, False)
    fitted("loss", "Closed")  # the core fits no losses
    with pytest.raises(PluginError, match="its `fit` would never be called, since `fits` is not set"):
        fitted("head", "Forgetful")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("extractor", "Greedy", "`features` cannot be called with (wave): missing a required argument: 'rate'."),
        ("loss", "Hasty", "`after_step` cannot be called with (taken): too many positional arguments."),
        ("head", "Mute", "`forward` cannot be called with (embedding): None is not a callable object."),
    ],
)
def test_a_method_that_cannot_be_called_as_its_contract_says_is_refused(kind, name, message, fitted):
    with pytest.raises(PluginError) as error:
        fitted(kind, name)
    assert str(error.value) == f"{kind} 'x' from some-dist 2.0 cannot be used: {message}"


def test_a_method_may_have_other_names_and_further_arguments(fitted):
    assert fitted("head", "Roomy").forward(3) == 3
    assert fitted("head", "Borrowed").forward(-3) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Wavy", "'waveform' is not one of 'wave', 'features', 'batch'. Did you mean 'wave'?"),
        ("Spectral", "'feature' is not one of 'wave', 'features', 'batch'. Did you mean 'features'?"),
    ],
)
def test_an_unknown_kind_of_input_gets_the_nearest(name, message, fitted):
    with pytest.raises(PluginError, match=r"^augmentation 'x' from some-dist 2\.0 cannot be used: ") as error:
        fitted("augmentation", name)
    assert str(error.value).endswith(f"`reads`: {message}")


def test_check_args_builds_nothing(registry):
    assert registry.find("extractor", "pitch").check_args({"low": 500, "high": 1}) == {"low": 500.0, "high": 1.0}


def test_a_name_of_several_kinds_is_refused_until_the_kind_is_named():
    specs = [PluginSpec(kind, "linear", "a:B", "x") for kind in ("head", "fusion")]
    registry = Registry([(Declaration("d", "1", "p", "m"), specs)])
    with pytest.raises(PluginError, match="Write head d:linear or fusion d:linear"):
        registry.find(None, "linear")
    with pytest.raises(UnknownPlugin, match=r"No plugin is called 'linea'\. Did you mean 'linear'"):
        registry.find(None, "linea")


def test_discovery_happens_once_per_process():
    assert default_registry() is default_registry()


def test_a_constructor_that_breaks_names_the_plugin_and_the_cause(monkeypatch):
    from toolkit_plugins.heads.linear import Linear

    def broken(self, *, size, classes):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(Linear, "__init__", broken)
    with pytest.raises(PluginError, match=r"model\.heads\.x: .*'linear'.*cannot be built: RuntimeError: no such thing"):
        default_registry().find("head", "linear", Location("model.heads.x")).build({}, {"size": 3, "classes": 2})
