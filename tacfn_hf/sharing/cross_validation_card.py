"""The card of a cross-validation, over all of its folds and seeds."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard
from transformers import AutoConfig

from ..evaluation.predictions import read_predictions
from ..evaluation.record import RunRecord, changed_arguments
from ..evaluation.several_labels import several_figures_of_table
from ..evaluation.values import value_figures_of_table
from ..features.arguments import DataArguments
from ..features.targets import CLASSES, SEVERAL
from ..training.arguments import FineTuningArguments, ModelArguments, flags
from ..training.cross_validation import REPORT, run_folder
from ..training.training_arguments import TacfnFineTuningArguments, TacfnTrainingArguments
from ..writing import read_json
from .card_values import card_data, draw_pictures, save_card, shared_values, shown_groups


def write_cross_validation_card(
    folder: str | Path,
    path: str | Path,
    license: str | None = None,
    language: str | list[str] | None = None,
    features: str | None = None,
) -> ModelCard:
    """
    Writes the card of a cross-validation, and beside it the pictures of `draw_pictures`, as `<name>-*.png`.

    Args:
        folder: what `tacfn cross-validate` left: cross_validation.json, and a folder for each fold and seed.
        path: the card, `<name>.md`.
        license, language, features: as in `write_card`.

    Raises:
        ValueError: the folder has no report, or lacks a run that the report is about.
    """
    path = Path(path)
    report, runs, records, table = read_runs(folder)
    folds, seeds = report["folds"], list(report["pooled"]["seeds"])
    ids = set(table["id"])
    config = AutoConfig.from_pretrained(list(runs.values())[-1])
    tuned = records[list(runs)[0]].command == "tacfn fine-tune"
    kinds = (FineTuningArguments, TacfnFineTuningArguments) if tuned else (ModelArguments, TacfnTrainingArguments)
    arguments = changed_arguments(report["settings"], DataArguments, *kinds)
    values = shared_values(list(records.values()), config, arguments, ids)
    label_names = values["record"].label_names
    draw_pictures(table, label_names, path.parent, f"{path.stem}-")
    results = {f"fold {name}": of for name, of in folds.items()}
    figures = [("test", name, of["mean"]) for name, of in {**results, "pooled": report["pooled"]}.items()]
    return save_card(
        path,
        card_data(path.stem, values["dataset"], figures, license=license, language=language),
        **values,
        title=path.stem,
        languages=[language] if isinstance(language, str) else language or values["record"].languages,
        speakers={f"fold {fold}": of.speakers["test"] for (fold, _), of in records.items() if of.speakers},
        features_note=features,
        folds={
            name: {"groups": shown_groups(of["test_groups"], ids), "rows": of["rows"]} for name, of in folds.items()
        },
        seeds=seeds,
        results={**results, "mean over folds": report["mean_over_folds"], "pooled": report["pooled"]},
        part="pooled",
        classes=classes_of(table, label_names, values["record"].problem_type),
        prefix=f"{path.stem}-",
        command_name="tacfn fine-tune" if tuned else "tacfn cross-validate",
        seconds=[record.training_seconds for record in records.values()],
        devices=sorted({record.device for record in records.values()}),
        command=None if tuned else command(report, values["dataset"], arguments),
    )


def read_runs(
    folder: str | Path,
) -> tuple[dict[str, Any], dict[tuple[str, str], Path], dict[tuple[str, str], RunRecord], pd.DataFrame]:
    """
    What a cross-validation left: its report; by fold and seed the folders and the records of its runs; and the
    predictions of all test rows, with a column `seed`.

    Raises:
        ValueError: as `write_cross_validation_card`.
    """
    folder = Path(folder)
    if not (folder / REPORT).is_file():
        raise ValueError(f"{folder} has no {REPORT}: it is not the folder of a finished cross-validation.")
    report = read_json(folder / REPORT)
    seeds = list(report["pooled"]["seeds"])
    runs = {(fold, seed): run_folder(folder, fold, seed) for fold in report["folds"] for seed in seeds}
    records = {run: RunRecord.read(of_run) for run, of_run in runs.items()}
    table = pd.concat([read_predictions(of_run).assign(seed=seed) for (_, seed), of_run in runs.items()])
    return report, runs, records, table[table["split"] == "test"].reset_index(drop=True)


def classes_of(table: pd.DataFrame, label_names: Sequence[str], problem_type: str) -> list[dict[str, Any]]:
    """The figures of each class, label or value, from the test rows of all folds and seeds."""
    if problem_type == CLASSES:
        return [figures_of_class(name, table[table["label"] == name]) for name in label_names]
    several = problem_type == SEVERAL
    of_table, key = (several_figures_of_table, "per_label") if several else (value_figures_of_table, "per_value")
    of_seeds = [of_table(of_seed, label_names)[key] for _, of_seed in table.groupby("seed")]
    found = []
    for rows in zip(*of_seeds, strict=True):
        figures = pd.DataFrame(rows).drop(columns=["label", "support"])
        found.append({**rows[0], **figures.mean().to_dict()})
    return found


def figures_of_class(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """Recall and beta of one class, from its test rows of all folds: means and standard deviations over the seeds."""
    seeds = table.assign(recall=table["prediction"] == table["label"]).groupby("seed")[["recall", "beta"]].mean()
    std = seeds.std(ddof=1) if len(seeds) > 1 else dict.fromkeys(seeds)
    return {
        "label": name,
        "support": len(table) // max(len(seeds), 1),
        **{f"{figure}_mean": seeds[figure].mean() for figure in seeds},
        **{f"{figure}_std": std[figure] for figure in seeds},
    }


def command(report: dict[str, Any], dataset: str, arguments: dict[str, Any]) -> str:
    """
    The command line that made the report, but for where the features lie and the results go. What a recipe gave is
    among the arguments.
    """
    given = {"dataset": f"features/{dataset}", **arguments}
    folds = report["folds"]
    if any(fold["test_groups"] != [name] for name, fold in folds.items()):
        given["num_folds"] = len(folds)
    given |= {"seeds": list(report["pooled"]["seeds"]), "output_dir": f"runs/{dataset}"}
    return shlex.join(["tacfn", "cross-validate", *flags(given)])
