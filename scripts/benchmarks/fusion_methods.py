"""
One table of fusion methods: the network against the baselines of baselines.py, on the same folds, features, collator
and trainer, with several seeds.

    python scripts/benchmarks/fusion_methods.py --config iemocap --dataset features/iemocap --seeds 0 1 2 3 4 \\
        --output_dir runs/methods

Options are those of `tacfn cross-validate`, --methods and
--train_fraction. All methods get the same training, standardisation and
dropout of features, but not what is particular to the network (losses of one modality and of the gate). Their sizes
are SIZES. A run that is there already is not made again, so that several processes can make the methods of one
output_dir. output_dir gets `methods.json`, and for each method, fold and seed `metrics.json` and `predictions.parquet`.
"""

import json
import shutil
import sys
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from baselines import BASELINES, BaselineObjective, svm_by_label, svm_scores
from datasets import Dataset
from scipy.special import expit
from torch import nn
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, set_seed
from transformers.utils import logging

from tacfn_hf.cli.parsing import parse_training
from tacfn_hf.corpora.dataset_opening import open_dataset
from tacfn_hf.evaluation.calibration import fit_temperature
from tacfn_hf.evaluation.gate import REPLACEMENTS, measure_gate_truth, measure_missing, summarize_gate_truth
from tacfn_hf.evaluation.predictions import (
    Predicted,
    evaluate_split,
    figures_of,
    full_metrics,
    prediction_table,
    read_predictions,
    table_of,
)
from tacfn_hf.evaluation.record import RECORD, RunRecord
from tacfn_hf.evaluation.several_labels import fit_thresholds
from tacfn_hf.evaluation.significance import paired_permutation_test
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.labels import label_names_of
from tacfn_hf.features.splits import groups_of, split_dataset, without_unlabelled
from tacfn_hf.features.targets import CLASSES, SEVERAL, VALUES, class_counts, problem_type_for, with_targets
from tacfn_hf.model.configuration_tacfn import TacfnConfig
from tacfn_hf.training.arguments import CrossValidationArguments, ModelArguments
from tacfn_hf.training.cross_validation import (
    cells,
    check_arguments,
    fold_folder,
    make_folds,
    only_part,
    over_seeds,
    pool,
)
from tacfn_hf.training.objective import balanced_class_weights, positive_weights
from tacfn_hf.training.run import calibrate
from tacfn_hf.training.setup import build_model, set_statistics
from tacfn_hf.training.trainer import build_trainer
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import write_json


NETWORK, SVM = "tacfn", "SVM"
METHODS = (NETWORK, *BASELINES, SVM)
# For an MLP on means 256, 512 and 1024 were tried, by concatenation; the sizes of the two with attention were not.
MEANS = {"hidden_size": 1024}
SEQUENCES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "hidden_dropout_prob": 0.2}
SIZES = {
    **dict.fromkeys(BASELINES, MEANS),
    "MulT": {**SEQUENCES, "num_hidden_layers": 1},
    "first implementation": {**SEQUENCES, "num_hidden_layers": 2, "head": "mlp", "gate_hidden_size": 64},
}
TRUTH = (
    *(f"{modality}, {kind}" for kind in REPLACEMENTS for modality in ("audio", "text")),
    "occlusion AUC",
    "occlusion correlation",
)
GATED = (NETWORK, "GMU", "first implementation")


@dataclass(kw_only=True)
class MethodRecord(RunRecord):
    """`missing`: the result of `measure_missing`."""

    missing: dict[str, dict[str, float]] | None = None


@dataclass
class MethodArguments:
    """Which methods are compared, and on how many rows."""

    methods: list[str] = field(
        default_factory=lambda: list(METHODS), metadata={"help": f"Some of: {', '.join(METHODS)}."}
    )
    train_fraction: float = field(
        default=1.0,
        metadata={"help": "Share of the training and validation rows that are used; below 1 beta is not measured."},
    )


def main() -> None:
    be_quiet()
    more = (CrossValidationArguments, MethodArguments)
    data_args, model_args, args, cv_args, method_args = parse_training(sys.argv[1:], __doc__, "fusion_methods.py", more)
    unknown = [name for name in method_args.methods if name not in METHODS]
    if unknown:
        raise ValueError(f"methods names {', '.join(unknown)}: there are {', '.join(METHODS)}.")
    if data_args.target == "votes" and SVM in method_args.methods:
        raise ValueError("An SVM learns classes, and the target is votes: leave it out, with --methods.")
    if problem_type_for(data_args.target) != CLASSES and "late fusion" in method_args.methods:
        raise ValueError("late fusion is a mean of the probabilities of classes: leave it out, with --methods.")
    if not 0 < method_args.train_fraction <= 1:
        raise ValueError(f"train_fraction is {method_args.train_fraction}: it must be above 0, and at most 1.")
    output_dir = Path(args.output_dir)
    dataset, folds = open_folds(data_args, args, cv_args)
    settings = {**asdict(data_args), **asdict(model_args), **args.to_dict()}
    settings = {name: value for name, value in settings.items() if name not in ("output_dir", "logging_dir", "seed")}
    settings["train_fraction"] = method_args.train_fraction
    settings = json.loads(json.dumps(settings, default=str))

    runs = [
        (method, fold, seed)
        for method in method_args.methods
        for fold in folds
        for seed in (cv_args.seeds[:1] if method == SVM else cv_args.seeds)  # an SVM has no chance in it
    ]
    with tqdm(runs, desc="Fusion methods", unit="run") as bar:
        for method, fold, seed in bar:
            bar.set_postfix_str(f"{method}, fold {fold}, seed {seed}")
            folder = run_folder(output_dir, method, fold, seed)
            parts = split_dataset(dataset, replace(data_args, test_groups=folds[fold]))
            if "valid" not in parts:
                raise ValueError("There is no validation part to calibrate on: give valid_fraction.")
            for name in ("train", "valid"):
                parts[name] = share_of(parts[name], method_args.train_fraction, data_args.split_seed)
            made_of = {name: part._fingerprint for name, part in parts.items()}
            used = settings if method == NETWORK else {**without_own(settings), **SIZES.get(method, {})}
            if (folder / RECORD).is_file():
                found = MethodRecord.read(folder)
                if (found.settings, found.made_of) != (used, made_of):
                    raise ValueError(f"{folder} holds a run with other arguments or data: choose another output_dir.")
                continue
            # A copy for each run, since a Trainer changes its arguments.
            of_run = replace(args, output_dir=str(folder / "checkpoints"), seed=seed)
            result, table, about = (
                svm(parts, args.class_weights, data_args)
                if method == SVM
                else train(method, parts, (data_args, model_args, of_run), measured=method_args.train_fraction == 1)
            )
            rows = {name: len(part) for name, part in parts.items()}
            about |= {"dataset": data_args.dataset, "rows": rows, "settings": used, "made_of": made_of}
            MethodRecord(metrics={"test": result}, **about).write(folder, {"test": table})
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    groups = groups_of(dataset, data_args.valid_group_column or data_args.group_column, "group_column")
    groups = dict(zip(dataset.with_format(None)["id"][:], groups, strict=True))
    report = summarize(output_dir, method_args.methods, folds, cv_args.seeds, groups)
    write_json(output_dir / "methods.json", {**report, "settings": settings})
    print(format_methods(report))


def open_folds(
    data_args: DataArguments, args: TacfnTrainingArguments, cv_args: CrossValidationArguments
) -> tuple[Dataset, dict[str, list[str]]]:
    """The dataset of the arguments, as `tacfn cross-validate` opens it, and the groups that each fold tests."""
    check_arguments(data_args, args, cv_args)
    dataset = only_part(open_dataset(data_args.dataset))
    if data_args.drop_unlabelled and data_args.target != "votes":
        dataset = without_unlabelled(dataset, "train", data_args.target)
    return dataset, make_folds(dataset, data_args, cv_args.num_folds)


def be_quiet() -> None:
    """Leaves nothing on the terminal but the bar of the whole and the table."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", message="'pin_memory' argument")


def quiet_trainer(model: nn.Module, args: TacfnTrainingArguments, parts: dict[str, Dataset]) -> Trainer:
    """The trainer of `tacfn train`, without its bar and lines."""
    trainer = build_trainer(model, args, parts)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer


def run_folder(output_dir: Path, method: str, fold: str, seed: int) -> Path:
    return output_dir / method.replace(" ", "_") / fold_folder(fold) / f"seed-{seed}"


def share_of(part: Dataset, fraction: float, seed: int) -> Dataset:
    """A share of the rows of a part, drawn with the seed, in their order."""
    if fraction == 1:
        return part
    rows = np.random.default_rng(seed).permutation(len(part))[: round(fraction * len(part))]
    return part.select(np.sort(rows))


def without_own(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that count for a baseline: those of the data and of transformers, and the dropouts."""
    own = {*ModelArguments.__dataclass_fields__, "unimodal_loss_weight", "gate_loss_weight", "noise_prob"}
    own -= {"hidden_dropout_prob", "feature_dropout_prob"}
    return {name: value for name, value in settings.items() if name not in own}


def train(
    method: str, parts: dict[str, Dataset], arguments: tuple[Any, ...], measured: bool
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """
    A method trained and calibrated on its parts: figures and predictions of the test part, fields of its record.
    `arguments` are those of the data, of the model and of the training. `measured`: also what beta is worth.
    """
    data_args, model_args, args = arguments
    set_seed(args.seed)
    model: nn.Module = build_model(parts["train"], model_args, data_args=data_args)
    parts = with_targets(parts, label_names_of(model.config), data_args)
    if method != NETWORK:
        config = TacfnConfig.from_dict({**model.config.to_dict(), **SIZES[method]})
        config.gate_reads_distance = False
        set_seed(args.seed)
        model = BASELINES[method](config)
        set_statistics(model, parts["train"])
    trainer = quiet_trainer(model, args, parts)
    if method != NETWORK:
        own = trainer.objective
        trainer.objective = BaselineObjective(
            own.class_weights, own.label_smoothing, regression_loss=own.regression_loss
        )
    seconds = trainer.train().metrics["train_runtime"]
    calibrate(trainer, parts["valid"], data_args.target)
    result, table = evaluate_split(trainer, parts["test"])
    classes = model.config.problem_type == CLASSES
    truth = measure_gate_truth(model, parts["test"]) if classes and method in GATED and measured else None
    missing = measure_missing(model, parts["test"]) if classes and truth is None else None
    about = {
        "num_parameters": sum(weight.numel() for weight in model.parameters()),
        "training_seconds": seconds,
        "label_names": label_names_of(model.config),
        "temperatures": model.config.temperatures,
        "gate_truth": truth,
        "problem_type": model.config.problem_type,
        "missing": missing if truth is None else truth["missing"],
    }
    return result, table, about


def svm(
    parts: dict[str, Dataset], class_weights: str, data_args: DataArguments
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """The same of the SVM, whose decision function stands in the place of logits."""
    config = build_model(parts["train"], ModelArguments(hidden_size=8), data_args=data_args).config
    parts = with_targets(parts, label_names_of(config), data_args)
    rows = {name: part.with_format("numpy") for name, part in parts.items()}
    names = label_names_of(config)
    counts = None if config.problem_type == VALUES else class_counts(parts["train"], names)
    if config.problem_type != CLASSES:
        weights = (
            positive_weights(counts, len(parts["train"]), names)
            if class_weights == "balanced" and counts is not None
            else None
        )
        valid, test, size = svm_by_label(config, weights, rows["train"], rows["valid"], rows["test"])
        if config.problem_type == SEVERAL:
            config.thresholds = fit_thresholds(expit(valid), np.stack([row["labels"] for row in rows["valid"]]))
        there = np.ones(len(test), dtype=bool)
        labels = np.stack([row["labels"] for row in rows["test"]])
        made = Predicted.by(config, (test, np.full((len(test), 1), np.nan), there, there), labels)
        about = {"num_parameters": size, "label_names": names, "temperatures": {}, "problem_type": config.problem_type}
        return figures_of(made), table_of(rows["test"]["id"][:], made), about
    weights = balanced_class_weights(counts, names) if class_weights == "balanced" else None
    valid, test, size = svm_scores(config, weights, rows["train"], rows["valid"], rows["test"])
    valid_labels, labels = (np.asarray(parts[name].with_format(None)["label"][:]) for name in ("valid", "test"))
    temperature = fit_temperature(valid, valid_labels)
    predicted = (test, np.full((len(test), 1), np.nan), labels, names, temperature)
    table = prediction_table(parts["test"].with_format(None)["id"][:], *predicted)
    about = {"num_parameters": size, "label_names": names, "temperatures": {"both": temperature}}
    return full_metrics(*predicted), table, about


def summarize(
    output_dir: Path, methods: list[str], folds: dict[str, list[str]], seeds: list[int], groups: dict[str, str]
) -> dict[str, Any]:
    """
    For each method the figures of all folds' test rows together by seed, with mean and standard deviation; parameters
    and seconds of training (means over the runs); beta's truth (mean over the runs); and how far the network is above
    it, with p of an exchange by `groups`, each utterance's by its id.
    """
    found, tables = {}, {}
    for method in methods:
        figures, records, tables[method] = {}, [], []
        for seed in seeds[:1] if method == SVM else seeds:
            folders = [run_folder(output_dir, method, fold, seed) for fold in folds]
            records += map(MethodRecord.read, folders)
            table = pd.concat(map(read_predictions, folders))
            figures[seed] = pool(table, records[-1].label_names, records[-1].problem_type)
            tables[method].append(table.sort_values("id"))
        seconds = [record.training_seconds for record in records if record.training_seconds is not None]
        truths, missing = [record.gate_truth for record in records], [record.missing for record in records]
        found[method] = {
            **over_seeds(figures),
            "num_parameters": round(np.mean([record.num_parameters for record in records])),
            "training_seconds": float(np.mean(seconds)) if seconds else None,
            "gate_truth": summarize_gate_truth(truths) if all(truths) else None,
            "missing": {
                f"UA {name}": float(np.mean([of[name]["UA"] for of in missing])) if all(missing) else None
                for name in ("audio only", "text only")
            },
        }
    if NETWORK in methods and records[-1].problem_type == CLASSES:
        labels = tables[NETWORK][0]["label"].to_numpy()
        group_of = tables[NETWORK][0]["id"].map(groups).to_numpy()
        right = {name: np.stack([t["label"].eq(t["prediction"]) for t in tables[name]]) for name in methods}
        for method in methods:
            if method != NETWORK:
                found[method]["network_above"] = paired_permutation_test(
                    right[NETWORK], right[method], labels, group_of
                )
    return {"methods": found, "seeds": seeds, "folds": folds}


def format_methods(report: dict[str, Any]) -> str:
    """Two tables: figures in %, mean ± standard deviation over the seeds; and what is known of beta."""

    def number(value: float | None, pattern: str) -> str:
        return "-" if value is None else format(value, pattern)

    rows, truths = [], []
    for name, method in report["methods"].items():
        above = method.get("network_above", {}).get("UA")
        rows.append(
            {
                "method": name,
                **dict(zip(sorted(method["mean"], key="beta_mean".__eq__), cells(method), strict=True)),
                "parameters": f"{method['num_parameters'] / 1e6:.2f} M",
                "training s": number(method["training_seconds"], ".0f"),
                "network's UA above": "-" if above is None else f"{100 * above['difference']:+.1f}",
                "p": "-" if above is None else f"{above['p']:.4f}",
            }
        )
        if all(method["missing"].values()):
            missing = {figure: f"{100 * value:.1f}" for figure, value in method["missing"].items()}
            truth = method["gate_truth"] or {}
            truths.append(
                {"method": name, **missing, **{figure: number(truth.get(figure), "+.2f") for figure in TRUTH}}
            )
    return (
        "Test rows of all folds together, in % (CCC, errors and beta as they are); mean ± standard deviation (n - 1) "
        f"over the seeds {' '.join(map(str, report['seeds']))}.\n{pd.DataFrame(rows).to_string(index=False)}\n\n"
        "UA in % with one modality (means over the runs); of beta the rank correlation with the corrupted share, which "
        "should be near -1 for audio and 1 for text, and its agreement with occlusion.\n"
        f"{pd.DataFrame(truths).to_string(index=False) if truths else '-'}"
    )


if __name__ == "__main__":
    main()
