"""
Measures whether a trained model's beta tells the truth, on features.

    python scripts/gate_truth.py --model runs/iemocap-4 --dataset features/iemocap --group_column session \
        --test_groups 4 --output_dir runs/iemocap-4-beta

It changes one modality of each utterance, or leaves it out, and looks at what beta and the accuracy do. On the
diagnostic corpus, of which it is known whether sound or words carry the emotion, it compares beta with that too.
output_dir gets `gate_truth.json`.
"""

import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from accelerate import PartialState

from tacfn_hf.cli.shared import parse_arguments, run_command
from tacfn_hf.evaluation.gate import format_gate_truth, measure_gate_truth
from tacfn_hf.evaluation.record import versions
from tacfn_hf.features.arguments import DataArguments
from tacfn_hf.features.splits import open_part
from tacfn_hf.training.setup import check_features, load_model
from tacfn_hf.writing import write_json, writing_into


@dataclass
class GateTruthArguments:
    """What is measured, and where the result goes."""

    model: str = field(metadata={"help": "Trained model: a folder or a model id on the Hub."})
    output_dir: str = field(metadata={"help": "Folder for gate_truth.json."})
    split: Literal["test", "valid", "train", "all"] = field(
        default="test", metadata={"help": "Part of the dataset; all: every row."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of what is replaced, and by what."})
    batch_size: int = field(default=64, metadata={"help": "Samples of a step."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    data_args, args = parse_arguments((DataArguments, GateTruthArguments), argv, __doc__)
    path = Path(args.output_dir, "gate_truth.json")
    if path.exists():
        raise ValueError(f"output_dir {args.output_dir} already holds {path.name}: choose another folder.")
    part = open_part(data_args, args.split)

    model = load_model(args.model)
    check_features(part, model.config, f"the dataset {data_args.dataset}")
    model.to(PartialState(cpu=args.use_cpu).device)
    result = measure_gate_truth(model, part, seed=args.seed, batch_size=args.batch_size)
    about = {
        "arguments": argv,
        "model": args.model,
        "dataset": data_args.dataset,
        "split": args.split,
        "fingerprint": part._fingerprint,
        "versions": versions(),
    }
    with writing_into(args.output_dir):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**result, "about": about})
    print(f"\n{args.split}: {format_gate_truth(result)}")


if __name__ == "__main__":
    run_command(main)
