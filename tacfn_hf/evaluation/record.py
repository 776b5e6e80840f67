"""The record of a run: what it measured and what its figures depend on, in the file metrics.json."""

import os
import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import pandas as pd
from datasets import Dataset
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers.trainer_pt_utils import AcceleratorConfig

from ..features.arguments import DataArguments
from ..model.modalities_tacfn import MODALITIES
from ..writing import read_json, write_json
from .predictions import write_predictions


RECORD = "metrics.json"

PACKAGES = ("tacfn-hf", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")

SPLIT_ARGUMENTS = [field.name for field in fields(DataArguments)]

# Arguments that a card does not show: places, secrets, what is printed, and what it says elsewhere.
NOT_SHOWN = re.compile(
    r"\w+_dir|dataset|processor_name|run_name|seed|local_rank|resume_from_checkpoint|use_cpu|disable_tqdm|debug|do_\w+|"
    r"remove_unused_columns|dataloader_pin_memory|greater_is_better|push_to_hub|hub_\w+|report_to|project|trackio_\w+|log_\w+|logging_\w+"
)


def versions() -> dict[str, str]:
    """The versions of what a result depends on; a package that runs from its source tree is "not installed"."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@strict
@dataclass(kw_only=True)
class RunRecord:
    """
    What a run measured, and what its figures depend on. None stands for what a run does not have or does not say.

    In metrics.json the figures of each part stand under the part's name, and all other fields under "about".

    Attributes:
        metrics: the result of `figures_of` for each part that was evaluated, by its name ("valid", "test", ...).
        dataset: the folder of the features, or their id on the Hub.
        rows: how many rows each part has; also parts that were not evaluated.
        label_names: the C classes, labels or values, in the order of the logits.
        problem_type: transformers' name for what is learned: one class, several labels, or values.
        num_parameters: how many weights the model has.
        temperatures: what logits are divided by for scores, for samples with "both", "audio" alone and "text" alone.
        temperature_fitted_on: the part that the temperatures were fitted on.
        gate_truth: the result of `measure_gate_truth`, and as "part" the part that it was measured on.
        seed, split_seed: the seed of training, and the one that the parts were drawn with.
        fingerprints: those of `datasets` for each part. They change with the content, and where files are moved.
        modalities: the columns of features that were trained on, such as "h_a".
        speakers: how many speakers each part has.
        languages: the languages of all parts.
        best_by: the figure of the validation part whose best checkpoint was kept; None where the last one was.
        epochs, training_loss, training_seconds: how long training took, and its mean loss.
        device, world_size: the kind of device, and how many processes there were.
        changed_arguments: the arguments of training that differ from their defaults; see the function of this name.
        command, arguments: the command, and its command line.
        layer_weights: by modality, the weights of the layers of its encoder, where these were learned.
        model: the folder or the id of a model that was trained before.
        left_out_rows: how many rows were left out, by their label, since the model does not know it.
        left_out_labels: the labels of the model that could not be predicted, since the dataset does not have them.
        settings, test_groups, made_of: the arguments, the groups that were tested and the fingerprints of the parts, by
            which a cross-validation knows a finished run again.
        versions: the versions of the packages.
    """

    metrics: dict[str, dict[str, Any]]
    dataset: str
    rows: dict[str, int]
    label_names: list[str]
    num_parameters: int
    temperatures: dict[str, float | int]
    problem_type: str = "single_label_classification"
    temperature_fitted_on: str | None = None
    gate_truth: dict[str, Any] | None = None
    seed: int | None = None
    split_seed: int | None = None
    fingerprints: dict[str, str] | None = None
    modalities: list[str] | None = None
    speakers: dict[str, int] | None = None
    languages: list[str] | None = None
    best_by: str | None = None
    epochs: float | int | None = None
    training_loss: float | int | None = None
    training_seconds: float | int | None = None
    device: str | None = None
    world_size: int | None = None
    changed_arguments: dict[str, Any] | None = None
    command: str = "tacfn train"
    arguments: list[str] | None = None
    layer_weights: dict[str, dict[str, float]] | None = None
    model: str | None = None
    left_out_rows: dict[str, int] | None = None
    left_out_labels: list[str] | None = None
    settings: dict[str, Any] | None = None
    test_groups: list[str] | None = None
    made_of: dict[str, str] | None = None
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Self:
        """
        The record in the folder of a finished run. What this version does not know under "about" is left out.

        Raises:
            ValueError: there is no metrics.json, it lacks a field that every record has, or a field is not of its kind.
        """
        path = Path(folder, RECORD)
        if not path.is_file():
            raise ValueError(f"{folder} has no {RECORD}: it is not the folder of a finished run.")
        content = read_json(path)
        about = content.pop("about", None) if isinstance(content, dict) else None
        if not isinstance(about, dict):
            raise ValueError(f'{path} is not the record of a run: it has no "about".')
        names = {field.name: field.default is MISSING for field in fields(cls) if field.name != "metrics"}
        lacking = [name for name, needed in names.items() if needed and name not in about]
        if lacking:
            raise ValueError(f"{path} is not the record of a run of this version: it lacks {', '.join(lacking)}.")
        try:
            return cls(metrics=content, **{name: about[name] for name in names if name in about})
        except StrictDataclassFieldValidationError as error:
            raise ValueError(f"{path} is not the record of a run: {' '.join(str(error).split())}") from error

    def write(self, folder: str | os.PathLike, tables: dict[str, pd.DataFrame]) -> None:
        """
        Writes predictions.parquet from the `prediction_table` of each part, if there is any, and then metrics.json. The
        folder of a run is complete if it has metrics.json.
        """
        os.makedirs(folder, exist_ok=True)
        if tables:
            write_predictions(folder, tables)
        about = asdict(self)
        write_json(Path(folder, RECORD), {**about.pop("metrics"), "about": about})


def describe_data(parts: dict[str, Dataset]) -> dict[str, Any]:
    """The fields `modalities`, `speakers` and `languages` of `RunRecord`, from the rows of each part."""
    columns = parts["train"].column_names
    speakers, languages = (
        {part: distinct(rows, column) for part, rows in parts.items() if column in rows.column_names}
        for column in ("speaker", "language")
    )
    return {
        "modalities": [m.features for m in MODALITIES if m.features in columns or m.name in columns],
        "speakers": {part: len(of_part) for part, of_part in speakers.items()} if any(speakers.values()) else None,
        "languages": sorted(set().union(*languages.values())) or None,
    }


def distinct(dataset: Dataset, column: str) -> set[str]:
    """The values of a column that are not null, as text."""
    return {str(value) for value in dataset.with_format(None)[column][:] if value is not None}


def changed_arguments(arguments: dict[str, Any], *classes: type) -> dict[str, Any]:
    """Those of `arguments` that differ from their defaults in these dataclasses, and that a card may show."""
    changed = {}
    for argument in (argument for owner in classes for argument in fields(owner)):
        default = argument.default if argument.default_factory is MISSING else argument.default_factory()
        value = arguments.get(argument.name, default)
        if argument.name == "accelerator_config" and default is None and value:
            default = {name: getattr(AcceleratorConfig(), name) for name in value}  # what the Trainer makes of None
        same = value == default or (default is None and value is False)
        if not same and not NOT_SHOWN.fullmatch(argument.name):
            changed[argument.name] = value
    return changed
