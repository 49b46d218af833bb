"""training.compile: the same losses, names, evaluation; one line where nothing can be compiled."""

import pytest
import torch
from small_system import write_recipe

from toolkit.contracts import Seq
from toolkit.corpus.targets import Target
from toolkit.data.batches import seed_all
from toolkit.errors import ToolkitError
from toolkit.model.system import System, build_system
from toolkit.recipe.loading import load_recipe
from toolkit.training.loop.objective import TrainStep, build_objective, compile_system

LEVEL = "--model.levels.mfcc.args={encoder: none, convolutions: [4], n_mfcc: 4, n_mels: 8, n_fft: 512}"
NO_DROPOUT = ("--model.fusion.args.dropout=0", "--model.heads.emotion.args.dropout=0")


@pytest.fixture
def make_system(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path), (LEVEL, *NO_DROPOUT))

    def make() -> tuple[System, TrainStep]:
        seed_all(1)
        system = build_system(recipe, Target.by_name({"label": ("noise", "tone")}))
        return system, TrainStep(system, build_objective(recipe, system, {"label": [4, 4]}))

    return make


def wave(rows: int) -> Seq:
    generator = torch.Generator().manual_seed(rows)
    return Seq(torch.randn(rows, 4000, generator=generator), torch.full((rows,), 4000), full=True)


def losses(system: System, train_step: TrainStep) -> list[float]:
    optimizer, found = torch.optim.SGD(train_step.parameters(), lr=0.1), []
    for rows in (4, 4, 2):  # the last batch of an epoch is smaller
        loss = train_step.objective(system(wave(rows), {}), {"label": torch.arange(rows) % 2})
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's look at its own inputs
def test_compiled_parts_have_the_same_losses_and_names(make_system):
    (system, train_step), (plain_system, plain_step) = make_system(), make_system()
    compile_system(system, backend="aot_eager")  # inductor would compile for a minute on a CPU
    assert losses(system, train_step) == pytest.approx(losses(plain_system, plain_step), rel=1e-5)
    assert list(train_step.state_dict()) == list(plain_step.state_dict())
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] >= 2 and not counters["graph_break"]


def test_evaluation_and_recurrent_layers_are_not_compiled(make_system):
    system, _ = make_system()

    def refuse(graph, inputs):
        raise AssertionError("compiled")

    compile_system(system, backend=refuse)
    system.eval()(wave(2), {})
    system.levels["mfcc"].encoder = torch.nn.LSTM(4, 4)
    encode = type(system.levels["mfcc"]).encode
    del system.levels["mfcc"].encode
    compile_system(system, backend=refuse)
    assert system.levels["mfcc"].encode.__func__ is encode


def test_where_nothing_can_be_compiled_the_message_says_what_to_do(make_system):
    system, _ = make_system()

    def no_compiler(graph, inputs):
        raise OSError("no C++ compiler\nand a long story")

    compile_system(system, backend=no_compiler)
    with pytest.raises(ToolkitError) as caught:
        system(wave(2), {})
    message = str(caught.value)
    assert "\n" not in message and message.startswith("training.compile: torch.compile fails on level 'mfcc' here (")
    assert "no C++ compiler" in message and message.endswith("Set training.compile to false.")
