"""
Does a network that learns emotions and something else together learn either better than by itself? The table has both
targets, each alone and together, with several seeds.

    python scripts/benchmarks/two_targets.py --config iemocap --dataset features/iemocap \\
        --second arousal,valence,dominance --target_range 0.5 5.5 --seeds 0 1 2 --output_dir runs/two-targets
    python scripts/benchmarks/two_targets.py --config meld --dataset features/meld --second sentiment --num_folds 5 \\
        --class_weights balanced --seeds 0 1 2 --output_dir runs/meld-two-targets

Options are those of `tacfn cross-validate`, --second and --second_weight. The classes of the column `label` are the
first target. The second one is columns of numbers (with --target_range), or a column of names. Together they are two
linear layers on the same fused vector, and the loss is the sum of both, each of its own pass with its own dropout.
output_dir gets `two_targets.json`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import ClassLabel, Dataset
from fusion_methods import be_quiet, open_folds, quiet_trainer
from sklearn.metrics import recall_score
from tqdm.auto import tqdm
from transformers import set_seed

from tacfn_hf.cli.parsing import parse_training
from tacfn_hf.evaluation.values import concordance_correlation
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.features.targets import CLASSES, VALUES, check_range, value_columns, values_of, with_vectors
from tacfn_hf.training.arguments import CrossValidationArguments
from tacfn_hf.training.cross_validation import over_seeds
from tacfn_hf.training.objective import Objective, balanced_class_weights
from tacfn_hf.training.setup import build_model
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import write_json


@dataclass
class TwoTargetsArguments:
    """The second target."""

    second: str = field(metadata={"help": "Columns of numbers with commas between them, or one column of names."})
    second_weight: float = field(default=1.0, metadata={"help": "Weight of the loss of the second target."})


@dataclass
class Target:
    """A target: its names, and of each part the classes `[N]` or the values `[N, D]`."""

    names: list[str]
    problem_type: str
    of_part: Callable[[Dataset], np.ndarray]


def main() -> None:
    be_quiet()
    more = (CrossValidationArguments, TwoTargetsArguments)
    data_args, model_args, args, cv_args, two_args = parse_training(sys.argv[1:], __doc__, "two_targets.py", more)
    value_range, data_args = data_args.target_range, replace(data_args, target_range=None)
    dataset, folds = open_folds(data_args, args, cv_args)
    first = classes_of(dataset, "label")
    second = second_target(dataset, two_args.second, value_range)
    kinds = {"first alone": [first], "second alone": [second], "together": [first, second]}
    found: dict[str, Any] = {}
    bar = tqdm(total=len(kinds) * len(cv_args.seeds) * len(folds), desc="Two targets", unit="run")
    for kind, targets in kinds.items():
        by_seed: dict[str, dict[int, dict[str, float]]] = {}
        for seed in cv_args.seeds:
            said: list[tuple[np.ndarray, list[np.ndarray]]] = []
            for fold, groups in folds.items():
                bar.set_postfix_str(f"{kind}, fold {fold}, seed {seed}")
                parts = split_dataset(dataset, replace(data_args, test_groups=groups))
                folder = Path(args.output_dir, "checkpoints")
                of_run = replace(args, output_dir=str(folder), seed=seed)
                said.append(predict(parts, targets, model_args, of_run, two_args.second_weight))
                bar.update()
            for i, target in enumerate(targets):
                logits, true = (np.concatenate([run[i][of] for run in said]) for of in range(2))
                name = "first" if target is first else "second"
                by_seed.setdefault(name, {})[seed] = figures_of(target, logits, true)
        found[kind] = {name: over_seeds(figures) for name, figures in by_seed.items()}
    write_json(Path(args.output_dir, "two_targets.json"), {"kinds": found, "seeds": cv_args.seeds, "folds": folds})
    rows = []
    for kind, of_kind in found.items():
        for of in of_kind.values():
            spread = {name: "" if of["std"][name] is None else f" ± {of['std'][name]:.3f}" for name in of["mean"]}
            rows.append({"training": kind, **{name: f"{of['mean'][name]:.3f}{spread[name]}" for name in of["mean"]}})
    print(pd.DataFrame(rows).fillna("").to_string(index=False))


def classes_of(dataset: Dataset, column: str) -> Target:
    """A target of classes, by a `ClassLabel` or a column of names."""
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        return Target(feature.names, CLASSES, lambda part: np.array(part.with_format(None)[column][:]))
    names = sorted(set(dataset.with_format(None)[column][:]))
    return Target(names, CLASSES, lambda part: np.array([names.index(of) for of in part.with_format(None)[column][:]]))


def second_target(dataset: Dataset, second: str, value_range: list[float] | None) -> Target:
    """Values where there is a range of them, else classes."""
    if value_range is None:
        return classes_of(dataset, second)
    check_range(second, value_range)
    columns = value_columns(second)
    return Target(columns, VALUES, lambda part: values_of(part, columns, value_range, "a part"))


class View:
    """Of a network for several targets, what an `Objective` needs of a network for one of them."""

    def __init__(self, network: Any, place: slice, target: Target):
        self.network, self.place = network, place
        self.config = SimpleNamespace(
            **{**vars(network.config), "problem_type": target.problem_type, "num_labels": len(target.names)}
        )
        self.model, self.training = network.model, network.training

    def __call__(self, **inputs: torch.Tensor) -> Any:
        output = self.network(**inputs)
        output.logits = output.logits[:, self.place]
        return output


@dataclass
class TogetherObjective:
    """The sum of the objectives of several targets, whose labels lie side by side."""

    targets: list[Target]
    objectives: list[Objective]
    weights: list[float]

    def __call__(self, model, inputs, labels, num_items=None, network=None):
        total, start, at = 0.0, 0, 0
        for target, objective, weight in zip(self.targets, self.objectives, self.weights, strict=True):
            place = slice(start, start + len(target.names))
            width = 1 if target.problem_type == CLASSES else len(target.names)
            own = labels[:, at].long() if target.problem_type == CLASSES else labels[:, at : at + width]
            total = total + weight * objective(View(model, place, target), inputs, own)[0]
            start, at = place.stop, at + width
        return total, model(**inputs)

    def is_of_all_rows(self, network) -> bool:
        return True  # nothing is counted over several processes: there is one


def predict(
    parts: dict[str, Dataset],
    targets: list[Target],
    model_args: Any,
    args: TacfnTrainingArguments,
    second_weight: float,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each target the outputs of the test rows, and what is true."""
    columns = [name for target in targets for name in target.names]
    vectors = {
        name: np.concatenate([of.reshape(len(part), -1) for of in (target.of_part(part) for target in targets)], axis=1)
        for name, part in parts.items()
    }
    set_seed(args.seed)
    model = build_model(parts["train"], model_args, data_args=DataArguments("", target="label"))
    settings = {**model.config.to_dict(), "id2label": dict(enumerate(columns)), "label2id": None}
    set_seed(args.seed)
    config = type(model.config).from_dict({**settings, "problem_type": "multi_label_classification"})
    made = type(model)(config)
    made.model.load_state_dict(model.model.state_dict())
    rows = {name: with_vectors(part, vectors[name]) for name, part in parts.items()}
    trainer = quiet_trainer(made, replace(args, class_weights="none"), rows)
    trainer.compute_metrics = None
    own = trainer.objective
    objectives = []
    for i, target in enumerate(targets):
        weights = None
        if target.problem_type == CLASSES and args.class_weights == "balanced":
            counts = np.bincount(target.of_part(parts["train"]), minlength=len(target.names))
            weights = balanced_class_weights(counts, target.names)
        gate = own.gate_loss_weight if i == 0 else 0.0
        kept = replace(own, class_weights=weights, gate_loss_weight=gate)
        objectives.append(replace(kept, regression_loss=args.regression_loss))
    trainer.objective = TogetherObjective(targets, objectives, [1.0, second_weight][: len(targets)])
    trainer.train()
    output = trainer.predict(rows["test"])
    found, start = [], 0
    for target in targets:
        logits = output.predictions[0][:, start : start + len(target.names)]
        found.append((logits, target.of_part(parts["test"])))
        start += len(target.names)
    return found


def figures_of(target: Target, logits: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """UA of classes, or CCC of each value."""
    if target.problem_type == CLASSES:
        return {f"UA of {len(target.names)} classes": recall_score(true, logits.argmax(axis=1), average="macro")}
    return {name: concordance_correlation(logits[:, i], true[:, i]) for i, name in enumerate(target.names)}


if __name__ == "__main__":
    main()
