"""
Writes the model card of a run again, with what only you know: its license, its languages, its id on the Hub.

    tacfn card runs/iemocap-0 --license cc-by-nc-4.0 --language en --repo_id user/iemocap-0
    tacfn card runs/iemocap --output model_cards/iemocap-loso.md

The first is a run of `tacfn train`: README.md and its pictures are written into it. The second one is a run of
`tacfn cross-validate`, whose card is about all folds and seeds.
"""

import os

from .parsing import CommandParser


def main(argv: list[str]) -> None:
    """Writes the card of a run, or of a cross-validation."""
    parser = CommandParser(prog="tacfn card", description=__doc__)
    parser.add_argument("folder", help="output_dir of `tacfn train` or `tacfn cross-validate`.")
    parser.add_argument("--output", help="The card of a cross-validation, a file NAME.md.")
    parser.add_argument("--repo_id", help="The model's id on the Hub, for the lines that load it.")
    parser.add_argument("--license", help="An identifier of the Hub's list. The corpus decides which one is possible.")
    parser.add_argument("--language", nargs="+", help="Of the data, ISO 639 codes.")
    parser.add_argument("--features", help="What made the features, where their dataset does not say.")
    args = parser.parse_args(argv)
    if args.output is not None and args.repo_id is not None:
        parser.error("--repo_id goes with one model, --output with the card of a cross-validation")

    from ..sharing.cross_validation_card import write_cross_validation_card
    from ..sharing.model_card import write_card
    from ..writing import writing_into

    more = {"license": args.license, "language": args.language, "features": args.features}
    if args.output is None:
        with writing_into(args.folder):
            write_card(args.folder, repo_id=args.repo_id, **more)
    else:
        with writing_into(os.path.dirname(args.output)):
            write_cross_validation_card(args.folder, args.output, **more)
