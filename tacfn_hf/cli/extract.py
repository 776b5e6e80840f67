"""
Runs a speech and a text encoder over a dataset, and writes features for `tacfn train`.

    tacfn extract --corpus ravdess --dataset corpora/ravdess --output_dir features/ravdess
    tacfn extract --dataset my-corpus.parquet --id_column file --output_dir features/my-corpus
    accelerate launch --multi_gpu --num_processes 4 scripts/extract_features.py --dataset ... --output_dir ...

The same command again goes on with a run that was interrupted. After that it does nothing, unless the rows, the audio
or the encoders have changed.
"""

from dataclasses import dataclass, field
from typing import Literal

from .corpus_rows import CorpusArguments, open_rows
from .memory import keep_freed_memory
from .parsing import parse_arguments


@dataclass
class ExtractionArguments:
    """What is extracted, by which encoders, and where the features go."""

    dataset: str = field(
        metadata={
            "help": "Audio and text: a folder written by save_to_disk, a Parquet file, a pattern or folder of them, a "
            "dataset id on the Hub, or, with corpus, the folder that the corpus was delivered as."
        }
    )
    output_dir: str = field(metadata={"help": "Folder for the features, or a URL that fsspec knows: s3://..."})
    processor_name: str | None = field(
        default=None,
        metadata={
            "help": "Saved processor, or model of tacfn fine-tune: a folder or an id on the Hub. It has its encoders "
            "and their settings, so that the options for these are ignored."
        },
    )
    text_encoder: str = field(
        default="google-bert/bert-base-uncased", metadata={"help": "Text encoder: a Hub id or a folder."}
    )
    audio_encoder: str = field(
        default="microsoft/wavlm-base-plus", metadata={"help": "Speech encoder: a Hub id or a folder."}
    )
    text_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the text encoder."})
    audio_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the speech encoder."})
    text_layer: list[int] = field(
        default_factory=lambda: [-1],
        metadata={"help": "Layer of the text encoder, -1 = the last; of several the mean is taken."},
    )
    audio_layer: list[int] = field(default_factory=lambda: [-1], metadata={"help": "The same for the speech encoder."})
    add_special_tokens: bool = field(default=True, metadata={"help": "Whether the text encoder sees [CLS] and [SEP]."})
    pad_to_30s: bool = field(
        default=True,
        metadata={"help": "Fill audio up to 30 s for Whisper, as it was trained; false is several times as fast."},
    )
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "What the encoders compute in. Features are stored in float16."}
    )
    max_audio_seconds: float = field(default=60.0, metadata={"help": "Longer audio is an error."})
    shard_size: int = field(
        default=128, metadata={"help": "Rows in one output file. An interruption loses at most two files."}
    )
    use_onednn: bool | None = field(
        default=None, metadata={"help": "Take oneDNN's matrix product on a CPU (default: where it is clearly faster)."}
    )
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Makes the features of a dataset."""
    args, corpus_args = parse_arguments((ExtractionArguments, CorpusArguments), argv, __doc__, "tacfn extract")

    from accelerate import PartialState

    from ..corpora.remote_folders import output_folder
    from ..features.extraction import REPORT, extract_features
    from ..model import TacfnProcessor
    from ..training.setup import load_model
    from ..writing import read_json, writing_into

    keep_freed_memory()
    folder = output_folder(args.output_dir)  # first: an error here should not come after an hour
    dataset, columns = open_rows(args.dataset, corpus_args, keep_bad_files=True)
    if args.processor_name is not None:
        processor = TacfnProcessor.from_pretrained(args.processor_name, use_onednn=args.use_onednn)
        if (processor.audio_provenance or {}).get("in_model"):  # of a fine-tuned model
            processor = processor.from_model(load_model(args.processor_name))
    else:
        processor = TacfnProcessor.from_encoders(
            args.text_encoder,
            args.audio_encoder,
            text_revision=args.text_revision,
            audio_revision=args.audio_revision,
            text_layer=args.text_layer[0] if len(args.text_layer) == 1 else args.text_layer,
            audio_layer=args.audio_layer[0] if len(args.audio_layer) == 1 else args.audio_layer,
            add_special_tokens=args.add_special_tokens,
            pad_to_30s=args.pad_to_30s,
            dtype=args.dtype,
            max_audio_seconds=args.max_audio_seconds,
            use_onednn=args.use_onednn,
        )
    state = PartialState(cpu=args.use_cpu)
    processor.to(state.device)
    with writing_into(args.output_dir):
        extract_features(
            dataset,
            processor,
            args.output_dir,
            **columns,
            skip_bad_files=corpus_args.skip_bad_files,
            truncation=corpus_args.truncation,
            shard_size=args.shard_size,
        )
    if not (folder / REPORT).is_file():
        print(f"Process {state.process_index} has made its share; others still work on theirs.")
        return
    for name in read_json(folder / REPORT).get("splits", [""]):
        report = read_json(folder / name / REPORT)
        print(f"{name or args.output_dir}: {report['rows']} rows, {report['seconds_of_speech']:.0f} s of speech")
        for column, made in report["provenance"].items():
            print(f"  {column}  {report['dimensions'][column]} dimensions, {made}")
        print(f"  left out  {len(report['skipped'])}")
        for row in report["skipped"]:
            print(f"    {row['id']}  {row['error']}")
