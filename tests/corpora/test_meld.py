"""MELD: on a small copy of MELD.Raw, and on its real tables."""

import csv
import io
import os
import tarfile
from pathlib import Path

import pyarrow.parquet
import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.meld import CSV_COLUMNS, load_meld


HEAD = ",".join(CSV_COLUMNS) + "\n"
TABLES = {  # invented, apart from the numbers of known clips
    "train": (
        '1,"Well, it’s “new”… isn’t it—",Chandler,neutral,neutral,0,0,8,2,"00:01:10,500","00:01:16,172"\n'
        '2,Café!,The Neighbour’s Wife,surprise,negative,0,1,8,2,"0:02:21,940","0:02:23,442"\n'
        '4,"Yes, here.",Rachel,joy,positive,125,3,7,2,"00:03:00,000","00:03:05,213"\n'
    ),
    "dev": (
        '1,Is it?,Monica,fear,negative,0,0,4,1,"00:20:50,250","00:20:53,043"\n'
        '3,Never.,Ross,disgust,negative,110,7,1,2,"00:05:00,672","00:05:08,554"\n'
    ),
    "test": (
        '1,Go on!,Joey,joy,positive,1,1,1,3,"01:10:40,146","01:10:40,833"\n'
        '2,Listen.,All,sadness,negative,0,0,1,3,"00:11:09,281","00:11:11,41"\n'
        '5,Stop it!,Rachel,anger,negative,38,4,3,1,"00:13:00,060","00:18:05,000"\n'
    ),
}
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
CLIPS = {
    "train": ("dia0_utt0", "dia0_utt1", "dia125_utt3"),
    "dev": ("dia0_utt0", "dia49_utt4"),
    "test": (
        "dia1_utt1",
        "final_videos_testdia1_utt1",
        "dia0_utt0",
        "final_videos_testdia38_utt4",
        "._dia0_utt0",
        "dia108_utt2",
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore:MELD, utterances of", "ignore:MELD. taken as utterances without audio")


def write_tables(root: Path, encoding: str = "utf-8") -> Path:
    for split, text in TABLES.items():
        write_text(root / f"{split}_sent_emo.csv", HEAD + text, encoding)
    return root


def make(root: Path) -> Path:
    """Tables and clips as the archives hold them: no reader opens an mp4, so its content is none."""
    write_tables(root)
    for split, stems in CLIPS.items():
        for stem in stems:
            write_text(root / FOLDERS[split] / f"{stem}.mp4", "a video")
    return root


@pytest.fixture
def corpus(tmp_path):
    return load_meld(make(tmp_path))


def test_a_row_is_read_as_documented(corpus, tmp_path):
    assert {name: len(split) for name, split in corpus.items()} == {"train": 3, "validation": 2, "test": 3}
    row = corpus["train"][1]
    assert row.pop("duration") == pytest.approx(1.502)
    assert row.pop("start") == pytest.approx(2 * 60 + 21.94)
    assert row.pop("end") == pytest.approx(2 * 60 + 23.442)
    assert row == {
        "id": "train_dia0_utt1",
        "audio": {"bytes": None, "path": str(tmp_path / "train_splits" / "dia0_utt1.mp4")},
        "text": "Café!",
        "label": corpus["train"].features["label"].str2int("surprised"),
        "corpus_label": "surprise",
        "speaker": "The Neighbour’s Wife",
        "group": "train_dia0",
        "emotion": "surprise",
        "sentiment": "negative",
        "dialogue": 0,
        "utterance": 1,
        "season": 8,
        "episode": 2,
    }
    assert corpus["validation"]["id"][:] == ["dev_dia0_utt0", "dev_dia110_utt7"]
    assert corpus["validation"]["group"][0] == "dev_dia0"


def test_emotions_have_their_canonical_names(corpus):
    names = corpus["train"].features["label"].names
    assert names == ["neutral", "angry", "happy", "sad", "fearful", "disgusted", "surprised"]
    found = {split: [names[label] for label in corpus[split]["label"]] for split in corpus}
    assert found == {
        "train": ["neutral", "surprised", "happy"],
        "validation": ["fearful", "disgusted"],
        "test": ["happy", "sad", "angry"],
    }


def test_sentiments(tmp_path):
    corpus = load_meld(make(tmp_path), labels="sentiment")["train"]
    assert corpus.features["label"].names == ["negative", "neutral", "positive"]
    assert corpus["label"][:] == [1, 0, 2]
    assert corpus["corpus_label"][:] == ["neutral", "negative", "positive"]
    assert corpus["emotion"][:] == ["neutral", "surprise", "joy"]


# cp1252 in UTF-8, as the first release has it: every byte of cp1252 as the character of that number.
RELEASES = {
    "utf-8": lambda text: text.encode(),
    "utf-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "cp1252": lambda text: text.encode("cp1252"),
    "cp1252 in utf-8": lambda text: text.encode("cp1252").decode("latin-1").encode(),
}


@pytest.mark.parametrize("encode", RELEASES.values(), ids=RELEASES)
def test_every_encoding_gives_the_same_texts(tmp_path, encode):
    make(tmp_path)
    text = (HEAD + TABLES["train"]).replace("Well, ", "Well,\xa0")  # of the eight codes
    (tmp_path / "train_sent_emo.csv").write_bytes(encode(text))
    corpus = load_meld(tmp_path)["train"]
    assert corpus["text"][:2] == ["Well, it’s “new”… isn’t it—", "Café!"]
    assert corpus["speaker"][1] == "The Neighbour’s Wife"


def test_what_is_known_to_be_broken_loses_its_audio_and_keeps_its_text(tmp_path):
    with pytest.warns(UserWarning, match="as known: train_dia125_utt3 .*dev_dia110_utt7 .*test_dia38_utt4") as caught:
        corpus = load_meld(make(tmp_path))
    assert not any("are missing" in str(warning.message) for warning in caught)
    assert [row is None for row in corpus["train"]["audio"]] == [False, False, True]
    assert [row is None for row in corpus["validation"]["audio"]] == [False, True]
    assert [row is None for row in corpus["test"]["audio"]] == [False, False, True]
    assert corpus["validation"]["text"][1] == "Never."


def test_the_replacement_of_a_clip_is_taken_and_the_rest_counted(corpus):
    assert Path(corpus["test"][0]["audio"]["path"]).name == "final_videos_testdia1_utt1.mp4"
    assert Path(corpus["test"][1]["audio"]["path"]).name == "dia0_utt0.mp4"
    assert "1 clips with a final_videos_test one, 2 clips without an utterance" in corpus["test"].info.description


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_extracted_audio_is_preferred_and_has_its_own_duration(tmp_path, suffix):
    write_wav(make(tmp_path) / "train_splits" / f"dia0_utt1{suffix}", seconds=0.25)
    corpus = load_meld(tmp_path)["train"]
    assert [Path(audio["path"]).name for audio in corpus["audio"][:2]] == ["dia0_utt0.mp4", f"dia0_utt1{suffix}"]
    assert corpus["duration"][:2] == [pytest.approx(5.672), 0.25]


def test_times_of_all_forms(corpus):
    test = corpus["test"]
    assert test["start"][0] == pytest.approx(3600 + 10 * 60 + 40.146)
    assert test["end"][1] == pytest.approx(11 * 60 + 11.41)
    assert test["duration"][:] == pytest.approx([0.687, 2.129, 304.94])


@pytest.mark.parametrize(
    ("table", "clips"),
    [
        ("{0}_sent_emo.csv", "{0}/{1}"),
        ("{0}/{0}_sent_emo.csv", "{0}/{1}"),
        ("{0}/{0}_sent_emo.csv", "{1}"),
        ("{0}.csv", "{0}"),
    ],
)
def test_places_of_tables_and_clips(tmp_path, table, clips):
    for split, text in TABLES.items():
        write_text(tmp_path / table.format(split), HEAD + text)
        for stem in CLIPS[split]:
            write_text(tmp_path / clips.format(split, FOLDERS[split]) / f"{stem}.mp4", "a video")
    corpus = load_meld(tmp_path)
    expected = tmp_path / clips.format("dev", FOLDERS["dev"]) / "dia0_utt0.mp4"
    assert corpus["validation"]["audio"][0]["path"] == str(expected)


def test_speakers_may_be_in_several_splits_and_counts_are_compared(tmp_path):
    with pytest.warns(UserWarning, match="MELD, utterances of dev: 2 were found, 1109 are published"):
        corpus = load_meld(make(tmp_path))
    assert "Rachel" in corpus["train"]["speaker"]
    assert "Rachel" in corpus["test"]["speaker"]


def test_a_missing_clip(tmp_path):
    (make(tmp_path) / "train_splits" / "dia0_utt1.mp4").unlink()
    with pytest.raises(ValueError, match=r"1 of 8 audio files of MELD are missing, the first is .*dia0_utt1\.mp4"):
        load_meld(tmp_path)
    with pytest.warns(UserWarning, match="1 of 8 audio files of MELD are missing"):
        corpus = load_meld(tmp_path, allow_missing=True)
    assert [row is None for row in corpus["train"]["audio"]] == [False, True, True]


def test_tables_alone(tmp_path):
    with pytest.raises(ValueError, match="there is no train_splits or train/train_splits or train in it, but dev_sent"):
        load_meld(write_tables(tmp_path))
    with pytest.warns(UserWarning, match="5 of 8 audio files of MELD are missing"):
        corpus = load_meld(tmp_path, allow_missing=True)
    assert sum(len(split) for split in corpus.values()) == 8


def test_an_archive_that_is_still_packed(tmp_path):
    make(tmp_path)
    write_text(tmp_path / "dev.tar.gz", "cut off")
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "train_sent_emo.csv", "train/train_sent_emo.csv")
    load_meld(tmp_path)  # both are unpacked
    (tmp_path / "train_sent_emo.csv").unlink()
    with pytest.raises(ValueError, match=r"MELD is still packed in .*train\.tar\.gz: unpack it"):
        load_meld(tmp_path)
    write_tables(tmp_path)
    (tmp_path / "dev_splits_complete").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"MELD is packed in .*dev\.tar\.gz, which can't be read as an archive"):
        load_meld(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            ",Emotion,",
            ",emotion,",
            r"dev_sent_emo\.csv has no column 'Emotion'; it has Sr No\., Utterance, Speaker, emo",
        ),
        (
            ",fear,",
            ",joyful,",
            r"dev_sent_emo\.csv, Sr No\. 1, has the emotion 'joyful': the known ones are neutral, joy",
        ),
        (",fear,negative", ",fear,bad", "has the sentiment 'bad': the known ones are negative, neutral, positive"),
        (",negative,0,0,", ",negative,0.0,0,", "has the Dialogue_ID '0.0': it must be a whole number"),
        ("00:20:50,250", "20:50.250", "has the StartTime '20:50.250': it must be a time such as 00:16:16,059"),
        ("00:20:50,250", "00:21:50,250", "Sr No. 1, ends before it starts: 00:21:50,250 to 00:20:53,043"),
        ("110,7,1,2", "0,0,1,2", "The id 'dev_dia0_utt0' occurs twice in MELD"),
        ("Never.", "Ne, ver.", "has 12 cells in the row that ends at line 3, but its head line has 11"),
    ],
)
@pytest.mark.parametrize("labels", ["emotion", "sentiment"])
def test_bad_tables(tmp_path, old, new, message, labels):
    make(tmp_path)
    write_text(tmp_path / "dev_sent_emo.csv", (HEAD + TABLES["dev"]).replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_meld(tmp_path, labels=labels)


def test_bad_options_and_roots(tmp_path):
    with pytest.raises(ValueError, match="labels of MELD is 'valence': it must be one of emotion, sentiment"):
        load_meld(tmp_path, labels="valence")
    with pytest.raises(ValueError, match=r"there is no train_sent_emo\.csv or .* in it, but nothing; the root must be"):
        load_meld(tmp_path)


@pytest.mark.skipif("TACFN_DATA" not in os.environ, reason="needs TACFN_DATA")
def test_the_real_tables(tmp_path):
    expected = {}
    for split, release in {"train": "cp1252 in utf-8", "dev": "utf-8", "test": "cp1252"}.items():
        expected[split] = pyarrow.parquet.read_table(Path(os.environ["TACFN_DATA"], "meld", f"{split}.parquet"))
        file = io.StringIO(newline="")
        csv.writer(file).writerows([CSV_COLUMNS, *zip(*expected[split].to_pydict().values())])
        (tmp_path / f"{split}_sent_emo.csv").write_bytes(RELEASES[release](file.getvalue()))
    with pytest.warns(UserWarning, match="13704 of 13708 audio files of MELD are missing") as caught:
        corpus = load_meld(tmp_path, allow_missing=True)
    assert not any("are published" in str(warning.message) for warning in caught)
    assert {name: len(split) for name, split in corpus.items()} == {"train": 9989, "validation": 1109, "test": 2610}
    for split, table in zip(corpus.values(), expected.values()):
        wanted = table.to_pydict()
        assert split["text"][:] == wanted["utterance"]
        for column in ("speaker", "emotion", "sentiment", "season", "episode"):
            assert split[column][:] == wanted[column]
        assert split["dialogue"][:] == wanted["dialogue_id"]
        names = [split.features["label"].int2str(label) for label in split["label"]]
        codes = {"joy": "happy", "sadness": "sad", "anger": "angry", "surprise": "surprised"}
        codes |= {"fear": "fearful", "disgust": "disgusted", "neutral": "neutral"}
        assert names == [codes[emotion] for emotion in wanted["emotion"]]
        assert min(split["duration"]) >= 0
    assert sum(duration < 0.2 for split in corpus.values() for duration in split["duration"]) == 146
