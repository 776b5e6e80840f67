"""Encoders of transformers with small random weights, inputs for them, and what transformers makes of these."""

from pathlib import Path

import torch
import transformers
from tiny import SPEECH_SIZES
from transformers import AutoModel, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration


LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SPEECH = {
    "wavlm-base": ("WavLM", {}),
    "wavlm-large": ("WavLM", LARGE),
    "wav2vec2-base": ("Wav2Vec2", {}),
    "wav2vec2-large": ("Wav2Vec2", LARGE),
    "wav2vec2-adapter": ("Wav2Vec2", {"add_adapter": True}),
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", LARGE),
    "hubert-batch-norm": ("Hubert", {"conv_pos_batch_norm": True}),
    "data2vec": ("Data2VecAudio", {}),
    "unispeech-sat-base": ("UniSpeechSat", {}),
    "unispeech-sat-large": ("UniSpeechSat", LARGE),
}
TEXT_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
    "initializer_range": 0.2,
}
TEXT = {  # what a config of its own names otherwise, or must have
    "albert": {"embedding_size": 16},
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "convbert": {"embedding_size": 24},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "conv_kernel_size": 3},
    "distilbert": {"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 48},
    "electra": {"embedding_size": 16},
    "fnet": {},
    "mobilebert": {"embedding_size": 24, "intra_bottleneck_size": 24, "true_hidden_size": 24},
    "modernbert": {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8},
    "rembert": {"input_embedding_size": 16},
}


def with_wild_weights(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Norms and biases away from 1 and 0, so that a wrong one shows."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:  # the statistics of a batch norm
                buffer.add_(0.3 * torch.rand_like(buffer))
    return model.eval()


def speech_model(name: str) -> transformers.PreTrainedModel:
    family, settings = SPEECH[name]
    config = getattr(transformers, f"{family}Config")(**{**SPEECH_SIZES, "initializer_range": 0.3, **settings})
    return with_wild_weights(getattr(transformers, f"{family}Model")(config))


def save_whisper(folder: Path, chunk_length: int) -> Path:
    """A complete Whisper checkpoint, decoder and all, with windows of `chunk_length` seconds."""
    sizes = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 1, "vocab_size": 50, "num_mel_bins": 20}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(**sizes, **heads, **tokens, max_source_positions=50 * chunk_length, suppress_tokens=None)
    with_wild_weights(WhisperForConditionalGeneration(config)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20, chunk_length=chunk_length).save_pretrained(folder)
    return folder


def text_model(name: str) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(name, **{**TEXT_SIZES, "pad_token_id": 0, **TEXT.get(name, {})})
    return with_wild_weights(AutoModel.from_config(config))


def waveforms() -> list[torch.Tensor]:
    """One frame, 0.1 to 8 s, silence, and a second of near silence."""
    generator = torch.Generator().manual_seed(2)
    sizes = (400, 1600, 16000, 5001, 64000, 24319, 128000)
    speech = [torch.randn(size, generator=generator) for size in sizes]
    return [*speech, torch.zeros(9000), 1e-4 * torch.randn(16000, generator=generator)]


def token_ids() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(5, 99, (size,), generator=generator).tolist() for size in (20, 1, 7, 13, 7, 33, 20, 2)]


def hidden_states_of(stock: transformers.PreTrainedModel, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Of one utterance, by transformers; the last one is the output."""
    output = stock(inputs[None], output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def padded(rows: list[torch.Tensor], length: int, padding: float) -> tuple[torch.Tensor, torch.Tensor]:
    batch = torch.full((len(rows), length), padding, dtype=rows[0].dtype)
    for row, values in zip(batch, rows):
        row[: len(values)] = values
    return batch, torch.tensor([len(values) for values in rows])


def difference(h: torch.Tensor, expected: torch.Tensor) -> float:
    assert h.shape == expected.shape
    return ((h - expected).norm() / expected.norm()).item()
