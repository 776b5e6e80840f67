"""
Writes the model card of a run again, with what only you know: its license, its languages, its id on the Hub.

    python scripts/make_card.py runs/iemocap-0 --license cc-by-nc-4.0 --language en --repo_id user/iemocap-0
    python scripts/make_card.py runs/iemocap --output model_cards/iemocap-loso.md

The first is a run of train.py, and README.md and its pictures are written into it; the second one of cross_validate.py,
whose card is about all folds and seeds.
"""

import argparse
import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

from tacfn_hf.cli.shared import CommandParser, run_command
from tacfn_hf.sharing.cross_validation_card import write_cross_validation_card
from tacfn_hf.sharing.model_card import write_card
from tacfn_hf.writing import writing_into


def main(argv: list[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="output_dir of train.py or cross_validate.py")
    parser.add_argument("--output", help="the card of a cross-validation, a file NAME.md")
    parser.add_argument("--repo_id", help="the model's id on the Hub, for the lines that load it")
    parser.add_argument("--license", help="an identifier of the Hub's list; the corpus decides which one is possible")
    parser.add_argument("--language", nargs="+", help="of the data, ISO 639 codes")
    parser.add_argument("--features", help="what made the features, where their dataset does not say")
    args = parser.parse_args(argv)
    more = {"license": args.license, "language": args.language, "features": args.features}
    if args.output is None:
        with writing_into(args.folder):
            write_card(args.folder, repo_id=args.repo_id, **more)
    elif args.repo_id is not None:
        parser.error("--repo_id goes with one model, --output with the card of a cross-validation")
    else:
        with writing_into(os.path.dirname(args.output)):
            write_cross_validation_card(args.folder, args.output, **more)


if __name__ == "__main__":
    run_command(main)
