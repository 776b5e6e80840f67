"""The fusion network with its encoders in one model, which trains them together."""

import copy
import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from .configuration_dual_encoder_tacfn import TacfnDualEncoderConfig
from .configuration_tacfn import TacfnConfig
from .encoder_sources_tacfn import resolve_layer
from .exact_speech_encoders_tacfn import SPEECH_ENCODERS
from .exact_text_encoders_tacfn import EXACT_WITH_PADDING, TextEncoder
from .loading_tacfn import encoder_options
from .modeling_tacfn import TacfnForSequenceClassification
from .outputs_tacfn import TacfnClassifierOutput
from .pretrained_encoders_tacfn import LayerMix, PretrainedEncoder, padding_mask
from .processing_tacfn import TacfnProcessor
from .provenance_tacfn import check_provenance, hash_of_weights


OF_PROCESSORS = {"max_audio_seconds", "use_onednn"}  # options of from_encoders that say nothing of a model


class TacfnDualEncoderForSequenceClassification(TacfnForSequenceClassification):
    """
    A speech encoder, a text encoder and the fusion network on their features, in one model.

    It takes waveforms and tokens. Neither the logits of an utterance nor their gradients depend on its batch, but for
    dropout. The encoders are those of [`TacfnProcessor`].

    Make one with [`from_encoders`](TacfnDualEncoderForSequenceClassification.from_encoders), or of a trained fusion
    network with [`from_fusion`](TacfnDualEncoderForSequenceClassification.from_fusion).
    """

    config: TacfnDualEncoderConfig
    main_input_name = "input_values"
    _auto_map = dict.fromkeys(
        TacfnForSequenceClassification._auto_map,
        "modeling_dual_encoder_tacfn.TacfnDualEncoderForSequenceClassification",
    )

    def __init__(self, config: TacfnDualEncoderConfig):
        super().__init__(config)
        for modality in ("audio", "text"):
            if getattr(config, f"{modality}_config") is None:
                raise ValueError(f"{modality}_config is None: give the configuration of the {modality} encoder.")
        if config.text_config.model_type not in EXACT_WITH_PADDING:
            raise ValueError(
                f"The text encoder is a {config.text_config.model_type} model, which mixes padding into a batch: here "
                f"it must be one of {', '.join(EXACT_WITH_PADDING)}."
            )
        self.audio_encoder = SPEECH_ENCODERS[config.audio_config.model_type].from_config(
            config.audio_config,
            layers_of(config.audio_layer, config.audio_config, "audio"),
            **encoder_options(config.audio_provenance),
        )
        self.text_encoder = TextEncoder.from_config(
            config.text_config, layers_of(config.text_layer, config.text_config, "text")
        )
        if config.learn_layer_weights:
            several = [of for of in (self.audio_encoder, self.text_encoder) if len(of.layers) > 1]
            if not several:
                raise ValueError(
                    "learn_layer_weights is True, and each encoder gives one layer: it needs features of several, as "
                    "from tacfn extract with --audio_layer 6 9 12."
                )
            for encoder in several:
                encoder.layer_mix = LayerMix(len(encoder.layers))
        self.post_init()

    @classmethod
    def from_encoders(
        cls,
        audio_encoder: str | os.PathLike,
        text_encoder: str | os.PathLike,
        **options: Any,
    ) -> "TacfnDualEncoderForSequenceClassification":
        """
        Pretrained encoders with a new fusion network.

        Args:
            audio_encoder, text_encoder: as in [`TacfnProcessor.from_encoders`].
            options: others of its options, such as `audio_layer`, and arguments of [`TacfnConfig`], such as `id2label`.
                With `dtype` the weights of the encoders are rounded to it; the model is in float32.

        Raises:
            TypeError: an option of neither, or one of a processor alone.
            ValueError: as `TacfnProcessor.from_encoders`.
        """
        of_encoders = inspect.signature(TacfnProcessor.from_encoders).parameters.keys() - OF_PROCESSORS
        of_network = {field.name for field in dataclasses.fields(TacfnConfig)} | {"num_labels"}
        of_network -= {f"{modality}_{of}" for modality in ("audio", "text") for of in ("feature_size", "provenance")}
        unknown = sorted(options.keys() - of_encoders - of_network)
        if unknown:
            raise TypeError(
                f"from_encoders of the model does not take {', '.join(unknown)}: it takes arguments of TacfnConfig, "
                f"and options of TacfnProcessor.from_encoders other than {' and '.join(sorted(OF_PROCESSORS))}."
            )
        chosen = {name: options.pop(name) for name in sorted(of_encoders & options.keys())}
        processor = TacfnProcessor.from_encoders(text_encoder, audio_encoder, **chosen)
        config = TacfnConfig(
            audio_feature_size=processor.audio_encoder.model.config.hidden_size,
            text_feature_size=processor.text_encoder.model.config.hidden_size,
            audio_provenance=processor.audio_provenance,
            text_provenance=processor.text_provenance,
            **options,
        )
        return cls.from_fusion(TacfnForSequenceClassification(config), processor)

    @classmethod
    def from_fusion(
        cls, model: TacfnForSequenceClassification, processor: TacfnProcessor, learn_layer_weights: bool = False
    ) -> "TacfnDualEncoderForSequenceClassification":
        """
        A copy of a fusion network with copies of the encoders of its processor, in float32. It gives the same logits.

        Args:
            learn_layer_weights: see [`TacfnDualEncoderConfig`]. They start as the mean.

        Raises:
            ValueError: the processor makes other features than those that the network was trained on.
            TypeError: the model has encoders already.
        """
        if isinstance(model, TacfnDualEncoderForSequenceClassification):
            raise TypeError("The model has its encoders already: it is what from_fusion makes.")
        encoders = {"audio": processor.audio_encoder, "text": processor.text_encoder}
        content = model.config.to_dict()
        for name in ("model_type", "architectures", "auto_map", "custom_pipelines", "standardize_features", "dtype"):
            content.pop(name, None)
        for modality, encoder in encoders.items():
            name = f"{modality}_provenance"
            made = getattr(processor, name)
            check_provenance(made, getattr(model.config, name), "the processor", "the model")
            content[name] = {**(made or {}), "dtype": "float32", "in_model": True}
            content[f"{modality}_config"] = copy.deepcopy(encoder.model.config)
            content[f"{modality}_layer"] = list(encoder.layers)
        composite = cls(TacfnDualEncoderConfig(**content, learn_layer_weights=learn_layer_weights)).float()
        state = model.state_dict() | {k: v for k, v in composite.state_dict().items() if "_encoder.layer_mix." in k}
        for modality, encoder in encoders.items():
            state |= {f"{modality}_encoder.{name}": value for name, value in encoder.state_dict().items()}
        composite.load_state_dict(state)
        return composite.train(model.training)

    def save_pretrained(self, save_directory, **kwargs):
        """As [`TacfnForSequenceClassification`]; the provenance in the config gets a hash of the encoders' weights."""
        for modality in ("audio", "text"):
            made = getattr(self.config, f"{modality}_provenance") or {}
            revision = hash_of_weights(getattr(self, f"{modality}_encoder"))
            setattr(self.config, f"{modality}_provenance", {**made, "revision": revision})
        super().save_pretrained(save_directory, **kwargs)

    def _set_gradient_checkpointing(self, enable=True, gradient_checkpointing_func=checkpoint, **kwargs):
        # Encoders find the lengths of the batch in context variables.
        super()._set_gradient_checkpointing(enable, in_its_own_context(gradient_checkpointing_func), **kwargs)

    def forward(  # type: ignore[override]
        self,
        input_values: torch.Tensor | None = None,
        input_lengths: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TacfnClassifierOutput | tuple:
        r"""
        Args:
            input_values (`torch.FloatTensor` of shape `(batch_size, samples)`, *optional*):
                Waveforms as the feature extractor makes them, padded behind the end. None: no audio. Of Whisper
                log-mel spectra `(batch_size, windows, mel, length)`, of Wav2Vec2-BERT `(batch_size, length, 160)`.
            input_lengths (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                How many samples of each waveform are valid (of Whisper, how many frames it has; of Wav2Vec2-BERT, how
                many columns); 0: this sample has no audio. None: all of them, but for Whisper.
            input_ids (`torch.LongTensor` of shape `(batch_size, tokens)`, *optional*):
                Tokens, padded behind the end. None: no text.
            attention_mask (`torch.LongTensor` of shape `(batch_size, tokens)`, *optional*):
                **1 = token, 0 = PAD**, as tokenizers give it. A row of 0: this sample has no text. None: no padding.
            labels, and everything else:
                As in [`TacfnForSequenceClassification.forward`], which takes the features `h_a`, `h_t` with their masks
                in place of what the encoders make them of.

        Raises:
            ValueError: as there, an attention mask that is not 1 up to a length and 0 behind it, spectra of Whisper
                without their lengths, or features beside what they are made of.
        """
        if input_values is None and input_ids is None:
            return super().forward(labels=labels, **kwargs)
        if both := {"h_a", "h_t", "mask_a", "mask_t"} & kwargs.keys():
            raise ValueError(f"{', '.join(sorted(both))} is given beside input_values or input_ids: give one kind.")
        h_a, mask_a = self.encode_audio(input_values, input_lengths)
        h_t, mask_t = self.encode_text(input_ids, attention_mask)
        output = super().forward(h_a, h_t, mask_a, mask_t, labels=labels, **kwargs)
        if isinstance(output, TacfnClassifierOutput):
            output.h_a, output.mask_a, output.h_t, output.mask_t = h_a, mask_a, h_t, mask_t
        return output

    def encode_audio(
        self, input_values: torch.Tensor | None, input_lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """`h_a [B, L, d]` and `mask_a [B, L]`, True = PAD, of waveforms; None where there are none."""
        if input_values is None:
            return None, None
        if input_lengths is None and input_values.dim() == 4:
            raise ValueError("input_lengths is None: Whisper's spectra don't tell how many frames an utterance has.")
        if input_lengths is None:
            input_lengths = torch.full(input_values.shape[:1], input_values.shape[1], device=input_values.device)
        return encoded(self.audio_encoder, input_values, input_lengths)

    def encode_text(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """`h_t [B, L, d]` and `mask_t [B, L]`, True = PAD, of tokens; None where there are none."""
        if input_ids is None:
            return None, None
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        lengths = attention_mask.sum(dim=1)
        if not torch.equal(attention_mask == 0, padding_mask(lengths, input_ids.shape[1])):
            raise ValueError(
                "attention_mask must be 1 up to the length of each text and 0 behind it: pad on the right."
            )
        return encoded(self.text_encoder, input_ids, lengths)


def in_its_own_context(checkpoint: Callable) -> Callable:
    """A `checkpoint` whose function finds the context variables of its first run when it is run again."""

    def with_context(function: Callable, *args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        return checkpoint(lambda *inputs: context.copy().run(function, *inputs), *args, **kwargs)

    return with_context


def layers_of(layer: int | Sequence[int], config: PreTrainedConfig, modality: str) -> list[int]:
    """The indices from 0 of one layer or of several."""
    found = resolve_layer(layer, config.num_hidden_layers, modality)
    return [found] if isinstance(found, int) else found


def encoded(
    encoder: PretrainedEncoder, inputs: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """
    Features `[B, L, d]` and their mask `[B, L]`, True = PAD, of padded inputs, of those that have a length. The others
    are masked throughout. None where none has a length.
    """
    there = (lengths > 0).nonzero()[:, 0]
    if not len(there):
        return None, None
    h, frames = encoder(inputs[there], lengths[there])
    mask = padding_mask(frames, h.shape[1])
    if len(there) == len(lengths):
        return h, mask
    all_h = h.new_zeros(len(lengths), *h.shape[1:]).index_copy(0, there, h)
    all_masks = torch.ones(len(lengths), h.shape[1], dtype=torch.bool, device=h.device).index_copy(0, there, mask)
    return all_h, all_masks
