"""ESD on small copies of its two layouts, with the encodings and odd lines of its text files."""

from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.esd import load_esd


pytestmark = pytest.mark.filterwarnings("ignore:ESD, utterances")

CLIPS = (
    "0001/Neutral/0001_000001",
    "0001/Angry/0001_000351",
    "0001/Happy/0001_000701",
    "0001/Sad/0001_001051",
    "0001/Surprise/0001_001401",
    "0011/Angry/0011_000351",
    "0011/Neutral/0011_000001",
    "0013/Angry/0013_000431",
)
MANDARIN = (
    "0001_000001\t打远一看，它们的确很是美丽，\t中立\r\n"
    "0001_000351\t打远一看，它们的确很是美丽，\t生气\r\n"
    "\r\n"
    "0001_000701\t打远一看，它们的确很是美丽，\t快乐\r\n"
    "0001_001051\t打远一看，它们的确很是美丽，\t伤心\r\n"
    "0001_001401\t打远一看，它们的确很是美丽，\t惊喜\r\n"
)
ENGLISH = "0011_000001\tThe nine the eggs, I keep.\tNeutral\t\n\n0011_000351\tThe nine the eggs, I keep.\tAngry\t\n"


def make(root: Path) -> Path:
    for clip in CLIPS:
        write_wav(root / f"{clip}.wav", seconds=0.25)
    write_text(root / "0011" / "Angry" / "._0011_000351.wav", "resource fork")
    write_text(root / "0001" / "0001.txt", MANDARIN, "gb18030")
    write_text(root / "0011" / "0011.txt", ENGLISH)
    # An id and a text that only a space separates
    write_text(root / "0013" / "0013.txt", "0013_000431 And I never had a whooping cough why.\tAngry\r\n", "utf-16")
    write_text(root / "ReadMe.txt", "0001: Chinese Female\n")
    return root


def test_folders_and_text_files_are_read(tmp_path):
    corpus = load_esd(make(tmp_path))["train"]
    assert len(corpus) == 8
    label = corpus.features["label"]
    rows = {row["id"]: row for row in corpus}
    assert rows["0011_000351"] == {
        "id": "0011_000351",
        "audio": {"bytes": None, "path": str(tmp_path / "0011" / "Angry" / "0011_000351.wav")},
        "text": "The nine the eggs, I keep.",
        "label": label.str2int("angry"),
        "corpus_label": "Angry",
        "speaker": "0011",
        "group": "0011",
        "duration": 0.25,
        "language": "english",
        "gender": "male",
        "partition": None,
    }
    assert rows["0001_000701"]["text"] == "打远一看，它们的确很是美丽，"
    assert (rows["0001_000701"]["language"], rows["0001_000701"]["gender"]) == ("mandarin", "female")
    assert rows["0013_000431"]["text"] == "And I never had a whooping cough why."
    assert {row["corpus_label"]: label.int2str(row["label"]) for row in corpus} == dict(
        Neutral="neutral", Angry="angry", Happy="happy", Sad="sad", Surprise="surprised"
    )


@pytest.mark.parametrize(("language", "number", "others"), [("english", 3, 5), ("mandarin", 5, 3)])
def test_one_language(tmp_path, language, number, others):
    other = {"english": "0001", "mandarin": "0011"}[language]
    (make(tmp_path) / other / f"{other}.txt").unlink()  # what is not wanted is not read
    with pytest.warns(UserWarning, match=f"ESD, utterances: {number} were found, 17500 are published"):
        corpus = load_esd(tmp_path, language=language)["train"]
    assert set(corpus["language"]) == {language}
    assert f"{others} of the other language" in corpus.info.description


def test_the_count_is_the_published_one(tmp_path):
    with pytest.warns(UserWarning, match="ESD, utterances: 8 were found, 35000 are published"):
        load_esd(make(tmp_path))


def test_the_partition_of_the_other_release(tmp_path):
    plain = load_esd(make(tmp_path / "plain"))["train"]
    make(tmp_path / "parts")
    for clip, part in zip(CLIPS, ("train", "evaluation", "test", "train", "train", "train", "test", "train")):
        path = tmp_path / "parts" / f"{clip}.wav"
        (path.parent / part).mkdir(exist_ok=True)
        path.rename(path.parent / part / path.name)
    parts = load_esd(tmp_path / "parts")
    assert list(parts) == ["train"]  # all speakers are in all parts: these are no splits
    rows = {row["id"]: row for row in parts["train"].remove_columns("audio")}
    assert rows["0001_000351"]["partition"] == "evaluation"
    assert rows["0011_000001"]["partition"] == "test"
    for row in plain.remove_columns("audio"):
        assert rows[row["id"]] == row | {"partition": rows[row["id"]]["partition"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings_of_mandarin_text(tmp_path, encoding):
    write_text(make(tmp_path) / "0001" / "0001.txt", MANDARIN, encoding)
    assert set(load_esd(tmp_path, language="mandarin")["train"]["text"]) == {"打远一看，它们的确很是美丽，"}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "I’m as bad as I can be."),
        ("utf-16", "I’m as bad as I can be."),
        ("gb18030", "I’m as bad as I can be."),
        ("cp1252", "I’m as bad as I can be."),
        ("cp1252", "A\xa0nauseous draught."),  # these two bytes are a Chinese character in GB 18030
    ],
)
def test_encodings_of_english_text(tmp_path, encoding, text):
    lines = ENGLISH.replace("The nine the eggs, I keep.", text)
    write_text(make(tmp_path) / "0011" / "0011.txt", lines, encoding)
    rows = load_esd(tmp_path, language="english")["train"]
    assert [row["text"] for row in rows if row["speaker"] == "0011"] == [text, text]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", None),
        ("0011_000351", None),
        ("0011_000351\tAngry", None),
        ("0011_000351\tThe nine the eggs, I keep.", "The nine the eggs, I keep."),
        ("0011_000351\tOne.\tAngry\n0011_000351\tTwo.\tAngry", None),
    ],
)
def test_clips_without_a_whole_line_are_warned_about(tmp_path, line, text):
    lines = f"0011_000001\tThe nine the eggs, I keep.\tNeutral\n{line}\n"
    write_text(make(tmp_path) / "0011" / "0011.txt", lines)
    with pytest.warns(UserWarning, match="ESD: 1 clips have no line with text and emotion, the first is 0011_000351"):
        corpus = load_esd(tmp_path, language="english")["train"]
    assert [row["text"] for row in corpus if row["id"] == "0011_000351"] == [text]


@pytest.mark.filterwarnings("error:ESD. .* clips")
def test_lines_that_only_spaces_separate(tmp_path):
    write_text(make(tmp_path) / "0011" / "0011.txt", "0011_000001 I keep. Neutral\n0011_000351\tI keep. Angry\n")
    rows = load_esd(tmp_path, language="english")["train"]
    assert [row["text"] for row in rows if row["speaker"] == "0011"] == ["I keep.", "I keep."]


def test_lines_without_a_clip_are_counted(tmp_path):
    write_text(make(tmp_path) / "0011" / "0011.txt", ENGLISH + "0011_000002\tI did go.\tNeutral\n")
    assert "1 lines without a clip" in load_esd(tmp_path)["train"].info.description


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ENGLISH.replace("Angry", "Sad"),
            "0351.wav is in the folder Angry, but .*0011.txt, line 3, says Sad",
        ),
        (ENGLISH.replace("Angry", "Furious"), "0011.txt, line 3, has the emotion 'Furious': the known ones are Angry"),
        (ENGLISH + "Annie please\n", "0011.txt, line 4, is 'Annie please': it must be an id, a text and an emotion"),
    ],
)
def test_text_files_that_can_not_be_read(tmp_path, lines, message):
    write_text(make(tmp_path) / "0011" / "0011.txt", lines)
    with pytest.raises(ValueError, match=message):
        load_esd(tmp_path)


def test_a_text_file_that_is_missing(tmp_path):
    (make(tmp_path) / "0011" / "0011.txt").unlink()
    with pytest.raises(ValueError, match="The file .*0011.txt is missing"):
        load_esd(tmp_path)


def test_a_text_file_in_no_known_encoding(tmp_path):
    (make(tmp_path) / "0001" / "0001.txt").write_bytes(b"0001_000001\t\xff\xff\t\n")
    with pytest.raises(ValueError, match="0001.txt is not in gb18030 at byte 12"):
        load_esd(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0011/Calm/0011_000002", "0011_000002.wav has the emotion 'Calm': the known ones are Angry, Happy"),
        ("0011/Angry/dev/0011_000352", "has the partition 'dev': the known ones are train, evaluation, test"),
        ("0021/Angry/0021_000351", "has the speaker '0021': the known ones are 0001, 0002"),
        ("0011/Angry/0013_000351", "0013_000351.wav is in the folder of the speaker 0011: its name must begin"),
        ("0011/Angry/take1", "take1.wav has no name of ESD: its files are called <speaker>_<number>"),
    ],
)
def test_unknown_names(tmp_path, name, message):
    write_wav(make(tmp_path) / f"{name}.wav")
    with pytest.raises(ValueError, match=message):
        load_esd(tmp_path)


def test_an_unknown_language(tmp_path):
    with pytest.raises(ValueError, match="language of ESD is 'chinese': it must be one of all, english, mandarin"):
        load_esd(make(tmp_path), language="chinese")


def test_another_folder(tmp_path):
    make(tmp_path / "Emotion Speech Dataset")
    with pytest.raises(ValueError, match="not the root of ESD: it has Emotion .* the folder with 0001 to 0020"):
        load_esd(tmp_path)
