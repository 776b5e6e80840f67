"""What the cards of runs and of cross-validations share: their metadata, values of the template, and the file."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.calibration import NUM_BINS
from ..evaluation.gate import summarize_gate_truth
from ..evaluation.record import SPLIT_ARGUMENTS, RunRecord
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..model.provenance_tacfn import describe_provenance
from ..writing import replacing
from .pictures import draw_beta, draw_beta_histogram, draw_confusion, draw_cooccurrence, draw_scatter, save_picture


TEMPLATE = Path(__file__).with_name("model_card_template.md")
TASK = "multimodal-emotion-recognition"
# What the Hub calls each figure: metric type, and the arguments that make it this one.
METRICS = {
    "WA": ("accuracy", None),
    "UA": ("recall", {"average": "macro"}),
    "wF1": ("f1", {"average": "weighted"}),
    "macro_F1": ("f1", {"average": "macro"}),
    "ECE": ("expected_calibration_error", {"num_bins": NUM_BINS}),
    "micro_F1": ("f1", {"average": "micro"}),
    "weighted_accuracy": ("weighted_accuracy", None),
    "mAP": ("mean_average_precision", None),
    "CCC": ("concordance_correlation_coefficient", None),
    "pearson": ("pearsonr", None),
    "MAE": ("mae", None),
    "RMSE": ("rmse", None),
}


REPLACEMENTS = {"noise": "noise", "mean": "the mean of all utterances", "other": "another utterance's"}
# Of what beta is worth: the name of each figure, what it says, how it is shown, and in which unit.
MEASURES = (
    (
        "carrier AUC",
        "AUC of beta: rows whose emotion is in the audio against rows whose emotion is in the text",
        "%.3f",
        1,
    ),
    *(
        (
            f"{modality}, {name}",
            f"correlation of beta with the share of {modality} that is replaced by {what} (should be {wanted})",
            "%+.2f",
            1,
        )
        for name, what in REPLACEMENTS.items()
        for modality, wanted in (("audio", -1), ("text", 1))
    ),
    ("occlusion AUC", "AUC of beta: rows that need audio more against rows that need text more", "%.3f", 1),
    (
        "occlusion correlation",
        "correlation of beta with how much more a row needs audio than text (should be 1)",
        "%+.2f",
        1,
    ),
    *(
        (f"{figure} {given}", f"{figure} in % {where}", "%.1f", 100)
        for figure in ("UA", "ECE")
        for given, where in (
            ("both", "with both modalities"),
            ("audio only", "with audio alone"),
            ("text only", "with text alone"),
        )
    ),
)


def card_data(
    name: str, dataset: str, figures: Iterable[tuple[str, str | None, dict[str, float]]], **more: Any
) -> ModelCardData:
    """
    The metadata of a card.

    Args:
        name: the model's name.
        dataset: the dataset's name.
        figures: `(split, config, figures)`, of which each figure in METRICS becomes a result of the model-index.
        more: license, language, ...; None is left out.
    """
    results = [
        EvalResult(
            task_type=TASK,
            task_name="Multimodal emotion recognition",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_config=config,
            dataset_split=split,
            metric_type=METRICS[figure][0],
            metric_name=figure,
            metric_value=values[figure],
            metric_args=METRICS[figure][1],
        )
        for split, config, values in figures
        for figure in METRICS
        if figure in values
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["tacfn", "emotion-recognition", "audio", "text", "multimodal"],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name if results else None,
        eval_results=results or None,
        **{key: value for key, value in more.items() if value is not None},
    )


def save_card(path: Path, data: ModelCardData, **values: Any) -> ModelCard:
    """Fills the template, and writes the card."""
    card = ModelCard.from_template(data, template_path=str(TEMPLATE), **values)
    with replacing(path) as temporary:
        temporary.write_text(card.content, encoding="utf-8", newline="\n")
    return card


def draw_pictures(table: pd.DataFrame, label_names: Sequence[str], folder: Path, prefix: str = "") -> None:
    """
    Writes `<prefix>beta.png` of a table of predictions into a folder, and `<prefix>confusion.png`, of several labels
    `<prefix>cooccurrence.png`, of values `<prefix>scatter.png`.
    """
    if "label" in table:
        pictures = {"confusion": draw_confusion(table, label_names), "beta": draw_beta(table, label_names)}
    elif "labels" in table:
        pictures = {"cooccurrence": draw_cooccurrence(table, label_names), "beta": draw_beta(table, label_names)}
    else:
        pictures = {"scatter": draw_scatter(table, label_names), "beta": draw_beta_histogram(table)}
    for name, figure in pictures.items():
        save_picture(figure, folder / f"{prefix}{name}.png")


def shared_values(
    records: Sequence[RunRecord], config: TacfnConfig, arguments: dict[str, Any], ids: set[str]
) -> dict[str, Any]:
    """
    The values of the template that both kinds of cards have.

    Args:
        records: those of one run, or of all runs of a cross-validation.
        config: the config of a model of these runs.
        arguments: those that differ from their defaults.
        ids: the ids of rows, which a card does not show.
    """
    record = records[-1]
    used = [modality for modality in MODALITIES if modality.features in record.modalities]
    # They are equal where they were not fitted, and where the data has one modality.
    names = ["both"] if all(len(set(of.temperatures.values())) == 1 for of in records) else record.temperatures
    of_split = set(SPLIT_ARGUMENTS) - {"target", "target_range"}
    partition = {name: value for name, value in arguments.items() if name in of_split}
    for name in ("test_groups", "valid_groups"):
        if name in partition:
            partition[name] = shown_groups(partition[name], ids)
    return {
        "record": record,
        "config": config,
        "lacking": next((modality.name for modality in MODALITIES if modality not in used), None),
        "features": [
            {
                "modality": modality,
                "size": getattr(config, modality.feature_size),
                "source": source_of(getattr(config, modality.provenance)),
            }
            for modality in used
        ],
        "dataset": last_name(record.dataset),
        "partition": {name: shown(value) for name, value in partition.items()},
        "arguments": {name: shown(value) for name, value in arguments.items() if name not in of_split},
        "fitted": all(of.temperature_fitted_on is not None for of in records),
        "temperatures": {name: [of.temperatures[name] for of in records] for name in names},
        "measures": MEASURES,
        "gate": gate_values([of.gate_truth for of in records]),
    }


def source_of(made: dict[str, Any] | None) -> str | None:
    """What made features, without the place of an encoder on this machine; None where that is not known."""
    return None if made is None else describe_provenance({**made, "encoder": shown(made.get("encoder"))})


def gate_values(truths: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What beta is worth, as means over the runs; None where a run has not measured it."""
    if not all(truths):
        return None
    return {"part": truths[0]["part"], "figures": summarize_gate_truth(truths)}


def shown(value: Any) -> str:
    """A value as text; of a path that is not just `folder/name`, which an id on the Hub could be, the last name."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(shown(item) for item in value)
    text = str(value)
    return text if re.fullmatch(r"[\w.-]+/[\w.-]+", text) else last_name(text)


def shown_groups(groups: Sequence[str], ids: set[str]) -> str:
    """Groups by their names, or their number where there are many or where they are rows."""
    return f"{len(groups)} groups" if len(groups) > 12 or not ids.isdisjoint(groups) else " ".join(groups)


def last_name(path: str) -> str:
    """The last part of a path, of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
