"""
How far the network is below the best of the simple methods, over several comparisons.

    python scripts/benchmarks/regret.py runs/methods-iemocap runs/methods-session1 --output runs/regret.json

Each folder was made by fusion_methods.py. Regret is the UA of the best of SIMPLE, minus that of the network: below 0
the network is the best. The best one is chosen on the very rows that are reported, which favours it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fusion_methods import NETWORK, SVM

from tacfn_hf.writing import read_json, write_json


SIMPLE = ("audio only", "text only", "concatenation", "late fusion", SVM)


def regret_of(methods: dict[str, Any]) -> dict[str, Any]:
    """
    UA in % of the best simple method and of the network, with the paired difference.

    Args:
        methods: the methods of a `methods.json`.

    Raises:
        ValueError: the network or a simple method is not there.
    """
    lacking = [name for name in (NETWORK, *SIMPLE) if name not in methods]
    if lacking:
        raise ValueError(f"The methods {', '.join(lacking)} are not there: run fusion_methods.py with them.")
    ua = {name: 100 * methods[name]["mean"]["UA"] for name in (NETWORK, *SIMPLE)}
    best = max(SIMPLE, key=ua.get)
    above = methods[best]["network_above"]["UA"]
    return {
        "network": ua[NETWORK],
        "best": best,
        "best UA": ua[best],
        "regret": ua[best] - ua[NETWORK],
        "standard error": 100 * above["standard_error"],
        "p": above["p"],
    }


def main() -> None:
    """Prints the table, and writes it where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="Folders of fusion_methods.py.")
    parser.add_argument("--output", type=Path, help="Also write the table to this JSON file.")
    args = parser.parse_args()
    found = {str(folder): read_json(folder / "methods.json")["methods"] for folder in args.folders}
    rows = {folder: regret_of(methods) for folder, methods in found.items()}
    means = {
        name: float(np.mean([100 * methods[name]["mean"]["UA"] for methods in found.values()]))
        for name in (NETWORK, *SIMPLE)
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    mean = float(np.mean(table["regret"]))
    print(table.round({"network": 1, "best UA": 1, "regret": 1, "standard error": 1, "p": 4}).to_string())
    print(f"Mean regret: {mean:+.2f} points of UA.")
    print("Mean UA of each method: " + ", ".join(f"{name} {ua:.1f}" for name, ua in means.items()) + ".")
    if args.output:
        write_json(args.output, {"comparisons": rows, "mean": mean, "mean UA": means})


if __name__ == "__main__":
    main()
