"""
The whole way in a few minutes, without a network: a corpus, features, training, evaluation, a checkpoint, a prediction.

    python scripts/quickstart.py --output_dir quickstart

The corpus is synthetic and the encoders are small ones with random weights: the figures say that the parts work
together, and whether the gate finds the modality that carries the emotion. They say nothing about real speech.
"""

import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict
from sklearn.metrics import recall_score
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizer,
    ProgressCallback,
    Trainer,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
    logging,
    pipeline,
    set_seed,
)

from tacfn_hf import TacfnDataCollator, TacfnProcessor
from tacfn_hf.cli.shared import CommandParser, run_command
from tacfn_hf.corpora import load_corpus
from tacfn_hf.corpora.diagnostic import ENDS, SENTENCES, SUBJECTS, make_diagnostic
from tacfn_hf.evaluation.predictions import evaluate_split
from tacfn_hf.evaluation.record import changed_arguments, describe_data, write_results
from tacfn_hf.features.extraction import extract_features
from tacfn_hf.features.labels import label_names_of
from tacfn_hf.model.configuration_tacfn import TEMPERATURES
from tacfn_hf.sharing.hub import check_checkpoint
from tacfn_hf.sharing.model_card import write_card
from tacfn_hf.training.arguments import ModelArguments
from tacfn_hf.training.setup import build_model
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import writing_into


COMPLETE, MISSING = ("audio", "text", "both"), ("audio_only", "text_only")  # the conditions
PARTS = {"train": "train", "validation": "valid", "test": "test"}
NETWORK = ModelArguments(
    hidden_size=64, num_attention_heads=4, num_hidden_layers=1, gate_hidden_size=64, modality_dropout_prob=0.5
)
NEXT = """
Next, with pretrained encoders (fetched from the Hub once) and a corpus of your own:

    python scripts/inspect_corpus.py ravdess /path/to/ravdess
    python scripts/extract_features.py --corpus ravdess --dataset /path/to/ravdess --output_dir features/ravdess \\
        --text_encoder google-bert/bert-base-uncased --audio_encoder microsoft/wavlm-base-plus
    python scripts/cross_validate.py --dataset features/ravdess --group_column group --num_folds 6 \\
        --valid_fraction 0.15 --seeds 0 1 2 --output_dir runs/ravdess

`python scripts/inspect_corpus.py --help` lists the corpora; `folder` is one of files and a table of your own."""


class QuietProgress(ProgressCallback):
    """The Trainer's progress bar without a line of figures for every epoch."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass


def main(argv: list[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("quickstart"), help="a new or empty folder")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus, the encoders and the training")
    args = parser.parse_args(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with writing_into(args.output_dir):
        go_all_the_way(args.output_dir, args.seed)


def go_all_the_way(folder: Path, seed: int) -> None:
    step(1, "A diagnostic corpus, synthetic: it is known whether sound or words carry the emotion")
    make_diagnostic(folder / "corpus", seed=seed, num_speakers=24)
    corpus = load_corpus("diagnostic", folder / "corpus")

    step(2, "Features, by two small encoders with random weights")
    save_encoders(folder / "encoders", seed)
    processor = TacfnProcessor.from_encoders(folder / "encoders" / "text", folder / "encoders" / "audio")
    features = extract_features(corpus, processor, folder / "features")

    step(3, "Training: with both modalities, with audio only, with text only")
    trainer, result, fused = train("fused", features, folder, seed)
    tables = {
        "fused": fused,
        "audio only": train("audio only", with_one(features, "h_a", "h_t"), folder, seed)[2],
        "text only": train("text only", with_one(features, "h_t", "h_a"), folder, seed)[2],
    }
    summary = compare(tables, features["test"])
    print("\nUA in % on the test speakers; beta of the fused model, near 1: audio was trusted, near 0: text")
    print(summary.to_string(float_format="{:.2f}".format, na_rep="-"))

    step(4, "A checkpoint with its card, ready for the Hub; loaded again")
    checkpoint = folder / "checkpoint"
    save(checkpoint, trainer, processor, features, result, fused)
    print(f"{checkpoint}: {', '.join(sorted(path.name for path in checkpoint.iterdir()))}")
    model = AutoModel.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        logits = model(**TacfnDataCollator()(list(features["test"].with_format("numpy").select(range(8))))).logits
    same = np.allclose(logits.softmax(-1), fused.filter(like="score_")[:8], atol=1e-5)
    print(f"AutoModel gives a {type(model).__name__} with {'the same' if same else 'OTHER'} scores.")
    recognizer = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    row = next(row for row in corpus["test"] if row["condition"] == "both")
    print(f"{row['audio']['path']}, {row['text']!r}")
    print(f"  made as: {corpus['test'].features['label'].int2str(row['label'])}, carried by {row['carrier']}")
    print(f"  the pipeline says: {recognizer({'audio': row['audio']['path'], 'text': row['text']}, top_k=2)}")

    with open(folder / "quickstart.json", "w", encoding="utf-8") as file:
        json.dump({"seed": seed, "conditions": summary.to_dict("index")}, file, indent=2)
    print(NEXT)
    judge(summary, same)


def step(number: int, what: str) -> None:
    print(f"\n--- {number}. {what}", flush=True)


def save_encoders(folder: Path, seed: int) -> None:
    """A small WavLM and a small BERT of random weights, in folders as from the Hub."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 128}
    # ReLU, since in random convolutions GELU lets little of the sound through.
    convolutions = {"conv_dim": [64] * 7, "feat_extract_activation": "relu", "num_conv_pos_embedding_groups": 4}
    WavLMModel(WavLMConfig(**sizes, **convolutions)).save_pretrained(folder / "audio")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "audio")

    sentences = " ".join([*SUBJECTS, *ENDS, *(template for group in SENTENCES.values() for template in group)]).lower()
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = list(dict.fromkeys([*pieces, *re.findall(r"\w+|[.,!?']", sentences)]))
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)})
    BertModel(BertConfig(**sizes, vocab_size=len(vocabulary))).save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")


def with_one(features: DatasetDict, kept: str, dropped: str) -> DatasetDict:
    """The features of one modality, without the rows that lack it."""
    lacking = "text_only" if kept == "h_a" else "audio_only"
    return features.filter(lambda condition: condition != lacking, input_columns="condition").remove_columns(dropped)


def train(name: str, features: DatasetDict, folder: Path, seed: int) -> tuple[Trainer, dict[str, Any], pd.DataFrame]:
    """Trains a network with the ordinary `Trainer`: this, and its metrics and predictions of the test split."""
    print(f"{name}: {', '.join(f'{len(part)} {split}' for split, part in features.items())}", flush=True)
    parts = {PARTS[split]: part.with_format("numpy") for split, part in features.items()}
    set_seed(seed)
    training_args = TacfnTrainingArguments(
        output_dir=str(folder / name.replace(" ", "_")),
        seed=seed,
        num_train_epochs=15,
        learning_rate=2e-3,
        class_weights="none",
        report_to="none",
        disable_tqdm=False,
        dataloader_pin_memory=False,
    )
    model = build_model(parts["train"], NETWORK, training_args.class_weights)
    trainer = build_trainer(model, training_args, parts)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(QuietProgress)
    trainer.train()
    return trainer, *evaluate_split(trainer, parts["test"])


def save(
    checkpoint: Path,
    trainer: Trainer,
    processor: TacfnProcessor,
    features: DatasetDict,
    result: dict[str, Any],
    table: pd.DataFrame,
) -> None:
    """Writes model, processor, metrics and predictions of the test split, and the card: what push_to_hub.py takes."""
    trainer.model.save_pretrained(checkpoint)
    processor.save_pretrained(checkpoint)
    parts = {PARTS[split]: part for split, part in features.items()}
    config, args = trainer.model.config, trainer.args
    about = {
        "dataset": "diagnostic",
        "rows": {name: len(part) for name, part in parts.items()},
        "label_names": label_names_of(config),
        "seed": args.seed,
        "split_seed": args.seed,
        "num_parameters": trainer.model.num_parameters(),
        **{name: getattr(config, name) for name in TEMPERATURES},
        "temperature_fitted_on": None,
        "epochs": trainer.state.epoch,
        "changed_arguments": changed_arguments(
            {**asdict(NETWORK), **args.to_dict()}, ModelArguments, TacfnTrainingArguments
        ),
        **describe_data(parts),
    }
    write_results(checkpoint, {"test": result}, {"test": table}, about)
    write_card(checkpoint)
    check_checkpoint(checkpoint)


def compare(tables: dict[str, pd.DataFrame], test: Dataset) -> pd.DataFrame:
    """UA of each model and beta of the fused one, by condition and over the conditions in which nothing is missing."""
    conditions = dict(zip(test["id"], test["condition"]))
    rows = {}
    for name, chosen in (*((c, (c,)) for c in COMPLETE), ("all three", COMPLETE), *((c, (c,)) for c in MISSING)):
        rows[name] = {}
        for model, table in tables.items():
            part = table[table["id"].map(conditions).isin(chosen)]
            rows[name].setdefault("rows", len(part))
            answered = len(part) == rows[name]["rows"]
            rows[name][model] = (
                100 * recall_score(part["label"], part["prediction"], average="macro") if answered else None
            )
            if model == "fused":
                rows[name]["beta"] = float(part["beta"].mean())
    columns = ["rows", *tables, "beta"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("condition")


def judge(summary: pd.DataFrame, same: bool) -> None:
    """Says what has to be so, and ends with an error where it is not."""
    overall, beta = summary.loc["all three"], summary["beta"]
    lead = {name: overall["fused"] - overall[name] for name in ("audio only", "text only")}
    leads = " and ".join(f"{points:.1f} points of UA above {name}" for name, points in lead.items())
    print(f"\nThe fused model is {leads}.")
    print(f"Mean beta is {beta['audio']:.2f} where audio carries the emotion, {beta['text']:.2f} where text does.")
    if not same or min(lead.values()) < 10 or beta["audio"] <= beta["text"]:
        sys.exit("Not as it should be: the same scores again, 10 points above both, a higher beta where audio carries.")


if __name__ == "__main__":
    run_command(main)
