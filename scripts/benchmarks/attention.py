"""
What cross-modal blocks are worth: the network with 0, 1 and 2 of them, on the same folds, seeds and objective.

    python scripts/benchmarks/attention.py --dataset features/session1 --group_column scenario --num_folds 5 \\
        --valid_fraction 0.15 --valid_group_column dialogue --hidden_size 64 --num_attention_heads 4 \\
        --gate_hidden_size 32 --seeds 0 1 2 --output_dir runs/attention-session1

Options are those of `tacfn cross-validate`, and those below. Blocks start as they do in the network, or as nothing: the
last layer of each attention and of each feed-forward is 0, so that at first they only normalise. Each kind of network
takes the learning rate whose mean loss on the validation rows is the smallest with the first seed. A run that is there
already is not made again. output_dir gets `attention.json`.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from fusion_methods import be_quiet, open_folds, quiet_trainer
from tqdm.auto import tqdm
from transformers import set_seed

from tacfn_hf.cli.parsing import parse_training
from tacfn_hf.evaluation.predictions import evaluate_split, read_predictions
from tacfn_hf.evaluation.record import RECORD, RunRecord
from tacfn_hf.features.arrow_layout import column_batches, feature_arrays, feature_of, nested_array
from tacfn_hf.features.labels import label_names_of
from tacfn_hf.features.splits import split_dataset
from tacfn_hf.model.modeling_tacfn import TacfnForSequenceClassification
from tacfn_hf.training.arguments import CrossValidationArguments, ModelArguments
from tacfn_hf.training.cross_validation import fold_folder, over_seeds, pool
from tacfn_hf.training.setup import build_model
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import write_json


@dataclass
class AttentionArguments:
    """Which networks are compared."""

    blocks: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "Numbers of cross-modal blocks."})
    starts: list[str] = field(
        default_factory=lambda: ["as it is", "nothing"], metadata={"help": "How blocks start: as it is, nothing."}
    )
    learning_rates: list[float] = field(
        default_factory=lambda: [3e-4, 1e-3], metadata={"help": "Learning rates of which the better one is reported."}
    )
    frames_averaged: int = field(
        default=1, metadata={"help": "Average so many neighbouring frames of audio: 5 makes 10 a second of 50."}
    )


@dataclass(kw_only=True)
class AttentionRecord(RunRecord):
    """`valid_loss`: the loss on the validation rows of the model that was kept."""

    valid_loss: float


def main() -> None:
    be_quiet()
    more = (CrossValidationArguments, AttentionArguments)
    data_args, model_args, args, cv_args, own = parse_training(sys.argv[1:], __doc__, "attention.py", more)
    if args.metric_for_best_model != "loss" or not args.load_best_model_at_end:
        raise ValueError("Learning rates are compared by the smallest validation loss: keep the model that has it.")
    output_dir = Path(args.output_dir)
    dataset, folds = open_folds(data_args, args, cv_args)
    settings = {**asdict(data_args), **asdict(model_args), **asdict(own), **args.to_dict()}
    varied = ("output_dir", "logging_dir", "seed", "learning_rate", "blocks", "starts", "learning_rates")
    settings = {name: value for name, value in settings.items() if name not in varied}
    settings = json.loads(json.dumps(settings, default=str))
    dataset = with_averaged_frames(dataset, own.frames_averaged)
    kinds = [(blocks, start) for blocks in own.blocks for start in (own.starts if blocks else own.starts[:1])]
    first, *others = cv_args.seeds
    num_runs = len(kinds) * len(folds) * (len(own.learning_rates) + len(others))
    table = []
    with tqdm(total=num_runs, desc="Attention", unit="run") as progress:

        def records(kind: tuple[int, str], rate: float, seed: int) -> dict[Path, AttentionRecord]:
            """The runs of all folds, trained where they are not there yet."""
            of_folds = {}
            for fold in folds:
                folder = output_dir / f"{kind[0]}-{kind[1].replace(' ', '_')}-{rate:g}" / fold_folder(fold)
                folder = folder / f"seed-{seed}"
                if not (folder / RECORD).is_file():
                    parts = split_dataset(dataset, replace(data_args, test_groups=folds[fold]))
                    of_run = replace(args, output_dir=str(folder / "checkpoints"), seed=seed, learning_rate=rate)
                    of_model = replace(model_args, num_hidden_layers=kind[0])
                    train(parts, of_model, of_run, kind[1] == "nothing", folder, settings)
                    shutil.rmtree(folder / "checkpoints")
                of_folds[folder] = AttentionRecord.read(folder)
                if of_folds[folder].settings != settings:
                    raise ValueError(f"{folder} holds a run with other arguments: choose another output_dir.")
                progress.update()
            return of_folds

        for kind in kinds:
            of_rate = {rate: records(kind, rate, first) for rate in own.learning_rates}
            rate = min(of_rate, key=lambda rate: np.mean([record.valid_loss for record in of_rate[rate].values()]))
            of_seed = {first: of_rate[rate], **{seed: records(kind, rate, seed) for seed in others}}
            table.append(summarize(kind, rate, of_seed))
    write_json(output_dir / "attention.json", {"kinds": table, "settings": settings})
    print(f"Test rows of all folds together, seeds {' '.join(map(str, cv_args.seeds))}; figures in %.")
    print(pd.DataFrame(table).to_string(index=False, float_format="{:.1f}".format))


def with_averaged_frames(dataset: Dataset, number: int) -> Dataset:
    """The dataset with means of `number` neighbouring frames in `h_a`; the last mean of a row may be of fewer."""
    if number == 1:
        return dataset
    rows: list[np.ndarray | None] = []
    for batch in column_batches(dataset, "h_a"):
        for h in feature_arrays(batch):
            rows.append(None if h is None else averaged(h, number))
    size = next(h.shape[1] for h in rows if h is not None)
    return dataset.remove_columns("h_a").add_column(
        "h_a", nested_array(rows, "float32", size), feature=feature_of("float32", size)
    )


def averaged(h: np.ndarray, number: int) -> np.ndarray:
    """Means of `number` neighbouring positions of `h [L, d]`, float32 `[ceil(L / number), d]`."""
    starts = np.arange(0, len(h), number)
    counts = np.diff([*starts, len(h)])
    return (np.add.reduceat(h.astype(np.float64), starts) / counts[:, None]).astype(np.float32)


def start_as_nothing(model: TacfnForSequenceClassification) -> None:
    """Sets the last layer of each attention and each feed-forward of the blocks to 0."""
    for block in model.model.cross_modal.layers:
        for name, module in block.named_modules():
            if name.endswith("out_proj") or name in ("audio_feed_forward.2", "text_feed_forward.2"):
                module.weight.data.zero_()
                module.bias.data.zero_()


def train(
    parts: dict[str, Dataset],
    model_args: ModelArguments,
    args: TacfnTrainingArguments,
    nothing: bool,
    folder: Path,
    settings: dict[str, Any],
) -> None:
    """Trains a network, tests it, and writes its record and predictions into the folder."""
    set_seed(args.seed)
    model = build_model(parts["train"], model_args)
    if nothing:
        start_as_nothing(model)
    trainer = quiet_trainer(model, args, parts)
    seconds = trainer.train().metrics["train_runtime"]
    result, table = evaluate_split(trainer, parts["test"])
    AttentionRecord(
        metrics={"test": result},
        dataset=settings["dataset"],
        settings=settings,
        rows={name: len(part) for name, part in parts.items()},
        label_names=label_names_of(model.config),
        num_parameters=model.num_parameters(),
        temperatures=model.config.temperatures,
        training_seconds=seconds,
        valid_loss=trainer.state.best_metric,
    ).write(folder, {"test": table})


def summarize(kind: tuple[int, str], rate: float, of_seed: dict[int, dict[Path, AttentionRecord]]) -> dict[str, Any]:
    """The row of the table of a kind of network, from its runs by seed and folder."""
    records = [record for of_folds in of_seed.values() for record in of_folds.values()]
    names = records[0].label_names
    pooled = {seed: pool(pd.concat(map(read_predictions, of_folds)), names) for seed, of_folds in of_seed.items()}
    figures = over_seeds(pooled)
    blocks, start = kind
    return {
        "blocks": blocks,
        "start": start if blocks else "-",
        "learning rate": f"{rate:g}",
        "UA": 100 * figures["mean"]["UA"],
        "deviation": None if figures["std"]["UA"] is None else 100 * figures["std"]["UA"],
        "parameters": records[0].num_parameters,
        "seconds": float(np.mean([record.training_seconds for record in records])),
    }


if __name__ == "__main__":
    main()
