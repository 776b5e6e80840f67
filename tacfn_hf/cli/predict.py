"""
Recognises the emotion of one utterance.

    tacfn predict --model runs/my-model --audio hello.wav --text "Hello there!"

Either of the two may be left out. The answer has scores of classes; of a model for several labels a * marks those that
it answers; of a model for values, such as arousal, it has these and the range of their scale.
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .parsing import CommandParser


if TYPE_CHECKING:
    from ..model import EmotionRecognitionPipeline


@dataclass
class PredictionArguments:
    """The model, and what it is asked about."""

    model: str = field(metadata={"help": "Trained model with its processor: a folder or a Hub id."})
    audio: str | None = field(default=None, metadata={"help": "Audio file: wav, flac, mp3, m4a, ogg and others."})
    text: str | None = field(default=None, metadata={"help": "What is said in it."})
    top_k: int | None = field(default=None, metadata={"help": "How many labels to print (all)."})
    truncation: bool = field(default=False, metadata={"help": "Cut audio and text that is too long."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Prints the scores of one utterance."""
    parser = CommandParser((PredictionArguments,), prog="tacfn predict", description=__doc__)
    (args,) = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    if not args.audio and not args.text:
        parser.error("give --audio, --text or both")
    recognizer = load_recognizer(parser, args.model, args.use_cpu)
    given = {"audio": args.audio or None, "text": args.text or None}
    found = recognizer(given, top_k=args.top_k, truncation=args.truncation)
    width = max(len(row["label"]) for row in found["scores"])
    for row in found["scores"]:
        chosen = "  *" if row["label"] in found.get("labels", ()) else ""
        print(f"{row['label']:<{width}}  {row['score']:6{'.2f' if 'range' in found else '.1%'}}{chosen}")
    if "labels" in found:
        print("* at least the label's threshold")
    if found.get("range"):
        low, high = found["range"]
        print(f"values from {low:g} to {high:g}")
    print(f"{'beta':<{width}}  {found['beta']:6.2f}  (0 = text, 1 = audio)")


def load_recognizer(parser: CommandParser, model: str, use_cpu: bool) -> "EmotionRecognitionPipeline":
    """
    The pipeline of a model with its processor.

    Raises:
        ValueError: there is no such model, or it has no processor.
    """
    if os.path.isdir(model) and not os.path.isfile(os.path.join(model, "processor_config.json")):
        parser.error(f"{model} has no processor: it takes features, not audio and text; see tacfn evaluate")

    from transformers import pipeline

    from .. import model as registered  # noqa: F401 (registers the pipeline)

    try:
        return pipeline("multimodal-emotion-recognition", model=model, device="cpu" if use_cpu else None)
    except OSError as error:
        if os.path.isdir(model):
            raise
        raise ValueError(f"The model {model} is no folder here, and the Hub gave none: {error}") from error
