"""
Uploads a trained model with its processor, code and card, and loads it again from the Hub.

    python scripts/push_to_hub.py runs/ravdess-0 user/ravdess-emotions [--private] [--revision v1] \
        [--commit_message "Trained for longer"]

The token is the one of `hf auth login`, or HF_TOKEN. What was interrupted is completed by the same command.
"""

import os
import sys


# This folder comes first on the path of a script, and its evaluate.py would hide the evaluate library.
sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.realpath(__file__))]

import argparse

from tacfn_hf.cli.shared import CommandParser, run_command
from tacfn_hf.sharing.hub import check_pushed, push_checkpoint


def main(argv: list[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder of the model")
    parser.add_argument("repo_id", help="user/name on the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.add_argument("--commit_message", default="Upload model, processor and code")
    args = parser.parse_args(argv)
    commit = push_checkpoint(
        args.checkpoint,
        args.repo_id,
        private=args.private or None,
        revision=args.revision,
        commit_message=args.commit_message,
    )
    print(f"pushed: {commit.commit_url}")
    check_pushed(args.checkpoint, args.repo_id, commit.oid)
    print("loaded again without this package: the logits are equal to 1e-6")


if __name__ == "__main__":
    run_command(main)
