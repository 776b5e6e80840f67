"""
Gives the timeline of a recording of any length: its segments, and the emotion of each.

    tacfn annotate call.mp3 --model runs/my-model --transcribe openai/whisper-base --output call.csv call.srt call.png
    tacfn annotate call.mp3 --model runs/my-model --output call.html    # a page that plays the recording
    tacfn annotate interview.wav --model runs/my-model --segments interview.srt --output interview.csv
    tacfn annotate recordings/ --model runs/my-model --output_dir timelines

Segments are those of the file that --segments names: a table with the columns start and end, RTTM, SRT, WebVTT, or the
JSON of whisper or whisperX. Without it they are windows of --window_seconds, or else the speech that silero-vad finds
(pip install 'tacfn-hf[recordings]'), with the sentences of the transcriber, if there is one. Of a folder of recordings,
each gets a table, subtitles and a picture in output_dir; --segments is then a folder, too, with a file of the same name
for each. If it is interrupted, the same command goes on.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .parsing import CommandParser


SHOWN = 20  # rows of a timeline that are printed


@dataclass
class AnnotationArguments:
    """The model, where segments and words come from, and where the timeline goes."""

    model: str = field(metadata={"help": "Trained model with its processor: a folder or a Hub id."})
    segments: str | None = field(
        default=None,
        metadata={"help": "File of segments with start and end, and maybe text and speaker; or a folder of them."},
    )
    encoding: str = field(default="utf-8-sig", metadata={"help": "Of a file of segments that is text."})
    transcribe: str | None = field(
        default=None, metadata={"help": "Speech recognition model that writes down what is said: a folder or a Hub id."}
    )
    language: str | None = field(
        default=None, metadata={"help": "What is spoken, for a transcriber of several languages (default: found out)."}
    )
    window_seconds: float | None = field(
        default=None, metadata={"help": "Take windows of this length in place of found speech."}
    )
    hop_seconds: float | None = field(
        default=None, metadata={"help": "Seconds from one window to the next (default: window_seconds)."}
    )
    max_seconds: float = field(default=15.0, metadata={"help": "The longest segment that is made of found speech."})
    split_channels: bool = field(
        default=False, metadata={"help": "Take each channel by itself, as calls with one speaker a channel have them."}
    )
    output: list[str] = field(
        default_factory=list, metadata={"help": "Files for the timeline: .csv, .jsonl, .parquet, .srt, .png or .html."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the timelines of a folder of recordings."}
    )
    batch_size: int = field(default=8, metadata={"help": "Segments in one forward pass."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})


def main(argv: list[str]) -> None:
    """Prints and writes the timeline of a recording, or writes those of a folder."""
    parser = CommandParser((AnnotationArguments,), prog="tacfn annotate", description=__doc__)
    parser.add_argument("recording", help="Audio file of any length, or a folder of them.")
    args, place = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    recording = place.recording
    folder = os.path.isdir(recording)
    if folder and args.output:
        parser.error("output is of one recording: give output_dir for a folder of them.")
    if args.segments is not None and folder != os.path.isdir(args.segments):
        other = "a folder too, with a file for each recording" if folder else "a file, as there is one recording"
        parser.error(f"segments is {args.segments}: give segments as {other}.")
    if folder and not args.output_dir:
        parser.error(f"{recording} is a folder: give output_dir, where its timelines go.")
    if args.language is not None and args.transcribe is None:
        parser.error("language is given without transcribe, whose language it is.")
    if not folder and args.output_dir:
        parser.error("output_dir is for a folder of recordings: give output.")

    from ..recordings.folders import annotate_folder
    from ..recordings.segment_files import read_segments
    from ..recordings.timeline import annotate, answer_of, clock_of
    from ..recordings.timeline_files import check_output, write_timeline
    from ..writing import writing_into
    from .predict import load_recognizer

    for path in args.output:
        check_output(Path(path))
    segments = None if folder or args.segments is None else read_segments(args.segments, args.encoding)
    recognizer = load_recognizer(parser, args.model, args.use_cpu)
    options: dict[str, Any] = {name: getattr(args, name) for name in ("window_seconds", "hop_seconds", "max_seconds")}
    options |= {"batch_size": args.batch_size, "split_channels": args.split_channels}
    if args.transcribe is not None:
        from ..recordings.transcription import Transcriber

        options["transcriber"] = Transcriber(args.transcribe, args.language, recognizer.device, args.batch_size)
    if folder:
        with writing_into(args.output_dir):
            report = annotate_folder(recognizer, recording, args.output_dir, args.segments, args.encoding, **options)
        for _, row in report.iterrows():
            found = f"{row['segments']} segments, {row['seconds']:g} s"
            print(f"{row['recording']}: {row['error'] or found}")
        failed = int((report["error"] != "").sum())
        if failed:
            raise ValueError(f"{failed} of {len(report)} recordings have no timeline: see above.")
        return
    table = annotate(recognizer, recording, segments, **options)
    for path in sorted(args.output, key=lambda path: path.lower().endswith(".html")):  # a page may refuse the sound
        with writing_into(os.path.dirname(path)):
            write_timeline(table, path, recording)
        print(f"{path}: {len(table)} segments")
    if not len(table):
        print("Nobody speaks in it: there is no segment.", file=sys.stderr)
    for _, row in table.head(SHOWN).iterrows():
        speaker = f"{row['speaker']}: " if row["speaker"] else ""
        times = f"{clock_of(row['start'])} - {clock_of(row['end'])}"
        print(f"{times}  beta {row['beta']:.2f}  {answer_of(row):<18}  {speaker}{row['text'] or ''}")
    if len(table) > SHOWN:
        print(f"and {len(table) - SHOWN} more segments{'' if args.output else ': give --output for all'}")
