"""With gradient checkpointing a layer runs again in the backward pass, and the gradients stay the same."""

import pytest
import torch
from wav2vec2_checkpoints import SMALL

from toolkit.contracts import Seq
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2
from toolkit_plugins.extractors.whisper import Whisper

WHISPER = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}


@pytest.mark.parametrize(
    ("cls", "config", "part"),
    [(Wav2Vec2, SMALL, "attention"), (Whisper, WHISPER, "self_attn")],
)
def test_layers_run_again_in_the_backward_pass_and_gradients_stay_the_same(cls, config, part):
    torch.manual_seed(0)
    wave, gradients = Seq(0.1 * torch.randn(2, 4000), torch.tensor([4000, 3000])).zeroed(), []
    for flag in (False, True):
        torch.manual_seed(1)
        level = cls(source="random", config=config, tune="all", gradient_checkpointing=flag, dropout=0.1).train()
        calls = []
        level.layers[0].get_submodule(part).register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(2)
        loss = level(wave).zeroed().values.square().sum()
        assert len(calls) == 1
        loss.backward()
        assert len(calls) == (2 if flag else 1)
        gradients.append([p.grad for p in level.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
