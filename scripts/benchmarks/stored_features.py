"""
Seconds of an epoch on stored features, against the loop that the field uses: a file for each utterance, `torch.load`,
and batches that are padded to their longest utterance.

    python scripts/benchmarks/stored_features.py
    python scripts/benchmarks/stored_features.py --num_hidden_layers 2 --rows 256

Both train the same network with the same loss (cross-entropy), optimizer (AdamW) and batch size, on features of the
size of WavLM base and BERT base: 50 frames a second, utterances of 1 to 15 s as in IEMOCAP. They take turns. The time
of the project has the averages over time that it takes once, before the first epoch.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from tqdm.auto import tqdm
from transformers import HfArgumentParser, TrainingArguments
from transformers.utils import logging

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.training.trainer import build_trainer


@dataclass
class BenchmarkArguments:
    rows: int = field(default=1000, metadata={"help": "Utterances."})
    epochs: int = field(default=3, metadata={"help": "Of each turn."})
    turns: int = field(default=3, metadata={"help": "Of each of the two."})
    batch_size: int = field(default=32, metadata={"help": "Utterances in a batch."})
    num_hidden_layers: int = field(default=0, metadata={"help": "Cross-modal blocks."})
    size: int = field(default=768, metadata={"help": "Of the features, and of the network."})
    device: str = field(default="cpu", metadata={"help": "Device of both."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


def make_features(folder: Path, args: BenchmarkArguments) -> Dataset:
    """Features as `tacfn extract` stores them, in float16, and in a file for each utterance, in float32."""
    random = np.random.default_rng(0)
    (folder / "files").mkdir()
    seconds = np.clip(3.7 * np.exp(0.6 * random.normal(size=args.rows)), 1, 15)

    def rows() -> Iterator[dict]:
        for i, length in enumerate(seconds):
            lengths = (int(50 * length), int(2 + 3.8 * length))
            h_a, h_t = (random.normal(size=(count, args.size)).astype(np.float16) for count in lengths)
            label = int(random.integers(4))
            tensors = {"h_a": torch.from_numpy(h_a).float(), "h_t": torch.from_numpy(h_t).float(), "label": label}
            torch.save(tensors, folder / "files" / f"{i}.pt")
            yield {"id": str(i), "h_a": h_a, "h_t": h_t, "label": label}

    kind = List(List(Value("float16"), length=args.size))
    features = Features({"id": Value("string"), "h_a": kind, "h_t": kind, "label": ClassLabel(num_classes=4)})
    return Dataset.from_generator(rows, features=features, cache_dir=str(folder / "cache"), keep_in_memory=False)


def make_model(args: BenchmarkArguments) -> TacfnForSequenceClassification:
    torch.manual_seed(0)
    size = args.size
    config = TacfnConfig(
        audio_feature_size=size,
        text_feature_size=size,
        hidden_size=size if args.num_hidden_layers else 256,
        num_hidden_layers=args.num_hidden_layers,
        num_labels=4,
    )
    return TacfnForSequenceClassification(config).train()


class Files(torch.utils.data.Dataset):
    """The field's dataset: a file for each utterance."""

    def __init__(self, folder: Path, rows: int):
        self.folder, self.rows = folder, rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> dict:
        return torch.load(self.folder / f"{index}.pt", weights_only=True)


def pad(rows: list[dict]) -> dict[str, torch.Tensor]:
    """The field's collator."""
    batch = {"labels": torch.tensor([row["label"] for row in rows])}
    for letter in "at":
        sequences = [row[f"h_{letter}"] for row in rows]
        batch[f"h_{letter}"] = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        batch[f"mask_{letter}"] = torch.arange(int(lengths.max()))[None] >= lengths[:, None]
    return batch


def train_on_files(folder: Path, args: BenchmarkArguments) -> None:
    model = make_model(args).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters())
    loader = torch.utils.data.DataLoader(
        Files(folder / "files", args.rows), args.batch_size, shuffle=True, collate_fn=pad
    )
    for _ in range(args.epochs):
        for batch in loader:
            optimizer.zero_grad()
            model(**{name: value.to(args.device) for name, value in batch.items()}).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


def train_on_dataset(dataset: Dataset, args: BenchmarkArguments, folder: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        save_strategy="no",
        report_to="none",
        use_cpu=args.device == "cpu",
        disable_tqdm=True,
        logging_strategy="no",
        lr_scheduler_type="constant",
        learning_rate=1e-3,
    )
    build_trainer(make_model(args), arguments, {"train": dataset}).train()


def main() -> None:
    logging.set_verbosity_error()
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        dataset = make_features(folder, args)
        seconds: dict[str, list[float]] = {"files": [], "tacfn_hf": []}
        for _ in tqdm(range(args.turns), desc="Turns"):
            for name, run in (
                ("files", lambda: train_on_files(folder, args)),
                ("tacfn_hf", lambda: train_on_dataset(dataset, args, folder)),
            ):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    ratios = [files / own for files, own in zip(seconds["files"], seconds["tacfn_hf"])]
    for name, found in seconds.items():
        print(f"{name:<9} {statistics.median(found) / args.epochs:.2f} s an epoch of {args.rows} utterances")
    print(f"tacfn_hf is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    if args.output:
        content = {"threads": torch.get_num_threads(), "seconds": seconds, "ratios": ratios, **vars(args)}
        Path(args.output).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
