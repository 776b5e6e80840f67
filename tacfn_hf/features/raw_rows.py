"""Rows of audio and text: read once before they are needed, and encoded by all processes."""

import shutil
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset, concatenate_datasets, load_from_disk
from tqdm.auto import tqdm
from transformers.utils import logging

from ..model.decoding_tacfn import AudioError
from ..model.modalities_tacfn import MODALITIES
from ..model.processing_tacfn import TacfnProcessor
from .arrow_layout import feature_of, nested_array
from .raw_collation import TacfnRawDataCollator


logger = logging.get_logger(__name__)


def usable_rows(
    parts: dict[str, Dataset], processor: TacfnProcessor, skip_bad_files: bool, truncation: bool
) -> dict[str, Dataset]:
    """
    The parts, whose audio and text were all read once, before a training that would end at a row that can't be.

    Args:
        skip_bad_files: leave rows out whose audio can't be used, with a warning that names them.
        truncation: see `TacfnProcessor.load_audio`.

    Raises:
        AudioError: audio that can't be used.
        ValueError: text that can't be used, a row that has neither.
    """
    collator = TacfnRawDataCollator(processor, truncation=truncation)
    usable, skipped = {}, []
    with tqdm(total=sum(map(len, parts.values())), desc="Reading", unit="utterance") as bar:
        for name, part in parts.items():
            kept = []
            for i, row in enumerate(part):
                try:
                    collator.read([row])
                    kept.append(i)
                except AudioError as error:
                    if not skip_bad_files:
                        raise
                    skipped.append(str(error))
                bar.update()
            usable[name] = part if len(kept) == len(part) else part.select(kept)
    if skipped:
        logger.warning(f"{len(skipped)} rows are left out: {' '.join(skipped)}")
    empty = [name for name, part in usable.items() if not len(part)]
    if empty:
        raise ValueError(f"No row of the {empty[0]} part has audio that can be used.")
    return usable


def encoded_rows(rows: Dataset, collator: TacfnRawDataCollator, folder: str) -> Dataset:
    """
    The rows with the features that the collator's processor makes of their audio and text, in place of these. Each
    process encodes a share of the rows; they exchange the shares in a folder that they share.
    """
    state = PartialState()
    if state.num_processes == 1:
        return encode(rows, collator).with_format("numpy")
    share = rows.shard(state.num_processes, state.process_index, contiguous=True)
    encode(share, collator).save_to_disk(Path(folder, str(state.process_index)))
    state.wait_for_everyone()
    shares = [load_from_disk(Path(folder, str(i)), keep_in_memory=True) for i in range(state.num_processes)]
    state.wait_for_everyone()
    if state.is_main_process:
        shutil.rmtree(folder)
    return concatenate_datasets(shares).with_format("numpy")


def encode(rows: Dataset, collator: TacfnRawDataCollator) -> Dataset:
    """`encoded_rows` of one process; a modality that no row has is a column of nulls."""
    columns: dict[str, list] = {"h_a": [], "h_t": []}
    processor = collator.processor
    for row in tqdm(rows, desc="Encoding", unit="utterance"):
        (waveform,), (ids,) = collator.read([row])
        h_a = [] if waveform is None else processor.encode_audio([waveform])
        h_t = [] if ids is None else processor.text_encoder.encode([ids])
        for column, found in (("h_a", h_a), ("h_t", h_t)):
            columns[column].append(found[0].numpy() if found else None)
    made = rows.remove_columns([name for name in ("audio", "text") if name in rows.column_names])
    for modality in MODALITIES:
        size, values = processor.encoder_config(modality.name).hidden_size, columns[modality.features]
        kind = feature_of("float32", size)
        made = made.add_column(modality.features, nested_array(values, "float32", size), feature=kind)
    return made
