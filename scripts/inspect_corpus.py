"""
Counts what is in a corpus: its splits, labels, speakers and hours, and what it lacks.

    python scripts/inspect_corpus.py ravdess corpora/ravdess
    python scripts/inspect_corpus.py folder corpora/mine text_column=transcript speaker_column=actor --json report.json

Audio files that are missing are counted and named, where the corpus has the option allow_missing; those that can't be
opened are counted and named, and their rows are left out of the other counts (skip_bad_files=false stops there).
"""

import argparse
import json
import os
import warnings

from tacfn_hf.cli.shared import CommandParser, run_command
from tacfn_hf.corpora import CORPORA, corpus_options, load_corpus, parse_options
from tacfn_hf.corpora.inspection import format_report, inspect_corpus
from tacfn_hf.writing import writing_into


def main(argv: list[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"corpus: {', '.join(CORPORA)}")
    parser.add_argument("root", help="folder that it was delivered as")
    parser.add_argument("options", nargs="*", metavar="option=value", help="options of the corpus")
    parser.add_argument("--json", metavar="FILE", help="write the same counts to a file")
    args = parser.parse_args(argv)
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


if __name__ == "__main__":
    run_command(main)
