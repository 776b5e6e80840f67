"""The diagnostic corpus: what carries the emotion carries it, and nothing else does."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import soundfile

from tacfn_hf.corpora import load_corpus
from tacfn_hf.corpora.diagnostic import EMOTIONS, draw_voice, make_diagnostic, utter, write_sentence


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnostic") / "corpus"
    make_diagnostic(folder, seed=5, num_speakers=6, repetitions=1)
    return folder


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_where_text_carries_it_the_sound_is_the_same_for_every_emotion():
    sounds = [utter(draw_voice(0, rng()), emotion, "text", rng()) for emotion in EMOTIONS]
    assert all(np.array_equal(sound, sounds[0]) for sound in sounds)


@pytest.mark.parametrize("condition", ["audio", "both", "audio_only"])
def test_where_audio_carries_it_the_sound_differs(condition):
    sounds = [utter(draw_voice(0, rng()), emotion, condition, rng())[:4000].tobytes() for emotion in EMOTIONS]
    assert len(set(sounds)) == len(EMOTIONS)


def test_half_of_the_sounds_that_carry_nothing_are_noisy_and_the_others_flat():
    def flatness(sound: np.ndarray) -> float:  # near 1 for white noise
        power = np.abs(np.fft.rfft(sound)) ** 2
        return np.exp(np.log(power).mean()) / power.mean()

    generator = rng()
    sounds = [utter(draw_voice(0, rng()), "sad", "text", generator) for _ in range(60)]
    noisy = sum(flatness(sound) > 0.1 for sound in sounds)
    assert 15 < noisy < 45


def test_neutral_words_are_those_of_no_emotion(root):
    corpus = load_corpus("diagnostic", root)
    neutral, carrying = set(), {emotion: set() for emotion in EMOTIONS}
    for split in corpus.values():
        for row in split.remove_columns("audio"):
            if row["condition"] == "audio":
                neutral.add(row["text"])
            elif row["text"] is not None:
                carrying[row["corpus_label"]].add(row["text"])
    assert neutral
    groups = [neutral, *carrying.values()]
    assert all(not groups[i] & groups[j] for i in range(5) for j in range(i))
    assert write_sentence("neutral", rng()) == write_sentence("neutral", rng())


def test_every_speaker_utters_every_emotion_in_every_condition(root):
    corpus = load_corpus("diagnostic", root)
    rows = [row for split in corpus.values() for row in split.remove_columns("audio")]
    counts = Counter((row["speaker"], row["corpus_label"], row["condition"]) for row in rows)
    assert len(counts) == 6 * 4 * 5
    assert {counts[key] for key in counts if key[2].endswith("_only")} == {1}
    assert {counts[key] for key in counts if not key[2].endswith("_only")} == {2}
    assert {row["condition"]: row["carrier"] for row in rows} == {
        "audio": "audio",
        "text": "text",
        "both": "both",
        "audio_only": "audio",
        "text_only": "text",
    }


def test_votes_labels_and_values_are_those_of_the_emotion(root):
    rows = [row for split in load_corpus("diagnostic", root).values() for row in split.remove_columns("audio")]
    names = load_corpus("diagnostic", root)["train"].features["labels"].feature.names
    for row in rows:
        votes = row["votes"]
        assert max(votes, key=votes.get) == row["corpus_label"]
        assert sum(votes.values()) == 5
        assert (votes[row["corpus_label"]] == 5) == (row["condition"] == "both")
        labels = {names[label] for label in row["labels"]}
        assert row["corpus_label"] in labels
        assert ("aroused" in labels) == (row["arousal"] > 3)
        assert ("unpleasant" in labels) == (row["valence"] < 3)
        assert all(1 <= row[name] <= 5 for name in ("arousal", "valence", "dominance"))
    assert len({(row["arousal"], row["valence"], row["dominance"]) for row in rows}) == 4


def test_what_is_missing_is_null_and_what_is_there_can_be_heard(root):
    corpus = load_corpus("diagnostic", root)
    for row in corpus["test"]:
        assert (row["audio"] is None) == (row["condition"] == "text_only")
        assert (row["text"] is None) == (row["condition"] == "audio_only")
        if row["audio"] is not None:
            sound, rate = soundfile.read(row["audio"]["path"])
            assert rate == 16000
            assert len(sound) / rate == row["duration"]


def test_speakers_are_divided(root):
    speakers = {name: set(split["speaker"][:]) for name, split in load_corpus("diagnostic", root).items()}
    assert {name: len(values) for name, values in speakers.items()} == {"train": 3, "validation": 1, "test": 2}
    assert len(set.union(*speakers.values())) == 6


def test_the_same_seed_makes_the_same_files(root, tmp_path):
    def digests(folder):
        return {
            p.relative_to(folder): hashlib.sha256(p.read_bytes()).digest() for p in folder.rglob("*") if p.is_file()
        }

    make_diagnostic(tmp_path / "same", seed=5, num_speakers=6, repetitions=1)
    make_diagnostic(tmp_path / "other", seed=6, num_speakers=6, repetitions=1)
    assert digests(tmp_path / "same") == digests(root)
    assert digests(tmp_path / "other") != digests(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_speakers": 5}, "num_speakers is 5 and repetitions 2: they must be at least 6 and 1"),
        ({"repetitions": 0}, "repetitions 0"),
    ],
)
def test_too_little(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_diagnostic(tmp_path, **arguments)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ValueError, match="is not empty: choose another one"):
        make_diagnostic(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_table_that_points_outside(root, tmp_path):
    (tmp_path / "utterances.csv").write_text(
        (root / "utterances.csv").read_text().replace("audio/diagnostic-00003", "../diagnostic-00003")
    )
    with pytest.raises(ValueError, match=r"id 'diagnostic-00003' .* lies outside of"):
        load_corpus("diagnostic", tmp_path)
