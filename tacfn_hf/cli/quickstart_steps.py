"""The steps of `tacfn quickstart`."""

import re
import shutil
import sys
from pathlib import Path

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
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
    pipeline,
)

from ..corpora import load_corpus
from ..corpora.diagnostic import ENDS, SENTENCES, SUBJECTS, make_diagnostic
from ..features.arguments import DataArguments
from ..features.collation import TacfnDataCollator
from ..features.extraction import extract_features
from ..model import TacfnProcessor
from ..sharing.hub import check_checkpoint
from ..sharing.model_card import write_card
from ..training.arguments import ModelArguments
from ..training.run import run_training
from ..training.training_arguments import TacfnTrainingArguments
from ..writing import write_json


COMPLETE, MISSING = ("audio", "text", "both"), ("audio_only", "text_only")  # the conditions
CONDITION_NAMES = {
    "audio": "the emotion is in the sound",
    "text": "the emotion is in the words",
    "both": "the emotion is in both",
    "all three": "all of these",
    "audio_only": "there are no words",
    "text_only": "there is no sound",
}
NEXT = """
Next, with pretrained encoders (fetched from the Hub once) and a corpus of your own:

    tacfn inspect ravdess /path/to/ravdess
    tacfn extract --corpus ravdess --dataset /path/to/ravdess --output_dir features/ravdess \\
        --text_encoder google-bert/bert-base-uncased --audio_encoder microsoft/wavlm-base-plus
    tacfn cross-validate --dataset features/ravdess --group_column group --num_folds 6 \\
        --valid_fraction 0.15 --seeds 0 1 2 --output_dir runs/ravdess

`tacfn inspect --help` lists the corpora; `folder` is one of files and a table of your own."""


def go_all_the_way(folder: Path, seed: int) -> None:
    """
    Makes everything in a new or empty folder, and prints what it finds.

    Raises:
        SystemExit: a figure is not as it should be.
    """
    torch.set_num_threads(1)  # the models are too small for more: on a busy machine threads wait for each other
    step(1, "A diagnostic corpus, synthetic: it is known whether sound or words carry the emotion")
    make_diagnostic(folder / "corpus", seed=seed, num_speakers=24)
    corpus = load_corpus("diagnostic", folder / "corpus")

    step(2, "Features, by two small encoders with random weights")
    save_encoders(folder / "encoders", seed)
    processor = TacfnProcessor.from_encoders(folder / "encoders" / "text", folder / "encoders" / "audio")
    features = extract_features(corpus, processor, folder / "features")

    step(3, "Training: with both modalities, with audio only, with text only")
    save_one_modality(features, "h_a", "h_t", folder / "features-audio")
    save_one_modality(features, "h_t", "h_a", folder / "features-text")
    checkpoint = folder / "checkpoint"
    tables = {
        "fused": train("fused", folder / "features", checkpoint, seed),
        "audio only": train("audio only", folder / "features-audio", folder / "audio-only", seed),
        "text only": train("text only", folder / "features-text", folder / "text-only", seed),
    }
    summary = compare(tables, features["test"])
    print("\nUA in % on the test speakers; beta of the fused model, near 1: audio was trusted, near 0: text")
    print(summary.rename(CONDITION_NAMES).to_string(float_format="{:.2f}".format, na_rep="-"))

    step(4, "A checkpoint with its card, ready for the Hub; loaded again")
    write_card(checkpoint)
    check_checkpoint(checkpoint)
    print(f"{checkpoint}: {', '.join(sorted(path.name for path in checkpoint.iterdir()))}")
    same = loads_again(checkpoint, features["test"], tables["fused"])
    recognizer = pipeline("multimodal-emotion-recognition", model=str(checkpoint))
    row = next(row for row in corpus["test"] if row["condition"] == "both")
    print(f"{row['audio']['path']}, {row['text']!r}")
    print(f"  made as: {corpus['test'].features['label'].int2str(row['label'])}, carried by {row['carrier']}")
    print(f"  the pipeline says: {recognizer({'audio': row['audio']['path'], 'text': row['text']}, top_k=2)}")

    write_json(folder / "quickstart.json", {"seed": seed, "conditions": summary.to_dict("index")})
    print(NEXT)
    judge(summary, same)


def step(number: int, what: str) -> None:
    """Prints the heading of a step."""
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


def save_one_modality(features: DatasetDict, kept: str, dropped: str, folder: Path) -> None:
    """Saves the features of one modality, without the rows that lack it."""
    lacking = "text_only" if kept == "h_a" else "audio_only"
    rows = features.filter(lambda condition: condition != lacking, input_columns="condition")
    rows.remove_columns(dropped).save_to_disk(folder)


def train(name: str, dataset: Path, output_dir: Path, seed: int) -> pd.DataFrame:
    """Trains a network as `tacfn train` does, and gives its predictions of the test split."""
    print(f"{name} ...", flush=True)
    args = TacfnTrainingArguments(
        output_dir=str(output_dir),
        seed=seed,
        report_to="none",
        dataloader_pin_memory=False,
    )
    run_training(DataArguments(dataset=str(dataset)), ModelArguments(), args, {}, quiet=True)
    for checkpoint in output_dir.glob("checkpoint-*"):  # of the training, which does not go on
        shutil.rmtree(checkpoint)
    table = pd.read_parquet(output_dir / "predictions.parquet")
    return table[table["split"] == "test"]


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


def loads_again(checkpoint: Path, test: Dataset, table: pd.DataFrame) -> bool:
    """Whether `AutoModel` on the checkpoint gives the first rows of the test split the labels and betas of `table`."""
    model = AutoModel.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        output = model(**TacfnDataCollator()(list(test.with_format("numpy").select(range(8)))))
    labels = [model.config.id2label[i] for i in output.logits.argmax(-1).tolist()]
    same = labels == table["prediction"][:8].tolist() and np.allclose(output.beta[:, 0], table["beta"][:8], atol=1e-5)
    print(f"AutoModel gives a {type(model).__name__} with {'the same' if same else 'OTHER'} labels and beta.")
    return same


def judge(summary: pd.DataFrame, same: bool) -> None:
    """Says what has to be so, and ends with an error where it is not."""
    overall, beta = summary.loc["all three"], summary["beta"]
    lead = {name: overall["fused"] - overall[name] for name in ("audio only", "text only")}
    leads = " and ".join(f"{points:.1f} points of UA above {name}" for name, points in lead.items())
    print(f"\nThe fused model is {leads}.")
    print(f"Mean beta is {beta['audio']:.2f} where audio carries the emotion, {beta['text']:.2f} where text does.")
    if not same or min(lead.values()) < 10 or beta["audio"] <= beta["text"]:
        sys.exit("Not as it should be: the same again, 10 points above both, a higher beta where audio carries it.")
