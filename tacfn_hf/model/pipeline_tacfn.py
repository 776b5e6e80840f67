"""The pipeline: from a wav file and a sentence to an emotion, and how much each of them counted."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Pipeline
from transformers.utils import ModelOutput

from .audio_tacfn import as_samples, check_rate, named
from .processing_tacfn import TacfnProcessor
from .provenance_tacfn import check_provenance
from .recordings_tacfn import cut_clips, recording_blocks
from .scores_tacfn import is_regression, label_scores
from .utterances_tacfn import as_list, is_blank, rows_of, undecoded


# The entry of config.json from which `pipeline` finds the class, as `Pipeline.save_pretrained` writes it.
CUSTOM_PIPELINES = {
    "multimodal-emotion-recognition": {
        "impl": "pipeline_tacfn.EmotionRecognitionPipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "multimodal",
    }
}


@dataclass
class Numbered:
    """An input and its position among the inputs of the call, which messages give."""

    index: int
    value: Any


class EmotionRecognitionPipeline(Pipeline):
    """
    `pipeline("multimodal-emotion-recognition", model=...)` recognises emotions from audio, from text, or from both.

    ```python
    recognizer = pipeline("multimodal-emotion-recognition", model="runs/my-model")
    recognizer({"audio": "hello.wav", "text": "Hello there!"}, top_k=2)
    # {"scores": [{"label": "happy", "score": 0.71}, {"label": "neutral", "score": 0.2}], "beta": 0.43}
    ```

    An input is a mapping with `audio`, `text`, or both. Audio is a path, the bytes of a file, samples, or a `datasets`
    struct. Samples need a `sampling_rate` in Hz, in the mapping or in the call. Blank text counts as missing. A bare
    `datasets` audio struct is audio without text.

    A recording with a list of `segments`, each with `start` and `end` in seconds and optionally `text` and `channel`,
    gives an answer for each: `{"segments": [{"start", "end", ..., "scores", "beta"}, ...]}`.

    A list of inputs gives a list, and so does a mapping of lists such as `dataset[:3]`. A generator, a
    `datasets.Dataset` (streaming or not) or a column of one gives an iterator. `batch_size` changes no result.

    Raises:
        ValueError: the processor makes features that the model was not trained on, or it refuses an input. The message
            gives the number of the input, counted from 0.
        TypeError: an input is not a mapping.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, model, processor: TacfnProcessor, **kwargs):
        super().__init__(model=model, processor=processor, **kwargs)
        # Without a tokenizer, transformers collates a batch into plain lists, which the processor takes.
        self.tokenizer = None
        if hasattr(model, "audio_encoder"):
            processor = processor.from_model(model)
        else:
            for name in ("audio_provenance", "text_provenance"):
                check_provenance(getattr(processor, name), getattr(model.config, name), "the processor", "the model")
        self.processor = copy.copy(processor).to(self.device)

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the model, the processor and the code. `kwargs` go to `save_pretrained` of both."""
        self.model.save_pretrained(save_directory, **kwargs)
        push = ("push_to_hub", "repo_id", "token", "revision", "private", "commit_message", "create_pr")
        self.processor.save_pretrained(save_directory, **{name: kwargs[name] for name in push if name in kwargs})

    def _sanitize_parameters(self, sampling_rate=None, truncation=None, top_k=None, **kwargs):
        if kwargs:
            raise TypeError(
                f"The pipeline does not know {', '.join(kwargs)}: it takes sampling_rate, truncation and top_k."
            )
        if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"top_k is {top_k!r}: it must be a whole number of at least 1, or None for all labels.")
        if truncation is not None and not isinstance(truncation, bool):
            raise TypeError(f"truncation is {truncation!r}: it must be True or False.")
        preprocess = {"sampling_rate": sampling_rate, "truncation": truncation}
        forward = {"truncation": truncation}
        return (
            {name: value for name, value in preprocess.items() if value is not None},
            {name: value for name, value in forward.items() if value is not None},
            {} if top_k is None else {"top_k": top_k},
        )

    def __call__(self, inputs: Any, **kwargs) -> Any:
        """
        Args:
            inputs: one input, a list, a mapping of lists, a generator, a `datasets.Dataset` or a column of one; see
                the class.
            sampling_rate (`int`, *optional*): Hz, for audio given as samples.
            truncation (`bool`, *optional*): cut audio and text that are too long. By default they are an error.
            top_k (`int`, *optional*): the number of labels to return, at least 1. All by default.
            batch_size (`int`, *optional*): the number of inputs in one forward pass.

        Returns:
            For each input `{"scores": [{"label", "score"}, ...], "beta"}`, with the best label first. A score is a
            probability. Those of single-label classification use the temperatures of the model's config. Where an
            input may have several labels, `labels` has those whose score is at least their threshold. Scores of a
            regression are the values, in the order of the config; `range` has the lowest and the highest value of
            their scale, or is None. A value can lie a little outside of it. `beta` in [0, 1] is the weight of audio;
            text has the rest.
        """
        if isinstance(inputs, Mapping) and hasattr(inputs, "cast_column"):
            raise TypeError(f"The input is a {type(inputs).__name__} of {', '.join(inputs)}: give one of these.")
        if isinstance(inputs, Mapping) and "segments" in inputs:
            return self.of_segments(inputs, **kwargs)
        if isinstance(inputs, Mapping):
            rows = rows_of(inputs)
            if rows is None:
                return super().__call__(inputs, **kwargs)
            inputs = rows
        if isinstance(inputs, list):
            return super().__call__(list(numbered(inputs)), **kwargs) if inputs else []
        if hasattr(inputs, "cast_column"):
            inputs = undecoded(inputs)
        elif isinstance(inputs, str | bytes | np.ndarray | torch.Tensor) or not isinstance(inputs, Iterable):
            return super().__call__(inputs, **kwargs)
        return super().__call__(numbered(inputs), **kwargs)

    def of_segments(self, inputs: Mapping[str, Any], **kwargs) -> dict[str, Any]:
        """
        The segments of a recording with their answers, in their order; see the class. The recording is decoded in
        pieces, and each segment is cut from it at its own rate.
        """
        segments = inputs["segments"]
        audio = inputs["audio"] if "audio" in inputs else {key: inputs[key] for key in inputs if key != "segments"}
        if isinstance(audio, Mapping) and audio.get("array") is None:
            audio = audio.get("path") if audio.get("bytes") is None else audio.get("bytes")
        if isinstance(audio, str | os.PathLike | bytes):
            blocks = recording_blocks(audio, named(audio, "the recording"))
        else:
            rate = inputs.get("sampling_rate") or kwargs.get("sampling_rate")
            if isinstance(audio, Mapping):
                audio, rate = audio["array"], audio.get("sampling_rate")
            blocks = iter([(as_samples(audio, "the recording")[:, None], check_rate(rate, "the recording"))])
        kwargs.pop("sampling_rate", None)
        order: list[int] = []

        def clips() -> Iterator[Numbered]:
            for index, clip, rate in cut_clips(blocks, segments):
                order.append(index)
                yield Numbered(index, {"audio": clip, "sampling_rate": rate, "text": segments[index].get("text")})

        answers = list(super().__call__(clips(), **kwargs))  # before `order` is read, which it fills
        found = dict(zip(order, answers))
        return {"segments": [{**segment, **found[i]} for i, segment in enumerate(segments)]}

    def preprocess(self, inputs: Any, sampling_rate: int | None = None, truncation: bool = False) -> dict[str, Any]:
        """The waveform `[S]` or None, the text or None, and the number of one input, checked."""
        index = None
        if isinstance(inputs, Numbered):
            index, inputs = inputs.index, inputs.value
        which = "The input" if index is None else f"Input {index}"
        if not isinstance(inputs, Mapping):
            raise TypeError(
                f"{which} is a {type(inputs).__name__}: give a mapping such as "
                '{"audio": "a.wav", "text": "Hello"}, with either or both.'
            )
        if "segments" in inputs:
            raise ValueError(f"{which} has segments: give such a recording by itself, and not in a list.")
        for key in inputs:
            if key not in ("audio", "text") and str(key).strip().lower() in ("audio", "text"):
                raise ValueError(f"{which} has the key {key!r}: write {str(key).strip().lower()!r}.")
        audio, text = inputs.get("audio"), inputs.get("text")
        if "audio" not in inputs:  # a datasets audio struct, with or without text
            audio = {key: inputs[key] for key in ("bytes", "path", "array", "sampling_rate") if key in inputs}
            if all(audio.get(key) is None for key in ("bytes", "path", "array")):
                audio = None
            if audio is None and "text" not in inputs:
                found = ", ".join(map(str, inputs)) or "nothing"
                raise ValueError(f"{which} has {found}: it needs audio, text or both.")
        if text is not None and not isinstance(text, str):
            found = "NaN" if isinstance(text, float) and text != text else f"a {type(text).__name__}"
            raise TypeError(f"{which} has {found} as text: it must be a string, or None.")
        text, audio = None if is_blank(text) else text, None if is_blank(audio) else audio
        if audio is None and text is None:
            raise ValueError(f"{which} has neither audio nor text: it needs at least one of them.")
        if audio is not None:
            name = "audio" if index is None else f"audio {index}"
            rate = inputs.get("sampling_rate")
            rate = sampling_rate if rate is None else rate
            audio = self.processor.load_audio(audio, rate, truncation, name)
        return {"audio": audio, "text": text, "index": 0 if index is None else index}

    def _forward(self, model_inputs: dict[str, Any], truncation: bool = False) -> ModelOutput:
        audio, text = model_inputs["audio"], model_inputs["text"]
        features = self.processor(
            text=text,
            audio=audio,
            sampling_rate=self.processor.sampling_rate,
            truncation=truncation,
            numbers=as_list(model_inputs["index"]),
        )
        output = self.model(**features)
        return ModelOutput(logits=output.logits, beta=output.beta, has_audio=output.has_audio, has_text=output.has_text)

    def postprocess(self, model_outputs: ModelOutput, top_k: int | None = None) -> dict[str, Any]:
        """Labels with scores, the best first, and beta, of the outputs of one input."""
        config, beta = self.model.config, float(model_outputs["beta"][0, 0])
        logits = model_outputs["logits"].double()
        scores = label_scores(config, logits, model_outputs["has_audio"], model_outputs["has_text"])[0]
        if is_regression(config):
            found = [{"label": config.id2label[i], "score": value} for i, value in enumerate(scores.tolist())]
            return {"scores": found[:top_k], "range": config.value_range, "beta": beta}
        best = torch.argsort(scores, descending=True, stable=True)
        found = [{"label": config.id2label[int(i)], "score": float(scores[i])} for i in best]
        if config.problem_type != "multi_label_classification":
            return {"scores": found[:top_k], "beta": beta}
        least = config.thresholds or [0.5] * config.num_labels
        labels = [config.id2label[int(i)] for i in best if float(scores[i]) >= least[int(i)]]
        return {"scores": found[:top_k], "labels": labels, "beta": beta}


def numbered(inputs: Iterable[Any]) -> Iterator[Numbered]:
    """Each input with its number, from 0."""
    return (Numbered(index, value) for index, value in enumerate(inputs))
