"""
What a step of fine-tuning costs: time and memory, as ratios of things measured in one run.

    python scripts/benchmarks/fine_tuning_cost.py
    python scripts/benchmarks/fine_tuning_cost.py --device cuda --size base

Time: forward and backward of the model with its encoders, on audio alone, against transformers' own
`WavLMForSequenceClassification` with the same encoder, on the same padded batches, in turns. The front is frozen in
both.
Memory: the peak of a step with AdamW, on audio and text, above what was there before the model was made. Each way in a
process of its own: all weights, the same with gradient checkpointing, adapters of rank 8 (LoRA), both.
"""

import json
import multiprocessing
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import BertConfig, HfArgumentParser, WavLMConfig, WavLMForSequenceClassification

from tacfn_hf import TacfnDualEncoderConfig, TacfnDualEncoderForSequenceClassification
from tacfn_hf.training.arguments import FineTuningArguments
from tacfn_hf.training.trainable import add_lora, freeze


SIZES = {
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
CONVOLUTIONS = {"small": {"conv_dim": [128] * 7}, "base": {}}
WAYS = {
    "all weights": (None, False),
    "all weights, checkpointing": (None, True),
    "adapters": (8, False),
    "adapters, checkpointing": (8, True),
}


@dataclass
class BenchmarkArguments:
    size: Literal["small", "base"] = field(default="small", metadata={"help": "Of both encoders, of random weights."})
    batch_size: int = field(default=8, metadata={"help": "Utterances in a batch."})
    seconds: float = field(default=6.0, metadata={"help": "The longest utterance; the shortest has a third of it."})
    repeats: int = field(default=7, metadata={"help": "How often each thing is timed."})
    device: str = field(default="cpu", metadata={"help": "Device of all."})
    output: str | None = field(default=None, metadata={"help": "Also write the figures to this JSON file."})


def make_model(size: str) -> TacfnDualEncoderForSequenceClassification:
    torch.manual_seed(0)
    audio = WavLMConfig(**SIZES[size], **CONVOLUTIONS[size], layerdrop=0.0, num_labels=4)
    return TacfnDualEncoderForSequenceClassification(
        TacfnDualEncoderConfig(audio_config=audio, text_config=BertConfig(**SIZES[size]), num_labels=4)
    ).train()


def make_batch(args: BenchmarkArguments) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    lengths = torch.linspace(args.seconds / 3, args.seconds, args.batch_size).mul(16_000).long()
    waveforms = torch.randn(args.batch_size, int(lengths.max()))
    waveforms *= torch.arange(waveforms.shape[1]) < lengths[:, None]
    return {
        "input_values": waveforms.to(args.device),
        "input_lengths": lengths.to(args.device),
        "labels": (torch.arange(args.batch_size) % 4).to(args.device),
    }


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure_time(args: BenchmarkArguments) -> dict[str, Any]:
    model = make_model(args.size)
    stock = WavLMForSequenceClassification(model.config.audio_config).train()
    stock.wavlm.load_state_dict(model.audio_encoder.model.state_dict())
    models = {"this model": model.to(args.device), "transformers": stock.to(args.device)}
    model.audio_encoder.model.freeze_feature_encoder()
    stock.freeze_feature_encoder()
    batch = make_batch(args)
    mask = torch.arange(batch["input_values"].shape[1], device=args.device) < batch["input_lengths"][:, None]
    inputs = {
        "this model": batch,
        "transformers": {k: batch[k] for k in ("input_values", "labels")} | {"attention_mask": mask.long()},
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(args.repeats + 1):
        for name, one in models.items():
            one.zero_grad()
            wait(args.device)
            start = time.perf_counter()
            one(**inputs[name]).loss.backward()
            wait(args.device)
            seconds[name].append(time.perf_counter() - start)
    ratios = [ours / theirs for ours, theirs in zip(*(of[1:] for of in seconds.values()))]
    return {
        "utterances a second": {name: args.batch_size / statistics.median(of[1:]) for name, of in seconds.items()},
        "ratio": statistics.median(ratios),
        "ratios from to": [min(ratios), max(ratios)],
    }


def measure_memory(args: BenchmarkArguments, way: str, answers: Any) -> None:
    lora_rank, checkpointing = WAYS[way]
    batch = make_batch(args)
    batch["input_ids"] = torch.randint(1000, 2000, (args.batch_size, 24), device=args.device)
    before = peak(args.device, start=True)
    model: Any = make_model(args.size)
    tuning = FineTuningArguments(model_name_or_path="", lora_rank=lora_rank)
    freeze(model, tuning)
    if lora_rank is not None:
        model = add_lora(model, tuning)
    model.to(args.device)
    if checkpointing:
        model.gradient_checkpointing_enable()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for _ in range(2):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    answers.put({"MiB": (peak(args.device) - before) / 2**20, "trained": sum(p.numel() for p in trained)})


def peak(device: str, start: bool = False) -> int:
    """The most bytes since the start; on a CPU those of the process, as Linux counts them."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    if start:
        Path("/proc/self/clear_refs").write_text("5")  # else it knows the peak of the process that started this one
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    (args,) = HfArgumentParser(BenchmarkArguments, description=__doc__).parse_args_into_dataclasses()
    result: dict[str, Any] = {"arguments": vars(args), "torch": torch.__version__, "time": measure_time(args)}
    processes = multiprocessing.get_context("spawn")
    memory = {}
    for way in WAYS:
        answers = processes.Queue()
        process = processes.Process(target=measure_memory, args=(args, way, answers))
        process.start()
        memory[way] = answers.get(timeout=600)
        process.join()
    result["memory"] = memory
    times, all_weights = result["time"], memory["all weights"]["MiB"]
    for name, speed in times["utterances a second"].items():
        print(f"{name:28} {speed:8.2f} utterances/s, forward and backward, audio alone")
    low, high = times["ratios from to"]
    print(f"{'time of this model':28} {times['ratio']:8.2f} of transformers' ({low:.2f} to {high:.2f})")
    for way, found in memory.items():
        print(
            f"{way:28} {found['MiB']:8.0f} MiB at the peak of a step, {found['MiB'] / all_weights:.2f} of all weights; "
            f"{found['trained'] / 1e6:.2f} M weights learn"
        )
    if args.output is not None:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
