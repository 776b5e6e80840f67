"""The model card of a run: README.md in its folder, with two pictures."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard

from ..evaluation.record import SPLIT_ARGUMENTS, read_run
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from .card_values import (
    METRICS,
    TASK,
    argument_rows,
    card_data,
    draw_pictures,
    gate_values,
    last_name,
    mean_std,
    percent,
    save_card,
    shared_values,
    shown,
    shown_groups,
    temperature_line,
)


# What is said of a training, and how it is called.
FACTS = {
    "epochs": "epochs",
    "training_loss": "training loss",
    "training_seconds": "seconds of training",
    "device": "device",
    "world_size": "processes",
    "num_parameters": "parameters",
}


def write_card(
    folder: str | Path,
    repo_id: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
    features: str | None = None,
) -> ModelCard:
    """
    Writes `README.md` into the folder of a run of `tacfn train`, and beside it `confusion.png` and `beta.png` of the
    test part (of the validation part where there is no test part). It holds no id of a row and no path of this machine.

    Args:
        folder: what a run left: config.json, metrics.json and, where parts were evaluated, predictions.parquet.
        repo_id: the model's id on the Hub, for the lines that load it; by default these name the folder.
        license: an identifier of the Hub's list. The corpus decides which one is possible: left out unless given.
        language: of the data, ISO 639 codes.
        features: what made the features, where their dataset does not say.

    Raises:
        ValueError: the folder lacks one of these files.
    """
    folder = Path(folder).resolve()
    results, table = read_run(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} has no config.json: a card is written for a run of tacfn train, which saved a model."
        )
    config = TacfnConfig.from_pretrained(folder)
    about = results.pop("about")
    model_id = repo_id or folder.name
    title, dataset = model_id.rsplit("/", 1)[-1], last_name(about["dataset"])
    part = next((part for part in ("test", "valid") if part in results), None)
    classes = None
    if part is not None:
        of_part = table[table["split"] == part]
        draw_pictures(of_part, about["label_names"], folder)
        classes = classes_values(results[part]["per_class"], of_part)
    figures = [(part, None, result) for part, result in results.items()]
    data = card_data(title, dataset, figures, license=license, language=language)
    # They stay as they are, and the model is trained on top of them.
    if encoders := hub_encoders(config):
        data.base_model, data.base_model_relation = encoders, "adapter"
    found = {text: about[name] for name, text in FACTS.items() if about.get(name) is not None}
    return save_card(
        folder / "README.md",
        data,
        **shared_values(config, about, language, features, license),
        **usage_values(model_id, config, about["modalities"], (folder / "processor_config.json").is_file()),
        title=title,
        dataset=dataset,
        rows=", ".join(f"{rows} {part}" for part, rows in about["rows"].items()),
        partition=partition_of(about["changed_arguments"], set(table["id"])),
        seeds=about["seed"],
        split_seed=about["split_seed"],
        results=results_values(results, about),
        part=part,
        classes=classes,
        prefix="",
        gate=gate_values([about.get("gate_truth")]) if part is not None else None,
        command_name="tacfn train",
        arguments=argument_rows(about["changed_arguments"]),
        facts=[(text, f"{value:.4g}" if text == "training loss" else value) for text, value in found.items()],
    )


def usage_values(
    model_id: str, config: TacfnConfig, modalities: Sequence[str], has_processor: bool
) -> dict[str, str | None]:
    """Lines that run as they stand, in the folder that holds the model's (or anywhere, with an id on the Hub)."""
    if has_processor:
        parts = {"h_a": '"audio": "hello.wav"', "h_t": '"text": "Hello there!"'}
        lines = [
            "import tacfn_hf  # registers the model and the pipeline",
            "from transformers import pipeline",
            "",
            f'recognizer = pipeline("{TASK}", model={json.dumps(model_id)})',
            f"print(recognizer({{{', '.join(parts[name] for name in modalities)}}}))",
        ]
        note = "`audio` or `text` may be left out." if len(modalities) == 2 else None
    else:
        sizes = {modality.features: getattr(config, modality.feature_size) for modality in MODALITIES}
        given = ", ".join(f"{name}=torch.randn(1, 20, {sizes[name]})" for name in modalities)
        lines = [
            "import torch",
            "import tacfn_hf  # registers the model",
            "from transformers import AutoModel",
            "",
            f"model = AutoModel.from_pretrained({json.dumps(model_id)}).eval()",
            f"output = model({given})  # [utterances, length, size]: put features here",
            "temperature = model.config.temperature_of(output.has_audio, output.has_text)",
            "print((output.logits / temperature).softmax(-1), output.beta)",
        ]
        note = (
            "It takes features, not wav files and sentences: the processor that made those of the training is not "
            "here. On features of another origin its answers mean nothing."
        )
    return {"usage": "\n".join(lines), "usage_note": note}


def hub_encoders(config: TacfnConfig) -> list[str]:
    """The encoders that are a commit on the Hub, by their ids."""
    made = [config.audio_provenance or {}, config.text_provenance or {}]
    return [m["encoder"] for m in made if re.fullmatch(r"[0-9a-f]{40}", str(m.get("revision")))]


def partition_of(arguments: dict[str, Any], ids: set[str]) -> str:
    """How the parts were drawn, without an id of a row."""
    chosen = {name: value for name, value in arguments.items() if name in SPLIT_ARGUMENTS}
    for name in ("test_groups", "valid_groups"):
        if name in chosen:
            chosen[name] = shown_groups(chosen[name], ids)
    return ", ".join(f"`{name}` {shown(value)}" for name, value in chosen.items()) or "that of the dataset"


def results_values(results: dict[str, Any], about: dict[str, Any]) -> dict[str, Any] | None:
    """The figures of each part, and what is to be said of them; None where nothing was evaluated."""
    if not results:
        return None
    lines = [
        "WA (accuracy), UA (mean recall of the classes), F1 and ECE (expected calibration error) in %; beta as mean ± "
        "standard deviation.",
        temperature_line([about]),
    ]
    arguments = about["changed_arguments"]
    if "valid" in results and arguments.get("load_best_model_at_end"):
        chooser = arguments.get("metric_for_best_model", "UA")
        lines.append(f"The checkpoint with the best {chooser} on the validation part was kept: its figures flatter.")
    if "test" not in results:
        lines.append("There was no test part.")
    return {
        "header": ["part", "rows", "WA", "UA", "wF1", "macro F1", "ECE", "beta"],
        "rows": [
            [part, about["rows"][part], *(percent(result[name]) for name in METRICS), mean_std(result)]
            for part, result in results.items()
        ],
        "about": lines,
    }


def classes_values(per_class: Sequence[dict[str, Any]], table: pd.DataFrame) -> dict[str, Any]:
    """The figures of each class."""
    beta = table.groupby("label")["beta"]
    spread = {"beta_mean": beta.mean(), "beta_std": beta.std(ddof=0)}
    rows = []
    for row in per_class:
        figures = [percent(row[name]) for name in ("recall", "precision", "f1")]
        if not row["support"]:  # then recall and F1 are not defined
            rows.append([row["label"], 0, "", figures[1], "", ""])
            continue
        of_class = {name: values[row["label"]] for name, values in spread.items()}
        rows.append([row["label"], row["support"], *figures, mean_std(of_class)])
    return {"header": ["class", "rows", "recall", "precision", "F1", "beta"], "rows": rows}
