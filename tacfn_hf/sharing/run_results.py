"""What a run or a cross-validation left, for its report: figures, predictions, and the rows that are wrong."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.predictions import read_predictions, score_column
from ..evaluation.record import RunRecord
from ..features.targets import CLASSES, SEVERAL, VALUES
from ..model.modalities_tacfn import MODALITIES
from ..training.cross_validation import REPORT
from .card_values import gate_values, last_name
from .cross_validation_card import classes_of, read_runs


@dataclass
class RunResults:
    """
    Attributes:
        title: the name of the folder.
        kind: transformers' name for what is learned.
        label_names: the C classes, labels or values.
        part: the part that the report is about, and its predictions: the columns of predictions.parquet, of a
            cross-validation also `seed`.
        metrics, spread: of each part or fold, `{figure: value}`, and of a cross-validation standard deviations.
        classes: the figures of each class, label or value.
        gate: of `gate_values`.
        modalities: the columns of features that the model was trained on.
        facts: what a reader wants to know of the run.
    """

    title: str
    kind: str
    label_names: list[str]
    part: str
    table: pd.DataFrame
    metrics: dict[str, dict[str, Any]]
    spread: dict[str, dict[str, Any]]
    classes: list[dict[str, Any]]
    gate: dict[str, Any] | None
    modalities: list[str]
    facts: dict[str, Any]

    @property
    def num_models(self) -> int:
        """How many models made the predictions."""
        return self.facts.get("folds", 1) * self.facts.get("seeds", 1)

    @property
    def num_seeds(self) -> int:
        """How often each row was predicted."""
        return self.table["seed"].nunique() if "seed" in self.table else 1

    def answers(self, row: Any) -> tuple[str, str]:
        """What is true of a row, and what was predicted, as text."""
        if self.kind == VALUES:
            return tuple(
                ", ".join(f"{name} {row[f'{column}_{name}']:.2f}" for name in self.label_names)
                for column in ("true", "predicted")
            )
        if self.kind == SEVERAL:
            return tuple(", ".join(row[column]) or "none" for column in ("labels", "predictions"))
        return row["label"], row["prediction"]

    def is_right(self, row: Any) -> bool | None:
        """Whether the prediction is the truth; None of values, which are never equal."""
        if self.kind == VALUES:
            return None
        if self.kind == SEVERAL:
            return set(row["labels"]) == set(row["predictions"])
        return row["label"] == row["prediction"]

    def score_of(self, row: Any) -> float | None:
        """The score of the prediction; of several labels the largest one; None of values."""
        if self.kind == VALUES:
            return None
        if self.kind == SEVERAL:
            return float(max(row[score_column(name)] for name in self.label_names))
        return float(row[score_column(row["prediction"])])


def read_results(folder: str | os.PathLike) -> RunResults:
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
        metrics, spread = ({name: of[key] for name, of in shown.items()} for key in ("mean", "std"))
        classes, part = classes_of(table, record.label_names, record.problem_type), "pooled"
        for of in classes:
            of.pop("threshold", None)  # each run has its own
        facts = {
            "command": "tacfn cross-validate",
            "folds": len(report["folds"]),
            "seeds": len(report["pooled"]["seeds"]),
        }
        truths = [of.gate_truth for of in records.values()]
    else:
        record = RunRecord.read(folder)
        metrics, spread = record.metrics, {}
        part = next((name for name in ("test", "valid", *metrics) if name in metrics), None)
        if part is None:
            raise ValueError(f"{folder} has no results: no part of the dataset was evaluated.")
        table = read_predictions(folder)
        table = table[table["split"] == part].reset_index(drop=True)
        key = {CLASSES: "per_class", SEVERAL: "per_label", VALUES: "per_value"}[record.problem_type]
        classes, truths = metrics[part][key], [record.gate_truth]
        facts = {"command": "tacfn evaluate" if record.model and not record.epochs else record.command}
    if table.empty:
        raise ValueError(f"{folder} has no predictions of its part {part}.")
    table["id"] = table["id"].astype(str)  # as a corpus has them
    facts = {
        "dataset": last_name(record.dataset),
        **facts,
        "rows left out, by label": ", ".join(f"{n} {name}" for name, n in (record.left_out_rows or {}).items()) or None,
        "labels left out": ", ".join(record.left_out_labels or ()) or None,
        "rows": table["id"].nunique(),
        "parameters": record.num_parameters,
        "tacfn-hf": record.versions.get("tacfn-hf"),
    }
    gate = gate_values(truths)
    kind, names = record.problem_type, record.label_names
    modalities = record.modalities or [modality.features for modality in MODALITIES]
    return RunResults(folder.name, kind, names, part, table, metrics, spread, classes, gate, modalities, facts)


def mistakes_of(results: RunResults, count: int) -> dict[str, tuple[str, pd.DataFrame]]:
    """
    Lists of rows that are most wrong, by a heading, each with a note. Of a cross-validation with several seeds a row
    is listed once, by its worst prediction.

    Args:
        count: rows in all lists together.
    """
    table, names = results.table, results.label_names
    if results.kind == VALUES:
        true, said = (table[[f"{of}_{name}" for name in names]].to_numpy() for of in ("true", "predicted"))
        rows = most(table.assign(error=np.abs(true - said).mean(axis=1)), "error", count)
        return {"The largest errors": ("By the mean absolute error of the values.", rows)}
    wrong = table[[not results.is_right(row) for row in table.to_dict("records")]]
    scores = wrong[[score_column(name) for name in names]].to_numpy(float).reshape(-1, len(names))
    if results.kind == SEVERAL:
        has = np.array([[name in row for name in names] for row in wrong["labels"]], bool).reshape(-1, len(names))
        rows = most(wrong.assign(error=np.where(has, 1 - scores, scores).max(axis=1, initial=0)), "error", count)
        return {"The surest mistakes": ("By the score of a label that is furthest from the truth.", rows)}
    index = {name: i for i, name in enumerate(names)}
    said, true = (scores[np.arange(len(wrong)), wrong[of].map(index).to_numpy(int)] for of in ("prediction", "label"))
    surest = most(wrong.assign(error=said), "error", count // 2)
    others = wrong.assign(error=1 - true)[~wrong["id"].isin(surest["id"])]
    return {
        "The surest mistakes": ("Wrong predictions with the highest score.", surest),
        "The worst mistakes": (
            "Of the others, those whose true class got the lowest score.",
            most(others, "error", count // 2),
        ),
    }


def most(table: pd.DataFrame, column: str, count: int) -> pd.DataFrame:
    """The rows with the largest values, each id once."""
    return table.sort_values(column, ascending=False, kind="stable").drop_duplicates("id").head(count)
