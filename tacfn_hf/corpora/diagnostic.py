"""
The diagnostic corpus: synthetic utterances of which it is known whether the sound or the words carry the emotion.

It shows whether a network combines both, and whether beta follows the one that carries the emotion. It is made, not
recorded: no figure measured on it says how well the emotions of people are recognised.
"""

import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from datasets import ClassLabel, DatasetDict, List, Value
from tqdm.auto import tqdm

from .annotators import vote_feature
from .corpus_files import check_root, inside, need
from .emotions import canonical_names
from .schema import build_corpus
from .speech_synthesizer import SAMPLING_RATE, Prosody, Voice, synthesize, with_noise
from .tables import read_rows


TABLE = "utterances.csv"
COLUMNS = ["id", "file", "text", "label", "speaker", "split", "condition", "carrier"]
# Who carries the emotion in each condition. What does not carry it is neutral, or missing.
CARRIERS = {"audio": "audio", "text": "text", "both": "both", "audio_only": "audio", "text_only": "text"}
# Tendencies as they are found in acted speech: K. R. Scherer 2003, doi:10.1016/S0167-6393(02)00084-5.
PROSODIES = {
    "neutral": Prosody(),
    "angry": Prosody(pitch=3, pitch_range=5, pitch_slope=-3, rate=5.5, loudness=-16, tilt=-3, breath=0.05),
    "happy": Prosody(pitch=5, pitch_range=7, pitch_slope=2, rate=5.0, loudness=-20, tilt=-8, breath=0.1),
    "sad": Prosody(pitch=-3, pitch_range=0.7, pitch_slope=-3, rate=3.2, loudness=-30, tilt=-15, breath=0.3),
    "fearful": Prosody(
        pitch=8, pitch_range=1.5, pitch_slope=1, tremor=0.8, rate=6.2, loudness=-24, tilt=-10, breath=0.7
    ),
}
# Means of how people rated words for these emotions, from -1 to 1: pleasure, arousal, dominance. Russell & Mehrabian
# 1977, doi:10.1016/0092-6566(77)90037-X.
RATINGS = {
    "angry": (-0.51, 0.59, 0.25),
    "happy": (0.81, 0.51, 0.46),
    "sad": (-0.63, -0.27, -0.33),
    "fearful": (-0.64, 0.60, -0.43),
}
NEAREST = {"angry": "fearful", "happy": "angry", "sad": "fearful", "fearful": "angry"}
LABELS = ["angry", "happy", "sad", "fearful", "aroused", "unpleasant"]
EMOTIONS = ["angry", "happy", "sad", "fearful"]
SUBJECTS = ["the meeting", "this letter", "the new house", "that call", "our journey", "the last exam"]
ENDS = ["today", "this morning", "again", "right now", "on Monday", "at work"]
SENTENCES = {
    "neutral": ["I read about {} {}.", "They spoke of {} {}.", "There is a note on {} {}.", "We have {} {}."],
    "angry": ["I am furious about {} {}!", "How dare they, {} is an outrage {}!", "I hate {}, it is a disgrace {}!"],
    "happy": ["I am so glad about {} {}!", "What a joy, {} is wonderful {}!", "I love {}, it is delightful {}!"],
    "sad": ["I could cry over {} {}.", "I feel so alone with {} {}.", "It breaks my heart, {} is lost {}."],
    "fearful": ["I am terrified of {} {}.", "Please help, {} frightens me {}.", "I dread {}, it is a nightmare {}."],
}


def make_diagnostic(root: str | os.PathLike, seed: int = 0, num_speakers: int = 24, repetitions: int = 2) -> None:
    """
    Makes the corpus in a new or empty folder: wav files (16 kHz), and `utterances.csv` that says what they are.

    Each speaker utters each of four emotions in five conditions:

    - `audio`: the sound carries the emotion, the words are neutral;
    - `text`: the words carry it, the sound is neutral, half of the time flat and half of the time under noise;
    - `both`: both carry it, and agree;
    - `audio_only`, `text_only`: one carries it, the other is missing.

    `audio`, `text` and `both` are made twice as often as the others. The last quarter of the speakers are the test
    split, the sixth before it the validation split.

    Args:
        root: the folder.
        seed: of everything that is drawn. The same seed gives the same files.
        num_speakers: at least 6.
        repetitions: utterances of a speaker, an emotion and one of the conditions with a missing modality.

    Raises:
        ValueError: too few speakers or repetitions, a folder that holds something.
    """
    if num_speakers < 6 or repetitions < 1:
        raise ValueError(
            f"num_speakers is {num_speakers} and repetitions {repetitions}: they must be at least 6 and 1."
        )
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"The folder {root} for the diagnostic corpus is not empty: choose another one.")
    (root / "audio").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in tqdm(range(num_speakers), desc="Synthesising", unit="speaker"):
        voice = draw_voice(number, rng)
        for emotion, condition in product(EMOTIONS, CARRIERS):
            for _ in range(repetitions * (1 if condition.endswith("_only") else 2)):
                row = {
                    "id": f"diagnostic-{len(rows):05d}",
                    "file": "",
                    "text": "",
                    "label": emotion,
                    "speaker": f"{number + 1:02d}",
                    "split": split_of(number, num_speakers),
                    "condition": condition,
                    "carrier": CARRIERS[condition],
                }
                if condition != "text_only":
                    row["file"] = f"audio/{row['id']}.wav"
                    soundfile.write(root / row["file"], utter(voice, emotion, condition, rng), SAMPLING_RATE)
                if condition != "audio_only":
                    row["text"] = write_sentence("neutral" if condition == "audio" else emotion, rng)
                rows.append(row)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(root / TABLE, index=False)  # last: it is what makes the folder a corpus


def load_diagnostic(root: str | os.PathLike) -> DatasetDict:
    """
    The diagnostic corpus, as `make_diagnostic` made it; further columns: `condition`, `carrier`, and of each emotion
    what is said of it by construction:

    - `votes`: five of five for the emotion where sound and words carry it both; else four, and one for the emotion
      whose ratings are nearest.
    - `labels`: the emotion, and whether it is "aroused" and "unpleasant", by the signs of RATINGS.
    - `arousal`, `valence`, `dominance`: RATINGS on a scale from 1 to 5.

    Args:
        root: the folder with utterances.csv.
    """
    wanted = f"the folder of make_diagnostic, with {TABLE}"
    root = check_root("the diagnostic corpus", root, wanted)
    table = need("the diagnostic corpus", root, [TABLE], wanted)
    rows: list[dict[str, Any]] = []
    for row in read_rows(table, COLUMNS):
        where = f"The row with id {row['id']!r} of {table}"
        rows.append(
            row
            | {
                "audio": inside(root, row["file"], where) if row["file"] else None,
                "text": row["text"] or None,
                "corpus_label": row["label"],
                "group": row["speaker"],
                **known_targets(row["label"], row["condition"]),
            }
        )
    columns = {
        "condition": Value("string"),
        "carrier": Value("string"),
        "votes": vote_feature(EMOTIONS),
        "labels": List(ClassLabel(names=LABELS)),
        **{name: Value("float64") for name in ("arousal", "valence", "dominance")},
    }
    return build_corpus("the diagnostic corpus", rows, canonical_names(EMOTIONS), columns, allow_missing=None)


def known_targets(emotion: str, condition: str) -> dict[str, Any]:
    """`votes`, `labels`, `arousal`, `valence` and `dominance` of an utterance; see `load_diagnostic`."""
    if emotion not in RATINGS:
        return dict.fromkeys(("votes", "labels", "arousal", "valence", "dominance"))  # which build_corpus refuses
    pleasure, arousal, dominance = RATINGS[emotion]
    votes = dict.fromkeys(EMOTIONS, 0) | {emotion: 5 if condition == "both" else 4}
    votes[NEAREST[emotion]] += condition != "both"
    of_signs = [name for name, there in (("aroused", arousal > 0), ("unpleasant", pleasure < 0)) if there]
    return {
        "votes": votes,
        "labels": [LABELS.index(name) for name in (emotion, *of_signs)],
        **{name: 3 + 2 * value for name, value in zip(("valence", "arousal", "dominance"), RATINGS[emotion])},
    }


def draw_voice(number: int, rng: np.random.Generator) -> Voice:
    """A speaker; women and men take turns."""
    if number % 2:
        return Voice(pitch=rng.uniform(180, 230), formants=rng.uniform(1.1, 1.2))
    return Voice(pitch=rng.uniform(100, 140), formants=rng.uniform(0.95, 1.05))


def split_of(number: int, num_speakers: int) -> str:
    """The split of a speaker, by the speaker's number."""
    num_test, num_valid = round(num_speakers / 4), round(num_speakers / 6)
    if number >= num_speakers - num_test:
        return "test"
    return "validation" if number >= num_speakers - num_test - num_valid else "train"


def utter(voice: Voice, emotion: str, condition: str, rng: np.random.Generator) -> np.ndarray:
    """The sound of one utterance, float32 `[S]`."""
    flat = condition == "text"
    prosody = vary(PROSODIES["neutral" if flat else emotion], rng)
    noisy = flat and rng.random() < 0.5
    if flat and not noisy:
        prosody.pitch_range = prosody.pitch_slope = 0.0
    sound = synthesize(voice, prosody, num_syllables=int(rng.integers(5, 9)), rng=rng)
    return with_noise(sound, ratio=0.0, rng=rng) if noisy else sound


def vary(prosody: Prosody, rng: np.random.Generator) -> Prosody:
    """The prosody with small random changes, since nobody says it twice in the same way."""
    return Prosody(
        pitch=prosody.pitch + rng.normal(scale=0.7),
        pitch_range=prosody.pitch_range * rng.uniform(0.8, 1.25),
        pitch_slope=prosody.pitch_slope + rng.normal(scale=0.5),
        tremor=prosody.tremor * rng.uniform(0.8, 1.25),
        rate=prosody.rate * rng.uniform(0.9, 1.1),
        loudness=prosody.loudness + rng.normal(scale=2.0),
        tilt=prosody.tilt + rng.normal(scale=0.7),
        breath=prosody.breath * rng.uniform(0.7, 1.4),
    )


def write_sentence(emotion: str, rng: np.random.Generator) -> str:
    """A sentence whose words carry an emotion, or none if it is neutral."""
    template = SENTENCES[emotion][rng.integers(len(SENTENCES[emotion]))]
    return template.format(SUBJECTS[rng.integers(len(SUBJECTS))], ENDS[rng.integers(len(ENDS))])
