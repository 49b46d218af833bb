"""Audio: a file or bytes to mono float32 at the system's rate.

`read_audio` is what plugins import from here; only using it imports torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.audio.waves import read_audio

__all__ = ["read_audio"]


def __getattr__(name: str) -> Any:
    if name != "read_audio":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolkit.audio.waves import read_audio

    return read_audio
