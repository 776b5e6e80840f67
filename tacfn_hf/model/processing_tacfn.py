"""The processor: from audio and text to the features that the network takes, by frozen pretrained encoders."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoFeatureExtractor, AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.utils import AUDIO_TOKENIZER_NAME, PROCESSOR_NAME
from transformers.utils.hub import cached_file, has_file

from .audio_tacfn import load_audio, named
from .decoding_tacfn import AudioError
from .encoders_tacfn import SpeechEncoder, TextEncoder, min_samples
from .loading_tacfn import DTYPES, EncoderSource, find_commit, find_encoder, load_config, load_encoder, resolve_layer
from .padding_tacfn import pad_features


ENCODER_FOLDERS = {"audio": "audio_encoder", "text": "text_encoder"}
# Held around every call of a tokenizer, whose truncation is a state that threads would change under each other.
_tokenizing = threading.Lock()


class TacfnProcessor(ProcessorMixin):
    r"""
    Tokenizes, resamples, and runs the two frozen encoders: `h_a, mask_a, h_t, mask_t` for the model.

    An utterance's features are the same alone and in any batch. The encoders are loaded on first use, once in a
    process, and follow `.to(device)`; they are no part of this object and are not copied with it.

    Args:
        feature_extractor: the feature extractor of the speech encoder.
        tokenizer: the tokenizer of the text encoder.
        audio_provenance (`dict`):
            What makes the audio features: `encoder`, `revision`, `layer`, `dtype`. It is saved with the processor,
            written beside extracted features, and kept in a trained model's config.
        text_provenance (`dict`):
            Likewise for text, with `add_special_tokens`.
        max_audio_seconds (`float`, *optional*, defaults to 60.0):
            Longer audio is an error, unless the call says `truncation=True`.

    Use [`TacfnProcessor.from_encoders`] for a new one, `from_pretrained` for a saved one.
    """

    _auto_class = "AutoProcessor"

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        audio_provenance: dict[str, Any] | None = None,
        text_provenance: dict[str, Any] | None = None,
        max_audio_seconds: float = 60.0,
    ):
        super().__init__(feature_extractor, tokenizer)
        if not max_audio_seconds > 0:
            raise ValueError(f"max_audio_seconds is {max_audio_seconds}: it must be more than 0.")
        # transformers makes such a one where the file with the vocabulary is missing.
        if tokenizer is not None and not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
            raise ValueError(
                f"The tokenizer of {tokenizer.name_or_path!r} knows special tokens and no others: the file with its "
                "vocabulary is missing."
            )
        self.audio_provenance = audio_provenance
        self.text_provenance = text_provenance
        self.max_audio_seconds = max_audio_seconds
        self.device = torch.device("cpu")
        self._sources: dict[str, EncoderSource] = {}
        self._min_samples: int | None = None

    @classmethod
    def from_encoders(
        cls,
        text_encoder: str | os.PathLike = "google-bert/bert-base-uncased",
        audio_encoder: str | os.PathLike = "microsoft/wavlm-base-plus",
        *,
        text_revision: str = "main",
        audio_revision: str = "main",
        text_layer: int | Sequence[int] = -1,
        audio_layer: int | Sequence[int] = -1,
        add_special_tokens: bool = True,
        dtype: str | torch.dtype = "float32",
        max_audio_seconds: float = 60.0,
        token: str | bool | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> "TacfnProcessor":
        """
        A processor of two pretrained encoders, each a Hub id or a folder with safetensors weights.

        Args:
            text_encoder: any BERT-like encoder.
            audio_encoder: a WavLM, wav2vec2, HuBERT, Data2VecAudio or UniSpeech-SAT model.
            text_revision, audio_revision: branch, tag or commit on the Hub. The commit is what is remembered.
            text_layer, audio_layer: index into the encoder's hidden states (0: the input of the first layer, -1: the
                last one, the encoder's output), or several, whose mean is taken. Layers above it are not computed.
            add_special_tokens: whether the text encoder sees, and gives, [CLS] and [SEP].
            dtype: what the encoders compute in: "float32", "bfloat16" or "float16". Features are float32.
            max_audio_seconds: see the class.
            token, cache_dir, local_files_only: as in `from_pretrained`.

        Raises:
            ValueError: an encoder that can't be found or is of the wrong kind, a layer that it doesn't have, another
                dtype.
        """
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}: the encoders compute in {', '.join(DTYPES)}.")
        sources, provenance = {}, {}
        for modality, name, revision, layer in (
            ("audio", audio_encoder, audio_revision, audio_layer),
            ("text", text_encoder, text_revision, text_layer),
        ):
            source = EncoderSource(os.fspath(name), revision, "", token, cache_dir, local_files_only)
            sources[modality], config, commit = find_encoder(source, modality)
            provenance[modality] = {
                "encoder": os.path.basename(os.path.abspath(name)) if os.path.isdir(name) else name,
                "revision": commit,
                "layer": resolve_layer(layer, config.num_hidden_layers, modality),
                "dtype": dtype,
            }
        provenance["text"]["add_special_tokens"] = add_special_tokens
        processor = cls(
            load_part(AutoFeatureExtractor, sources["audio"], "audio"),
            load_part(AutoTokenizer, sources["text"], "text"),
            audio_provenance=provenance["audio"],
            text_provenance=provenance["text"],
            max_audio_seconds=max_audio_seconds,
        )
        processor._sources = sources
        return processor

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "TacfnProcessor":
        """
        As `ProcessorMixin.from_pretrained`. Encoders come from inside the checkpoint where it holds them, else from the
        Hub at the commit that the checkpoint names; a folder named in it is never followed.

        Raises:
            ValueError: a checkpoint that names a part elsewhere, or no encoders.
        """
        check_parts(pretrained_model_name_or_path, kwargs)
        # Not None, for which transformers would ask the user whether to run a tokenizer's code.
        kwargs["trust_remote_code"] = kwargs.get("trust_remote_code") or False
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        hub: dict[str, Any] = {name: kwargs.get(name) for name in ("token", "cache_dir")}
        hub["local_files_only"] = kwargs.get("local_files_only", False)
        name, revision = os.fspath(pretrained_model_name_or_path), kwargs.get("revision")
        parent = kwargs.get("subfolder", "")
        for modality, folder in ENCODER_FOLDERS.items():
            subfolder = f"{parent}/{folder}" if parent else folder
            provenance = getattr(processor, f"{modality}_provenance") or {}
            if has_file(name, f"{subfolder}/config.json", revision=revision, **hub):
                # Pinned, since they are loaded later and shared: by then another checkpoint may be in this place.
                source = EncoderSource(name, revision, subfolder, **hub)
                source = source._replace(revision=find_commit(source) or provenance.get("revision"))
            elif "encoder" in provenance:
                source = EncoderSource(str(provenance["encoder"]), provenance.get("revision"), **hub)
                if str(source.revision).startswith("sha256:") or os.path.isdir(source.name_or_path):
                    raise ValueError(
                        f"{name} names a folder, {source.name_or_path!r}, as its {modality} encoder and does not hold "
                        "it: save the processor with save_encoders=True, or make it anew with from_encoders."
                    )
                try:
                    validate_repo_id(source.name_or_path)
                except HFValidationError as error:  # a path, at which a folder may appear before the encoder is used
                    raise ValueError(
                        f"{name} names {source.name_or_path!r} as its {modality} encoder: it must be a name on the Hub."
                    ) from error
            else:
                raise ValueError(
                    f"{name} neither holds its {modality} encoder nor names one: it is no saved TacfnProcessor."
                )
            processor._sources[modality] = source
        return processor

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, save_encoders: bool = False, **kwargs
    ):
        """
        As `ProcessorMixin.save_pretrained`; the folder also gets the code of model, processor and pipeline.

        Args:
            save_directory: the folder.
            push_to_hub: also push it.
            save_encoders: put the encoders inside, so that it works without a network. Encoders that come from a folder
                or from inside a checkpoint always are, since nobody else might find them.
        """
        for modality, folder in ENCODER_FOLDERS.items():
            source = self._sources.get(modality)
            if source and (save_encoders or source.subfolder or os.path.isdir(source.name_or_path)):
                encoder = self.audio_encoder if modality == "audio" else self.text_encoder
                encoder.model.save_pretrained(Path(save_directory, folder))
        return super().save_pretrained(os.fspath(save_directory), push_to_hub=push_to_hub, **kwargs)

    def to(self, device: str | torch.device) -> "TacfnProcessor":
        """The encoders run on `device` from now on. Features stay on it when they are made by calling the processor."""
        self.device = torch.device(device)
        return self

    @property
    def audio_encoder(self) -> SpeechEncoder:
        """The frozen speech encoder, loaded where it is not yet."""
        return self._load_encoder("audio")

    @property
    def text_encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded where it is not yet."""
        return self._load_encoder("text")

    def _load_encoder(self, modality: str):
        source, provenance = self._source(modality), getattr(self, f"{modality}_provenance")
        return load_encoder(modality, source, provenance["layer"], provenance["dtype"], device=self.device)

    def _source(self, modality: str) -> EncoderSource:
        if modality not in self._sources:
            raise ValueError(
                f"This processor does not know its {modality} encoder: make it with from_encoders or from_pretrained."
            )
        return self._sources[modality]

    @property
    def sampling_rate(self) -> int:
        """Hz, of what the speech encoder takes."""
        return self.feature_extractor.sampling_rate

    @property
    def model_input_names(self) -> list[str]:
        return ["h_a", "mask_a", "h_t", "mask_t"]

    def load_audio(
        self, audio: Any, sampling_rate: int | None = None, truncation: bool = False, name: str = "audio"
    ) -> np.ndarray:
        """
        Any audio, as `load_audio` of `audio_tacfn.py` takes it, as float32 `[S]` at the encoder's rate, long enough for
        a frame.

        Raises:
            AudioError: audio that can't be used; `name` is in the message.
        """
        waveform = load_audio(audio, self.sampling_rate, sampling_rate, self.max_audio_seconds, truncation, name)
        if self._min_samples is None:
            self._min_samples = min_samples(load_config(self._source("audio"), "audio"))
        if len(waveform) < self._min_samples:
            raise AudioError(
                f"{named(audio, name)} has {len(waveform)} samples at {self.sampling_rate} Hz, less than a frame: the "
                f"encoder needs at least {self._min_samples}."
            )
        return waveform

    def encode_audio(self, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features `[L_i, d]`, float32 on the CPU, of waveforms as `load_audio` gives them."""
        # Alone, since the extractor would take mean and variance of the padding as well.
        values = [
            self.feature_extractor(w, sampling_rate=self.sampling_rate, return_tensors="pt")["input_values"][0]
            for w in waveforms
        ]
        return self.audio_encoder.encode(values)

    def encode_text(
        self, texts: Sequence[str], truncation: bool = False, names: Sequence[str] | None = None
    ) -> list[torch.Tensor]:
        """
        Features `[L_i, d]`, float32 on the CPU, of texts.

        Raises:
            TypeError: a text that is not a string.
            ValueError: an empty text, or more tokens than the encoder takes, unless `truncation` cuts them.
        """
        names = [f"text {i}" for i in range(len(texts))] if names is None else names
        limit = self.text_encoder.max_tokens
        if self.tokenizer.model_max_length < 1e9:
            limit = min(limit or self.tokenizer.model_max_length, self.tokenizer.model_max_length)
        made: Any = self.text_provenance
        token_ids = []
        for name, text in zip(names, texts):
            if not isinstance(text, str):
                raise TypeError(f"{name} is a {type(text).__name__}: it must be a string, or None where it is missing.")
            with _tokenizing:
                ids = self.tokenizer(
                    text,
                    add_special_tokens=made["add_special_tokens"],
                    truncation=truncation,
                    max_length=limit if truncation else None,
                    verbose=False,
                )["input_ids"]
            if is_blank(text) or not ids:
                raise ValueError(f"{name} is empty ({text!r}): give None where the text is missing.")
            if limit is not None and len(ids) > limit:
                raise ValueError(
                    f"{name} has {len(ids)} tokens, the text encoder takes {limit}: shorten it, or cut it with "
                    "truncation=True."
                )
            token_ids.append(ids)
        return self.text_encoder.encode(token_ids)

    def __call__(
        self,
        text: str | Sequence[str | None] | None = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        truncation: bool = False,
        return_tensors: str = "pt",
        numbers: Sequence[int] | None = None,
    ) -> BatchFeature:
        """
        Args:
            text: one text or a list; None, or nothing but white space, where it is missing.
            audio: one utterance or a list, None where it is missing: a path, the bytes of a file, an array or tensor of
                samples (2-D: several channels), a `datasets` audio struct.
            sampling_rate: Hz, of samples; files and structs know their own.
            truncation: cut audio at `max_audio_seconds` and text at the encoder's limit; without it either is an error.
            return_tensors: "pt" or "np".
            numbers: what messages call the samples; by default their places, from 0.

        Returns:
            `h_a` float32 `[B, L_a, d_a]` with `mask_a` bool `[B, L_a]`, **True = PAD**, True throughout where audio is
            missing; `h_t` and `mask_t` likewise. A modality that the whole batch lacks has no keys.

        Raises:
            ValueError: counts of audio and text that differ, a sample without both, and what `load_audio` and
                `encode_text` refuse.
        """
        texts, audios = as_list(text), as_audio_list(audio)
        if texts is None and audios is None:
            raise ValueError("The processor is given neither text nor audio: it needs at least one of them.")
        texts = [None] * len(audios or ()) if texts is None else texts
        audios = [None] * len(texts) if audios is None else audios
        if len(texts) != len(audios):
            raise ValueError(
                f"The processor is given {len(texts)} texts and {len(audios)} audios: the counts must agree."
            )
        if not texts:
            raise ValueError("The processor is given an empty list.")
        texts, audios = ([None if is_blank(item) else item for item in items] for items in (texts, audios))
        numbers = range(len(texts)) if numbers is None else numbers
        for i, pair in zip(numbers, zip(texts, audios)):
            if pair[0] is None and pair[1] is None:
                raise ValueError(f"Sample {i} has neither text nor audio: it needs at least one of them.")

        with_audio = [i for i, item in enumerate(audios) if item is not None]
        with_text = [i for i, item in enumerate(texts) if item is not None]
        waveforms = [self.load_audio(audios[i], sampling_rate, truncation, f"audio {numbers[i]}") for i in with_audio]
        h_t = self.encode_text([texts[i] for i in with_text], truncation, [f"text {numbers[i]}" for i in with_text])
        batch: dict[str, torch.Tensor] = {}
        for suffix, features, places in (("a", self.encode_audio(waveforms), with_audio), ("t", h_t, with_text)):
            if places:
                there = dict(zip(places, features))
                padded, mask = pad_features([there.get(i) for i in range(len(texts))])
                batch |= {f"h_{suffix}": padded.to(self.device), f"mask_{suffix}": mask.to(self.device)}
        if return_tensors == "pt":
            return BatchFeature(batch)
        return BatchFeature({name: value.cpu() for name, value in batch.items()}, tensor_type=return_tensors)


def check_parts(name: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """A ValueError where the settings of a saved processor name an audio tokenizer, for it would be loaded."""
    names = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
    where = {key: settings[key] for key in names if key in settings} | {"_raise_exceptions_for_missing_entries": False}
    file = cached_file(name, PROCESSOR_NAME, **where)
    named = file is not None and "audio_tokenizer" in json.loads(Path(file).read_text(encoding="utf-8"))
    if named or cached_file(name, AUDIO_TOKENIZER_NAME, **where) is not None:
        raise ValueError(f"{name} names an audio tokenizer, which a TacfnProcessor does not have: it is not loaded.")


def load_part(auto_class: Any, source: EncoderSource, modality: str):
    """The tokenizer or the feature extractor of an encoder, or a ValueError."""
    try:
        return auto_class.from_pretrained(source.name_or_path, **source.arguments())
    except (OSError, ValueError) as error:
        part = "tokenizer" if modality == "text" else "feature extractor"
        raise ValueError(f"The {modality} encoder {source.name_or_path!r} has no {part}: {error}") from error


def as_list(value: Any) -> list | None:
    """A list of one or many; None stays None."""
    if value is None:
        return None
    return list(value) if is_list(value) else [value]


def as_audio_list(audio: Any) -> list | None:
    """As `as_list`, but a list of numbers is one waveform."""
    return [audio] if is_waveform(audio) else as_list(audio)


def is_waveform(value: Any) -> bool:
    """Whether it is a list of numbers."""
    return is_list(value) and len(value) > 0 and isinstance(value[0], Real)


def is_blank(text: Any) -> bool:
    """
    Whether a text has nothing that can be seen: white space, zero-width and control characters. It counts as no text,
    in a call as in the cell of a corpus.
    """
    return isinstance(text, str) and not any(letter.isprintable() and letter != " " for letter in text)


def is_list(value: Any) -> bool:
    """Whether it is a sequence of inputs (a list, a column of `datasets`), and not itself one."""
    one = str | bytes | bytearray | memoryview | Mapping | np.ndarray | torch.Tensor
    return isinstance(value, Sequence) and not isinstance(value, one)
