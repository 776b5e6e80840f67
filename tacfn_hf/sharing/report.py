"""The page about a run: its metrics, plots, mistakes with their sound, and all rows."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from sklearn.metrics import confusion_matrix

from ..features.targets import CLASSES, SEVERAL, VALUES
from ..model.pipeline_tacfn import EmotionRecognitionPipeline
from ..pages.page import picture, write_page
from .card_values import MEASURES, METRICS
from .pictures import (
    draw_beta,
    draw_beta_histogram,
    draw_calibration,
    draw_confusion,
    draw_cooccurrence,
    draw_scatter,
)
from .report_corpus import CorpusRows
from .run_results import RunResults, mistakes_of, read_results
from .utterance import draw_utterance, look_at


MAX_CLIPS = 20
NO_ROWS = "No corpus was given (--corpus, --dataset): there are no texts and no sound."
# Figures of values are in their scale, all others in %.
IN_PERCENT = (
    *("WA", "UA", "wF1", "macro_F1", "ECE", "micro_F1", "weighted_accuracy", "mAP"),
    *("recall", "recall_mean", "precision", "f1", "AP"),
)
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


VOTES = " KL and JS are the distances to the votes of the annotators, in nats."
ABBREVIATIONS = {
    CLASSES: " WA is accuracy, UA the mean recall of the classes, ECE the expected calibration error.",
    SEVERAL: " mAP is the mean average precision, ECE the expected calibration error of all scores.",
    VALUES: " CCC is the concordance correlation coefficient. MAE and RMSE are in the scale of the corpus.",
}


def write_report(
    folder: str | os.PathLike,
    path: str | os.PathLike | None = None,
    rows: Dataset | None = None,
    recognizer: EmotionRecognitionPipeline | None = None,
    utterance: str | None = None,
    audio: bool = True,
    truncation: bool = False,
) -> Path:
    """
    Writes the page about a run or a cross-validation.

    Args:
        folder: what the run left.
        path: the page, by default `report.html` in this folder.
        rows: the rows of the corpus, with `id`, `audio` and `text`, for texts and sound.
        recognizer: the model with its processor, for a look at one utterance.
        utterance: the id of this utterance; by default that of the surest mistake.
        audio: whether sound gets into the page: clips of the mistakes that it lists, 20 at most. Where sound can't be
            decoded, the page says so.
        truncation: as in the pipeline.

    Raises:
        ValueError: the folder holds no results, rows lack those of the run, or there is no such utterance.
    """
    results = read_results(folder)
    path = Path(folder, "report.html") if path is None else Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"The report {path} must be an .html file.")
    corpus = CorpusRows(rows, results.table["id"].unique())
    mistakes = mistakes_of(results, MAX_CLIPS)
    named = [name for _, of in mistakes.values() for name in of["id"]]
    complete = [name for name in named if corpus.texts.get(name) and corpus.has_sound(name)]
    chosen = utterance if utterance is not None else next(iter([*complete, *named]), results.table["id"].iloc[0])
    if chosen not in set(results.table["id"]):
        raise ValueError(f"utterance is {chosen!r}: the {results.part} rows have no such id.")
    look, why = None, NO_ROWS
    if rows is not None and recognizer is None:
        why = "The run has no processor: the model can't be run on sound and text."
        if results.num_models > 1:
            why = "A cross-validation has several models: the report of one of its runs looks at an utterance."
    elif rows is not None and recognizer is not None:
        given = (("h_a", corpus.sound_of(chosen)), ("h_t", corpus.texts[chosen]))
        heard, read = (value if column in results.modalities else None for column, value in given)
        try:
            look = look_at(recognizer, heard, read, truncation)
        except ValueError as error:
            if utterance is not None:
                raise
            why = str(error)
    clips, bad = corpus.clips([*([chosen] if look else []), *named], MAX_CLIPS) if audio else ({}, {})
    figure = None if look is None else draw_utterance(look)
    write_page(
        path,
        "report.html",
        "report.js",
        data=table_data(results, corpus),
        title=f"Report: {results.title}",
        results=results,
        measures=MEASURES,
        metrics=metric_table(results),
        classes=class_table(results),
        confusion=counts_of(results),
        plots=plots_of(results),
        mistakes={name: (note, listed(of, results, corpus, clips, bad)) for name, (note, of) in mistakes.items()},
        no_rows=NO_ROWS if rows is None else "",
        has_audio=audio,
        scored=results.kind != VALUES,
        one_class=results.kind == CLASSES,
        abbreviations=ABBREVIATIONS[results.kind]
        + (VOTES if any("KL" in of for of in results.metrics.values()) else ""),
        look=look,
        look_id=chosen,
        look_true=results.answers(results.table[results.table["id"] == chosen].iloc[0])[0],
        look_chosen=utterance is not None or chosen not in complete,
        look_why=why,
        look_picture=None if figure is None else picture(figure),
        look_clip=clips.get(chosen),
    )
    return path


def listed(
    table: pd.DataFrame, results: RunResults, corpus: CorpusRows, clips: dict[str, str], bad: dict[str, str]
) -> list[dict[str, Any]]:
    """What the page shows of each row of a list of mistakes."""
    made = []
    for row in table.to_dict("records"):
        true, predicted = results.answers(row)
        shown = {"id": row["id"], "true": true, "predicted": predicted, "score": results.score_of(row)}
        shown |= {
            "true_score": row.get(f"score_{true}"),
            "has_sound": corpus.has_sound(row["id"]),
            "bad": bad.get(row["id"]),
        }
        made.append({**shown, "beta": row["beta"], "text": corpus.texts.get(row["id"]), "clip": clips.get(row["id"])})
    return made


def table_data(results: RunResults, corpus: CorpusRows) -> list[list[Any]]:
    """All rows for the script: id, seed, text, truth, prediction, whether it is right, score, beta."""
    made = []
    for row in results.table.to_dict("records"):
        seed = str(row["seed"]) if results.num_seeds > 1 else ""
        numbers = [
            None if of is None or np.isnan(of) else round(float(of), 3) for of in (results.score_of(row), row["beta"])
        ]
        made.append(
            [row["id"], seed, corpus.texts.get(row["id"]) or "", *results.answers(row), results.is_right(row), *numbers]
        )
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


def metric_table(results: RunResults) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of metrics, with a row for each part or fold."""
    there = {name for of in results.metrics.values() for name in of}
    names = [name for name in (*METRICS, "KL", "JS", "beta_mean") if name in there]
    head = ["part", *map(heading, names)]
    rows = [
        [part, *(number(name, of.get(name), (results.spread.get(part) or {}).get(name)) for name in names)]
        for part, of in results.metrics.items()
    ]
    return head, rows


def class_table(results: RunResults) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of classes, labels or values."""
    names = [name for name in results.classes[0] if name != "label" and not name.endswith("_std")]
    head = [{CLASSES: "class", SEVERAL: "label", VALUES: "value"}[results.kind], *map(heading, names)]
    rows = [
        [of["label"], *(number(name, of[name], of.get(f"{name.removesuffix('_mean')}_std")) for name in names)]
        for of in results.classes
    ]
    return head, rows


def heading(name: str) -> str:
    """The name of a figure, with its unit."""
    return WORDS.get(name, name) + (", %" if name in IN_PERCENT else "")


def counts_of(results: RunResults) -> tuple[list[str], list[list[str]]] | None:
    """The confusion matrix as a table, of a model for one class."""
    if results.kind != CLASSES:
        return None
    table, names = results.table, results.label_names
    counts = confusion_matrix(table["label"], table["prediction"], labels=names)
    rows = [[name, *map(str, of)] for name, of in zip(names, counts)]
    return ["true, predicted", *names], rows


def plots_of(results: RunResults) -> list[tuple[str, str, str, bool]]:
    """Of each plot its heading, what there is to see, the picture, and whether it is broad."""
    table, names, made = results.table, results.label_names, []
    if results.kind == VALUES:
        note = "Each point is a row. On the line both are equal."
        made.append(("Predicted against true", note, draw_scatter(table, names), len(names) > 1))
    else:
        if results.kind == SEVERAL:
            note = "Of the rows that have a label (line), how many were given each label (column)."
            made.append(("Co-occurrence", note, draw_cooccurrence(table, names), False))
        else:
            note = "Of the rows of a class (line), how many were predicted as each class (column)."
            made.append(("Confusion matrix", note, draw_confusion(table, names), False))
        note = "How often answers of a score are right. Below the dashed line the model is too sure of itself."
        made.append(("Reliability diagram", note, draw_calibration(table, names), False))
    both = table[table["beta"].between(0, 1, inclusive="neither")]
    if len(both):
        few = f" The {len(table) - len(both)} rows that lack a modality, whose beta is 0 or 1, are left out." * (
            len(table) > len(both)
        )
        if results.kind == VALUES:
            made.append(("Beta", f"How many rows have each beta.{few}", draw_beta_histogram(both), False))
        else:
            note = (
                "From 0, text, to 1, audio: boxes from quartile to quartile, lines at medians, triangles at means."
                + few
            )
            made.append(("Beta by true label", note, draw_beta(both, names), False))
            made.append(("Beta by predicted label", note, draw_beta(both, names, by="prediction"), False))
    return [(name, note, picture(figure), broad) for name, note, figure, broad in made]
