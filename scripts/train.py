"""
Trains the fusion network on features, and evaluates it on the validation and test parts.

    python scripts/train.py --dataset features/iemocap --group_column session --test_groups 4 \
        --valid_fraction 0.15 --valid_group_column dialogue --output_dir runs/iemocap-4
    python scripts/train.py recipe.json --learning_rate 3e-4
    accelerate launch --multi_gpu --num_processes 2 scripts/train.py recipe.json

A JSON file of arguments comes first; flags after it override it. Every `TrainingArguments` flag works;
`--resume_from_checkpoint true` goes on from the last checkpoint in output_dir. output_dir gets the model,
the processor that made the features, `metrics.json` and `predictions.parquet`.
"""

import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]

from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from tacfn_hf.features import processor_of
from tacfn_hf.metrics import format_table
from tacfn_hf.splits import DataArguments, open_dataset, split_dataset
from tacfn_hf.training import (
    ModelArguments,
    TacfnTrainingArguments,
    build_model,
    build_trainer,
    check_features,
    check_output_dir,
    evaluate_split,
    label_names_of,
    load_processor,
    match_labels,
    parse_arguments,
    write_results,
)


def main() -> None:
    data_args, model_args, args = parse_arguments((DataArguments, ModelArguments, TacfnTrainingArguments), sys.argv[1:])
    check_output_dir(args)
    checkpoint = args.resume_from_checkpoint
    if checkpoint is not None and checkpoint.lower() == "true":
        checkpoint = get_last_checkpoint(args.output_dir) if os.path.isdir(args.output_dir) else None
        if checkpoint is None:
            raise ValueError(f"resume_from_checkpoint is true, but output_dir {args.output_dir} holds no checkpoint.")

    parts = split_dataset(open_dataset(data_args.dataset), data_args)
    if "train" not in parts:
        raise ValueError(f"The dataset {data_args.dataset} has no training part: it has {', '.join(parts)}.")
    set_seed(args.seed)
    model = build_model(parts["train"], model_args, args.class_weights)
    for name, part in parts.items():
        check_features(part, model.config, f"the {name} part")
    processor_name = model_args.processor_name or processor_of(data_args.dataset)
    processor = None if processor_name is None else load_processor(processor_name, model.config)
    parts = {name: match_labels(part, label_names_of(model.config)) for name, part in parts.items()}
    trainer = build_trainer(model, args, parts)
    trained = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(args.output_dir)
    if processor is not None and trainer.is_world_process_zero():
        processor.save_pretrained(args.output_dir)

    metrics, tables = {}, {}
    for name in ("valid", "test"):
        if name in parts:
            metrics[name], tables[name] = evaluate_split(trainer, parts[name])
    if not trainer.is_world_process_zero():
        return
    about = {
        "arguments": sys.argv[1:],
        "dataset": data_args.dataset,
        "fingerprints": {name: part._fingerprint for name, part in parts.items()},
        "rows": {name: len(part) for name, part in parts.items()},
        "label_names": label_names_of(model.config),
        "seed": args.seed,
        "split_seed": data_args.split_seed,
        "num_parameters": model.num_parameters(),
        "world_size": args.world_size,
        "epochs": trainer.state.epoch,
        "training_loss": trained.training_loss,
        "training_seconds": round(trained.metrics["train_runtime"], 1),
    }
    write_results(args.output_dir, metrics, tables, about)
    for name, result in metrics.items():
        print(f"\n{name}: {len(parts[name])} rows\n{format_table(result)}")


if __name__ == "__main__":
    main()
