"""
Counts what is in a corpus: its splits, labels, speakers and hours, and what it lacks.

    tacfn inspect ravdess corpora/ravdess
    tacfn inspect folder corpora/mine text_column=transcript speaker_column=actor --json report.json

Audio files that are missing are counted and named, where the corpus has the option allow_missing. Files that can't be
opened are counted and named too, and their rows are left out of the other counts. skip_bad_files=false stops there.
"""

import json
import os
import warnings

from ..corpora import CORPORA
from .parsing import CommandParser


def main(argv: list[str]) -> None:
    """Prints the counts of a corpus."""
    parser = CommandParser(prog="tacfn inspect", description=__doc__)
    parser.add_argument("name", help=f"Corpus: {', '.join(CORPORA)}.")
    parser.add_argument("root", help="Folder that it was delivered as.")
    parser.add_argument("options", nargs="*", metavar="option=value", help="Options of the corpus.")
    parser.add_argument("--json", metavar="FILE", help="Write the same counts to a file.")
    args = parser.parse_args(argv)

    from ..corpora import corpus_options, load_corpus, parse_options
    from ..corpora.inspection import format_report, inspect_corpus
    from ..writing import writing_into

    options = {"skip_bad_files": True} | parse_options(args.name, args.options)
    if "allow_missing" in corpus_options(args.name):
        options.setdefault("allow_missing", True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        corpus = load_corpus(args.name, args.root, **options)
    about = {"corpus": args.name, "root": args.root, "options": options}
    report = about | inspect_corpus(corpus) | {"warnings": [str(warning.message) for warning in caught]}
    print(format_report(report))
    for warning in report["warnings"]:
        print(f"\nWarning: {warning}")
    if args.json is not None:
        with writing_into(os.path.dirname(args.json)), open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2, ensure_ascii=False)
