"""
Writes a model as programs that run without its code: its encoders, and its network.

    tacfn export runs/my-model --output_dir my-model-onnx
    python my-model-onnx/recognize.py --audio hello.wav --text "Hello there!"

The second line needs onnxruntime, and no torch. Each program is compared with the model on inputs of several shapes,
and the largest difference is printed. The model of a run without a processor is written without encoders: it takes
features.
"""

import os

from .parsing import CommandParser


def main(argv: list[str]) -> None:
    """Exports a model, and prints how far its programs are from it."""
    parser = CommandParser(prog="tacfn export", description=__doc__)
    parser.add_argument("model", help="Trained model, with or without its processor: a folder or a Hub id.")
    parser.add_argument("--output_dir", required=True, help="A new folder for the programs.")
    parser.add_argument(
        "--format", choices=["onnx", "dynamo"], default="onnx", help="onnx, or dynamo for torch.export programs (.pt2)."
    )
    args = parser.parse_args(argv)

    from transformers.utils import cached_file

    from ..deployment.export import export_model
    from ..model import TacfnProcessor
    from ..training.setup import load_model
    from ..writing import writing_into

    model = load_model(args.model).eval()
    has_processor = cached_file(args.model, "processor_config.json", _raise_exceptions_for_missing_entries=False)
    processor = TacfnProcessor.from_pretrained(args.model) if has_processor else None
    with writing_into(args.output_dir):
        found = export_model(model, processor, args.output_dir, args.format)
    print(f"{'program':<14}  {'MB':>7}  difference from the model")
    for name, difference in found.items():
        folder = os.path.join(args.output_dir, name)
        size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
        print(f"{name:<14}  {size / 1e6:7.1f}  {difference:.1e}")
    print(f"{args.output_dir}: {', '.join(sorted(os.listdir(args.output_dir)))}")
