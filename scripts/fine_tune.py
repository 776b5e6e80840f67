"""`tacfn fine-tune`, as a file for `accelerate launch`."""

import sys

from tacfn_hf.cli.main import main


if __name__ == "__main__":
    main(["fine-tune", *sys.argv[1:]])
