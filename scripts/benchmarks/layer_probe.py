"""
Which layer of a speech encoder knows most about the emotion: UA of a linear model on the mean over time of each layer,
tested on groups that it was not trained on.

    python scripts/benchmarks/layer_probe.py --dataset corpus.parquet --id_column file --group_column speaker \\
        --audio_encoder openai/whisper-base

The linear model is a logistic regression on standardised features, with balanced class weights; its strength of
regularisation is chosen by folds inside of the training part. All layers come from one pass over the audio. The last
rows are of the mean over all layers, and of their mean with weights that are learned (Yang et al. 2021, SUPERB).
"""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm
from transformers import AutoConfig, HfArgumentParser

from tacfn_hf import TacfnProcessor
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.features.rows_to_encode import rows_to_encode


@dataclass
class ProbeArguments:
    """Arguments of the command line."""

    dataset: str = field(metadata={"help": "Audio and labels: a folder of save_to_disk, or Parquet."})
    group_column: str = field(metadata={"help": "What must not be in training and test: the speaker, the session."})
    audio_encoder: str = field(default="microsoft/wavlm-base-plus", metadata={"help": "A Hub id or a folder."})
    text_encoder: str = field(default="google-bert/bert-base-uncased", metadata={"help": "Any; it is not run."})
    id_column: str = field(default="id", metadata={"help": "Column whose values differ from row to row."})
    pad_to_30s: bool = field(default=True, metadata={"help": "Of Whisper: as it was trained, or without padding."})
    num_folds: int = field(default=5, metadata={"help": "Sets of groups; each is tested once."})
    device: str = field(default="cpu", metadata={"help": "Where the encoder runs."})
    output: str | None = field(default=None, metadata={"help": "Also write the table to this JSON file."})


def main() -> None:
    """Prints the table, and writes it where `--output` says."""
    (args,) = HfArgumentParser(ProbeArguments, description=__doc__).parse_args_into_dataclasses()
    rows = rows_to_encode(open_dataset(args.dataset), id_column=args.id_column)
    num_layers = AutoConfig.from_pretrained(args.audio_encoder).num_hidden_layers + 1
    processor = TacfnProcessor.from_encoders(
        args.text_encoder, args.audio_encoder, audio_layer=list(range(num_layers)), pad_to_30s=args.pad_to_30s
    ).to(args.device)
    features = layer_means(processor, rows, num_layers)
    labels, groups = np.asarray(rows["label"][:]), np.asarray([str(group) for group in rows[args.group_column][:]])
    kinds = {str(layer): features[:, layer] for layer in range(num_layers)}
    kinds |= {"mean": features.mean(axis=1), "learned mean": features}
    table = pd.DataFrame(
        {"layer": name, **linear_recall(h, labels, groups, args.num_folds)}
        for name, h in tqdm(kinds.items(), desc="Layers")
    )
    print(f"UA in % of a linear model on {args.audio_encoder}, {args.num_folds} folds by {args.group_column}")
    print(table.to_string(index=False, float_format="{:.1f}".format))
    if args.output:
        Path(args.output).write_text(json.dumps(table.to_dict("records"), indent=2) + "\n", encoding="utf-8")


def layer_means(processor: TacfnProcessor, rows, num_layers: int) -> np.ndarray:
    """Means over time `[N, num_layers, d]` of all hidden states."""
    encoder = processor.audio_encoder
    encoder.select = lambda hidden_states: torch.cat([h.float() for h in hidden_states], dim=-1)
    means = []
    for row in tqdm(rows, desc="Encoding", unit="utterance"):
        (h,) = processor.encode_audio([processor.load_audio(row["audio"], name=row["id"])])
        means.append(h.mean(dim=0).view(num_layers, -1).numpy())
    return np.stack(means)


def layer_weights(h: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """
    Weights `[num_layers]` of the mean over standardised layers `h [N, num_layers, d]`: softmax of numbers that are
    learned along with a logistic regression on that mean, which starts as the plain one.

    Args:
        strength: C of scikit-learn's `LogisticRegression`.
    """
    layers, targets = torch.tensor(h, dtype=torch.float64), torch.tensor(labels)
    counts = torch.bincount(targets)
    mix, weight, bias = (
        torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((h.shape[1],), (h.shape[2], len(counts)), (len(counts),))
    )
    optimizer = torch.optim.LBFGS([mix, weight, bias], max_iter=200, line_search_fn="strong_wolfe")
    class_weights = len(targets) / (len(counts) * counts.double())

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.einsum("l,nld->nd", mix.softmax(dim=0), layers) @ weight + bias
        losses = torch.nn.functional.cross_entropy(logits, targets, class_weights, reduction="none")
        total = losses.mean() + weight.square().sum() / (2 * strength * len(targets))
        total.backward()
        return total

    optimizer.step(loss)
    return mix.softmax(dim=0).detach().numpy()


def linear_recall(h: np.ndarray, labels: np.ndarray, groups: np.ndarray, num_folds: int) -> dict[str, float]:
    """
    UA in % of all test rows together, and its standard deviation over the folds, of a linear model on `h [N, d]`, or
    on the mean of layers `[N, num_layers, d]` with learned weights.
    """
    predictions, of_folds = np.empty_like(labels), []
    for train, test in GroupKFold(num_folds, shuffle=True, random_state=0).split(h, labels, groups):
        inner = list(GroupKFold(3).split(h[train], labels[train], groups[train]))

        def fitted(h: np.ndarray, train: np.ndarray = train, inner: list = inner) -> Pipeline:
            model = LogisticRegressionCV(
                Cs=np.logspace(-4, 0, 5), cv=inner, class_weight="balanced", scoring="balanced_accuracy", max_iter=500
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return make_pipeline(StandardScaler(), model).fit(h[train], labels[train])

        vectors = h
        if h.ndim == 3:
            layers = (h - h[train].mean(axis=0)) / (h[train].std(axis=0) + 1e-8)
            strength = float(np.mean(fitted(layers.mean(axis=1))[-1].C_))
            vectors = np.einsum("l,nld->nd", layer_weights(layers[train], labels[train], strength), layers)
        predictions[test] = fitted(vectors).predict(vectors[test])
        of_folds.append(recall_score(labels[test], predictions[test], average="macro"))
    return {
        "UA": 100 * recall_score(labels, predictions, average="macro"),
        "folds": 100 * float(np.std(of_folds, ddof=1)),
    }


if __name__ == "__main__":
    main()
