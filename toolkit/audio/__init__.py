"""Audio: a file or bytes to mono float32 at the system's rate; only calling `read_audio` imports torch."""

from toolkit.audio.waves import read_audio

__all__ = ["read_audio"]
