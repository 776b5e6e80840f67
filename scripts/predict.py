"""
Recognises the emotion of one utterance.

    python scripts/predict.py --model runs/my-model --audio hello.wav --text "Hello there!"

Either of the two may be left out.
"""

import argparse
import os

from transformers import pipeline

import tacfn_hf  # noqa: F401 (registers the model and the pipeline)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="trained model with its processor: a folder or a Hub id")
    parser.add_argument("--audio", help="audio file: wav, flac, mp3, ogg")
    parser.add_argument("--text", help="what is said in it")
    parser.add_argument("--top_k", type=int, help="how many labels to print (default: all)")
    parser.add_argument("--truncation", action="store_true", help="cut audio and text that is too long")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    args = parser.parse_args()
    if not args.audio and not args.text:
        parser.error("give --audio, --text or both")
    if os.path.isdir(args.model) and not os.path.isfile(os.path.join(args.model, "processor_config.json")):
        parser.error(f"{args.model} has no processor: it takes features, not audio and text; see scripts/evaluate.py")
    recognizer = pipeline("multimodal-emotion-recognition", model=args.model, device=args.device)
    given = {"audio": args.audio or None, "text": args.text or None}
    found = recognizer(given, top_k=args.top_k, truncation=args.truncation)
    width = max(len(row["label"]) for row in found["scores"])
    for row in found["scores"]:
        print(f"{row['label']:<{width}}  {row['score']:6.1%}")
    print(f"{'beta':<{width}}  {found['beta']:6.2f}  (0 = text, 1 = audio)")


if __name__ == "__main__":
    main()
