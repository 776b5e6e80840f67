"""
How far an utterance's features in a batch are from its features alone: the relative norm of the difference, of the
worst utterance of a batch with lengths from 0.1 to 20 s, silence and near silence among them.

    python scripts/benchmarks/encoder_exactness.py

Beside it stand transformers' own padded batch with its attention mask, and two yardsticks: how far the two
implementations are apart alone, and how far float32 is from float64. The encoders have their real sizes and seeded
random weights; `--audio_encoder` and `--text_encoder` measure real ones.
"""

import copy
import gc
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    HfArgumentParser,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from tacfn_hf.model.cpu_kernels_tacfn import CpuKernels, has_onednn
from tacfn_hf.model.exact_speech_encoders_tacfn import SPEECH_ENCODERS, WaveformEncoder
from tacfn_hf.model.exact_text_encoders_tacfn import TextEncoder
from tacfn_hf.model.pretrained_encoders_tacfn import PretrainedEncoder, padding_mask


LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}
SPEECH: dict[str, Callable[[], PreTrainedModel]] = {
    "WavLM base-plus": lambda: WavLMModel(WavLMConfig()),
    "WavLM large": lambda: WavLMModel(WavLMConfig(**LARGE)),
    "wav2vec2 base": lambda: Wav2Vec2Model(Wav2Vec2Config()),
    "wav2vec2 large-lv60": lambda: Wav2Vec2Model(Wav2Vec2Config(**LARGE)),
    "HuBERT base": lambda: HubertModel(HubertConfig()),
}
SECONDS = (0.1, 0.35, 1.0, 1.73, 3.7, 5.0, 8.21, 12.3, 20.0)  # of noise; 2 s of silence and 1 s of near silence follow
TOKENS = (3, 5, 8, 12, 12, 17, 25, 40, 73, 128)
COLUMNS = ("batch", "kernels", "transformers' batch", "implementations", "float32", "bfloat16")


@dataclass
class BenchmarkArguments:
    """Arguments of the command line."""

    audio_encoder: str | None = field(
        default=None, metadata={"help": "Measure this speech encoder, a Hub id or a folder, in place of all."}
    )
    text_encoder: str | None = field(default=None, metadata={"help": "Measure this text encoder."})
    device: str = field(default="cpu", metadata={"help": "Device."})
    output: str | None = field(default=None, metadata={"help": "Also write the table to this JSON file."})


def clips(normalize: bool) -> list[torch.Tensor]:
    """Waveforms at 16 kHz, of mean 0 and variance 1 with `normalize`."""
    noise = [0.1 * torch.randn(round(16000 * seconds)) for seconds in SECONDS]
    silent = [torch.zeros(32000), 1e-4 * torch.randn(16000)]
    if not normalize:
        return [*noise, *silent]
    return [(clip - clip.mean()) / (clip.var(unbiased=False) + 1e-7).sqrt() for clip in [*noise, *silent]]


def worst(features: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest relative norm of a difference."""
    return max(
        ((h.double() - wanted.double()).norm() / wanted.double().norm()).item()
        for h, wanted in zip(features, expected, strict=True)
    )


@torch.no_grad()
def run(encoder: PretrainedEncoder, inputs: list[torch.Tensor], together: bool) -> list[torch.Tensor]:
    """The project's features of each input, in one padded batch or alone."""
    features = []
    for group in [inputs] if together else [[x] for x in inputs]:
        lengths = torch.tensor([len(x) for x in group], device=encoder.device)
        h, counts = encoder(pad_sequence(group, batch_first=True).to(encoder.device), lengths)
        features += [row[:count].cpu() for row, count in zip(h, counts.tolist())]
    return features


@torch.no_grad()
def run_stock(model: PreTrainedModel, inputs: list[torch.Tensor], counts: list[int], together: bool):
    """The same by the model of transformers, with its attention mask; `counts` are the frames or tokens of each."""
    features = []
    for group in [range(len(inputs))] if together else [[i] for i in range(len(inputs))]:
        batch = pad_sequence([inputs[i] for i in group], batch_first=True).to(model.device)
        lengths = torch.tensor([len(inputs[i]) for i in group], device=model.device)
        attention_mask = (~padding_mask(lengths, batch.shape[1])).long() if together else None
        batch = batch.to(model.dtype) if batch.is_floating_point() else batch
        h = model(batch, attention_mask=attention_mask).last_hidden_state
        features += [row[: counts[i]].cpu() for i, row in zip(group, h)]
    return features


def measure(model: PreTrainedModel, encoder_class: type[PretrainedEncoder], inputs, device: str) -> dict[str, float]:
    """One row of the table."""
    stock = model.eval().to(device)
    encoder = encoder_class(copy.deepcopy(stock), [stock.config.num_hidden_layers])
    alone = run(encoder, inputs, together=False)
    counts = [len(h) for h in alone]
    found = {
        "batch": worst(run(encoder, inputs, together=True), alone),
        "transformers' batch": worst(run_stock(stock, inputs, counts, True), run_stock(stock, inputs, counts, False)),
        "implementations": worst(alone, run_stock(stock, inputs, counts, together=False)),
    }
    if device == "cpu":
        with CpuKernels(use_onednn=has_onednn()):
            found["kernels"] = worst(run(encoder, inputs, together=True), alone)
    encoder.bfloat16()
    found["bfloat16"] = worst(run(encoder, inputs, together=True), alone)
    del encoder
    found["float32"] = worst(alone, run_stock(stock.double(), inputs, counts, together=False))
    gc.collect()
    return found


def main() -> None:
    """Prints the table, and writes it where `--output` says."""
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    speech, text = dict(SPEECH), {"BERT base": lambda: BertModel(BertConfig())}
    if args.audio_encoder or args.text_encoder:
        speech = {args.audio_encoder: lambda: AutoModel.from_pretrained(args.audio_encoder)}
        text = {args.text_encoder: lambda: AutoModel.from_pretrained(args.text_encoder)}
    work = [(name, make, WaveformEncoder) for name, make in speech.items() if name]
    work += [(name, make, TextEncoder) for name, make in text.items() if name]

    table = {}
    for name, make, encoder_class in tqdm(work, desc="Encoders"):
        torch.manual_seed(0)
        model = make()
        if encoder_class is WaveformEncoder and SPEECH_ENCODERS.get(model.config.model_type) is not WaveformEncoder:
            raise ValueError(f"{name} is a {model.config.model_type}: this measures encoders that read waveforms.")
        if encoder_class is WaveformEncoder:  # the checkpoints with layer norm are those that want normalised audio
            inputs = clips(model.config.feat_extract_norm == "layer")
        else:
            inputs = [torch.randint(1, model.config.vocab_size, (size,)) for size in TOKENS]
        table[name] = measure(model, encoder_class, inputs, args.device)

    width = max(map(len, table))
    columns = [column for column in COLUMNS if all(column in row for row in table.values())]
    print(" " * width, *(f"{column:>20}" for column in columns))
    for name, row in table.items():
        print(f"{name:<{width}}", *(f"{row[column]:>20.1e}" for column in columns))
    print(
        "batch: in a padded batch against alone. kernels: the same, where the batch alone takes those of `CpuKernels`."
    )
    print("transformers' batch: in a padded batch against alone, by transformers.")
    print("implementations: alone, against transformers. float32: alone, against float64.")
    print("bfloat16: in a padded batch, against float32 alone.")
    if args.output:
        Path(args.output).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
