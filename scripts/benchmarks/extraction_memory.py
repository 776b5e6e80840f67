"""
Peak memory of extracting the features of many utterances against that of few of the same lengths, each in a process of
its own.

    python scripts/benchmarks/extraction_memory.py

The encoders have one layer each and seeded random weights, and the features their real size of 768, so that memory that
grew with the corpus would show.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
)


EXTRACT = Path(__file__).resolve().parents[1] / "extract_features.py"
CLIPS = 20  # files; a corpus is these again and again
# A process between this one and the command, since what the system tells is the largest of all children.
RUN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
WORDS = {"[PAD]": 0, "[UNK]": 1, "yes": 2, "no": 3}


def save_encoders(folder: Path, num_hidden_layers: int, intermediate_size: int, conv_dim: list[int]) -> None:
    """Encoders with features of size 768 and seeded random weights, in the folders "speech" and "text"."""
    torch.manual_seed(0)
    size = {"num_hidden_layers": num_hidden_layers, "intermediate_size": intermediate_size}
    WavLMModel(WavLMConfig(**size, conv_dim=conv_dim)).save_pretrained(folder / "speech")
    Wav2Vec2FeatureExtractor().save_pretrained(folder / "speech")
    BertModel(BertConfig(**size, vocab_size=len(WORDS))).save_pretrained(folder / "text")
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        folder / "text"
    )


def peak_memory(folder: Path, count: int) -> float:
    """MiB, of extracting `count` utterances."""
    rows = {
        "id": [str(i) for i in range(count)],
        "audio": [str(folder / f"{i % CLIPS}.wav") for i in range(count)],
        "text": [" ".join(["yes", "no"] * (1 + i % CLIPS)) for i in range(count)],
    }
    Dataset.from_dict(rows).to_parquet(folder / f"{count}.parquet")
    arguments = ["--dataset", folder / f"{count}.parquet", "--output_dir", folder / f"features-{count}"]
    arguments += ["--text_encoder", folder / "text", "--audio_encoder", folder / "speech", "--use_cpu", "true"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, sys.executable, EXTRACT, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Prints both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs=2, default=[200, 2000], help="utterances, few and many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_encoders(folder, num_hidden_layers=1, intermediate_size=64, conv_dim=[32] * 7)
        generator = np.random.default_rng(0)
        for i in range(CLIPS):
            samples = 0.1 * generator.normal(size=int(16000 * generator.uniform(1, 8)))
            soundfile.write(folder / f"{i}.wav", samples, 16000)
        few, many = (peak_memory(folder, count) for count in args.counts)
    print(f"peak memory: {few:.0f} MiB for {args.counts[0]} utterances, {many:.0f} MiB for {args.counts[1]}")
    print(f"ratio {many / few:.3f}")


if __name__ == "__main__":
    main()
