"""Leave one group out, with several seeds: every row is tested once a seed, by a model that never saw its group."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from sklearn.model_selection import GroupKFold
from tqdm.auto import tqdm

from ..corpora.dataset_opening import named_parts, open_dataset
from ..evaluation.calibration import expected_calibration_error
from ..evaluation.metrics import EmotionMetric
from ..evaluation.predictions import distances_to_votes, read_predictions, score_column
from ..evaluation.record import RECORD, RunRecord
from ..evaluation.several_labels import SEVERAL_FIGURES, several_figures_of_table
from ..evaluation.values import VALUE_FIGURES, value_figures_of_table
from ..features.arguments import DataArguments
from ..features.splits import groups_of, split_dataset, without_unlabelled
from ..features.targets import CLASSES, SEVERAL, VALUES
from ..writing import write_json, writing_into
from .arguments import CrossValidationArguments, ModelArguments, TrainingOptions
from .run import run_training
from .training_arguments import TacfnTrainingArguments


# The figures of the report, by problem_type. Of values, CCC of each is there too.
FIGURES = {
    CLASSES: ("WA", "UA", "wF1", "ECE", "beta_mean"),
    SEVERAL: (*SEVERAL_FIGURES, "beta_mean"),
    VALUES: (*VALUE_FIGURES, "beta_mean"),
}
DISTANCES = ("KL", "JS")  # where there are votes
NOT_IN_PERCENT = (*VALUE_FIGURES, *DISTANCES, "beta_mean")


REPORT = "cross_validation.json"


# What a result does not depend on, or what differs from run to run by design.
NOT_COMPARED = ("output_dir", "logging_dir", "run_name", "seed", "test_groups")


def cross_validate(
    data_args: DataArguments,
    model_args: ModelArguments,
    training_args: TacfnTrainingArguments,
    cv_args: CrossValidationArguments,
    after_run: Callable[[Path], object] = lambda folder: None,
) -> dict[str, Any]:
    """
    Trains and tests on each fold with each seed, in `output_dir/fold-<name>/seed-<seed>`, and writes
    `output_dir/cross_validation.json`. A run that is there already, of the same arguments and data, is taken as it is;
    one that was interrupted is made anew.

    Args:
        after_run: called with the folder of each run that was made.

    Returns:
        The report: for every fold its groups and its rows; WA, UA, wF1, ECE and mean beta for each seed (of several
        labels and of values their FIGURES; KL and JS too if each fold has votes), with mean and standard deviation
        (n - 1) over the seeds, by fold, as mean over the folds, and pooled over all test rows. All are fractions.

    Raises:
        ValueError: arguments that leave no groups to choose, a dataset that has a partition of its own, finished runs
            of other arguments or data, and whatever a training raises.
    """
    check_arguments(data_args, training_args, cv_args)
    dataset = only_part(open_dataset(data_args.dataset))
    if data_args.drop_unlabelled and data_args.target != "votes":  # first: a group without any label makes no fold
        dataset = without_unlabelled(dataset, "train", data_args.target)
    folds = make_folds(dataset, data_args, cv_args.num_folds)

    def run(fold: str, seed: int, *arguments: Any) -> None:
        fold_args, args, about = arguments
        run_training(fold_args, model_args, args, about, quiet=True)

    return run_folds(dataset, folds, cv_args.seeds, (data_args, model_args, training_args), run, after_run)


def run_folds(
    dataset: Dataset,
    folds: dict[str, list[str]],
    seeds: Sequence[int],
    arguments: tuple[Any, ...],
    run: Callable[..., None],
    after_run: Callable[[Path], object],
    with_features: bool = True,
    more_settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Makes the runs of all folds and seeds that are not there, and writes the report; see `cross_validate`.

    Args:
        folds: the groups that each fold tests, by its name.
        arguments: those of the data, of the model and of the training.
        run: called with a fold, a seed, its `DataArguments` and `TrainingArguments`, and fields of its record.
        with_features: see `split_dataset`.
        more_settings: what the runs depend on besides the arguments.
    """
    data_args, model_args, training_args = arguments
    output_dir = Path(training_args.output_dir)
    runs = [(fold, seed) for fold in folds for seed in seeds]
    settings = {**asdict(data_args), **asdict(model_args), **training_args.to_dict(), **(more_settings or {})}
    settings = {name: value for name, value in settings.items() if name not in NOT_COMPARED}
    abouts = {}
    for fold, groups in folds.items():
        # All folds are checked before the first one is trained.
        parts = split_dataset(dataset, replace(data_args, test_groups=groups), with_features)
        made_of = {name: part._fingerprint for name, part in parts.items()}
        about = {"settings": settings, "test_groups": groups, "made_of": made_of}
        abouts[fold] = json.loads(json.dumps(about, default=str))
    check_finished(output_dir, abouts)
    done = [run for run in runs if (run_folder(output_dir, *run) / RECORD).is_file()]
    if done:
        print(f"{len(done)} of {len(runs)} runs are done already, and are not run again.", file=sys.stderr)
    with tqdm(total=len(runs), initial=len(done), desc="Cross-validating", unit="run") as bar:
        for fold, seed in runs:
            folder = run_folder(output_dir, fold, seed)
            if (fold, seed) not in done:
                bar.set_postfix_str(f"fold {fold}, seed {seed}")
                if folder.exists():
                    shutil.rmtree(folder)
                # A copy for each run, since a Trainer changes its arguments.
                args = replace(training_args, output_dir=str(folder), seed=seed)
                with writing_into(folder):
                    run(fold, seed, replace(data_args, test_groups=folds[fold]), args, abouts[fold])
                    after_run(folder)
                bar.update()
            for checkpoint in folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
    report = summarize(output_dir, folds, seeds)
    about = {
        "about": "Figures of the test rows, as fractions; std is the standard deviation over the seeds, with n - 1.",
        "settings": json.loads(json.dumps(settings, default=str)),
    }
    with writing_into(output_dir):
        write_json(output_dir / REPORT, {**report, **about})
    return report


def check_arguments(
    data_args: DataArguments, training_args: TacfnTrainingArguments, cv_args: CrossValidationArguments
) -> None:
    """A ValueError where an argument of a single training has no meaning here."""
    if training_args.world_size > 1:
        raise ValueError(f"Cross-validation runs in one process, not in {training_args.world_size}.")
    if data_args.group_column is None:
        raise ValueError("group_column must say which column holds the groups to leave out: session, speaker, ...")
    partition = ("split_column", "test_groups", "valid_groups", "test_fraction")
    given = [name for name in partition if getattr(data_args, name) is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)} can't be given in cross-validation, where every group is tested in turn; the "
            "validation part is a valid_fraction of the others."
        )
    if training_args.seed != TacfnTrainingArguments.seed:
        raise ValueError(f"seed is {training_args.seed}: in cross-validation give seeds, one or several.")
    if training_args.resume_from_checkpoint is not None:
        raise ValueError("resume_from_checkpoint can't be given: cross-validation goes on by itself, fold by fold.")
    if training_args.push_to_hub:
        raise ValueError("push_to_hub can't be given: every fold and seed has a model of its own.")
    if len(set(cv_args.seeds)) < len(cv_args.seeds):
        raise ValueError(f"seeds has a seed twice: {' '.join(map(str, cv_args.seeds))}.")


def only_part(dataset: Dataset | DatasetDict) -> Dataset:
    """The one part of a dataset, or a ValueError where it has a partition of its own."""
    named = named_parts(dataset)
    if list(named) != ["train"]:
        raise ValueError(
            f"The dataset has a partition of its own, {', '.join(named)}: train on that with tacfn train; only a "
            "dataset of one part can be cross-validated."
        )
    return next(iter(named.values()))


def make_folds(dataset: Dataset, data_args: DataArguments, num_folds: int | None) -> dict[str, list[str]]:
    """The groups that each fold tests, by the fold's name: the group's own, or a number where there are several."""
    values = groups_of(dataset, data_args.group_column, "group_column")
    groups = sorted(set(values))
    if num_folds is None:
        if len(groups) < 2:
            raise ValueError(
                f"Cross-validation needs at least 2 groups in {data_args.group_column!r}, which has {len(groups)}."
            )
        return {group: [group] for group in groups}
    if not 2 <= num_folds <= len(groups):
        raise ValueError(f"num_folds is {num_folds}: it must be 2 to {len(groups)}, the groups that there are.")
    folds = GroupKFold(n_splits=num_folds, shuffle=True, random_state=data_args.split_seed)
    tested = [rows for _, rows in folds.split(values, groups=values)]
    return {str(i + 1): sorted(set(values[rows])) for i, rows in enumerate(tested)}


def fold_folder(fold: str) -> str:
    """A fold's name as that of a folder: characters that not every system takes become codes."""
    return f"fold-{quote(fold, safe='')}"


def run_folder(output_dir: Path, fold: str, seed: int) -> Path:
    """The folder of the run of a fold and a seed."""
    return output_dir / fold_folder(fold) / f"seed-{seed}"


def check_finished(output_dir: Path, abouts: dict[str, dict[str, Any]]) -> None:
    """
    Compares the finished runs in `output_dir` with those that would be made now.

    Args:
        abouts: by the name of each fold, the fields `settings`, `test_groups` and `made_of` of the `RunRecord` of its
            runs.

    Raises:
        ValueError: a finished run is not one of these folds, or of other arguments or data.
    """
    by_folder = {fold_folder(fold): about for fold, about in abouts.items()}
    for path in sorted(output_dir.glob(f"fold-*/seed-*/{RECORD}")):
        about = by_folder.get(path.parent.parent.name)
        other = "of a fold that no longer exists" if about is None else difference(RunRecord.read(path.parent), about)
        if other is not None:
            raise ValueError(f"{path.parent} holds a run {other}: choose another output_dir.")


def difference(found: RunRecord, about: dict[str, Any]) -> str | None:
    """What a finished run differs in from the one that would be made now, or None."""
    if found.settings is None:
        return "that cross-validation did not make"
    # What is new since an older version had its default there.
    options = [of for kind in (DataArguments, ModelArguments, TrainingOptions) for of in fields(kind)]
    new = {of.name: of.default for of in options if of.default is not MISSING}
    before = {**new, **found.settings, "test_groups": found.test_groups}
    now = {**about["settings"], "test_groups": about["test_groups"]}
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            return f"with {name} {before.get(name)!r}, not {now.get(name)!r} as now"
    if found.made_of != about["made_of"]:
        return f"with other data than {now['dataset']} holds now, or with files that were moved or written since"
    return None


def summarize(output_dir: Path, folds: dict[str, list[str]], seeds: Sequence[int]) -> dict[str, Any]:
    """The report of all runs; see `cross_validate`."""
    by_fold: dict[str, Any] = {}
    predictions: dict[int, list[pd.DataFrame]] = {seed: [] for seed in seeds}
    records = {(fold, seed): RunRecord.read(run_folder(output_dir, fold, seed)) for fold in folds for seed in seeds}
    record = records[list(records)[-1]]
    voted = all(set(DISTANCES) <= set(of.metrics["test"]) for of in records.values())
    names = (*FIGURES[record.problem_type], *(DISTANCES if voted else ()))
    for fold, groups in folds.items():
        figures = {}
        for seed in seeds:
            figures[seed] = report_figures(records[fold, seed].metrics["test"], names)
            table = read_predictions(run_folder(output_dir, fold, seed))
            predictions[seed].append(table[table["split"] == "test"])
        rows = len(predictions[seeds[0]][-1])
        by_fold[fold] = {"test_groups": groups, "rows": rows, **over_seeds(figures)}
    mean = {
        seed: {name: float(np.mean([fold["seeds"][seed][name] for fold in by_fold.values()])) for name in figures[seed]}
        for seed in seeds
    }
    pooled = {
        seed: pool(pd.concat(tables), record.label_names, record.problem_type, names)
        for seed, tables in predictions.items()
    }
    return {"folds": by_fold, "mean_over_folds": over_seeds(mean), "pooled": over_seeds(pooled)}


def report_figures(metrics: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Those figures of a part that the report has: `names`, and of values CCC of each."""
    return {name: metrics[name] for name in names} | {
        f"CCC {row['label']}": row["CCC"] for row in metrics.get("per_value", ())
    }


def pool(
    table: pd.DataFrame, label_names: Sequence[str], problem_type: str = CLASSES, names: Sequence[str] | None = None
) -> dict[str, float]:
    """The figures of all folds' test rows together; `names` of them, those of FIGURES by default."""
    names = names or FIGURES[problem_type]
    if problem_type != CLASSES:
        of_table = several_figures_of_table if problem_type == SEVERAL else value_figures_of_table
        metrics = {**of_table(table, label_names), "beta_mean": float(table["beta"].mean())}
        return report_figures(metrics, names)
    index = {name: i for i, name in enumerate(label_names)}
    result = EmotionMetric(keep_in_memory=True).compute(
        predictions=[index[name] for name in table["prediction"]],
        references=[index[name] for name in table["label"]],
        label_names=list(label_names),
    )
    scores = table[[score_column(name) for name in label_names]].to_numpy()
    result["ECE"] = expected_calibration_error(scores, [index[name] for name in table["label"]])
    result["beta_mean"] = float(table["beta"].mean())
    if set(DISTANCES) <= set(names):
        result |= distances_to_votes(table[[f"share_{name}" for name in label_names]].to_numpy(), scores)
    return report_figures(result, names)


def over_seeds(figures: dict[int, dict[str, float]]) -> dict[str, Any]:
    """The figures of each seed, their mean, and their standard deviation (n - 1; None for one seed)."""
    table = pd.DataFrame.from_dict(figures, orient="index")
    std = table.std(ddof=1) if len(table) > 1 else None
    return {
        "seeds": figures,
        "mean": table.mean().to_dict(),
        "std": dict.fromkeys(table.columns) if std is None else std.to_dict(),
    }


def format_report(report: dict[str, Any]) -> str:
    """The report as a table: figures in %, mean ± standard deviation over the seeds."""
    rows = [(f"fold {name}", listed(fold["test_groups"]), fold["rows"], fold) for name, fold in report["folds"].items()]
    total = sum(fold["rows"] for fold in report["folds"].values())
    rows += [("mean over folds", "", "", report["mean_over_folds"]), ("pooled", "", total, report["pooled"])]
    lines = [[name, groups, rows_, *cells(figures)] for name, groups, rows_, figures in rows]
    names = [name.replace("_", " ") for name in report["pooled"]["mean"] if name != "beta_mean"]
    table = pd.DataFrame(lines, columns=["", "test groups", "rows", *names, "mean beta"])
    seeds = list(report["pooled"]["seeds"])
    unit = "Figures" if "CCC" in names else "Figures in %, KL and JS in nats," if "KL" in names else "Figures in %,"
    about = f"{unit} of the test rows; seeds {' '.join(map(str, seeds))}"
    about += ", mean ± standard deviation (n - 1) over them." if len(seeds) > 1 else "."
    return f"{table.to_string(index=False)}\n{about}"


def listed(groups: Sequence[str]) -> str:
    """The groups of a fold, or how many where there are too many for a line."""
    return " ".join(groups) if len(groups) <= 6 else f"{len(groups)} groups"


def cells(figures: dict[str, Any]) -> list[str]:
    """The figures in %, but those of values and beta, which are as they are; beta last."""
    shown = []
    for name in sorted(figures["mean"], key="beta_mean".__eq__):
        as_is = name in NOT_IN_PERCENT or name.startswith("CCC ")
        factor, digits = (1, 3) if as_is else (100, 1)
        mean, std = figures["mean"][name], figures["std"][name]
        shown.append(f"{factor * mean:.{digits}f}" + ("" if std is None else f" ± {factor * std:.{digits}f}"))
    return shown
