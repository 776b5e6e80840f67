"""
Uploads a trained model with its processor, code and card, and loads it again from the Hub.

    tacfn push runs/ravdess-0 user/ravdess-emotions --private --commit_message "Trained for longer"

The token is the one of `hf auth login`, or HF_TOKEN. The same command again completes what was interrupted.
"""

from .parsing import CommandParser


def main(argv: list[str]) -> None:
    """Uploads a model, and checks what others get."""
    parser = CommandParser(prog="tacfn push", description=__doc__)
    parser.add_argument("checkpoint", help="Folder of the model.")
    parser.add_argument("repo_id", help="user/name on the Hub.")
    parser.add_argument("--private", action="store_true", help="Make a new repository private.")
    parser.add_argument("--revision", help="Branch to push to (default: main).")
    parser.add_argument("--commit_message", default="Upload model, processor and code", help="Title of the commit.")
    args = parser.parse_args(argv)

    from ..sharing.hub import check_pushed, push_checkpoint

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
