"""The card of a cross-validation: what its folds and seeds gave. There is no one model that it could be about."""

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
from .model_card import (
    arguments_lines,
    card_data,
    draw_pictures,
    features_section,
    gate_section,
    introduction,
    last_name,
    license_section,
    limits_section,
    markdown_table,
    pictures,
    save_card,
    shown_groups,
    temperature_line,
    versions_of,
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
    sections = [
        f"# {path.stem}",
        "Cross-validation: every row is tested once a seed, by a model that never saw its group. There is a model for "
        "each fold and seed, and this card is about all of them together.",
        introduction(label_names, about["modalities"], config),
        limits_section({**about, "speakers": speakers}, language),
        features_section(config, about["modalities"], features),
        data_section(report, dataset, arguments, set(table["id"])),
        results_section(report, list(abouts.values())),
        classes_section(table, label_names, seeds, path.stem),
        gate_section([about.get("gate_truth") for about in abouts.values()]),
        training_section(report, dataset, arguments, list(abouts.values())),
        license_section(license),
    ]
    everything = {**{f"fold {fold}": figures for fold, figures in report["folds"].items()}, "pooled": report["pooled"]}
    figures = [("test", name, figures["mean"]) for name, figures in everything.items()]
    data = card_data(path.stem, dataset, figures, license=license, language=language)
    return save_card(path, data, sections)


def data_section(report: dict[str, Any], dataset: str, arguments: dict[str, Any], ids: set[str]) -> str:
    """The folds, and how each one's other rows are divided."""
    rows = [
        [f"fold {name}", shown_groups(fold["test_groups"], ids), fold["rows"]] for name, fold in report["folds"].items()
    ]
    partition = ", ".join(f"`{name}` {value}" for name, value in arguments.items() if name in SPLIT_ARGUMENTS)
    lines = [
        "## Data and protocol",
        "",
        f"- Dataset: `{dataset}`; rows: {sum(fold['rows'] for fold in report['folds'].values())}",
        f"- Partition: {partition}",
        f"- Seeds: {', '.join(report['pooled']['seeds'])} in training, {report['settings']['split_seed']} in drawing "
        "the partition",
        "",
        markdown_table(["fold", "test groups", "test rows"], rows),
    ]
    return "\n".join(lines)


def results_section(report: dict[str, Any], abouts: Sequence[dict[str, Any]]) -> str:
    """The figures of each fold and of all."""
    shown = {f"fold {name}": figures for name, figures in report["folds"].items()}
    shown |= {"mean over folds": report["mean_over_folds"], "pooled": report["pooled"]}
    rows = [[name, *cells(figures)] for name, figures in shown.items()]
    seeds = report["pooled"]["seeds"]
    about = (
        "Test rows; WA (accuracy), UA (mean recall of the classes), weighted F1 and ECE (expected calibration error) "
        "in %."
    )
    if len(seeds) > 1:
        about += f" Mean ± standard deviation (n - 1) over {len(seeds)} seeds; pooled: over all test rows of a seed."
    table = markdown_table(["fold", "WA", "UA", "wF1", "ECE", "mean beta"], rows)
    return f"## Results\n\n{table}\n\n{about}\n{temperature_line(abouts)}"


def classes_section(table: pd.DataFrame, label_names: Sequence[str], seeds: Sequence[int], name: str) -> str:
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
    header = ["class", "rows", "recall", "mean beta"]
    about = f"The pictures hold every row {len(seeds)} times, once for each seed." if len(seeds) > 1 else ""
    parts = [f"### Classes (pooled)\n\n{markdown_table(header, rows)}", about, pictures(f"{name}-")]
    return "\n\n".join(part for part in parts if part)


def over_seeds(values: pd.Series, digits: int) -> str:
    """Mean and standard deviation over the seeds."""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def training_section(
    report: dict[str, Any], dataset: str, arguments: dict[str, Any], abouts: Sequence[dict[str, Any]]
) -> str:
    """The arguments, and the command that made the results."""
    seconds = [about["training_seconds"] for about in abouts]
    devices = sorted({about["device"] for about in abouts if "device" in about})
    lines = [
        "## Training",
        "",
        *arguments_lines(arguments, "tacfn cross-validate"),
        "",
        f"- seconds of training: {min(seconds):g} to {max(seconds):g} each",
        *(f"- device: {device}" for device in devices),
        f"- parameters: {abouts[0]['num_parameters']}",
        f"- versions: {versions_of(abouts[0])}",
        "",
        "```bash",
        command(report, dataset, arguments),
        "```",
    ]
    return "\n".join(lines)


def command(report: dict[str, Any], dataset: str, arguments: dict[str, Any]) -> str:
    """
    The command line that made the report, but for where the features lie and the results go. The recipe that stood in
    front is among the arguments: it may be another one by now.
    """
    given = {"dataset": f"features/{dataset}", **arguments}
    folds = report["folds"]
    if any(fold["test_groups"] != [name] for name, fold in folds.items()):
        given["num_folds"] = len(folds)
    given |= {"seeds": list(report["pooled"]["seeds"]), "output_dir": f"runs/{dataset}"}
    return shlex.join(["tacfn", "cross-validate", *flags(given)])
