"""
Tests a trained model on features, and measures what its beta is worth.

    tacfn evaluate --model runs/iemocap-4 --dataset features/iemocap --group_column session --test_groups 4 \\
        --output_dir runs/iemocap-4-test
    tacfn evaluate --model user/model --dataset features/ravdess --split all --output_dir runs/other

The target is what the model has learned: --target is not needed. Values are those of the model's scale, unless
--target_range gives another one. Labels are matched with the model's by their names. On another corpus,
`--shared_labels true` tests on those that both have. Of a model for one class an utterance, it also changes one
modality of each utterance that has both, or leaves it out, and looks at what beta and the accuracy do. output_dir gets
metrics.json and predictions.parquet.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from ..features.arguments import DataArguments
from .parsing import parse_arguments


@dataclass
class EvaluationArguments:
    """What is evaluated, and where the result goes."""

    model: str = field(metadata={"help": "Trained model: a folder or a model id on the Hub."})
    output_dir: str = field(metadata={"help": "Folder for metrics.json and predictions.parquet."})
    split: Literal["test", "valid", "train", "all"] = field(
        default="test", metadata={"help": "Part of the dataset; all: every row."}
    )
    shared_labels: bool = field(
        default=False,
        metadata={
            "help": "Test on the labels that dataset and model both have: rows with another one are left out, labels "
            "that the dataset does not have are not predicted, and beta is not measured."
        },
    )
    batch_size: int = field(default=64, metadata={"help": "Samples of a step on each device."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Tests a model, measures its beta, and prints the figures."""
    data_args, eval_args = parse_arguments((DataArguments, EvaluationArguments), argv, __doc__, "tacfn evaluate")

    from transformers import TrainingArguments

    from ..evaluation.gate import format_gate_truth, measure_gate_truth
    from ..evaluation.metrics import format_table
    from ..evaluation.predictions import evaluate_split
    from ..evaluation.record import RunRecord
    from ..features.labels import UnknownLabelsError, label_names_of, share_labels
    from ..features.shapes import complete_rows
    from ..features.splits import open_part
    from ..features.targets import CLASSES, SEVERAL, VALUES, with_targets
    from ..training.run import check_output_dir
    from ..training.setup import check_features, check_target, few_threads, load_model
    from ..training.trainer import build_trainer
    from ..writing import writing_into

    args = TrainingArguments(
        output_dir=eval_args.output_dir,
        per_device_eval_batch_size=eval_args.batch_size,
        use_cpu=eval_args.use_cpu,
        report_to="none",
    )
    check_output_dir(args)
    model = load_model(eval_args.model)
    label_names, shared, left_out = label_names_of(model.config), None, {}
    kind = model.config.problem_type or CLASSES
    if data_args.target == DataArguments.target and kind != CLASSES:
        data_args.target = "labels" if kind == SEVERAL else ",".join(label_names)
    if kind == VALUES:
        data_args.target_range = data_args.target_range or model.config.value_range
    check_target(model.config, data_args, same_range=False)
    part = open_part(data_args, eval_args.split)
    check_features(part, model.config, f"the dataset {data_args.dataset}")
    if eval_args.shared_labels:
        if kind != CLASSES:
            raise ValueError(
                f"shared_labels is true, but the model has problem_type {kind}: it is for one class a row."
            )
        part, shared, left_out = share_labels(part, label_names)
    tested = replace(data_args, target="label") if data_args.target == "votes" else data_args
    try:
        part = with_targets({eval_args.split: part}, label_names, tested)[eval_args.split]
    except UnknownLabelsError as error:
        raise ValueError(f"{error} To test on the labels that both have, give --shared_labels true.") from error
    trainer = build_trainer(model, args, {})
    with few_threads(model.config):
        result, table = evaluate_split(trainer, part, shared, data_args.target_range)
    if not trainer.is_world_process_zero():
        return
    record = RunRecord(
        metrics={eval_args.split: result},
        arguments=argv,
        model=eval_args.model,
        dataset=data_args.dataset,
        fingerprints={eval_args.split: part._fingerprint},
        rows={eval_args.split: len(part)},
        label_names=label_names if shared is None else shared,
        problem_type=kind,
        left_out_rows=left_out,
        left_out_labels=[] if shared is None else [name for name in label_names if name not in shared],
        split_seed=data_args.split_seed,
        temperatures=model.config.temperatures,
        num_parameters=model.num_parameters(),
        world_size=args.world_size,
    )
    if shared is None and kind == CLASSES and complete_rows(part).sum() > 1:
        with few_threads(model.config):
            truth = measure_gate_truth(model, part, batch_size=eval_args.batch_size)
        record.gate_truth = {"part": eval_args.split, **truth}
    with writing_into(eval_args.output_dir):
        record.write(eval_args.output_dir, {eval_args.split: table})
    if shared is not None:
        rows = ", ".join(f"{count} {name}" for name, count in left_out.items()) or "none"
        print(f"\nlabels of both: {', '.join(shared)}\nrows left out: {rows}")
        print(f"labels of the model left out: {', '.join(record.left_out_labels) or 'none'}")
    print(f"\n{eval_args.split}: {len(part)} rows\n{format_table(result)}")
    if record.gate_truth is not None:
        print(f"\nbeta: {format_gate_truth(record.gate_truth)}")
