"""Transcripts of recordings, by a speech recognition model of transformers."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import soxr
import torch
from transformers import pipeline
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from ..model.audio_tacfn import load_audio
from ..model.recordings_tacfn import cut_clips, recording_blocks
from .speech_detection import MIN_SECONDS, parts_of


MAX_CLIP_SECONDS = 30.0  # what speech recognition takes at once


class Transcriber:
    """
    Writes down what is said in clips, with a speech recognition model that transformers' own pipeline takes.

    Args:
        model: a folder or an id on the Hub.
        language: of the speech, where the model knows several; None: the model finds it out.
        device: as of `transformers.pipeline`.
        batch_size: clips in one forward pass.

    Raises:
        ValueError: there is no such model.
    """

    def __init__(self, model: str | os.PathLike, language: str | None = None, device: Any = None, batch_size: int = 8):
        try:
            self.recognizer = pipeline("automatic-speech-recognition", model=os.fspath(model), device=device)
        except OSError as error:
            if os.path.isdir(model):
                raise
            raise ValueError(f"The model {model} is no folder here, and the Hub gave none: {error}") from error
        self.rate = self.recognizer.feature_extractor.sampling_rate
        self.batch_size = batch_size
        config = self.recognizer.model.config
        self.is_whisper = config.model_type == "whisper"
        generation = getattr(self.recognizer.model, "generation_config", None)
        self.knows_languages = self.is_whisper and bool(getattr(generation, "is_multilingual", False))
        if language is not None and not self.knows_languages:
            raise ValueError(f"language is {language!r}, but the model {model} does not take one: leave it out.")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1.")
        self.language = language and TO_LANGUAGE_CODE.get(language.lower(), language.lower())
        if language is not None and f"<|{self.language}|>" not in generation.lang_to_id:
            known = ", ".join(code.strip("<|>") for code in generation.lang_to_id)
            raise ValueError(f"language is {language!r}, which the model {model} does not know: it knows {known}.")

    def of_clips(self, clips: Iterable[tuple[np.ndarray, int]], timestamps: bool = False) -> Iterator[dict[str, Any]]:
        """
        Args:
            clips: samples float32 `[S]` of at most 30 s, and their rate in Hz.
            timestamps: also give the `chunks` of the text with their times, where the model has some.

        Yields:
            For each clip `text`, None where nothing is said; `language`, None where the model does not tell;
            `confidence`, see `confidences`, None without text; and `chunks`, each with `text` and `timestamp`.
        """
        for batch in batched(clips, self.batch_size):
            samples = [
                clip if rate == self.rate else soxr.resample(clip, rate, self.rate, "HQ") for clip, rate in batch
            ]
            yield from self.by_whisper(samples, timestamps) if self.is_whisper else self.by_pipeline(samples)

    @torch.no_grad()
    def by_whisper(self, samples: list[np.ndarray], timestamps: bool) -> Iterator[dict[str, Any]]:
        """The answers of `of_clips` for one batch; each clip is encoded once, also to find out its language."""
        model, tokenizer = self.recognizer.model, self.recognizer.tokenizer
        features = self.recognizer.feature_extractor(
            samples, sampling_rate=self.rate, return_tensors="pt"
        ).input_features
        encoded = model.get_encoder()(features.to(model.device, model.dtype))
        options: dict[str, Any] = {"num_beams": 1, "return_timestamps": timestamps}
        languages: list[str | None] = [self.language] * len(samples)
        if self.knows_languages:
            options["task"] = "transcribe"
            if self.language is None:
                codes = model.detect_language(encoder_outputs=encoded)
                languages = [tokenizer.decode([code]).strip("<|>") for code in codes.tolist()]
            options["language"] = languages
        ids = model.generate(encoder_outputs=encoded, **options)
        texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        confidences = self.confidences(ids, self.prompts(languages, timestamps), {"encoder_outputs": encoded})
        for i, (text, language, confidence) in enumerate(zip(texts, languages, confidences)):
            chunks = tokenizer.decode(ids[i], output_offsets=True)["offsets"] if timestamps else []
            yield {
                "text": text or None,
                "language": language,
                "confidence": confidence if text else None,
                "chunks": [chunk for chunk in chunks if chunk.get("timestamp") is not None],
            }

    def by_pipeline(self, samples: list[np.ndarray]) -> Iterator[dict[str, Any]]:
        """The answers of `of_clips` for one batch, by transformers' pipeline, which knows no more than the text."""
        inputs = [{"raw": clip, "sampling_rate": self.rate} for clip in samples]
        # A model without an attention mask would hear the padding of a batch.
        masked = getattr(self.recognizer.feature_extractor, "return_attention_mask", False)
        for answer in self.recognizer(inputs, batch_size=len(inputs) if masked else 1):
            yield {"text": answer["text"].strip() or None, "language": None, "confidence": None, "chunks": []}

    def prompts(self, languages: list[str | None], timestamps: bool) -> torch.Tensor:
        """The tokens `[B, P]` before the text of Whisper: start, language and task, and whether times follow."""
        generation = self.recognizer.model.generation_config
        rows = []
        for language in languages:
            row = [generation.decoder_start_token_id]
            if self.knows_languages:
                row += [generation.lang_to_id[f"<|{language}|>"], generation.task_to_id["transcribe"]]
            rows.append(row if timestamps else [*row, generation.no_timestamps_token_id])
        return torch.tensor(rows, device=self.recognizer.model.device)

    def confidences(self, ids: torch.Tensor, prompts: torch.Tensor, inputs: dict[str, Any]) -> list[float | None]:
        """
        The mean probability of the words' tokens of each text, given the audio and the tokens before; None where there
        are none.

        Args:
            ids: tokens `[B, L]` that were generated, padded behind the end.
            prompts: tokens `[B, P]` in front of them.
            inputs: what the model generated them from.
        """
        whole = torch.cat([prompts, ids], dim=1)
        logits = self.recognizer.model(**inputs, decoder_input_ids=whole[:, :-1]).logits[:, prompts.shape[1] - 1 :]
        of_tokens = logits.float().softmax(dim=-1).gather(2, ids[:, :, None])[:, :, 0]
        words = ids < min(self.recognizer.tokenizer.all_special_ids)  # times come behind them
        return [float(row[said].mean()) if said.any() else None for row, said in zip(of_tokens, words)]

    def of_segments(
        self, recording: str | os.PathLike | bytes, segments: Sequence[dict[str, Any]], name: str, divided: bool = False
    ) -> list[dict[str, Any]]:
        """
        Segments with `text`, `language` and `confidence`, where they have no text yet. One that is longer than 30 s,
        which is all that speech recognition takes at once, is written down in equal parts.

        Args:
            recording: the file that they are of, or its bytes.
            segments: each with `start` and `end` in seconds.
            name: what messages call the recording.
            divided: divide them where the transcriber says that a sentence ends.
        """
        wanted, owners = [], []
        for i, segment in enumerate(segments):
            if not segment.get("text"):
                parts = parts_of(segment, MAX_CLIP_SECONDS)
                wanted += parts
                owners += [i] * len(parts)
        order: list[int] = []

        def clips() -> Iterator[tuple[np.ndarray, int]]:
            for index, clip, rate in cut_clips(recording_blocks(recording, name), wanted, name):
                order.append(index)
                part = f"{name}, from {wanted[index]['start']:g} s on,"
                yield load_audio(clip, self.rate, rate, name=part), self.rate  # which refuses what is not finite

        answers = dict(zip(order, list(self.of_clips(clips(), timestamps=divided))))
        of_segment: dict[int, list[dict[str, Any]]] = {}
        for part, owner in enumerate(owners):
            of_segment.setdefault(owner, []).append(answers[part])
        found: list[dict[str, Any]] = []
        for i, segment in enumerate(segments):
            own = of_segment.get(i)
            if own is None:
                found.append({"language": None, "confidence": None, **segment})
            elif len(own) == 1:
                found += divided_by(segment, own[0])
            else:
                found.append({**segment, **joined(own)})
        return found


def joined(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The text of several parts, with the language of the first that has one, and the mean confidence."""
    said = [answer for answer in answers if answer["text"]]
    confidences = [answer["confidence"] for answer in said if answer["confidence"] is not None]
    return {
        "text": " ".join(answer["text"] for answer in said) or None,
        "language": next((answer["language"] for answer in said), None),
        "confidence": float(np.mean(confidences)) if confidences else None,
    }


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of a size; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def divided_by(segment: dict[str, Any], answer: dict[str, Any]) -> list[dict[str, Any]]:
    """A segment with its transcript, or one for each timed sentence. Without its end, one ends with the segment."""
    about = {"language": answer["language"], "confidence": answer["confidence"]}
    chunks = [chunk for chunk in answer["chunks"] if chunk["text"].strip()]
    if len(chunks) < 2:
        return [{**segment, "text": answer["text"], **about}]
    length, parts = segment["end"] - segment["start"], []
    for chunk in chunks:
        start, end = chunk["timestamp"]
        start = max(0.0, min(start or 0.0, length - MIN_SECONDS))
        end = min(length if end is None else end, length)
        if end - start < MIN_SECONDS:  # too short to be a clip: it belongs to what came before
            if parts:
                parts[-1]["text"] += " " + chunk["text"].strip()
                parts[-1]["end"] = max(parts[-1]["end"], segment["start"] + end)
                continue
            end = min(start + MIN_SECONDS, length)
        times = {"start": segment["start"] + start, "end": segment["start"] + end}
        parts.append({**segment, **times, "text": chunk["text"].strip(), **about})
    return parts
