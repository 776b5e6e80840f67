"""`tacfn train`, as a file for `accelerate launch`."""

import sys

from tacfn_hf.cli.main import main


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
