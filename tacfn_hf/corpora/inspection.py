"""Counts of what is in a corpus, as a dict and as text."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict


MOST_SPEAKERS = 30  # that are listed one by one
FEW = 5  # ids that are named
NO_LABEL = "(no label)"
NO_SPEAKER = "(not known)"


def inspect_corpus(corpus: DatasetDict) -> dict[str, Any]:
    """
    The counts of a corpus in the schema of `load_corpus`, as JSON can hold them. No audio is opened.

    Returns:
        Under "splits", for each split: the number of `utterances`; `hours` of audio, and the number of
        `unknown_durations`, which are not in the hours; the number of utterances of each of the `labels`, `speakers`
        and `groups` (an utterance with several labels counts for each); the ids `without_audio` and `without_text`.
        Under "description": what the reader counted and left out.
    """
    return {
        "splits": {name: inspect_split(split) for name, split in corpus.items()},
        "description": next(iter(corpus.values())).info.description,
    }


def inspect_split(split: Dataset) -> dict[str, Any]:
    """The counts of one split; see `inspect_corpus`."""
    ids, texts = split["id"][:], split["text"][:]
    audio = split.select_columns("audio").with_format("arrow")[:].column("audio")
    lacking = pc.and_(pc.is_null(pc.struct_field(audio, "bytes")), pc.is_null(pc.struct_field(audio, "path")))
    lacking = lacking.to_pylist()
    seconds = [value for value, lacks in zip(split["duration"][:], lacking, strict=True) if not lacks]
    speakers = Counter(NO_SPEAKER if speaker is None else speaker for speaker in split["speaker"][:])
    return {
        "utterances": len(split),
        "hours": sum(value for value in seconds if value is not None) / 3600,
        "unknown_durations": seconds.count(None),
        "labels": count_labels(split),
        "speakers": dict(sorted(speakers.items())),
        "groups": dict(sorted(Counter(split["group"][:]).items())),
        "without_audio": [id_ for id_, lacks in zip(ids, lacking, strict=True) if lacks],
        "without_text": [id_ for id_, text in zip(ids, texts, strict=True) if text is None],
    }


def count_labels(split: Dataset) -> dict[str, int]:
    """The utterances of each class, in the order of the classes, and of those without one where there are any."""
    feature = split.features["label"]
    names = feature.names if isinstance(feature, ClassLabel) else feature.feature.names
    counts: Counter[str] = Counter()
    for label in split["label"][:]:
        if label is None or label == []:
            counts[NO_LABEL] += 1
        else:
            counts.update(names[i] for i in (label if isinstance(label, list) else [label]))
    return {name: counts[name] for name in names} | ({NO_LABEL: counts[NO_LABEL]} if counts[NO_LABEL] else {})


def format_report(report: Mapping[str, Any]) -> str:
    """What `inspect_corpus` counted, as tables in plain text."""
    splits = report["splits"]
    overview = pd.DataFrame(
        {
            name: {
                "utterances": split["utterances"],
                "hours": f"{split['hours']:.2f}",
                "unknown length": split["unknown_durations"],
                "speakers": len(split["speakers"].keys() - {NO_SPEAKER}),
                "groups": len(split["groups"]),
                "without audio": len(split["without_audio"]),
                "without text": len(split["without_text"]),
            }
            for name, split in (splits if len(splits) == 1 else {**splits, "all": whole(splits)}).items()
        }
    )
    parts = [overview.to_string(), "label\n" + across(splits, "labels")]
    per = {
        f"{key[:-1]} ({name})": pd.Series(split[key]).describe(percentiles=[0.5])[["min", "50%", "max"]]
        for key in ("speakers", "groups")
        for name, split in splits.items()
        if split[key].keys() != {NO_SPEAKER}
    }
    spread = pd.DataFrame(per).T.rename(columns={"50%": "median"})
    parts.append("utterances of a\n" + spread.to_string(float_format="{:g}".format))
    speakers = whole(splits)["speakers"].keys()
    if len(speakers) <= MOST_SPEAKERS and speakers != {NO_SPEAKER}:
        parts.append("speaker\n" + across(splits, "speakers"))
    for key, title in (("without_audio", "without audio"), ("without_text", "without text")):
        if ids := whole(splits)[key]:
            more = f" and {len(ids) - FEW} more" if len(ids) > FEW else ""
            parts.append(f"{title}: {', '.join(ids[:FEW])}{more}")
    parts.append(report["description"])
    return "\n\n".join(parts)


def whole(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The splits' counts taken together."""
    total: dict[str, Any] = {}
    for split in splits.values():
        for key, value in split.items():
            if isinstance(value, dict):
                total[key] = dict(Counter(total.get(key, {})) + Counter(value))
            else:
                total[key] = total[key] + value if key in total else value
    return total


def across(splits: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """How many utterances each value has in each split."""
    values = list(dict.fromkeys(value for split in splits.values() for value in split[key]))
    counts = {name: [split[key].get(value, 0) for value in values] for name, split in splits.items()}
    table = pd.DataFrame(counts, index=values)
    return (table if len(splits) == 1 else table.assign(all=table.sum(axis=1))).to_string()
