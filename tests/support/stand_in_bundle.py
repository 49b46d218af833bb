"""What the tests of prediction use in place of bundles: small systems with random weights, made when they are read.

`python tests/support/stand_in_bundle.py ARGUMENTS` is `toolkit ARGUMENTS` with them.
"""

import json
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import torch

from toolkit.errors import ToolkitError
from toolkit.model.seen import Seen


def write_bundle(folder: Path, *, covariate: str = "", seed: int = 6, **usage) -> Path:
    """Describe a system: the small one, perhaps with a covariate `gender`, and what is different in its Usage."""
    folder.mkdir(parents=True)
    (folder / "stand_in.json").write_text(json.dumps({"covariate": covariate, "seed": seed, "usage": usage}))
    return folder


@lru_cache
def read_bundle(path: str | Path) -> SimpleNamespace:
    """Make the system that was described."""
    from trained_model import random_system

    try:
        described = json.loads((Path(path) / "stand_in.json").read_text())
    except OSError:
        raise ToolkitError(f"{path} is not a bundle") from None
    usage = {name: tuple(v) if isinstance(v, list) else v for name, v in described["usage"].items()}
    system, usage = random_system(Path(path), described["covariate"], **usage)
    torch.manual_seed(described["seed"])
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return SimpleNamespace(system=system, usage=usage, config={}, path=Path(path), seen=Seen())


if __name__ == "__main__":
    import toolkit.inference.bundle
    from toolkit.cli.main import main

    toolkit.inference.bundle.read_bundle = read_bundle
    main(prog_name="toolkit")
