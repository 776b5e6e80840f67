"""The page about a run: its figures, pictures, mistakes with their sound, and all rows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from tqdm.auto import tqdm

from ..evaluation.predictions import read_predictions
from ..evaluation.record import RunRecord
from ..features.targets import CLASSES, SEVERAL, VALUES
from ..model.audio_tacfn import load_audio
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..model.utterances_tacfn import is_blank
from ..pages.page import CLIP_RATE, picture, sound, write_page
from ..training.cross_validation import REPORT
from .card_values import METRICS, gate_values, last_name
from .cross_validation_card import classes_of, read_runs
from .pictures import (
    draw_beta,
    draw_beta_histogram,
    draw_calibration,
    draw_confusion,
    draw_cooccurrence,
    draw_scatter,
)
from .utterance import Utterance, draw_utterance, look_at


MAX_CLIPS = 20
NO_ROWS = "No corpus was given (--corpus, --dataset): there are no texts and no sound."
# Figures of values are in their scale, all others in %.
IN_PERCENT = (
    "WA",
    "UA",
    "wF1",
    "macro_F1",
    "ECE",
    "micro_F1",
    "weighted_accuracy",
    "mAP",
    "recall",
    "precision",
    "f1",
    "AP",
)
IN_PERCENT += ("recall_mean",)
WORDS = {
    "wF1": "weighted F1",
    "macro_F1": "macro F1",
    "micro_F1": "micro F1",
    "weighted_accuracy": "weighted accuracy",
    "pearson": "Pearson",
    "KL": "KL to the votes",
    "JS": "JS to the votes",
    "f1": "F1",
    "beta_mean": "mean beta",
    "recall_mean": "recall",
    "support": "rows",
}


ABBREVIATIONS = {
    CLASSES: " WA is accuracy, UA the mean recall of the classes, ECE the expected calibration error.",
    SEVERAL: " mAP is the mean average precision, ECE the expected calibration error of all scores.",
    VALUES: " CCC is the concordance correlation coefficient. MAE and RMSE are in the scale of the corpus.",
}


@dataclass
class Results:
    """
    What a run or a cross-validation left.

    Attributes:
        title: the name of its folder; kind: transformers' name for what is learned.
        part: the part that the page is about, and its `table` of predictions.
        figures: of each part or fold, `{figure: value}`, and `spread`, the same with standard deviations.
        classes: the figures of each class, label or value.
        gate: of `gate_values`.
    """

    title: str
    kind: str
    label_names: list[str]
    part: str
    table: pd.DataFrame
    figures: dict[str, dict[str, Any]]
    spread: dict[str, dict[str, Any]]
    classes: list[dict[str, Any]]
    gate: dict[str, Any] | None
    facts: dict[str, Any]


def read_results(folder: str | os.PathLike) -> Results:
    """
    The results in the folder of a run of `tacfn train`, `fine-tune`, `evaluate` or `cross-validate`.

    Raises:
        ValueError: it holds no results.
    """
    folder = Path(folder).resolve()
    if (folder / REPORT).is_file():
        report, _, records, table = read_runs(folder)
        record = list(records.values())[-1]
        shown = {f"fold {name}": of for name, of in report["folds"].items()}
        shown |= {"mean over folds": report["mean_over_folds"], "pooled": report["pooled"]}
        figures, spread = ({name: of[key] for name, of in shown.items()} for key in ("mean", "std"))
        classes, part = classes_of(table, record.label_names, record.problem_type), "pooled"
        facts = {"folds": len(report["folds"]), "seeds": len(report["pooled"]["seeds"])}
        truths = [of.gate_truth for of in records.values()]
    else:
        record = RunRecord.read(folder)
        figures, spread = record.metrics, {}
        part = next((name for name in ("test", "valid", *figures) if name in figures), None)
        if part is None:
            raise ValueError(f"{folder} has no results: no part of the dataset was evaluated.")
        table = read_predictions(folder)
        table = table[table["split"] == part].reset_index(drop=True)
        key = {CLASSES: "per_class", SEVERAL: "per_label", VALUES: "per_value"}[record.problem_type]
        classes, facts, truths = figures[part][key], {}, [record.gate_truth]
    facts = {
        "dataset": last_name(record.dataset),
        **facts,
        "rows on this page": len(table),
        "command": record.command,
        "parameters": record.num_parameters,
        "tacfn-hf": record.versions.get("tacfn-hf"),
    }
    gate = gate_values(truths)
    return Results(
        folder.name, record.problem_type, record.label_names, part, table, figures, spread, classes, gate, facts
    )


def write_report(
    folder: str | os.PathLike,
    path: str | os.PathLike | None = None,
    rows: Dataset | None = None,
    recognizer: EmotionRecognitionPipeline | None = None,
    utterance: str | None = None,
    audio: bool = True,
) -> Path:
    """
    Writes the page about a run or a cross-validation.

    Args:
        folder: what the run left.
        path: the page, by default `report.html` in this folder.
        rows: the rows of the corpus, with `id`, `audio` and `text`, for texts and sound.
        recognizer: the model with its processor, for a look at one utterance.
        utterance: the id of this utterance; by default that of the surest mistake.
        audio: whether sound gets into the page. Clips are those of the mistakes that it lists, 20 at most.

    Raises:
        ValueError: the folder holds no results, rows lack those of the run, or there is no such utterance.
    """
    results = read_results(folder)
    path = Path(folder, "report.html") if path is None else Path(path)
    found = CorpusRows(rows, results.table["id"])
    mistakes = mistakes_of(results)
    named = pd.concat([of for _, of in mistakes.values()])["id"].tolist()
    clips = {}
    if audio:
        for name in tqdm([name for name in named if found.sound_of(name) is not None], desc="clips", disable=None):
            waveform = load_audio(found.sound_of(name), CLIP_RATE, name=f"The audio of id {name!r}")
            clips[name] = sound([waveform])
    complete = [name for name in named if found.text_of(name) and found.sound_of(name) is not None]
    chosen = utterance if utterance is not None else next(iter([*complete, *named]), results.table["id"].iloc[0])
    if chosen not in set(results.table["id"]):
        raise ValueError(f"utterance is {chosen!r}: the {results.part} rows have no such id.")
    look, why = None, NO_ROWS
    if rows is not None and recognizer is None:
        why = "The run has no processor: the model can't be run on sound and text."
    elif rows is not None and recognizer is not None:
        look = look_at(recognizer, found.sound_of(chosen), found.text_of(chosen))
    write_page(
        path,
        "report.html",
        "report.js",
        data=table_data(results, found),
        title=f"Report: {results.title}",
        results=results,
        figures=figure_table(results),
        classes=class_table(results),
        pictures=pictures_of(results),
        mistakes={name: (note, cards_of(of, results, found, clips)) for name, (note, of) in mistakes.items()},
        has_rows=rows is not None,
        scored=results.kind != VALUES,
        abbreviations=ABBREVIATIONS[results.kind],
        has_audio=audio,
        look=look,
        look_id=chosen,
        look_why=why,
        look_picture=picture_of(look),
        look_clip=sound([resampled(look)]) if audio and look is not None and look.waveform is not None else None,
    )
    return path


class CorpusRows:
    """Texts and sound of a corpus by the ids of rows; None where there is no corpus."""

    def __init__(self, rows: Dataset | None, ids: Sequence[str]):
        self.rows, self.place = rows, {}
        if rows is None:
            return
        self.place = {name: i for i, name in enumerate(rows.with_format(None)["id"][:])}
        lacking = [name for name in ids if name not in self.place]
        if lacking:
            raise ValueError(
                f"The corpus has no row with the id {lacking[0]!r}, and lacks {len(lacking)} of {len(ids)} rows of the "
                "run: give the corpus that its features were made of, with the same corpus_options."
            )
        self.texts = rows["text"][:] if "text" in rows.column_names else None

    def text_of(self, name: str) -> str | None:
        """The text of a row, None where it has none."""
        text = None if self.rows is None or self.texts is None else self.texts[self.place[name]]
        return None if is_blank(text) else text

    def sound_of(self, name: str) -> Any:
        """What `load_audio` takes, None where a row has no audio."""
        if self.rows is None or "audio" not in self.rows.column_names:
            return None
        audio = self.rows[self.place[name]]["audio"]
        return None if is_blank(audio) else audio


def resampled(look: Utterance) -> np.ndarray:
    """The waveform of an utterance at CLIP_RATE."""
    return load_audio(look.waveform, CLIP_RATE, look.rate)


def picture_of(look: Utterance | None) -> str | None:
    """The picture of an utterance, if there is something to draw."""
    figure = None if look is None else draw_utterance(look)
    return None if figure is None else picture(figure)


def mistakes_of(results: Results) -> dict[str, tuple[str, pd.DataFrame]]:
    """Lists of rows that the model got wrong, by a heading, each with a note: MAX_CLIPS rows in all."""
    table = results.table.drop_duplicates("id")
    half = MAX_CLIPS // 2
    if results.kind == VALUES:
        true, said = (table[[f"{of}_{name}" for name in results.label_names]] for of in ("true", "predicted"))
        errors = np.abs(true.to_numpy() - said.to_numpy()).mean(axis=1)
        worst = table.assign(error=errors).sort_values("error", ascending=False, kind="stable").head(half)
        return {"The largest errors": ("By the mean absolute error of the values.", worst)}
    scores = table[[f"score_{name}" for name in results.label_names]].to_numpy(float)
    if results.kind == SEVERAL:
        has = np.array([[name in row for name in results.label_names] for row in table["labels"]])
        wrong = table.assign(error=np.where(has, 1 - scores, scores).max(axis=1))
        same = [set(a) == set(b) for a, b in zip(table["labels"], table["predictions"])]
        wrong = wrong[~np.array(same, dtype=bool)].sort_values("error", ascending=False, kind="stable")
        return {"The surest mistakes": ("By the score of a label that is furthest from the truth.", wrong.head(half))}
    index = {name: i for i, name in enumerate(results.label_names)}
    rows = np.arange(len(table))
    said = scores[rows, table["prediction"].map(index).to_numpy(int)]
    true = scores[rows, table["label"].map(index).to_numpy(int)]
    wrong = table.assign(said=said, true=true)[(table["label"] != table["prediction"]).to_numpy()]
    surest = wrong.sort_values("said", ascending=False, kind="stable").head(half)
    others = wrong[~wrong["id"].isin(surest["id"])].sort_values("true", kind="stable").head(half)
    return {
        "The surest mistakes": ("Wrong answers with the highest score.", surest),
        "The worst mistakes": ("Of the others, those whose true class got the lowest score.", others),
    }


def answer_of(row: Any, results: Results, prefix: str) -> str:
    """What is true of a row ("true"), or what the model says ("said")."""
    if results.kind == VALUES:
        column = "true" if prefix == "true" else "predicted"
        return ", ".join(f"{name} {row[f'{column}_{name}']:.2f}" for name in results.label_names)
    if results.kind == SEVERAL:
        return ", ".join(row["labels" if prefix == "true" else "predictions"]) or "none"
    return row["label" if prefix == "true" else "prediction"]


def score_of(row: Any, results: Results) -> float | None:
    """The score of the answer; of several labels the largest one; None of values."""
    if results.kind == VALUES:
        return None
    if results.kind == SEVERAL:
        return float(max(row[f"score_{name}"] for name in results.label_names))
    return float(row[f"score_{row['prediction']}"])


def cards_of(table: pd.DataFrame, results: Results, found: CorpusRows, clips: dict[str, str]) -> list[dict[str, Any]]:
    """What the page shows of each row of a list of mistakes."""
    return [
        {
            "id": row["id"],
            "true": answer_of(row, results, "true"),
            "said": answer_of(row, results, "said"),
            "score": score_of(row, results),
            "beta": row["beta"],
            "text": found.text_of(row["id"]),
            "clip": clips.get(row["id"]),
        }
        for _, row in table.iterrows()
    ]


def table_data(results: Results, found: CorpusRows) -> list[list[Any]]:
    """All rows for the script: id, text, truth, answer, whether they agree (None of values), score, beta."""
    made = []
    for row in results.table.to_dict("records"):
        true, said = (answer_of(row, results, of) for of in ("true", "said"))
        score, beta = score_of(row, results), row["beta"]
        agree = None if results.kind == VALUES else set(true.split(", ")) == set(said.split(", "))
        numbers = [None if value is None or np.isnan(value) else round(float(value), 3) for value in (score, beta)]
        made.append([row["id"], found.text_of(row["id"]) or "", true, said, agree, *numbers])
    return made


def number(name: str, value: Any, spread: Any = None) -> str:
    """A figure as it is shown, with its standard deviation if there is one."""
    if value is None or value != value:
        return ""
    if isinstance(value, int):
        return str(value)
    factor, pattern = (100, "{:.1f}") if name in IN_PERCENT else (1, "{:.3f}")
    shown = pattern.format(factor * value)
    return shown if spread is None or spread != spread else f"{shown} ± {pattern.format(factor * spread)}"


def figure_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of figures, with a row for each part or fold."""
    first = next(iter(results.figures.values()))
    names = [name for name in (*METRICS, "KL", "JS", "beta_mean") if name in first]
    head = ["part", *(WORDS.get(name, name) + (", %" if name in IN_PERCENT else "") for name in names)]
    rows = [
        [part, *(number(name, of.get(name), (results.spread.get(part) or {}).get(name)) for name in names)]
        for part, of in results.figures.items()
    ]
    return head, rows


def class_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of classes, labels or values."""
    names = [name for name in results.classes[0] if name != "label" and not name.endswith("_std")]
    what = {CLASSES: "class", SEVERAL: "label", VALUES: "value"}[results.kind]
    head = [what, *(WORDS.get(name, name) + (", %" if name in IN_PERCENT else "") for name in names)]
    rows = [
        [of["label"], *(number(name, of[name], of.get(f"{name.removesuffix('_mean')}_std")) for name in names)]
        for of in results.classes
    ]
    return head, rows


def pictures_of(results: Results) -> list[tuple[str, str, str]]:
    """Heading, what there is to see, and the picture."""
    table, names, made = results.table, results.label_names, []
    if results.kind == VALUES:
        made.append(
            ("Predicted against true", "Each point is a row. On the line both are equal.", draw_scatter(table, names))
        )
        made.append(("Beta", "How many rows have each beta.", draw_beta_histogram(table)))
    else:
        if results.kind == SEVERAL:
            note = "Of the rows that have a label (line), how many were given each label (column)."
            made.append(("What was taken for what", note, draw_cooccurrence(table, names)))
        else:
            note = "Of the rows of a class (line), how many were taken for each class (column)."
            made.append(("What was taken for what", note, draw_confusion(table, names)))
        note = "How often answers of a score are right. Below the dashed line the model is too sure of itself."
        made.append(("Calibration", note, draw_calibration(table, names)))
        if table["beta"].notna().all():
            note = "From 0, text, to 1, audio: boxes from quartile to quartile, lines at medians, triangles at means."
            made.append(("Beta by true label", note, draw_beta(table, names)))
            made.append(("Beta by predicted label", note, draw_beta(table, names, by="prediction")))
    return [(heading, note, picture(figure)) for heading, note, figure in made]
