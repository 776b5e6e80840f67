"""The processor: turns audio and text into the features that the network takes, with frozen pretrained encoders."""

import copy
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer, BatchFeature, PreTrainedConfig, ProcessorMixin

from .audio_tacfn import load_audio, named
from .decoding_tacfn import AudioError
from .encoder_sources_tacfn import (
    ENCODER_FOLDERS,
    EncoderSource,
    check_parts,
    choose_encoder,
    config_beside,
    find_saved_encoder,
    load_config,
)
from .exact_speech_encoders_tacfn import SPEECH_ENCODERS, SpeechEncoder
from .exact_text_encoders_tacfn import TextEncoder
from .feature_padding_tacfn import pad_features
from .loading_tacfn import DTYPES, encoder_options, load_encoder, load_part
from .provenance_tacfn import describe_provenance, hash_of_weights, settings_of
from .tokenizing_tacfn import tokenized
from .utterances_tacfn import as_audio_list, as_list, is_blank


class TacfnProcessor(ProcessorMixin):
    r"""
    Tokenizes, resamples, runs the two frozen encoders, and gives `h_a, mask_a, h_t, mask_t` for the model.

    The features of an utterance are the same alone and in any batch. The encoders are loaded on first use, once in a
    process, and follow `.to(device)`. They are not part of this object and are not copied with it.

    Make a new processor with [`TacfnProcessor.from_encoders`], load a saved one with `from_pretrained`.

    Args:
        feature_extractor: the feature extractor of the speech encoder.
        tokenizer: the tokenizer of the text encoder.
        audio_provenance (`dict`):
            What makes the audio features: `encoder`, `revision`, `layer`, `dtype`, and `pad_to_30s` where it is False.
            It is saved with the processor and with extracted features, and training copies it into the model's config.
            `in_model`: the encoder is part of the model, see `from_model`.
        text_provenance (`dict`):
            The same for text, with `add_special_tokens`.
        max_audio_seconds (`float`, *optional*, defaults to 60.0): longer audio is an error without `truncation`.
        tuned_rows (`dict`, *optional*):
            Hashes of id and audio of the rows that the encoders were tuned on, "train", and chosen on, "valid".

    Attributes:
        device, use_onednn: where the encoders run, and how (see `from_encoders`). They are not saved.

    Raises:
        ValueError: `max_audio_seconds` is not positive, or the tokenizer has no vocabulary.
    """

    _auto_class = "AutoProcessor"

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        audio_provenance: dict[str, Any] | None = None,
        text_provenance: dict[str, Any] | None = None,
        max_audio_seconds: float = 60.0,
        tuned_rows: dict[str, list[str]] | None = None,
    ):
        super().__init__(feature_extractor, tokenizer)
        if not max_audio_seconds > 0:
            raise ValueError(f"max_audio_seconds is {max_audio_seconds}: it must be more than 0.")
        # transformers makes such a tokenizer if the file with the vocabulary is missing.
        if tokenizer is not None and not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
            raise ValueError(
                f"The tokenizer of {tokenizer.name_or_path!r} knows special tokens and no others: the file with its "
                "vocabulary is missing."
            )
        self.audio_provenance = audio_provenance
        self.text_provenance = text_provenance
        self.max_audio_seconds = max_audio_seconds
        self.tuned_rows = tuned_rows
        self.device = torch.device("cpu")
        self.use_onednn: bool | None = None
        self._sources: dict[str, EncoderSource] = {}
        self._encoders: dict[str, Any] = {}  # those of a model, in place of what the sources name
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
        pad_to_30s: bool = True,
        max_audio_seconds: float = 60.0,
        use_onednn: bool | None = None,
        token: str | bool | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> "TacfnProcessor":
        """
        A processor from two pretrained encoders, each a Hub id or a folder with safetensors weights.

        Args:
            text_encoder: any BERT-like encoder. One with a head is taken without it, and of a fine-tuned model of this
                package its encoder is taken.
            audio_encoder: a WavLM, wav2vec2, Wav2Vec2-BERT, HuBERT, Data2VecAudio, UniSpeech-SAT or Whisper model,
                likewise.
            text_revision, audio_revision: branch, tag or commit on the Hub. The processor remembers the commit.
            text_layer, audio_layer: index into the encoder's hidden states (0: the input of the first layer, -1: the
                encoder's output), or several indices, which are averaged. Layers above it are not computed.
            add_special_tokens: whether the text encoder gets [CLS] and [SEP] and their features are kept.
            dtype: what the encoders compute in: "float32", "bfloat16" or "float16". Features are always float32.
            pad_to_30s: fill audio up with silence to 30 s for Whisper, as it was trained. Without it short audio is
                encoded several times as fast. Features then differ, and a model of the one kind refuses the other.
            max_audio_seconds: see the class.
            use_onednn: use oneDNN's matrix product in float32 on a CPU. None: where it is faster, as on AMD, which is
                tried once. Features differ by the rounding of float32.
            token, cache_dir, local_files_only: as in `from_pretrained`.

        Raises:
            ValueError: an encoder can't be found or is of the wrong kind, it does not have the layer, `dtype` is
                another one, or `pad_to_30s` is False and the speech encoder is no Whisper, or a fine-tuned model was
                tuned with other settings.
        """
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}: the encoders compute in {', '.join(DTYPES)}.")
        sources, provenance, tuned_rows = {}, {}, dict[str, list[str]]()
        for modality, name, revision, layer, settings in (
            ("audio", audio_encoder, audio_revision, audio_layer, {"pad_to_30s": pad_to_30s}),
            ("text", text_encoder, text_revision, text_layer, {"add_special_tokens": add_special_tokens}),
        ):
            source = EncoderSource(os.fspath(name), revision, "", token, cache_dir, local_files_only)
            chosen = choose_encoder(source, modality, layer, dtype, settings)
            sources[modality], provenance[modality], rows = chosen
            tuned_rows |= {part: sorted({*tuned_rows.get(part, ()), *keys}) for part, keys in rows.items()}
        processor = cls(
            load_part(AutoFeatureExtractor, sources["audio"], "audio"),
            load_part(AutoTokenizer, sources["text"], "text"),
            audio_provenance=provenance["audio"],
            text_provenance=provenance["text"],
            max_audio_seconds=max_audio_seconds,
            tuned_rows=tuned_rows or None,
        )
        processor._sources = sources
        processor.use_onednn = use_onednn
        return processor

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, use_onednn: bool | None = None, **kwargs
    ) -> "TacfnProcessor":
        """
        As `ProcessorMixin.from_pretrained`; `use_onednn` as in `from_encoders`.

        The encoders are those inside the checkpoint, or those on the Hub at the commits that it names. A folder that a
        checkpoint names is never opened.

        Raises:
            ValueError: the checkpoint has a part that does not belong to a processor of this kind, or lacks an encoder.
        """
        check_parts(pretrained_model_name_or_path, kwargs)
        # With None, transformers would ask the user whether to run a tokenizer's code.
        kwargs["trust_remote_code"] = kwargs.get("trust_remote_code") or False
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        config = config_beside(pretrained_model_name_or_path, **kwargs)
        for modality in ENCODER_FOLDERS:
            name = f"{modality}_provenance"
            of_model = config.get(name) or {}
            if of_model.get("in_model"):
                setattr(processor, name, of_model)
            provenance = getattr(processor, name) or {}
            if provenance.get("in_model"):
                continue  # until `from_model`
            processor._sources[modality] = find_saved_encoder(
                os.fspath(pretrained_model_name_or_path), modality, provenance, **kwargs
            )
        processor.use_onednn = use_onednn
        return processor

    def from_model(self, model: Any) -> "TacfnProcessor":
        """
        This processor with the encoders of a [`TacfnDualEncoderForSequenceClassification`], as they are now. They are
        not copied. The features are those that the model makes itself, without dropout.

        Its provenance has a hash of the encoders' weights. Take it anew when they have changed.

        Raises:
            ValueError: the model's encoders want another tokenizer, feature extractor or settings.
        """
        processor = copy.copy(self)
        processor._encoders = {"audio": model.audio_encoder, "text": model.text_encoder}
        processor._sources, processor._min_samples = {}, None
        for modality, encoder in processor._encoders.items():
            name = f"{modality}_provenance"
            wanted, own = (getattr(of, name) or {} for of in (model.config, self))
            if settings_of(own) != settings_of(wanted):
                raise ValueError(
                    f"The processor is for features of {describe_provenance(own)}, the encoders of the model are "
                    f"{describe_provenance(wanted)}: take the processor that the model was made with."
                )
            setattr(processor, name, {**wanted, "revision": hash_of_weights(encoder)})
        return processor.to(model.device)

    def without_weights(self) -> "TacfnProcessor":
        """A copy that can prepare inputs and not encode them, for other processes."""
        processor = copy.copy(self)
        processor._encoders = {of: getattr(self, f"{of}_encoder").without_weights() for of in ENCODER_FOLDERS}
        return processor

    def to_dict(self, *args, **kwargs) -> dict[str, Any]:
        """As `ProcessorMixin.to_dict`, which copies all that the object holds: without the encoders of a model."""
        encoders, self._encoders = self._encoders, {}
        try:
            return super().to_dict(*args, **kwargs)
        finally:
            self._encoders = encoders

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, save_encoders: bool = False, **kwargs
    ):
        """
        As `ProcessorMixin.save_pretrained`; the folder also gets the processor's code.

        Args:
            save_directory: the folder.
            push_to_hub: also push it.
            save_encoders: save the encoders too, so that the folder works without a network. Encoders that came from a
                folder or from a checkpoint are always saved, since others might not find them.
        """
        for modality, folder in ENCODER_FOLDERS.items():
            source = self._sources.get(modality)
            if source and (save_encoders or source.subfolder or os.path.isdir(source.name_or_path)):
                getattr(self, f"{modality}_encoder").model.save_pretrained(Path(save_directory, folder))
        return super().save_pretrained(os.fspath(save_directory), push_to_hub=push_to_hub, **kwargs)

    def _get_files_timestamps(self, working_dir: str | os.PathLike) -> dict[str, float]:
        """By which transformers finds what to push: without the encoders, which are written before it looks."""
        found = super()._get_files_timestamps(working_dir)
        return {name: time for name, time in found.items() if name not in ENCODER_FOLDERS.values()}

    def to(self, device: str | torch.device) -> "TacfnProcessor":
        """Lets the encoders run on `device`. A call of the processor then returns features on this device."""
        self.device = torch.device(device)
        return self

    @property
    def audio_encoder(self) -> SpeechEncoder:
        """The frozen speech encoder, loaded on first use."""
        return self._load_encoder("audio")

    @property
    def text_encoder(self) -> TextEncoder:
        """The frozen text encoder, loaded on first use."""
        return self._load_encoder("text")

    def _load_encoder(self, modality: str):
        found = self._encoders.get(modality)
        if isinstance(found, partial):
            with torch.device("meta"):
                found = self._encoders[modality] = found()
        if found is not None:
            return found
        source, provenance = self._source(modality), getattr(self, f"{modality}_provenance")
        layer, dtype = provenance["layer"], provenance["dtype"]
        return load_encoder(modality, source, layer, dtype, self.device, **encoder_options(provenance))

    def encoder_config(self, modality: str) -> PreTrainedConfig:
        """The config of the encoder of "audio" or "text", which does not load its weights."""
        if modality in self._encoders:
            return self._load_encoder(modality).model.config
        return load_config(self._source(modality), modality)

    def _source(self, modality: str) -> EncoderSource:
        if modality not in self._sources and (getattr(self, f"{modality}_provenance") or {}).get("in_model"):
            raise ValueError(
                f"The {modality} encoder of this processor is part of its model: take processor.from_model(model)."
            )
        if modality not in self._sources:
            raise ValueError(
                f"This processor does not know its {modality} encoder: make it with from_encoders or from_pretrained."
            )
        return self._sources[modality]

    @property
    def sampling_rate(self) -> int:
        """The rate that the speech encoder takes, in Hz."""
        return self.feature_extractor.sampling_rate

    @property
    def model_input_names(self) -> list[str]:
        """The keys of a batch with both modalities."""
        return ["h_a", "mask_a", "h_t", "mask_t"]

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a text; None: no limit."""
        limit = min(self.text_encoder.max_tokens or 1e9, self.tokenizer.model_max_length)
        return limit if limit < 1e9 else None

    def load_audio(
        self, audio: Any, sampling_rate: int | None = None, truncation: bool = False, name: str = "audio"
    ) -> np.ndarray:
        """
        A waveform, float32 `[S]` at the encoder's rate, of at least one frame, from audio in any form.

        Arguments are those of `load_audio` in `audio_tacfn.py`.

        Raises:
            AudioError: the audio can't be used. The message contains `name`.
        """
        waveform = load_audio(audio, self.sampling_rate, sampling_rate, self.max_audio_seconds, truncation, name)
        if self._min_samples is None:
            config = self.encoder_config("audio")
            self._min_samples = SPEECH_ENCODERS[config.model_type].min_samples(config)
        if len(waveform) < self._min_samples:
            raise AudioError(
                f"{named(audio, name)} has {len(waveform)} samples at {self.sampling_rate} Hz, less than a frame: the "
                f"encoder needs at least {self._min_samples}."
            )
        return waveform

    def encode_audio(self, waveforms: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Features `[L_i, d]`, float32 on the CPU, of waveforms `[S_i]` from `load_audio`."""
        # Of none, without loading the encoder.
        return self.audio_encoder.encode(self.prepare_audio(waveforms), self.use_onednn) if waveforms else []

    def prepare_audio(self, waveforms: Sequence[np.ndarray]) -> list[Any]:
        """What the speech encoder takes, of waveforms `[S_i]` from `load_audio`."""
        # One by one: in a padded batch an extractor would include the padding in mean and variance.
        return [self.audio_encoder.prepare(waveform, self.feature_extractor) for waveform in waveforms]

    def encode_text(
        self, texts: Sequence[str], truncation: bool = False, names: Sequence[str] | None = None
    ) -> list[torch.Tensor]:
        """Features `[L_i, d]`, float32 on the CPU, of texts. Arguments and errors are those of `prepare_text`."""
        if not texts:
            return []
        return self.text_encoder.encode(self.prepare_text(texts, truncation, names), self.use_onednn)

    def prepare_text(
        self, texts: Sequence[str], truncation: bool = False, names: Sequence[str] | None = None
    ) -> list[list[int]]:
        """The token ids of texts. Arguments and errors are those of `tokenized`."""
        made: Any = self.text_provenance
        return tokenized(self.tokenizer, texts, made["add_special_tokens"], self.max_tokens, truncation, names)

    def __call__(
        self,
        text: str | Sequence[str | None] | None = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        truncation: bool = False,
        return_tensors: str = "pt",
        padding: bool | str = True,
        numbers: Sequence[int] | None = None,
    ) -> BatchFeature:
        """
        Args:
            text: one text or a list. None or a blank string: the text is missing.
            audio: one utterance or a list. None: the audio is missing. Otherwise a path, the bytes of a file, an array
                or tensor of samples (2-D: several channels), or a `datasets` audio struct.
            sampling_rate: Hz, of audio given as samples. Files and structs state their own.
            truncation: cut audio at `max_audio_seconds` and text at the encoder's limit. Without it both are errors.
            return_tensors: "pt" or "np".
            padding: True or "longest": to the longest sample, of each modality.
            numbers: the numbers of the samples in messages; by default 0, 1, ...

        Returns:
            `h_a` float32 `[B, L_a, d_a]` with `mask_a` bool `[B, L_a]`, where **True = PAD**; a sample without audio
            has True everywhere. `h_t` and `mask_t` are the same for text. A modality that no sample has is left out.

        Raises:
            ValueError: there are different numbers of texts and audios, a sample has neither, `load_audio` or
                `encode_text` refuses it, or `padding` is another one.
        """
        if padding not in (True, "longest"):
            raise ValueError(f"padding is {padding!r}: features are padded to the longest sample, True or 'longest'.")
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
