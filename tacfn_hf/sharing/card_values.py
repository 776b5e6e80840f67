"""What the two kinds of model cards share: their metadata, the values of the template, and how values look in it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.calibration import NUM_BINS
from ..evaluation.gate import summarize_gate_truth
from ..evaluation.record import SPLIT_ARGUMENTS
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..model.provenance_tacfn import describe_provenance
from ..writing import replacing
from .pictures import draw_beta, draw_confusion, save_picture


TEMPLATE = Path(__file__).with_name("model_card_template.md")
TASK = "multimodal-emotion-recognition"
# What the Hub calls each figure: metric type, and the arguments that make it this one.
METRICS = {
    "WA": ("accuracy", None),
    "UA": ("recall", {"average": "macro"}),
    "wF1": ("f1", {"average": "weighted"}),
    "macro_F1": ("f1", {"average": "macro"}),
    "ECE": ("expected_calibration_error", {"num_bins": NUM_BINS}),
}
GATE_FIGURES = {
    "carrier AUC": "AUC of beta for audio, not text, carrying the emotion",
    "audio, noise": "correlation with the share of audio that is noise (should be -1)",
    "text, noise": "correlation with the share of text that is noise (should be 1)",
    "audio, mean": "correlation with the share of audio that is the mean of all (should be -1)",
    "text, mean": "correlation with the share of text that is the mean of all (should be 1)",
    "audio, other": "correlation with the share of audio that is another utterance's (should be -1)",
    "text, other": "correlation with the share of text that is another utterance's (should be 1)",
    "occlusion AUC": "AUC of beta for audio, not text, hurting more when it is removed",
    "occlusion correlation": "correlation with how much more audio hurts than text when removed (should be 1)",
    "UA both": "UA in % with both modalities",
    "UA audio only": "UA in % without text",
    "UA text only": "UA in % without audio",
    "ECE both": "ECE in % with both modalities",
    "ECE audio only": "ECE in % without text",
    "ECE text only": "ECE in % without audio",
}


def card_data(
    name: str, dataset: str, figures: Iterable[tuple[str, str | None, dict[str, float]]], **more: Any
) -> ModelCardData:
    """The metadata, with a result for each figure that there is of each `(split, config, figures)`."""
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
    card = ModelCard.from_template(data, template_path=str(TEMPLATE), cell=cell, **values)
    with replacing(path) as temporary:
        temporary.write_text(card.content, encoding="utf-8", newline="\n")
    return card


def draw_pictures(table: pd.DataFrame, label_names: Sequence[str], folder: Path, prefix: str = "") -> None:
    """Writes `confusion.png` and `beta.png` of a table of predictions into a folder."""
    save_picture(draw_confusion(table, label_names), folder / f"{prefix}confusion.png")
    save_picture(draw_beta(table, label_names), folder / f"{prefix}beta.png")


def shared_values(
    config: TacfnConfig,
    about: dict[str, Any],
    language: str | Sequence[str] | None,
    features: str | None,
    license: str | None,
) -> dict[str, Any]:
    """The values of the template that both kinds of cards have, from a config and what a run says of itself."""
    used = [modality for modality in MODALITIES if modality.features in about["modalities"]]
    speakers = about.get("speakers")
    return {
        "config": config,
        "label_names": about["label_names"],
        "modalities": [modality.name for modality in used],
        "lacking": next((modality.name for modality in MODALITIES if modality not in used), None),
        "languages": [language] if isinstance(language, str) else language or about.get("languages"),
        "speakers": ", ".join(f"{count} in {part}" for part, count in speakers.items()) if speakers else None,
        "calibrated": about["temperature_fitted_on"] is not None,
        "features_note": features,
        "features": [
            {
                "modality": modality.name,
                "size": getattr(config, modality.feature_size),
                "source": source_of(getattr(config, modality.provenance)),
            }
            for modality in used
        ],
        "versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        "license": license,
    }


def source_of(made: dict[str, Any] | None) -> str:
    """What made features, in words."""
    if made is None:
        return "what made them was not recorded with the dataset"
    return describe_provenance({**made, "encoder": shown(made.get("encoder"))})


def gate_values(truths: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What beta is worth, as means over the runs; None where a run has not measured it."""
    if not all(truths):
        return None
    found = summarize_gate_truth(truths)
    rows = [[about, gate_figure(name, found[name])] for name, about in GATE_FIGURES.items() if found[name] is not None]
    return {"part": truths[0]["part"], "rows": rows, "of_several": len(truths) > 1}


def gate_figure(name: str, value: float) -> str:
    """UA and ECE in %, AUCs and correlations as they are."""
    if name.startswith(("UA", "ECE")):
        return percent(value)
    return f"{value:.3f}" if name.endswith("AUC") else f"{value:+.2f}"


def temperature_line(abouts: Sequence[dict[str, Any]]) -> str:
    """What the scores of these runs are, and what their temperatures were fitted on."""
    names = {"both": "", "audio": " with audio alone", "text": " with text alone"}
    if abouts[0]["temperature_fitted_on"] is None or len(abouts[0]["modalities"]) == 1:
        names = {"both": ""}  # of one modality there is one temperature, by two names
    spreads = []
    for name, of in names.items():
        values = [about["temperatures"][name] for about in abouts]
        spreads.append(" to ".join(dict.fromkeys(f"{bound(values):.3g}" for bound in (min, max))) + of)
    text = f"Scores are softmax(logits / T), T = {', '.join(spreads)}"
    if abouts[0]["temperature_fitted_on"] is None:
        return f"{text}, not fitted on validation rows."
    return f"{text}; fitted on the validation rows. The ECE of test rows is the one that counts."


def argument_rows(arguments: dict[str, Any]) -> list[list[str]]:
    """The arguments that are not about the partition, with their values as text."""
    return [[f"`{name}`", shown(value)] for name, value in arguments.items() if name not in SPLIT_ARGUMENTS]


def cell(value: Any) -> str:
    """A value inside of a line of Markdown."""
    return " ".join(str(value).split()).replace("|", "\\|")


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


def percent(share: float) -> str:
    """A fraction in %."""
    return f"{100 * share:.1f}"


def mean_std(result: dict[str, float]) -> str:
    """Mean and standard deviation of beta."""
    return f"{result['beta_mean']:.3f} ± {result['beta_std']:.3f}"
