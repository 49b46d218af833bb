"""Decode files that libsndfile cannot read, or reads wrongly, with ffmpeg (PyAV), in order from the beginning."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from toolkit.audio.mpeg import find_frames, truncated
from toolkit.errors import AudioError

if TYPE_CHECKING:
    from av import AudioStream, Packet

# No format that can name other files or addresses, as playlists do.
FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
PREROLL = 16  # MP3 packets to decode before a position: a packet may need bits of earlier ones
TOLERANCE_S = 0.2  # some headers give the length in whole packets


def length(path: Path) -> tuple[int, int]:
    """Number of frames that can be decoded, and their rate in Hz; AudioError if the header promises more."""
    with _opened(path) as (stream, promised):
        rate, packets = stream.codec_context.sample_rate, stream.container.demux(stream)
        if promised is not None:
            found = [_mp3_frames(packet, stream) for packet in packets if packet.size]
            frames, cut = sum(found), len(found) + 1 < promised
        else:
            frames = sum(frame.samples for packet in packets for frame in packet.decode())
            cut = frames / rate + TOLERANCE_S < _promised_s(stream)
        if not frames:
            raise AudioError(f"{path} holds no samples", "empty")
        if cut:
            raise truncated(path, f"its header promises more than the {frames / rate:.3f} s that are there")
        return frames, rate


def flac_length(path: Path, promised: int) -> int:
    """Number of frames in a FLAC file, by the timestamps of its packets near the promised end, without decoding."""
    with _opened(path) as (stream, _):
        from av import FFmpegError

        if (near := promised - stream.codec_context.sample_rate) > 0:
            try:
                stream.container.seek(near, stream=stream)
            except FFmpegError:  # some files have no seek table
                return flac_length(path, 0)
        first, frames = None, 0
        for packet in stream.container.demux(stream):
            if packet.pts is not None:
                first = packet.pts if first is None else first
                frames += packet.duration
        return (first or 0) + frames


def blocks(path: Path, start: int, frames: int) -> Iterator[np.ndarray]:
    """Decode all frames from `start` on, in blocks of a second or, if fewer, `frames`: [frames, channels], float32."""
    with _opened(path) as (stream, promised):
        from av import AudioResampler

        convert, at, held = AudioResampler(format="flt"), 0, []
        skips = promised is not None  # packets of an MP3 that end well before `start` are not decoded
        size = min(frames, stream.codec_context.sample_rate)
        for packet in stream.container.demux(stream):
            if skips:
                samples = _mp3_frames(packet, stream)
                if at + samples * PREROLL < start:
                    at += samples
                    continue
                skips = False
            for decoded in packet.decode():
                for frame in convert.resample(decoded):
                    held.append(frame.to_ndarray().reshape(frame.samples, -1)[max(0, start - at) :])
                    at += frame.samples
            if sum(map(len, held)) >= size:
                yield np.concatenate(held)
                held = []
        if sum(map(len, held)):
            yield np.concatenate(held)


class _Quiet:
    """A file that returns -1 for an invalid seek, as damaged headers cause: PyAV would print the exception."""

    def __init__(self, file: BinaryIO):
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError):
            return -1


@contextmanager
def _opened(path: Path) -> Iterator[tuple["AudioStream", int | None]]:
    """Open the audio stream; for an MP3, also yield the number of packets its header promises (0: none), else None."""
    try:
        import av
    except ImportError:
        raise AudioError(f"{path} cannot be read without PyAV: pip install av") from None
    try:
        found = path.stat()
        runs, promised = find_frames(path, found.st_size, found.st_mtime_ns)
        with path.open("rb") as file:
            if runs:  # the frames without tags and junk
                file = BytesIO(b"".join(file.read(stop - file.seek(start)) for start, stop in runs))
            try:
                container = av.open(_Quiet(file), options={"format_whitelist": FORMATS}, metadata_errors="ignore")
            except av.FFmpegError as error:
                hint = "if a player plays it, convert it to WAV or FLAC"
                raise AudioError(f"{path} is not audio that can be read ({error.strerror}); {hint}") from None
            with container:
                stream = next(iter(container.streams.audio), None)
                if not getattr(getattr(stream, "codec_context", None), "sample_rate", 0):
                    raise AudioError(f"{path} holds no audio stream that can be decoded")
                is_mp3 = container.format.name == "mp3" and stream.codec_context.name.startswith("mp3")
                yield stream, promised if is_mp3 else None
    except av.FFmpegError as error:
        raise AudioError(f"{path} cannot be decoded to its end: {error.strerror}", "truncated") from None
    except ValueError:  # from AudioResampler
        raise AudioError(f"{path} changes its sample rate or channels midway; split it there") from None


def _mp3_frames(packet: "Packet", stream: "AudioStream") -> int:
    """Number of frames that a packet decodes to."""
    frames = round((packet.duration or 0) * float(stream.time_base) * stream.codec_context.sample_rate)
    for data in packet.iter_sidedata():
        if data.data_type == "skip_samples":
            frames -= sum(struct.unpack_from("<II", bytes(data)))
    return frames


def _promised_s(stream: "AudioStream") -> float:
    """Length in seconds that the header gives; 0 if it gives none and ffmpeg estimates one from the bit rate."""
    container, formats = stream.container, ("mov", "avi", "flv")
    if len(container.streams) == 1:
        formats += ("matroska", "asf")
    if not container.format.name.startswith(formats):
        return 0.0
    return float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
