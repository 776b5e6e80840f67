"""
Mean and standard deviation of several runs: one row a run, then both.

    python scripts/summarize.py runs/*/metrics.json [--split test]
"""

import argparse
import json
import sys

import pandas as pd


COLUMNS = ["WA", "UA", "wF1", "macro_F1", "ECE", "beta_mean"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="metrics.json of each run")
    parser.add_argument("--split", default="test", help="part whose figures are taken (default: test)")
    args = parser.parse_args()
    rows = {}
    for path in args.files:
        with open(path, encoding="utf-8") as file:
            metrics = json.load(file)
        if args.split not in metrics:
            sys.exit(f"{path} has no part {args.split!r}: it has {', '.join(k for k in metrics if k != 'about')}.")
        rows[path] = {name: metrics[args.split][name] for name in COLUMNS}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    summary = pd.DataFrame({"mean": table.mean(), "std (n-1)": table.std(ddof=1)}).T
    print(pd.concat([table, summary]).to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
