"""The card of a cross-validation, over all of its folds and seeds."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard

from ..evaluation.record import SPLIT_ARGUMENTS, changed_arguments, read_run
from ..features.arguments import DataArguments
from ..model.configuration_tacfn import TacfnConfig
from ..training.arguments import ModelArguments, flags
from ..training.cross_validation import REPORT, cells, run_folder
from ..training.training_arguments import TacfnTrainingArguments
from .card_values import (
    argument_rows,
    card_data,
    draw_pictures,
    gate_values,
    last_name,
    save_card,
    shared_values,
    shown_groups,
    temperature_line,
)


def write_cross_validation_card(
    folder: str | Path,
    path: str | Path,
    license: str | None = None,
    language: str | list[str] | None = None,
    features: str | None = None,
) -> ModelCard:
    """
    Writes the card of a cross-validation, and beside it `<name>-confusion.png` and `<name>-beta.png`.

    Args:
        folder: what `tacfn cross-validate` left: cross_validation.json, and a folder for each fold and seed.
        path: the card, `<name>.md`.
        license, language, features: as in `write_card`.

    Raises:
        ValueError: the folder has no report, or lacks a run that the report is about.
    """
    folder, path = Path(folder), Path(path)
    if not (folder / REPORT).is_file():
        raise ValueError(f"{folder} has no {REPORT}: it is not the folder of a finished cross-validation.")
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    seeds = [int(seed) for seed in report["pooled"]["seeds"]]
    abouts, tables = {}, []
    for fold in report["folds"]:
        for seed in seeds:
            results, table = read_run(run_folder(folder, fold, seed))
            abouts[fold, seed] = results["about"]
            tables.append(table[table["split"] == "test"].assign(seed=seed))
    table = pd.concat(tables, ignore_index=True)
    about, config = abouts[fold, seed], TacfnConfig.from_pretrained(run_folder(folder, fold, seed))
    label_names = about["label_names"]
    speakers = {f"fold {fold}": of["speakers"]["test"] for (fold, _), of in abouts.items() if "speakers" in of}
    arguments = changed_arguments(report["settings"], DataArguments, ModelArguments, TacfnTrainingArguments)
    dataset = last_name(report["settings"]["dataset"])
    draw_pictures(table, label_names, path.parent, f"{path.stem}-")
    everything = {**{f"fold {fold}": figures for fold, figures in report["folds"].items()}, "pooled": report["pooled"]}
    figures = [("test", name, figures["mean"]) for name, figures in everything.items()]
    seconds = [about["training_seconds"] for about in abouts.values()]
    devices = sorted({about["device"] for about in abouts.values() if "device" in about})
    return save_card(
        path,
        card_data(path.stem, dataset, figures, license=license, language=language),
        **shared_values(config, {**about, "speakers": speakers}, language, features, license),
        title=path.stem,
        folds=[
            [f"fold {name}", shown_groups(fold["test_groups"], set(table["id"])), fold["rows"]]
            for name, fold in report["folds"].items()
        ],
        dataset=dataset,
        rows=sum(fold["rows"] for fold in report["folds"].values()),
        partition=", ".join(f"`{name}` {value}" for name, value in arguments.items() if name in SPLIT_ARGUMENTS),
        seeds=", ".join(report["pooled"]["seeds"]),
        split_seed=report["settings"]["split_seed"],
        results=results_values(report, list(abouts.values())),
        part="pooled",
        classes=classes_values(table, label_names, seeds),
        prefix=f"{path.stem}-",
        gate=gate_values([about.get("gate_truth") for about in abouts.values()]),
        command_name="tacfn cross-validate",
        arguments=argument_rows(arguments),
        facts=[
            ("seconds of training", f"{min(seconds):g} to {max(seconds):g} each"),
            *(("device", device) for device in devices),
            ("parameters", about["num_parameters"]),
        ],
        command=command(report, dataset, arguments),
    )


def results_values(report: dict[str, Any], abouts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of each fold and of all."""
    shown = {f"fold {name}": figures for name, figures in report["folds"].items()}
    shown |= {"mean over folds": report["mean_over_folds"], "pooled": report["pooled"]}
    seeds = report["pooled"]["seeds"]
    about = (
        "Test rows; WA (accuracy), UA (mean recall of the classes), weighted F1 and ECE (expected calibration error) "
        "in %."
    )
    if len(seeds) > 1:
        about += f" Mean ± standard deviation (n - 1) over {len(seeds)} seeds; pooled: over all test rows of a seed."
    return {
        "header": ["fold", "WA", "UA", "wF1", "ECE", "mean beta"],
        "rows": [[name, *cells(figures)] for name, figures in shown.items()],
        "about": [about, temperature_line(abouts)],
    }


def classes_values(table: pd.DataFrame, label_names: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Recall and beta of each class, over the test rows of all folds: a mean over the seeds."""
    right = (table["prediction"] == table["label"]).groupby([table["seed"], table["label"]]).mean()
    beta = table.groupby(["seed", "label"])["beta"].mean()
    rows = []
    for label in label_names:
        count = int((table["label"] == label).sum()) // len(seeds)
        figures = ["", ""]
        if count:
            figures = [over_seeds(100 * right[:, label], 1), over_seeds(beta[:, label], 3)]
        rows.append([label, count, *figures])
    note = f"The pictures hold every row {len(seeds)} times, once for each seed." if len(seeds) > 1 else None
    return {"header": ["class", "rows", "recall", "mean beta"], "rows": rows, "note": note}


def over_seeds(values: pd.Series, digits: int) -> str:
    """Mean and standard deviation over the seeds."""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


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
