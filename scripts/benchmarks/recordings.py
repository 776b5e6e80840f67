"""
How well `tacfn annotate` finds, writes down and judges what is said in recordings whose truth is known: clips of
RAVDESS joined to recordings of ten minutes, with pauses and noise between them.

    python scripts/benchmarks/recordings.py --clips $TACFN_DATA/ravdess_speech.parquet --model runs/ravdess \\
        --transcribe whisper-base --output_dir runs/recordings

The truth of a clip is where it is louder than 35 dB below its loudest 25 ms. It prints, and writes to
`recordings.json`: seconds of speech found and missed, and of found speech where nobody speaks; how far the boundaries
of found segments are from those of the truth; the words that are wrong; and how far scores of segments are from those
of the same clip alone, for segments that are given and for those that are found; and how long it takes, with given
segments, against encoding the same clips, in turns.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import soundfile
from transformers import pipeline

import tacfn_hf  # noqa: F401 (registers the pipeline)
from tacfn_hf.model.audio_tacfn import load_audio
from tacfn_hf.recordings.timeline import annotate
from tacfn_hf.recordings.transcription import Transcriber
from tacfn_hf.writing import write_json


RATE = 16000
FRAME = 400  # samples, 25 ms
BELOW_LOUDEST = 35.0  # dB
NOISE = 10 ** (-55 / 20)  # of white noise under all, by its standard deviation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="ravdess_speech.parquet")
    parser.add_argument("--model", required=True, help="trained model with its processor")
    parser.add_argument("--transcribe", help="speech recognition model")
    parser.add_argument("--recordings", type=int, default=2, help="how many recordings")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", required=True)
    args = parser.parse_args()
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    recognizer = pipeline("multimodal-emotion-recognition", model=args.model)
    transcriber = None if args.transcribe is None else Transcriber(args.transcribe)
    rows = pq.read_table(args.clips).to_pylist()
    generator = np.random.default_rng(args.seed)
    found = []
    for number in range(args.recordings):
        path = folder / f"recording-{number}.wav"
        clips = join(rows, 60 * args.minutes, path, generator)
        found.append(measure(recognizer, transcriber, path, clips))
    table = pd.DataFrame(found)
    print(table.round(3).T.to_string(header=False))
    write_json(folder / "recordings.json", {"recordings": found, "seed": args.seed})


def join(
    rows: list[dict[str, Any]], seconds: float, path: Path, generator: np.random.Generator
) -> list[dict[str, Any]]:
    """Writes a recording of clips with pauses of 0.8 to 3 s; of each clip its place, its speech and its text."""
    pieces, clips, at = [], [], 0
    for i in generator.permutation(len(rows)):
        pause = np.zeros(int(generator.uniform(0.8, 3.0) * RATE), np.float32)
        clip = load_audio(rows[i]["audio"], RATE)
        start, end = loud(clip)
        at += len(pause)
        place = {"start": at / RATE, "end": (at + len(clip)) / RATE, "text": rows[i]["text"]}
        clips.append(place | {"speech": ((at + start) / RATE, (at + end) / RATE)})
        pieces += [pause, clip]
        at += len(clip)
        if at / RATE > seconds:
            break
    samples = np.concatenate(pieces)
    soundfile.write(path, samples + NOISE * generator.normal(size=len(samples)).astype(np.float32), RATE)
    return clips


def loud(clip: np.ndarray) -> tuple[int, int]:
    """The first and the last sample of the frames of a clip that are not far below its loudest one."""
    frames = clip[: len(clip) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    there = np.flatnonzero(level > level.max() - BELOW_LOUDEST)
    return int(there[0]) * FRAME, int(there[-1] + 1) * FRAME


def measure(
    recognizer: Any, transcriber: Transcriber | None, path: Path, clips: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures of one recording."""
    given = [{name: clip[name] for name in ("start", "end", "text")} for clip in clips]
    samples, _ = soundfile.read(path, dtype="float32")
    names = sorted(recognizer.model.config.id2label.values())
    timeline = annotate(recognizer, path, given)
    alone = np.array([scores_of(recognizer, samples, clip, names) for clip in given])
    of_given = timeline[[f"score_{name}" for name in names]].to_numpy()
    found = annotate(recognizer, path, transcriber=transcriber)
    speech, said = (
        mask(spans, len(samples)) for spans in ([c["speech"] for c in clips], zip(found["start"], found["end"]))
    )
    middle = found[["start", "end"]].mean(axis=1).to_numpy()
    edges, distances, agreement, errors, words = [], [], [], 0, 0
    for i, clip in enumerate(clips):
        inside = found[(middle >= clip["start"]) & (middle < clip["end"])]
        if len(inside):
            edges += [inside["start"].min() - clip["speech"][0], inside["end"].max() - clip["speech"][1]]
            if len(inside) == 1:
                scores = inside[[f"score_{name}" for name in names]].to_numpy()[0]
                distances.append(np.abs(scores - alone[i]).mean())
                agreement.append(scores.argmax() == alone[i].argmax())
        if transcriber is not None:
            text = " ".join(filter(None, inside["text"]))
            errors += word_errors(plain(clip["text"]), plain(text))
            words += len(plain(clip["text"]))
    some = given[:20]
    ratios = [
        seconds_of_annotation(recognizer, path, some) / seconds_of_encoding(recognizer, samples, some) for _ in "123"
    ]
    return {
        "minutes": len(samples) / RATE / 60,
        "clips": len(clips),
        "segments found": len(found),
        "speech, s": speech.sum() / RATE,
        "found of it, s": (speech & said).sum() / RATE,
        "missed, s": (speech & ~said).sum() / RATE,
        "found where nobody speaks, s": (said & ~speech).sum() / RATE,
        "boundary error, median, s": float(np.median(np.abs(edges))),
        "boundary error, 90 % below, s": float(np.quantile(np.abs(edges), 0.9)),
        "given segments, largest difference of scores": float(np.abs(of_given - alone).max()),
        "found segments, mean difference of scores": float(np.mean(distances)),
        "found segments, same label as the clip alone": float(np.mean(agreement)),
        "seconds of annotation / of encoding the same clips": float(np.median(ratios)),
        "words": words or None,
        "words wrong": errors / words if words else None,
        "confidence, mean": float(found["confidence"].mean()) if "confidence" in found else None,
    }


def scores_of(recognizer: Any, samples: np.ndarray, clip: dict[str, Any], names: list[str]) -> list[float]:
    """The scores of a clip that is cut by hand."""
    own = samples[round(clip["start"] * RATE) : round(clip["end"] * RATE)]
    answer = recognizer({"audio": own, "sampling_rate": RATE, "text": clip["text"]})
    by_name = {row["label"]: row["score"] for row in answer["scores"]}
    return [by_name[name] for name in names]


def seconds_of_annotation(recognizer: Any, path: Path, given: list[dict[str, Any]]) -> float:
    """With segments that are given: decoding, cutting, encoding and the network."""
    start = time.perf_counter()
    annotate(recognizer, path, given)
    return time.perf_counter() - start


def seconds_of_encoding(recognizer: Any, samples: np.ndarray, given: list[dict[str, Any]]) -> float:
    """Of the same clips, as an extraction encodes them: one by one, without reading files."""
    start, processor = time.perf_counter(), recognizer.processor
    for clip in given:
        processor.encode_audio([samples[round(clip["start"] * RATE) : round(clip["end"] * RATE)]])
        processor.text_encoder.encode(processor.prepare_text([clip["text"]]))
    return time.perf_counter() - start


def mask(spans: Any, length: int) -> np.ndarray:
    """Which samples lie in one of the spans of seconds."""
    there = np.zeros(length, dtype=bool)
    for start, end in spans:
        there[round(start * RATE) : round(end * RATE)] = True
    return there


def plain(text: str) -> list[str]:
    """Words in lower case without punctuation."""
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def word_errors(true: list[str], said: list[str]) -> int:
    """The fewest words to insert, leave out or change between two texts."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(true, 1):
        above, row = row, [i]
        for j, other in enumerate(said, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1]


if __name__ == "__main__":
    main()
