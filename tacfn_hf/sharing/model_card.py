"""The model card of a run: README.md in its folder, with two pictures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard
from transformers import AutoConfig

from ..evaluation.predictions import read_predictions
from ..evaluation.record import RunRecord
from ..features.targets import CLASSES, SEVERAL
from ..model.configuration_dual_encoder_tacfn import TacfnDualEncoderConfig
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..training.cross_validation import REPORT
from .card_values import card_data, draw_pictures, save_card, shared_values


def write_card(
    folder: str | Path,
    repo_id: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
    features: str | None = None,
) -> ModelCard:
    """
    Writes `README.md` into the folder of a run of `tacfn train`, and beside it the pictures of `draw_pictures`, of the
    test part (of the validation part where there is no test part). It holds no id of a row and no path of this machine.

    Args:
        folder: what a run left: config.json, metrics.json and, where parts were evaluated, predictions.parquet.
        repo_id: the model's id on the Hub, for the lines that load it; by default these name the folder.
        license: an identifier of the Hub's list. The corpus decides which one is possible: left out unless given.
        language: of the data, ISO 639 codes.
        features: what made the features, where their dataset does not say.

    Raises:
        ValueError: the folder lacks one of these files, or metrics.json is not the record of a run.
    """
    folder = Path(folder).resolve()
    if (folder / REPORT).is_file():
        raise ValueError(f"{folder} is the folder of a cross-validation: for its card give --output NAME.md.")
    record = RunRecord.read(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} has no config.json: a card is written for a run of tacfn train, which saved a model."
        )
    config = AutoConfig.from_pretrained(folder)
    results = record.metrics
    part = next((part for part in ("test", "valid") if part in results), None)
    classes, ids = None, set()
    if part is not None:
        table = read_predictions(folder)
        ids, table = set(table["id"]), table[table["split"] == part]
        draw_pictures(table, record.label_names, folder)
        if record.problem_type == CLASSES:
            classes = classes_of(results[part]["per_class"], table)
        else:
            classes = results[part]["per_label" if record.problem_type == SEVERAL else "per_value"]
    arguments = record.changed_arguments
    values = shared_values([record], config, arguments, ids)
    model_id = repo_id or folder.name
    title = model_id.rsplit("/", 1)[-1]
    figures = [(part, None, result) for part, result in results.items()]
    data = card_data(title, values["dataset"], figures, license=license, language=language)
    if encoders := hub_encoders(config):  # in the Hub's words, an adapter is trained on top of a model that stays
        data.base_model = encoders
        data.base_model_relation = "finetune" if isinstance(config, TacfnDualEncoderConfig) else "adapter"
    return save_card(
        folder / "README.md",
        data,
        **values,
        title=title,
        model_id=model_id,
        has_processor=(folder / "processor_config.json").is_file(),
        languages=[language] if isinstance(language, str) else language or record.languages,
        speakers=record.speakers,
        features_note=features,
        seeds=[record.seed],
        results=results,
        best=record.best_by if "valid" in results else None,
        part=part,
        classes=classes,
        prefix="",
        command_name=record.command,
    )


def hub_encoders(config: TacfnConfig) -> list[str]:
    """The encoders that are a commit on the Hub, by their ids."""
    made = [getattr(config, modality.provenance) or {} for modality in MODALITIES]
    return [of["encoder"] for of in made if re.fullmatch(r"[0-9a-f]{40}", str(of.get("revision")))]


def classes_of(per_class: Sequence[dict[str, Any]], table: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures of each class, with mean and standard deviation of beta over its rows."""
    beta = table.groupby("label")["beta"]
    mean, std = beta.mean(), beta.std(ddof=0)
    return [{**of, "beta_mean": mean.get(of["label"]), "beta_std": std.get(of["label"])} for of in per_class]
