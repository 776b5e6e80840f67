"""
Mean and standard deviation of several runs: one row a run, then both.

    tacfn summarize runs/*/metrics.json --split test
"""

from pathlib import Path

from .parsing import CommandParser


COLUMNS = {
    "single_label_classification": ["WA", "UA", "wF1", "macro_F1", "ECE", "beta_mean"],
    "multi_label_classification": ["macro_F1", "micro_F1", "weighted_accuracy", "mAP", "ECE", "beta_mean"],
    "regression": ["CCC", "pearson", "MAE", "RMSE", "beta_mean"],
}


def main(argv: list[str]) -> None:
    """Prints the figures of several runs, their mean and their standard deviation."""
    parser = CommandParser(prog="tacfn summarize", description=__doc__)
    parser.add_argument("files", nargs="+", help="metrics.json of each run.")
    parser.add_argument("--split", default="test", help="Part whose figures are taken.")
    args = parser.parse_args(argv)

    import pandas as pd

    from ..writing import read_json

    rows, kinds = {}, set()
    for path in args.files:
        metrics = read_json(Path(path))
        if args.split not in metrics:
            there = ", ".join(name for name in metrics if name != "about")
            raise ValueError(f"{path} has no part {args.split!r}: it has {there}.")
        about = metrics.get("about", {})
        kinds.add(about.get("problem_type", "single_label_classification"))
        if len(kinds) > 1:
            raise ValueError(f"{path} is of another kind than the runs before it: {', '.join(sorted(kinds))}.")
        columns = COLUMNS[next(iter(kinds))]
        lacking = [name for name in columns if name not in metrics[args.split]]
        if lacking:
            raise ValueError(f"{path} has no {', '.join(lacking)} of {args.split}: it is no metrics.json of a run.")
        rows[path] = {name: metrics[args.split][name] for name in columns}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    summary = pd.DataFrame({"mean": table.mean(), "std (n-1)": table.std(ddof=1)}).T
    print(pd.concat([table, summary]).to_string(float_format="{:.4f}".format))
