"""The page: trained systems label a recording side by side, and the recording is deleted afterwards."""

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.audio.reading import AudioStretch, stretch
from toolkit.errors import AudioError, PredictionError, ToolkitError, join, one_line
from toolkit.files import templates
from toolkit.inference.bundle import read_bundle
from toolkit.inference.predict.model import Model
from toolkit.inference.predict.predictions import Prediction, intervals
from toolkit.inference.predict.recordings import Recording
from toolkit.model.archive import CARD, read_file
from toolkit.plugins.plugin import plugin_failures
from toolkit.report.figures.figure import COLOURS, INK, YELLOW
from toolkit.statistics.confidence import CONFIDENCE, COVERAGE, ERROR
from toolkit.terminal import clock

if TYPE_CHECKING:
    from gradio import Blocks

TITLE = "Audio classification"
INTRODUCTION = f"# {TITLE}\nA recording is labelled by the machine that serves this page, and then deleted."
RULES = [
    ("below a confidence", CONFIDENCE),
    ("so that a share gets an answer", COVERAGE),
    ("so that at most a share of the answers is wrong", ERROR),
]
COLUMNS = 600  # of a waveform's outline
PALETTE = (*(colour for colour in COLOURS if colour != INK), YELLOW, "#999999")  # ink is invisible on a dark page
TEMPLATES = Path(__file__).parent / "template"
Heard = tuple[np.ndarray, list[Prediction | str]]  # a recording's outline; each system's answer, or why it has none
STYLE = (TEMPLATES / "demo.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class DemoSystem:
    """A trained system on the page."""

    name: str
    model: Model
    card: str  # Markdown

    @classmethod
    def read(cls, bundle: str, name: str, device: str | None) -> "DemoSystem":
        """Read a bundle. Raises: ToolkitError if the bundle or the device cannot be used."""
        found = read_bundle(bundle)
        card = read_file(found.path, CARD).decode("utf-8", errors="replace")
        card = card.split("\n---\n", 1)[-1] if card.startswith("---\n") else card  # without its header for the hub
        return cls(name, Model(found.system, found.usage, device=device), card)


@dataclass(frozen=True)
class Page:
    """The page: `label` and `show` are what it does, `blocks` is how it looks."""

    systems: Sequence[DemoSystem]
    max_minutes: float  # of a recording
    abstain: tuple[str, float]  # the initial rule, as `read_rule` returns it
    hop_s: float | None = None  # from one segment's start to the next; None: segments do not overlap
    uploads: Counter[str] = field(default_factory=Counter)  # path -> how many are still to be labelled

    @property
    def covariates(self) -> dict[str, list[str]]:
        """The covariates that the systems need, each with the values that they know."""
        found: dict[str, list[str]] = {}
        for system in self.systems:
            for name, values in system.model.usage.covariates.items():
                found[name] = list(dict.fromkeys([*found.get(name, []), *values]))
        return found

    def label(self, path: str | None, kind: str, share: float, *values: str | None) -> list[Any]:
        """Label the recording in a folder of its own, with these values of the covariates, and delete it.

        Returns: `heard` for `show`; as HTML, why the recording is refused, "" if it is not; then what `show` returns.
        """
        heard, refusal = None, ""
        if path is not None:
            try:
                with plugin_failures():
                    heard = self._hear(Path(path), dict(zip(self.covariates, values, strict=True)))
            except ToolkitError as error:
                refusal = _refusal_html(error, f"{Path(path).parent}/")
            finally:
                self.uploads[path] -= 1
                if self.uploads[path] <= 0:  # else somebody else's upload with the same bytes and name waits
                    del self.uploads[path]
                    Path(path).unlink(missing_ok=True)
        return [heard, refusal, *self.show(heard, kind, share)]

    def show(self, heard: Heard | None, kind: str, share: float) -> list[str]:
        """Each system's answer as HTML, abstaining by the rule that `read_rule` returns as `kind` and `share`."""
        if heard is None:
            return [""] * len(self.systems)
        (peaks, results), shown = heard, []
        colours = colours_of(chain.from_iterable(system.model.labels for system in self.systems))
        rule = f"{share:g}" if kind == CONFIDENCE else f"{kind}:{share:g}"
        for system, result in zip(self.systems, results, strict=True):
            if isinstance(result, Prediction):
                try:
                    result = answer_html(result, peaks, abstain=system.model.threshold(rule), colours=colours)
                except ToolkitError as error:
                    result = _refusal_html(error)
            shown.append(result)
        return shown

    def _hear(self, path: Path, covariates: Mapping[str, str | None]) -> Heard:
        if missing := [name for name, value in covariates.items() if value is None]:
            raise PredictionError(f"Choose the {join(missing)} first, then give the recording again.")
        audio = stretch(path)
        if audio.frames > 60 * self.max_minutes * audio.rate:
            lasts = clock(audio.frames / audio.rate)
            raise AudioError(f"{path.name} lasts {lasts}: up to {self.max_minutes:g} min are allowed.", "out-of-range")
        peaks = outline(audio)
        results = []
        for model in (system.model for system in self.systems):
            given = {name: value for name, value in covariates.items() if name in model.usage.covariates}
            ((_, result),) = model.results([Recording(path, covariates=given, name=path.name)], hop_s=self.hop_s)
            results.append(_refusal_html(result, f"{path.parent}/") if isinstance(result, ToolkitError) else result)
        return peaks, results

    def blocks(self) -> "Blocks":
        """The page for gradio to serve."""
        import gradio

        async def move(path: Any) -> str | None:
            """Move an upload as gradio does, but refuse an address, which gradio would fetch."""
            if "://" in str(path):
                raise gradio.Error("Upload the recording.", print_exception=False)
            return await gradio.Audio.async_move_resource_to_block_cache(audio, path)

        with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
            gradio.Markdown(INTRODUCTION)
            first = "Choose it before the recording."
            values = [gradio.Radio(known, label=name, info=first) for name, known in self.covariates.items()]
            label = f"Recording, up to {self.max_minutes:g} min"
            audio = gradio.Audio(label=label, type="filepath", editable=False, buttons=[])
            audio.async_move_resource_to_block_cache = move
            page.upload_file_set = self.uploads  # gradio adds every upload to it
            fitted = any(system.model.usage.confidence.utterances for system in self.systems)
            kind = gradio.Radio(RULES, value=self.abstain[0], label="No answer", visible=fitted)
            label = "Confidence or share" if fitted else "No answer below"
            share = gradio.Slider(0, 1, self.abstain[1], step=0.01, label=label)
            bare = {"padding": False, "apply_default_css": False}
            refusal, heard = gradio.HTML(**bare), gradio.State()
            answers = []
            with gradio.Row():
                for system in self.systems:
                    with gradio.Column(min_width=320):
                        notes = "".join(f"<p>NOTE: {html.escape(stamp)}</p>" for stamp in system.model.usage.stamps)
                        gradio.HTML(f'<div class="system"><h2>{html.escape(system.name)}</h2>{notes}</div>', **bare)
                        answers.append(gradio.HTML(**bare))
                        with gradio.Accordion("Model card", open=False):
                            gradio.Markdown(system.card, latex_delimiters=[])
            audio.change(self.label, [audio, kind, share, *values], [heard, refusal, *answers], api_name="label")
            for rule in (kind, share):
                rule.change(self.show, [heard, kind, share], answers, show_progress="hidden", api_visibility="private")
            for value in values:
                value.change(None, outputs=audio, js="() => null", api_visibility="private")
        return page


def _refusal_html(error: ToolkitError, folder: str = "") -> str:
    text = one_line(str(error).replace(folder, ""))
    return f'<p class="refused" role="alert">{html.escape(text)}</p>'


def outline(audio: AudioStretch) -> np.ndarray:
    """The peaks of a recording in stretches of equal length, as fractions of the highest: [COLUMNS], float32."""
    peaks, at = np.zeros(COLUMNS, dtype=np.float32), 0
    for block in audio.blocks():
        columns = np.arange(at, at + len(block)) * COLUMNS // audio.frames
        np.maximum.at(peaks, columns, np.abs(block).max(axis=1))
        at += len(block)
    return peaks / (peaks.max() or 1)


def answer_html(prediction: Prediction, peaks: np.ndarray, *, abstain: float, colours: Mapping[str, str]) -> str:
    """The answer as HTML; `abstain` is the confidence that a label needs, `colours` are CSS colours by label."""
    found, totals = intervals(prediction.segments, abstain), Counter()
    for interval in found:
        totals[interval.label] += interval.end_s - interval.start_s
    upper = [f"{column} {50 - 48 * peak:.1f}" for column, peak in enumerate(peaks)]
    lower = [f"{column} {50 + 48 * peak:.1f}" for column, peak in enumerate(peaks)]
    template = templates(TEMPLATES, autoescape=True).get_template("answer.html.j2")
    return template.render(
        prediction=prediction,
        abstain=abstain,
        columns=COLUMNS,
        path=f"M{'L'.join(upper + lower[::-1])}Z",
        intervals=found,
        totals=totals,
        colours=colours,
    )


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label; colours repeat if there are more labels than colours."""
    return {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(dict.fromkeys(labels))}
