"""Extractor `opensmile`: the feature sets of openSMILE, standardised over the training part."""

from collections.abc import Iterable
from typing import Literal

import opensmile
import torch

from opensmile_plugin.analysis import Analysis
from opensmile_plugin.standardize import Standardize
from toolkit.contracts import Extractor, Seq


class OpenSmile(Extractor):
    """Functionals or low-level descriptors of openSMILE, each standardised over the training part.

    Functionals are one frame for a whole segment: mean, deviation, percentiles and more of what the descriptors do in
    it. A recipe that wants those of utterances, as they are used in the literature, sets `audio.segment_seconds` to
    more than the longest utterance. Descriptors are frames of 10 ms. A segment that is shorter than openSMILE's longest
    window (60 ms; emobase: 40 ms) is lengthened with zeros. Nothing in this extractor is trained by gradients; what
    combines the features is the fusion.

    Args:
        feature_set: eGeMAPSv02 (88 functionals), GeMAPSv01b (62), ComParE_2016 (6373) or emobase (988).
        level: functionals, or descriptors (25, 18, 65 or 26 a frame).
        limit: standardised values beyond -limit and limit are cut to these.

    Raises:
        ValueError: for a value that is not known or allowed.

    Source: Eyben, Woellmer, Schuller, openSMILE, ACM Multimedia 2010; eGeMAPS: Eyben et al., IEEE Transactions on
        Affective Computing 7(2), 2016; ComParE: Schuller et al., Interspeech 2016.
    """

    fits = True

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        feature_set: Literal["eGeMAPSv02", "GeMAPSv01b", "ComParE_2016", "emobase"] = "eGeMAPSv02",
        level: Literal["functionals", "descriptors"] = "functionals",
        limit: float = 10.0,
    ):
        super().__init__()
        if not limit > 0:
            raise ValueError(f"limit is {limit}; it has to be greater than 0")
        self.analysis = Analysis(feature_set=feature_set, level=level, sample_rate=sample_rate)
        self.channels = self.analysis.channels
        self.front_end_args = {
            "front_end": "opensmile",
            "version": opensmile.__version__,
            "feature_set": feature_set,
            "level": level,
            "sample_rate": sample_rate,
        }
        self.scaler = Standardize(self.channels, limit=limit)

    def frame_count(self, samples: int) -> int:
        """1 for functionals; else (samples - window) // hop + 2, at least 2."""
        return self.analysis.frame_count(samples)

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """What openSMILE gives, on the CPU, one row after the other.

        Args: wave [batch, samples].
        Returns: [batch, frames, channels], on the device of the waveform.
        """
        rows = [row[:length] for row, length in zip(wave.values.cpu(), wave.lengths.tolist(), strict=True)]
        frames = [torch.from_numpy(self.analysis(row.numpy())) for row in rows]
        values = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        return Seq(values, torch.tensor([len(each) for each in frames])).to(wave.values.device)

    def fit(self, features: Iterable[Seq]) -> None:
        """Mean and deviation of each channel over the training part."""
        self.scaler.fit(features)

    def encode(self, features: Seq) -> Seq:
        """Standardise.

        Args: features [batch, frames, channels].
        Returns: the same shape.
        """
        return Seq(self.scaler(features.values), features.lengths)
