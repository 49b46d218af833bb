"""Decode files that libsndfile cannot read, or reads wrongly, with ffmpeg (PyAV), in order from the beginning."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import AudioError

if TYPE_CHECKING:
    from av import AudioStream, Packet

# No format that can name other files or addresses, as playlists do.
FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
PREROLL = 16  # MP3 packets to decode before a position: a packet may need bits of earlier ones
TOLERANCE_S = 0.2  # some headers give the length in whole packets
_INFO = re.compile(rb"(?:Xing|Info)\0\0\0[^\0](.{4})", re.S)  # in an MP3: how many packets follow


def truncated(path: Path, why: str) -> AudioError:
    """The error for a file that ends too early."""
    return AudioError(f"{path} is truncated: {why}; get the file again", "truncated")


def length(path: Path) -> tuple[int, int]:
    """Number of frames that can be decoded, and their rate in Hz; AudioError if the header promises more."""
    with _opened(path) as stream:
        rate, packets = stream.codec_context.sample_rate, stream.container.demux(stream)
        if stream.container.format.name == "mp3":
            frames, cut = _mp3_length(path, stream, packets)
        elif stream.container.format.name == "flac":  # its caller knows what the header promises
            frames, cut = sum(packet.duration or 0 for packet in packets), False
        else:
            frames = sum(frame.samples for packet in packets for frame in packet.decode())
            cut = frames / rate + TOLERANCE_S < _promised_s(stream)
        if not frames:
            raise AudioError(f"{path} holds no samples", "empty")
        if cut:
            raise truncated(path, f"its header or size promises more than the {frames / rate:.3f} s that are there")
        return frames, rate


def blocks(path: Path, start: int, frames: int) -> Iterator[np.ndarray]:
    """Decode `frames` from `start` on, in blocks of a second or, if fewer, `frames`: [frames, channels], float32."""
    with _opened(path) as stream:
        from av import AudioResampler

        convert, at, held = AudioResampler(format="flt"), 0, []
        skips = stream.container.format.name == "mp3"  # packets that end well before `start` are not decoded
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
            if at >= start + frames:  # tags may follow an MP3, and cannot be decoded
                break
            if sum(map(len, held)) >= size:
                yield np.concatenate(held)
                held = []
        if sum(map(len, held)):
            yield np.concatenate(held)


@contextmanager
def _opened(path: Path) -> Iterator["AudioStream"]:
    """Open a file's audio stream; an error of ffmpeg, here or in the block, becomes an AudioError."""
    try:
        import av
    except ImportError:
        raise AudioError(f"{path} cannot be read without PyAV: pip install av") from None
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        hint = "if a player plays it, convert it to WAV or FLAC"
        raise AudioError(f"{path} is not audio that can be read ({error.strerror}); {hint}") from None
    try:
        with container:
            stream = next(iter(container.streams.audio), None)
            if not getattr(getattr(stream, "codec_context", None), "sample_rate", 0):
                raise AudioError(f"{path} holds no audio stream that can be decoded")
            yield stream
    except av.FFmpegError as error:
        raise AudioError(f"{path} cannot be decoded to its end: {error.strerror}", "truncated") from None
    except ValueError:  # from AudioResampler
        raise AudioError(f"{path} changes its sample rate or channels midway; split it there") from None


def _mp3_length(path: Path, stream: "AudioStream", packets: Iterator["Packet"]) -> tuple[int, bool]:
    """Number of frames by an MP3's packets, and whether it is cut: by its header, or since a tenth of it is not MP3."""
    from av import FFmpegError

    counts, read, last = [], 0, None
    for packet in packets:
        if packet.size:
            counts.append(_mp3_frames(packet, stream))
            read += packet.size if last is not None else packet.pos + packet.size  # with the tags before it
            last = packet
    try:
        if last is not None:
            last.decode()
    except FFmpegError:  # it holds what follows the last frame, such as tags
        counts.pop()
        read -= last.size
    with path.open("rb") as file:
        info = _INFO.search(file.read(1 << 20))  # tags may be before it
    size = stream.container.size
    return sum(counts), len(counts) + 1 < int.from_bytes(info[1], "big") if info else size - read > size / 10


def _mp3_frames(packet: "Packet", stream: "AudioStream") -> int:
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
