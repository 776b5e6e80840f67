"""The model card: the README.md of a model's folder, filled from what its run wrote there, and from nothing else."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..evaluation.calibration import NUM_BINS
from ..evaluation.gate import summarize_gate_truth
from ..evaluation.record import SPLIT_ARGUMENTS, read_run
from ..model.configuration_tacfn import TacfnConfig
from ..model.modalities_tacfn import MODALITIES
from ..model.provenance_tacfn import describe_provenance
from ..writing import replacing
from .pictures import draw_beta, draw_confusion, save_picture


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
    name = (repo_id or folder.name).rsplit("/", 1)[-1]
    model_id = repo_id or folder.name
    has_processor = (folder / "processor_config.json").is_file()
    modalities = about["modalities"]
    sections = [
        f"# {name}",
        introduction(about["label_names"], modalities, config),
        usage_section(model_id, config, modalities, has_processor),
        limits_section(about, language),
        features_section(config, modalities, features),
        data_section(about, set(table["id"])),
        results_section(results, about),
    ]
    part = next((part for part in ("test", "valid") if part in results), None)
    if part is not None:
        table = table[table["split"] == part]
        draw_pictures(table, about["label_names"], folder)
        sections += [classes_section(results[part]["per_class"], table, part), gate_section([about.get("gate_truth")])]
    sections += [training_section(about), license_section(license)]
    dataset = last_name(about["dataset"])
    figures = [(part, None, result) for part, result in results.items()]
    data = card_data(name, dataset, figures, license=license, language=language)
    # They stay as they are, and the model is trained on top of them.
    if encoders := hub_encoders(config):
        data.base_model, data.base_model_relation = encoders, "adapter"
    return save_card(folder / "README.md", data, sections)


def card_data(
    name: str,
    dataset: str,
    figures: Iterable[tuple[str, str | None, dict[str, float]]],
    **more: Any,
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


def save_card(path: Path, data: ModelCardData, sections: Iterable[str]) -> ModelCard:
    """Writes a card of sections of Markdown, those that are not empty, with its metadata."""
    card = ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n", ignore_metadata_errors=False
    )
    with replacing(path) as temporary:
        temporary.write_text(card.content, encoding="utf-8", newline="\n")
    return card


def draw_pictures(table: pd.DataFrame, label_names: Sequence[str], folder: Path, prefix: str = "") -> None:
    """Writes `confusion.png` and `beta.png` of a table of predictions into a folder."""
    save_picture(draw_confusion(table, label_names), folder / f"{prefix}confusion.png")
    save_picture(draw_beta(table, label_names), folder / f"{prefix}beta.png")


def introduction(label_names: Sequence[str], modalities: Sequence[str], config: TacfnConfig) -> str:
    """What the model is, and which emotions it knows."""
    what = {"h_a": "audio", "h_t": "text"}
    given = " and ".join(what[name] for name in modalities)
    text = (
        f"A TACFN-inspired network of [transformers](https://github.com/huggingface/transformers) "
        f"(`TacfnForSequenceClassification`, hidden size {config.hidden_size}, {config.num_hidden_layers} cross-modal "
        f"blocks), trained on features of {given}. It tells {len(label_names)} emotions apart: "
        f"{', '.join(map(cell, label_names))}."
    )
    if len(modalities) < len(MODALITIES):
        lacking = next(m.name for m in MODALITIES if m.features not in modalities)
        return f"{text} **It was trained without {lacking}**: its weights for that are random."
    return f"{text} With every answer comes `beta`: near 1 its gate leaned on audio, near 0 on text."


def usage_section(model_id: str, config: TacfnConfig, modalities: Sequence[str], has_processor: bool) -> str:
    """Lines that run as they stand, in the folder that holds the model's (or anywhere, with an id on the Hub)."""
    if has_processor:
        parts = {"h_a": '"audio": "hello.wav"', "h_t": '"text": "Hello there!"'}
        given = ", ".join(parts[name] for name in modalities)
        lines = [
            "import tacfn_hf  # registers the model and the pipeline",
            "from transformers import pipeline",
            "",
            f'recognizer = pipeline("{TASK}", model={json.dumps(model_id)})',
            f"print(recognizer({{{given}}}))",
        ]
        after = "`audio` or `text` may be left out." if len(modalities) == 2 else ""
    else:
        sizes = {"h_a": config.audio_feature_size, "h_t": config.text_feature_size}
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
        after = (
            "It takes features, not wav files and sentences: the processor that made those of the training is not "
            "here. On features of another origin its answers mean nothing."
        )
    return "\n".join(["## Use", "", "```python", *lines, "```", *(["", after] if after else [])])


def limits_section(about: dict[str, Any], language: str | Sequence[str] | None) -> str:
    """What the model is for, and what it is not for."""
    languages = [language] if isinstance(language, str) else language or about.get("languages")
    speakers = about.get("speakers")
    scores = "Scores are not calibrated probabilities"
    if about["temperature_fitted_on"] is not None:
        scores = "Scores are calibrated on the validation rows: on other data they may be far off"
    return "\n".join(
        [
            "## Intended use and limits",
            "",
            "- For research on emotion in speech and its transcript. Not for decisions about people: work, school, "
            "health, insurance, credit, police, borders.",
            "- The labels are emotions as actors were asked to show them, or as others perceived them. They are not "
            "what somebody felt, and neither is an answer of the model.",
            f"- Language of the data: {', '.join(map(cell, languages)) if languages else 'not recorded'}. "
            f"Speakers: {', '.join(f'{n} in {part}' for part, n in speakers.items()) if speakers else 'not recorded'}. "
            "Other languages, speakers, rooms and microphones than those of the data below were not tested.",
            f"- {scores}, and `beta` is no confidence: it says which modality the gate leaned on, not how sure the "
            "model is.",
        ]
    )


def features_section(config: TacfnConfig, modalities: Sequence[str], features: str | None) -> str:
    """What made the features, by modality."""
    lines = ["## Features", ""] + ([features, ""] if features else [])
    for name, what, size in (
        ("h_a", "audio", config.audio_feature_size),
        ("h_t", "text", config.text_feature_size),
    ):
        if name in modalities:
            made = getattr(config, f"{what}_provenance")
            source = "what made them was not recorded with the dataset"
            if made is not None:
                source = describe_provenance({**made, "encoder": shown(made.get("encoder"))})
            lines.append(f"- {what}, {size} dimensions: {source}")
    return "\n".join(lines)


def hub_encoders(config: TacfnConfig) -> list[str]:
    """The encoders that are a commit on the Hub, by their ids."""
    made = [config.audio_provenance or {}, config.text_provenance or {}]
    return [m["encoder"] for m in made if re.fullmatch(r"[0-9a-f]{40}", str(m.get("revision")))]


def data_section(about: dict[str, Any], ids: set[str]) -> str:
    """The dataset, its parts, and how they were drawn."""
    arguments = about["changed_arguments"]
    chosen = {name: value for name, value in arguments.items() if name in SPLIT_ARGUMENTS}
    for name in ("test_groups", "valid_groups"):
        if name in chosen:
            chosen[name] = shown_groups(chosen[name], ids)
    partition = ", ".join(f"`{name}` {shown(value)}" for name, value in chosen.items())
    rows = ", ".join(f"{rows} {part}" for part, rows in about["rows"].items())
    return "\n".join(
        [
            "## Data and protocol",
            "",
            f"- Dataset: `{last_name(about['dataset'])}`; rows: {rows}",
            f"- Partition: {partition or 'that of the dataset'}",
            f"- Seeds: {about['seed']} in training, {about['split_seed']} in drawing the partition",
        ]
    )


def results_section(results: dict[str, Any], about: dict[str, Any]) -> str:
    """The figures of each part."""
    if not results:
        return "## Results\n\nNo part was evaluated."
    lines = ["## Results", ""]
    rows = [
        [part, about["rows"][part], *(percent(result[name]) for name in METRICS), mean_std(result)]
        for part, result in results.items()
    ]
    lines.append(markdown_table(["part", "rows", "WA", "UA", "wF1", "macro F1", "ECE", "beta"], rows))
    lines += [
        "",
        "WA (accuracy), UA (mean recall of the classes), F1 and ECE (expected calibration error) in %; beta as mean ± "
        "standard deviation.",
        temperature_line([about]),
    ]
    arguments = about["changed_arguments"]
    if "valid" in results and arguments.get("load_best_model_at_end", True):
        chooser = arguments.get("metric_for_best_model", "UA")
        lines.append(f"The checkpoint with the best {chooser} on the validation part was kept: its figures flatter.")
    if "test" not in results:
        lines.append("There was no test part.")
    return "\n".join(lines)


def gate_section(truths: Sequence[dict[str, Any] | None]) -> str:
    """Whether beta tells the truth, as means over the runs; nothing where a run has not measured it."""
    if not all(truths):
        return ""
    found = summarize_gate_truth(truths)
    rows = [[about, gate_figure(name, found[name])] for name, about in GATE_FIGURES.items() if found[name] is not None]
    return (
        f"### What beta is worth ({truths[0]['part']})\n\n{markdown_table(['measure', 'value'], rows)}\n\n"
        f"Rows with both modalities{'' if len(truths) == 1 else '; means over the runs'}. Correlations are Spearman's, "
        "of an utterance's beta with the share of one modality that is replaced (none to all), mean over the "
        "utterances. A gate that tells nothing has an AUC of 0.5 and correlations of 0."
    )


def gate_figure(name: str, value: float) -> str:
    """UA and ECE in %, AUCs and correlations as they are."""
    if name.startswith(("UA", "ECE")):
        return percent(value)
    return f"{value:.3f}" if name.endswith("AUC") else f"{value:+.2f}"


def temperature_line(abouts: Sequence[dict[str, Any]]) -> str:
    """What the scores of these runs are, and what their temperatures were fitted on."""
    spreads = []
    names = {"both": "", "audio": " with audio alone", "text": " with text alone"}
    if abouts[0]["temperature_fitted_on"] is None:
        names = {"both": ""}
    for name, of in names.items():
        values = [about["temperatures"][name] for about in abouts]
        one_modality = len(abouts[0]["modalities"]) == 1  # then there is one temperature, by two names
        if values and not (of and one_modality):
            low, high = f"{min(values):.3g}", f"{max(values):.3g}"
            spreads.append((low if low == high else f"{low} to {high}") + of)
    text = f"Scores are softmax(logits / T), T = {', '.join(spreads)}"
    if abouts[0]["temperature_fitted_on"] is None:
        return f"{text}, not fitted on validation rows."
    return f"{text}; fitted on the validation rows. The ECE of test rows is the one that counts."


def classes_section(per_class: Sequence[dict[str, Any]], table: pd.DataFrame, part: str) -> str:
    """The figures of each class, and the pictures."""
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
    header = ["class", "rows", "recall", "precision", "F1", "beta"]
    return f"### Classes ({part})\n\n{markdown_table(header, rows)}\n\n{pictures()}"


def pictures(prefix: str = "") -> str:
    """The lines that show the two pictures."""
    return f"![Confusion matrix]({prefix}confusion.png)\n\n![Beta by class]({prefix}beta.png)"


def training_section(about: dict[str, Any]) -> str:
    """The arguments of the training, and what is known of the run."""
    lines = ["## Training", "", *arguments_lines(about["changed_arguments"], "tacfn train"), ""]
    facts = {
        "epochs": "epochs",
        "training_loss": "training loss",
        "training_seconds": "seconds of training",
        "device": "device",
        "world_size": "processes",
        "num_parameters": "parameters",
    }
    found = {text: about[name] for name, text in facts.items() if about.get(name) is not None}
    lines += [f"- {text}: {f'{value:.4g}' if text == 'training loss' else value}" for text, value in found.items()]
    lines.append(f"- versions: {versions_of(about)}")
    return "\n".join(lines)


def arguments_lines(arguments: dict[str, Any], command: str) -> list[str]:
    """The arguments that differ from the defaults, as a table."""
    own = [[f"`{name}`", shown(value)] for name, value in arguments.items() if name not in SPLIT_ARGUMENTS]
    if not own:
        return [f"With the default arguments of `{command}`."]
    return [f"Arguments of `{command}` that differ from its defaults:", "", markdown_table(["argument", "value"], own)]


def versions_of(about: dict[str, Any]) -> str:
    """The versions of the packages, on one line."""
    return ", ".join(f"{name} {version}" for name, version in about["versions"].items())


def license_section(license: str | None) -> str:
    """The license, or that none is stated."""
    if license is None:
        return "## License\n\nNot stated: what the corpus was released under decides it, and whoever shares the model."
    return f"## License\n\n{license}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)


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
