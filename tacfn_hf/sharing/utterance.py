"""What a model makes of one utterance, as pictures: its sound, and where words and labels look in it."""

from dataclasses import dataclass, field
from typing import Any

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure

from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..pages.page import OWN_STYLE
from ..recordings.drawing import draw_waveform, envelope
from .pictures import name_ticks


MAX_TOKENS = 60  # rows of a picture


@dataclass
class Utterance:
    """
    An utterance and the model's answer.

    Attributes:
        waveform: `[S]` at `rate` Hz, or None; tokens: of the text, or none.
        scores: of the pipeline, the best first; beta: of the model.
        word_attention: `[tokens, L]`, where each token looks in the sound: mean over the heads of the last block.
        label_attention: `[C, L]`, where each label of a head of queries looks in the utterance.
        reasons: why one of these two is not there.
    """

    waveform: np.ndarray | None
    rate: int
    tokens: list[str]
    scores: list[dict[str, Any]]
    beta: float
    label_names: list[str]
    word_attention: np.ndarray | None = None
    label_attention: np.ndarray | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def has_attention(self) -> bool:
        """Whether the model says where it looked."""
        return self.word_attention is not None or self.label_attention is not None

    @property
    def seconds(self) -> float:
        """How long the sound is; 1 without one, as a whole of the text."""
        return 1.0 if self.waveform is None else len(self.waveform) / self.rate


def look_at(
    recognizer: EmotionRecognitionPipeline, audio: Any, text: str | None, truncation: bool = False
) -> Utterance:
    """
    Runs a model on an utterance, and keeps what it attended to.

    Raises:
        ValueError: as the pipeline.
    """
    processor, model = recognizer.processor, recognizer.model
    answer = recognizer({"audio": audio, "text": text}, truncation=truncation)
    waveform = None if audio is None else processor.load_audio(audio, truncation=truncation)
    tokens = []
    if text is not None and text.strip():
        tokens = processor.tokenizer.convert_ids_to_tokens(processor.prepare_text([text], truncation)[0])
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the only one that keeps the weights
    try:
        with torch.no_grad():
            output = model(**processor(audio=audio, text=text, truncation=truncation), output_attentions=True)
    finally:
        model.set_attn_implementation(implementation)
    found = Utterance(
        waveform,
        processor.sampling_rate,
        tokens,
        answer["scores"],
        answer["beta"],
        list(model.config.id2label.values()),
    )
    if not model.config.num_hidden_layers:
        found.reasons.append(
            "The model has no cross-modal blocks (num_hidden_layers is 0): words do not attend to sound in it."
        )
    elif waveform is None or not tokens:
        found.reasons.append("Attention from words to sound needs both audio and text.")
    else:
        found.word_attention = output.text_cross_attentions[-1][0].mean(dim=0).float().cpu().numpy()
    if output.label_attentions is None:
        found.reasons.append('The model has no head of queries (head="queries"): labels do not attend to places in it.')
    else:
        found.label_attention = output.label_attentions[0].float().cpu().numpy()
    return found


@matplotlib.style.context(OWN_STYLE)
def draw_utterance(utterance: Utterance) -> Figure | None:
    """The waveform, and below it where words and labels look, on one axis of time; None where there is nothing."""
    shown = utterance.tokens[:MAX_TOKENS]
    maps = []
    if utterance.word_attention is not None:
        few = f", the first {MAX_TOKENS} of {len(utterance.tokens)}" if len(utterance.tokens) > MAX_TOKENS else ""
        maps.append((f"where each word looks{few}", utterance.word_attention[: len(shown)], shown))
    if utterance.label_attention is not None:
        maps.append(("where each label looks", utterance.label_attention, utterance.label_names))
    heights = [1.6] * (utterance.waveform is not None) + [0.6 + 0.2 * len(names) for _, _, names in maps]
    if not heights:
        return None
    figure = Figure(figsize=(9, sum(heights) + 0.6), layout="constrained")
    rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    if utterance.waveform is not None:
        draw_waveform(rows[0], envelope(utterance.waveform), utterance.seconds)
    for axes, (title, weights, names) in zip(rows[len(rows) - len(maps) :], maps):
        extent = (0, utterance.seconds, len(names) - 0.5, -0.5)
        image = axes.imshow(weights, cmap="Blues", vmin=0, aspect="auto", extent=extent, interpolation="nearest")
        name_ticks(axes.yaxis, range(len(names)), names)
        axes.set_title(title, loc="left")
        figure.colorbar(image, ax=axes, label="weight")
    rows[-1].set_xlabel("seconds" if utterance.waveform is not None else "part of the text")
    return figure
