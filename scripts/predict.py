"""
Recognises the emotion of one utterance.

    python scripts/predict.py --model runs/my-model --audio hello.wav --text "Hello there!"

Either of the two may be left out.
"""

import argparse
import os
from dataclasses import dataclass, field

from transformers import pipeline

import tacfn_hf  # noqa: F401 (registers the model and the pipeline)
from tacfn_hf.cli.shared import CommandParser, run_command


@dataclass
class PredictionArguments:
    model: str = field(metadata={"help": "Trained model with its processor: a folder or a Hub id."})
    audio: str | None = field(default=None, metadata={"help": "Audio file: wav, flac, mp3, m4a, ogg and others."})
    text: str | None = field(default=None, metadata={"help": "What is said in it."})
    top_k: int | None = field(default=None, metadata={"help": "How many labels to print (all)."})
    truncation: bool = field(default=False, metadata={"help": "Cut audio and text that is too long."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = CommandParser(PredictionArguments, description=__doc__, formatter_class=formatter)
    (args,) = parser.parse_args_into_dataclasses(argv)
    if not args.audio and not args.text:
        parser.error("give --audio, --text or both")
    if os.path.isdir(args.model) and not os.path.isfile(os.path.join(args.model, "processor_config.json")):
        parser.error(f"{args.model} has no processor: it takes features, not audio and text; see scripts/evaluate.py")
    device = "cpu" if args.use_cpu else None
    try:
        recognizer = pipeline("multimodal-emotion-recognition", model=args.model, device=device)
    except OSError as error:
        if os.path.isdir(args.model):
            raise
        raise ValueError(f"The model {args.model} is no folder here, and the Hub gave none: {error}") from error
    given = {"audio": args.audio or None, "text": args.text or None}
    found = recognizer(given, top_k=args.top_k, truncation=args.truncation)
    width = max(len(row["label"]) for row in found["scores"])
    for row in found["scores"]:
        print(f"{row['label']:<{width}}  {row['score']:6.1%}")
    print(f"{'beta':<{width}}  {found['beta']:6.2f}  (0 = text, 1 = audio)")


if __name__ == "__main__":
    run_command(main)
