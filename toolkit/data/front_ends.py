"""Front ends, the parts of levels that learn nothing: their features, and what these depend on."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit.data.segments import SegmentSet
from toolkit.errors import RecipeError, ShapeError
from toolkit.files import DISTRIBUTION
from toolkit.plugins.registry import find_part
from toolkit.plugins.versions import code_version
from toolkit.recipe.schema import Recipe

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
LIBRARIES = ("torch", "torchaudio", "transformers", "soundfile", "soxr", "av")
FORMAT = 2


def rounded(features: Seq, *, level: str, precision: str) -> Seq:
    """Round features to the values of a precision; the result is float32.

    Raises: RecipeError if a value is too large for the precision.

    >>> rounded(Seq(torch.tensor([[[2049.0]]]), torch.tensor([1])), level="x", precision="fp16").values.item()
    2048.0
    """
    if precision == "fp32":
        return Seq(features.values.float(), features.lengths, full=features.full)
    values = features.zeroed().values
    stored = values.to(DTYPES[precision])
    if (stored.isinf() & values.isfinite()).any():
        raise RecipeError(
            f"training.feature_precision is {precision!r}, and features of level {level!r} reach "
            f"{values[values.isfinite()].abs().max().item():.6g}, above {torch.finfo(stored.dtype).max:g}: use fp32."
        )
    return Seq(stored.float(), features.lengths, full=features.full)


def rows_of(features: Seq, *, level: str, precision: str) -> list[Tensor]:
    """Rounded features of segments as they are stored, each [frames, channels]; ShapeError if a length exceeds them."""
    frames, longest = features.values.shape[1], int(features.lengths.max())
    if longest > frames:
        raise ShapeError(
            f"Level {level!r}: features have {frames} frames, but a length is {longest}: fix the plugin; "
            "`toolkit check-plugin` shows with which input."
        )
    rows = zip(features.values.to(DTYPES[precision]).cpu(), features.lengths.tolist(), strict=True)
    return [row[:length].clone(memory_format=torch.contiguous_format) for row, length in rows]


def front_end_description(
    extractor: Extractor, *, code: Mapping[str, str], segments: SegmentSet, precision: str, device: str
) -> dict[str, Any]:
    """Everything that features depend on besides the audio, JSON-able.

    Args: extractor; code: distribution -> version of the front end's code; segments: for their sample rate and fixed
        length; precision: of the stored values; device: only its type counts.
    """
    frozen = {name: weight for name, weight in extractor.named_parameters() if not weight.requires_grad}
    digest = hashlib.sha256()
    for name, parameter in frozen.items():
        values = parameter.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return {
        "format": FORMAT,
        "class": f"{type(extractor).__module__}:{type(extractor).__qualname__}",
        "code": dict(code),
        "args": json.loads(json.dumps(dict(extractor.front_end_args))),
        "frozen": digest.hexdigest() if frozen else None,
        "sample_rate": segments.sample_rate,
        "fixed_samples": segments.fixed_samples,
        "precision": precision,
        "device": torch.device(device).type,
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def front_end_key(description: Mapping[str, Any]) -> str:
    """The name of a front end's folder: hexadecimal digits of the description's SHA-256."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:20]


def code_of_levels(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Level -> `code_version` of the toolkit; for another distribution's extractor also its own, and its arguments."""
    own = code_version(DISTRIBUTION, frozenset({"toolkit", "toolkit_plugins"}))
    versions: dict[str, dict[str, str]] = {}
    for level, spec in recipe.model.levels.items():
        plugin = find_part("extractor", spec)
        name = plugin.declaration.distribution
        versions[level] = {DISTRIBUTION: own}
        if not plugin.declaration.own:
            versions[level][name] = code_version(name, frozenset({plugin.package}))
            # Nothing here checks that its front_end_args hold all that its features depend on.
            versions[level]["arguments"] = json.dumps(dict(spec.args), sort_keys=True)
    return versions
