"""A dataset of audio and text under the column names and with the labels that encoding and training read."""

from collections import Counter

from datasets import Audio, ClassLabel, Dataset, DatasetDict, Value

from ..corpora.label_spelling import check_case, plain_label, warn_of_words_for_nothing
from ..model.modalities_tacfn import MODALITIES


def rows_to_encode(
    dataset: Dataset | DatasetDict,
    audio_column: str | None = None,
    text_column: str | None = None,
    id_column: str = "id",
    label_column: str = "label",
    speaker_column: str | None = None,
) -> Dataset | DatasetDict:
    """
    The dataset with the columns `id`, `audio`, `text`, `label` and `speaker` under these names. Audio is not decoded.
    For the arguments and errors see `extract_features`.
    """
    parts = dict(dataset) if isinstance(dataset, DatasetDict) else {"": dataset}
    if not any(len(part) for part in parts.values()):
        raise ValueError("The dataset has no rows: there is nothing to extract.")
    columns = next(iter(parts.values())).column_names
    renamed = {}
    for name, wanted in (("audio", audio_column), ("text", text_column)):
        if wanted is not None:
            renamed[wanted] = name
        elif name in columns:
            renamed[name] = name
    if not renamed:
        raise ValueError(f"The dataset has neither audio nor text: it has {', '.join(columns)}; say audio_column.")
    renamed[id_column] = "id"
    if label_column in columns or label_column != "label":
        renamed[label_column] = "label"
    if speaker_column is not None:
        renamed[speaker_column] = "speaker"

    prepared, seen = {}, set()
    for part_name, part in parts.items():
        for column, name in renamed.items():
            if column not in part.column_names:
                raise ValueError(
                    f"{name}_column is {column!r}, but the dataset has no such column; it has "
                    f"{', '.join(part.column_names)}."
                )
            if column != name and name in part.column_names:
                raise ValueError(f"{name}_column is {column!r}, but the dataset also has a column {name!r}: rename it.")
        part = part.rename_columns({column: name for column, name in renamed.items() if column != name})
        for reserved in (name for modality in MODALITIES for name in (modality.features, modality.provenance)):
            if reserved in part.column_names:
                raise ValueError(f"The dataset already has a column {reserved!r}, which is one of the features.")
        if "audio" in part.column_names and isinstance(part.features["audio"], Audio):
            part = part.cast_column("audio", Audio(decode=False))
        part = part.cast_column("id", Value("string"))
        for value in part.with_format(None)["id"][:]:
            if value is None or value in seen:
                raise ValueError(
                    f"The id {value!r} of column {id_column!r} occurs twice or is null: every row needs an id of its "
                    "own, in the column that id_column names."
                )
            seen.add(value)
        prepared[part_name] = part
    prepared = encode_labels(prepared)
    return DatasetDict(prepared) if isinstance(dataset, DatasetDict) else prepared[""]


def encode_labels(parts: dict[str, Dataset]) -> dict[str, Dataset]:
    """
    The parts with labels that are strings or numbers as a `ClassLabel`, with the same names in all parts.

    Raises:
        ValueError: labels that are a `ClassLabel` in some parts only, or that differ only in case.
    """
    if "label" not in next(iter(parts.values())).column_names:
        return parts
    if not any(isinstance(part.features["label"], Value) for part in parts.values()):
        return parts
    if not all(isinstance(part.features["label"], Value) for part in parts.values()):
        raise ValueError("The labels are a ClassLabel in some splits and values in others: make them the same in all.")
    labels = {}
    for name, part in parts.items():
        cells = part.with_format(None)["label"][:]
        labels[name] = [None if cell is None else plain_label(str(cell), fold_case=False) or None for cell in cells]
    counts = Counter(label for values in labels.values() for label in values if label is not None)
    warn_of_words_for_nothing("The dataset", {"label": counts.elements()})
    check_case(counts, "The dataset", "open it as the corpus hub, with fold_case")
    names = sorted(counts)
    encoded = {}
    for name, part in parts.items():
        indices = [None if label is None else names.index(label) for label in labels[name]]
        encoded[name] = part.remove_columns("label").add_column("label", indices, feature=ClassLabel(names=names))
    return encoded
