"""Ranges of constructor arguments, whose types are checked by the core; an error names the argument and its range."""

LARGEST = {
    **dict.fromkeys(("n_fft", "window", "hop"), 2**16),  # samples: 4 s at 16 kHz
    **{"bins": 2**15 + 1, "n_mels": 1024, "n_mfcc": 1024, "image_size": 2048, "hidden": 2**14, "layers": 64},
    "segment_samples": 2**22,
}
LARGEST_OF_OTHERS = 2**20
MOST_OVERLAP = 64  # frames that share a sample


def at_least(minimum: float, **values: float) -> None:
    """Raise ValueError for the first value below `minimum` or above what anyone needs (`LARGEST`, by name).

    >>> at_least(1, hop=0)
    Traceback (most recent call last):
    ValueError: hop is 0; it has to be at least 1
    >>> at_least(1, n_fft=10**9)
    Traceback (most recent call last):
    ValueError: n_fft is 1000000000; it has to be at most 65536
    """
    for name, value in values.items():
        most = LARGEST.get(name, LARGEST_OF_OTHERS)
        if not value >= minimum:
            raise ValueError(f"{name} is {value}; it has to be at least {minimum}")
        if value > most:
            raise ValueError(f"{name} is {value}; it has to be at most {most}")


def overlap(hop: int, **window: int) -> None:
    """Raise ValueError if frames overlap so much that they multiply the audio; `window`: its name and samples."""
    for name, samples in window.items():
        if samples > MOST_OVERLAP * hop:
            raise ValueError(f"hop is {hop}; it has to be at least {-(-samples // MOST_OVERLAP)} with {name} {samples}")


def fraction(**values: float) -> None:
    """Raise ValueError for the first value that is not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it has to be at least 0 and less than 1")


def check_coefficients(n_mfcc: int, n_mels: int) -> None:
    """Raise ValueError if there are more cepstral coefficients than mel bands."""
    if n_mfcc > n_mels:
        raise ValueError(f"n_mfcc is {n_mfcc}; {n_mels} mel bands (n_mels) have no more than {n_mels} coefficients")


def retired_masks(masks: str, size: str) -> dict[str, str]:
    """For a class's `retired`: old argument -> what recipes say instead.

    Args: masks, size: its own names for masks along channels.
    """
    instead = {
        ("time_masks", "time_mask_frames"): "time_mask, args: {masks: 2, frames: 40}",
        (masks, size): "freq_mask, args: {masks: 2, channels: 8}",
        ("noise",): "feature_noise, args: {deviation: 0.2}",
        ("time_shift",): "frame_shift, args: {most: 0.1}",
    }
    written = "`augmentations: {{NAME: {{plugin: {}, on: LEVEL}}}}` beside `model`"
    return {name: written.format(text) for names, text in instead.items() for name in names}
