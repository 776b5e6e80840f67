"""What a run leaves in its folder: metrics.json and predictions.parquet."""

import json
import os
import re
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers.trainer_pt_utils import AcceleratorConfig

from ..features.arguments import DataArguments
from ..model.modalities_tacfn import MODALITIES
from ..writing import write_json


# Arguments that a card does not show: places, secrets, what is printed, and what it says elsewhere.
NOT_SHOWN = re.compile(
    r"\w+_dir|dataset|processor_name|run_name|seed|local_rank|resume_from_checkpoint|use_cpu|disable_tqdm|debug|do_\w+|"
    r"dataloader_pin_memory|greater_is_better|push_to_hub|hub_\w+|report_to|project|trackio_\w+|log_\w+|logging_\w+"
)

SPLIT_ARGUMENTS = [field.name for field in fields(DataArguments)]


def read_run(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """
    What `metrics.json` and `predictions.parquet` of a run hold.

    Raises:
        ValueError: they are not there.
    """
    if not (folder / "metrics.json").is_file():
        whole = (folder / "cross_validation.json").is_file()
        hint = "for the card of a cross-validation give --output NAME.md" if whole else "it is not a finished run's"
        raise ValueError(f"{folder} has no metrics.json: {hint}.")
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if set(results) == {"about"}:  # nothing was evaluated
        return results, pd.DataFrame(columns=["id", "split"])
    if not (folder / "predictions.parquet").is_file():
        raise ValueError(f"{folder} has metrics.json but no predictions.parquet: the run's folder is not complete.")
    return results, pd.read_parquet(folder / "predictions.parquet")


def describe_data(parts: dict[str, Dataset]) -> dict[str, Any]:
    """The modalities that were trained on and, where the data says, how many speakers each part has, and languages."""
    columns = parts["train"].column_names
    found: dict[str, Any] = {"modalities": [m.features for m in MODALITIES if m.features in columns]}
    for column, name in (("speaker", "speakers"), ("language", "languages")):
        values = {part: distinct(rows, column) for part, rows in parts.items() if column in rows.column_names}
        if any(values.values()):
            found[name] = {part: len(of_part) for part, of_part in values.items()}
            if column == "language":
                found[name] = sorted(set().union(*values.values()))
    return found


def distinct(dataset: Dataset, column: str) -> set[str]:
    """The values of a column that are not null, as text."""
    return {str(value) for value in dataset.with_format(None)[column][:] if value is not None}


def changed_arguments(arguments: dict[str, Any], *classes: type) -> dict[str, Any]:
    """Those of `arguments` that differ from the defaults of their dataclasses, and that a card may show."""
    changed = {}
    for field in (field for owner in classes for field in fields(owner)):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        value = arguments.get(field.name, default)
        if field.name == "accelerator_config" and default is None and value:
            default = {name: getattr(AcceleratorConfig(), name) for name in value}  # what the Trainer makes of None
        same = value == default or (default is None and value is False)
        if not same and not NOT_SHOWN.fullmatch(field.name):
            changed[field.name] = value
    return changed


PACKAGES = ("tacfn-hf", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """The versions of what a result depends on; a package that runs from its source tree is "not installed"."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_results(
    output_dir: str | os.PathLike,
    metrics: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    about: dict[str, Any],
) -> None:
    """
    Writes `predictions.parquet` (the tables of all parts, the part in a column `split`) and, last and whole,
    `metrics.json` (a part's metrics under its name, what the result depends on under "about").
    """
    os.makedirs(output_dir, exist_ok=True)
    if tables:
        table = pd.concat([table.assign(split=name) for name, table in tables.items()], ignore_index=True)
        table.to_parquet(os.path.join(output_dir, "predictions.parquet"), index=False)
    write_json(Path(output_dir, "metrics.json"), {**metrics, "about": {**about, "versions": versions()}})
