"""The user's own corpus: a table of each format beside audio files."""

import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from layout import write_table, write_text, write_wav

from tacfn_hf.corpora.folder import load_folder


HEAD = ["audio", "text", "label", "actor", "scene", "part", "take"]
ROWS = [
    ["wav/a.wav", "Oh, no!", "Sadness", "007", "1", "train", "1"],
    ["wav/b.wav", None, "joy", "007", "1", "train", None],
    ["wav/c.FLAC", "7", "anger", "8", "2", "dev", "3"],
    ["wav/d.wav", "Well.", None, "9", "3", "test", "4"],
]
OPTIONS = {"speaker_column": "actor", "group_column": "scene", "split_column": "part"}


def make(root: Path, kind: str = "csv", head=HEAD, rows=ROWS) -> Path:
    """The table of that kind, beside the audio that ROWS name."""
    for row in ROWS:
        write_wav(root / row[0], seconds=0.25)
    write_table(root / f"table.{kind}", head, rows)
    return root


def replaced(column: str, row: int, value: str | None) -> list[list]:
    rows = [list(cells) for cells in ROWS]
    rows[row][HEAD.index(column)] = value
    return rows


def test_a_duration_of_the_table_is_kept_beside_that_of_the_file(tmp_path):
    corpus = load_folder(make(tmp_path, head=[*HEAD[:6], "duration"]), **OPTIONS)["train"]
    assert corpus["source_duration"][:] == ["1", None]
    assert corpus["duration"][:] == [0.25, 0.25]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_each_kind(tmp_path, kind):
    corpus = load_folder(make(tmp_path, kind), **OPTIONS)
    assert {name: split["id"][:] for name, split in corpus.items()} == {
        "train": ["wav/a", "wav/b"],
        "validation": ["wav/c"],
        "test": ["wav/d"],
    }
    assert corpus["train"].features["label"] == ClassLabel(names=["angry", "happy", "sad"])
    assert corpus["train"][:] == {
        "id": ["wav/a", "wav/b"],
        "audio": [{"bytes": None, "path": str(tmp_path / "wav" / name)} for name in ("a.wav", "b.wav")],
        "text": ["Oh, no!", None],
        "label": [2, 1],
        "corpus_label": ["Sadness", "joy"],
        "speaker": ["007", "007"],
        "group": ["1", "1"],
        "duration": [0.25, 0.25],
        "take": ["1", None],
    }
    assert corpus["test"]["label"][:] == corpus["test"]["corpus_label"][:] == [None]
    assert "without label  1" in corpus["test"].info.description
    assert "without text   1" in corpus["test"].info.description


def test_the_speaker_is_the_group_or_the_utterance(tmp_path):
    options = {"speaker_column": "actor", "id_column": "take"}
    root = make(tmp_path, rows=replaced("take", 1, "2"))
    corpus = load_folder(root, **options)["train"]
    assert corpus["group"][:] == corpus["speaker"][:] == ["007", "007", "8", "9"]
    assert corpus["id"][:] == ["1", "2", "3", "4"]
    corpus = load_folder(root)["train"]
    assert corpus["group"][:] == corpus["id"][:] == ["wav/a", "wav/b", "wav/c", "wav/d"]
    assert corpus["speaker"][:] == [None] * 4
    assert corpus.column_names[-4:] == ["actor", "scene", "part", "take"]


@pytest.mark.parametrize("option", ["speaker_column", "group_column"])
@pytest.mark.parametrize("other", ["Zoe\u0308 ", "Zo\u00eb\u00a0"])
def test_names_that_look_alike_are_one_group(tmp_path, option, other):
    """Else one person would be on both sides of a split."""
    rows = replaced("actor", 0, "Zo\u00eb")
    rows[1][HEAD.index("actor")] = other
    root = make(tmp_path, rows=rows)
    assert load_folder(root, **{option: "actor"})["train"]["group"][:] == ["Zo\u00eb", "Zo\u00eb", "8", "9"]


def test_a_speaker_may_be_in_two_splits_but_a_group_may_not(tmp_path):
    root = make(tmp_path, rows=replaced("actor", 2, "007"))
    assert set(load_folder(root, **OPTIONS)) == {"train", "validation", "test"}
    with pytest.raises(ValueError, match="has the group '007' in train and in validation"):
        load_folder(root, speaker_column="actor", split_column="part")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["sad", "merry", "Angry", "sad"], ["Angry", "merry", "sad"]),
        (["10", "9", "2", None], ["2", "9", "10"]),
        (["sad", "ANGER", "joy", "happiness"], ["angry", "happy", "sad"]),
    ],
)
def test_labels(tmp_path, labels, names):
    rows = [[*row[:2], label, *row[3:]] for row, label in zip(ROWS, labels)]
    corpus = load_folder(make(tmp_path, rows=rows))["train"]
    assert corpus.features["label"].names == names
    assert corpus["corpus_label"][:] == labels


def test_columns_of_other_types(tmp_path):
    make(tmp_path)
    (tmp_path / "table.csv").unlink()
    data = {"audio": [row[0] for row in ROWS], "who": [7, 7, 8, 9], "label": [2, 0, -1, None], "score": [0.5, 1, 2, 3]}
    kinds = {"audio": Value("string"), "who": Value("int64"), "label": ClassLabel(names=["joy", "x", "sad"])}
    Dataset.from_dict(data, Features(kinds | {"score": Value("float32")})).to_parquet(tmp_path / "table.parquet")
    corpus = load_folder(tmp_path, text_column="", speaker_column="who")["train"]
    assert corpus["speaker"][:] == ["7", "7", "8", "9"]
    assert corpus.features["label"].names == ["joy", "x", "sad"]  # x is none that is known
    assert corpus["label"][:] == [2, 0, None, None]
    assert corpus["score"][:] == [0.5, 1, 2, 3]
    assert corpus.features["score"] == Value("float32")
    assert corpus["text"][:] == [None] * 4


def test_audio_in_a_parquet_table(tmp_path):
    make(tmp_path)
    sound = (tmp_path / "wav/a.wav").read_bytes()
    cells = [{"bytes": sound, "path": "x/a.wav"}, {"bytes": None, "path": "wav/b.wav"}, {"bytes": None, "path": None}]
    table = pa.table({"key": ["a", "b", "c", "d"], "clip": [*cells, None], "text": ["Oh."] * 4, "label": ["sad"] * 4})
    pa.parquet.write_table(table, tmp_path / "embedded.parquet")
    options = {"table": "embedded.parquet", "audio_column": "clip"}
    corpus = load_folder(tmp_path, id_column="key", **options)["train"]
    assert corpus["audio"][:] == [cells[0], {"bytes": None, "path": str(tmp_path / "wav/b.wav")}, None, None]
    assert corpus["duration"][:] == [0.25, 0.25, None, None]
    with pytest.raises(ValueError, match="Row 2 of .*embedded.parquet has no id: say id_column"):
        load_folder(tmp_path, **options)
    pa.parquet.write_table(table.slice(0, 2), tmp_path / "embedded.parquet")
    assert load_folder(tmp_path, **options)["train"]["id"][:] == ["x/a", "wav/b"]


def test_metadata_of_an_audiofolder(tmp_path):
    make(tmp_path, "jsonl", ["file_name", *HEAD[1:]])
    (tmp_path / "table.jsonl").rename(tmp_path / "metadata.jsonl")
    assert load_folder(tmp_path)["train"]["id"][:] == ["wav/a", "wav/b", "wav/c", "wav/d"]
    with pytest.raises(ValueError, match="has no column 'clip'"):
        load_folder(tmp_path, audio_column="clip")


def test_text_alone(tmp_path):
    rows = [row[1:] for row in replaced("text", 1, "So.")]
    corpus = load_folder(make(tmp_path, head=HEAD[1:], rows=rows), audio_column="", id_column="text")["train"]
    assert corpus["audio"][:] == [None] * 4
    assert "4 audio files of no row" in corpus.info.description
    with pytest.raises(ValueError, match="audio_column and text_column are both empty"):
        load_folder(tmp_path, audio_column="", text_column="")


def test_missing_audio_and_audio_of_no_row(tmp_path):
    write_wav(make(tmp_path, rows=replaced("audio", 1, "wav/e.wav")) / ".cache" / "x.wav")
    with pytest.raises(ValueError, match="1 of 4 audio files of .* are missing, the first is .*e.wav"):
        load_folder(tmp_path)
    with pytest.warns(UserWarning, match="1 of 4 audio files"):
        corpus = load_folder(tmp_path, allow_missing=True)["train"]
    assert corpus["audio"][1] is None
    assert "left out       1 audio files of no row" in corpus.info.description


def test_which_table(tmp_path):
    make(make(tmp_path / "more"), "tsv")
    write_text(tmp_path / "more" / "._table.csv", "resource fork")
    with pytest.raises(ValueError, match="has several tables, table.csv, table.tsv: say with table which one it is.$"):
        load_folder(tmp_path / "more")
    assert len(load_folder(tmp_path / "more", table="table.tsv")["train"]) == 4
    with pytest.raises(
        ValueError, match="The table .*x.csv does not exist; the tables in .* are: table.csv, table.tsv"
    ):
        load_folder(tmp_path / "more", table="x.csv")
    with pytest.raises(ValueError, match="The option table names '../x.csv', which lies outside"):
        load_folder(tmp_path / "more", table="../x.csv")


@pytest.mark.parametrize(
    ("head", "rows", "options", "message"),
    [
        (
            HEAD,
            ROWS,
            {"text_column": "words"},
            "no column 'words'; it has audio, text, label.*: say which is the text_c",
        ),
        (["audio", "words", *HEAD[2:]], ROWS, {}, "no column 'text'; .* text_column, or give text_column= where there"),
        (
            ["clip", *HEAD[1:]],
            ROWS,
            {},
            "no column 'audio'; it has clip, .*, or give audio_column= where there is none",
        ),
        (["audio", "text", "mood", *HEAD[3:]], ROWS, {}, "no column 'label'; .* or give label_column= where there"),
        (HEAD, ROWS, {"label_column": ""}, "has a column 'label', which is a name of the schema: say label_column=lab"),
        (
            [*HEAD[:3], "id", *HEAD[4:6], "split"],
            ROWS,
            {},
            "has columns 'id', 'split', which are names of the schema: say id_column=id split_column=split, or rename",
        ),
        (HEAD, ROWS, {"group_column": "session"}, "has no column 'session'.* say which is the group_column.$"),
        (
            [*HEAD[:3], "speaker", *HEAD[4:]],
            ROWS,
            {},
            "a column 'speaker', .*: say speaker_column=speaker, or rename it.$",
        ),
        ([*HEAD[:6], "split"], ROWS, {}, "has a column 'split', .*: say split_column=split, or rename it.$"),
        (
            HEAD,
            replaced("audio", 1, "../b.wav"),
            {},
            "The row with id '../b' of .*table.csv names '../b.wav', which lies outside of .* as audio_root=DIR.$",
        ),
        (
            HEAD,
            replaced("audio", 1, None),
            {},
            "^Row 1 of .*table.csv has no id: say id_column, and fill it in each row.$",
        ),
        (HEAD, ROWS, {"id_column": "take"}, "^Row 1 of .*table.csv has no id"),
        (HEAD, ROWS, {"id_column": "actor"}, "The id '007' occurs twice .*, by a column that id_column names.$"),
        (HEAD, [*ROWS, ROWS[0]], {}, "The id 'wav/a' occurs twice .*, by a column that id_column names.$"),
        (
            HEAD,
            replaced("actor", 3, None),
            {"speaker_column": "actor"},
            "Row 3 of .* has nothing in column 'actor', which",
        ),
        (
            HEAD,
            replaced("part", 1, "eval"),
            OPTIONS,
            "The row with id 'wav/b' of .* has the split 'eval': the known ones are",
        ),
        (HEAD, replaced("part", 1, None), OPTIONS, "has the split ''"),
        (HEAD, [[*row[:2], None, *row[3:]] for row in ROWS], {}, "table.csv has no label in any row.$"),
        (HEAD, [], {}, "has no utterance"),
    ],
)
def test_tables_that_can_not_be(tmp_path, head, rows, options, message):
    with pytest.raises(ValueError, match=message):
        load_folder(make(tmp_path, head=head, rows=rows), **options)


def test_columns_that_can_not_be(tmp_path):
    pa.parquet.write_table(pa.table({"audio": ["a.wav"], "text": ["Oh."], "label": [0.5]}), tmp_path / "table.parquet")
    with pytest.raises(ValueError, match="Column 'label' of .*table.parquet must hold strings or integers"):
        load_folder(tmp_path)
    feature = Features({"audio": Value("string"), "text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    table = pa.table([["a.wav"], ["Oh."], [2]], schema=feature.arrow_schema)
    pa.parquet.write_table(table, tmp_path / "table.parquet")
    with pytest.raises(ValueError, match="table.parquet has the label '2': the known ones are 0, 1, -1.$"):
        load_folder(tmp_path)


@pytest.mark.parametrize("layout", ["table", "folders"])
@pytest.mark.parametrize("kind", ["file", "folder", "chain"])
def test_links_are_followed_in_either_layout(tmp_path, layout, kind):
    root = tmp_path / "root"
    sound = write_wav(tmp_path / "elsewhere" / "a.wav", seconds=0.25)
    write_wav(root / "sad" / "b.wav", seconds=0.5)
    if kind == "file":
        (root / "angry").mkdir()
        (root / "angry" / "a.wav").symlink_to(sound)
    else:
        (tmp_path / "more").symlink_to(sound.parent)
        (root / "angry").symlink_to(sound.parent if kind == "folder" else tmp_path / "more")
    (root / "sad" / "again").symlink_to(root)  # a circle
    if layout == "table":
        write_text(root / "table.csv", "audio,text,label\nangry/a.wav,,angry\nsad/b.wav,,sad\n")
    corpus = load_folder(root)["train"]
    assert dict(zip(corpus["id"], corpus["duration"])) == {"angry/a": 0.25, "sad/b": 0.5}
    assert "left out       none" in corpus.info.description


def test_a_link_to_nothing_is_a_missing_file(tmp_path):
    write_wav(tmp_path / "sad" / "1.wav")
    (tmp_path / "sad" / "2.wav").symlink_to(tmp_path / "not" / "fetched.wav")
    with pytest.raises(ValueError, match="1 of 2 audio files of .* are missing, the first is .*sad/2.wav"):
        load_folder(tmp_path)


def test_audio_elsewhere(tmp_path, monkeypatch):
    root = tmp_path / "mine"
    for path in (tmp_path / "sounds" / "sub" / "a.wav", root / "b.wav", tmp_path / "sounds" / "c.wav"):
        write_wav(path)
    rows = f"sub/a.wav,Oh.,sad\n{root}/b.wav,No.,angry\n{tmp_path}/sounds/c.wav,Well.,sad\n"
    write_text(root / "table.csv", f"audio,text,label\n{rows}")
    with pytest.raises(
        ValueError, match=f"names '{tmp_path}/sounds/c.wav', which lies outside of .* as audio_root=DIR"
    ):
        load_folder(root)
    monkeypatch.chdir(tmp_path)
    for audio_root in (tmp_path / "sounds", "sounds"):
        corpus = load_folder(root, audio_root=audio_root)["train"]
        paths = [audio["path"] for audio in corpus["audio"]]
        assert paths == [f"{tmp_path}/sounds/sub/a.wav", f"{root}/b.wav", f"{tmp_path}/sounds/c.wav"]
        assert "left out       none" in corpus.info.description
    with pytest.raises(ValueError, match="does not exist: .*nowhere; it must be the folder that the paths"):
        load_folder(root, audio_root=tmp_path / "nowhere")
    write_text(root / "table.csv", "audio,text,label\n../mine/b.wav,No.,angry\n")
    with pytest.raises(ValueError, match="'../mine/b.wav', which lies outside of .*/sub: name the folder of audio"):
        load_folder(root, audio_root=tmp_path / "sounds" / "sub")


def test_encoding_and_separator_are_those_of_the_table(tmp_path):
    make(tmp_path).joinpath("table.csv").unlink()
    write_text(tmp_path / "table.csv", "audio;text;label\nwav/a.wav;Ça alors, é!;sad\nwav/b.wav;;joy\n", "latin-1")
    corpus = load_folder(tmp_path, encoding="latin-1", separator=";")["train"]
    assert corpus["text"][:] == ["Ça alors, é!", None]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["zoë.wav", "été/à la plage.wav", "한국/말.wav"])
def test_names_in_another_form_of_unicode(tmp_path, form, name):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    on_disk = write_wav(tmp_path / unicodedata.normalize(other, name))
    written = unicodedata.normalize(form, name)
    assert written != unicodedata.normalize(other, name)
    write_text(tmp_path / "table.csv", f"audio,text,label\n{written},Oh.,sad\n")
    corpus = load_folder(tmp_path)["train"]
    assert corpus["audio"][0]["path"] == str(on_disk)
    assert corpus["id"][0] == written.removesuffix(".wav")
    assert "left out       none" in corpus.info.description


def test_files_of_which_only_the_form_of_their_names_differs(tmp_path):
    forms = [unicodedata.normalize(form, "é.wav") for form in ("NFC", "NFD")]
    for form in forms:
        write_wav(tmp_path / form)
    write_text(tmp_path / "table.csv", "audio,text,label\n" + "".join(f"{form},Oh.,sad\n" for form in forms))
    assert [audio["path"] for audio in load_folder(tmp_path)["train"]["audio"]] == [
        f"{tmp_path}/{form}" for form in forms
    ]


def test_audio_in_two_splits_is_named(tmp_path):
    """Under other names too: what is trained on would be tested."""
    write_wav(tmp_path / "a.wav", seconds=0.25)
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    write_text(tmp_path / "t.csv", "audio,label,part\na.wav,happy,train\nb.wav,sad,test\n")
    with pytest.warns(UserWarning, match=r"has 1 audio files in more than one split, such as .*a\.wav"):
        load_folder(tmp_path, text_column="", split_column="part")


def test_two_columns_that_would_be_one(tmp_path):
    root = make(tmp_path, head=[*HEAD[:-2], "duration", "source_duration"])
    with pytest.raises(ValueError, match="has columns 'duration' and 'source_duration', which would be one"):
        load_folder(root)


def test_columns_of_votes(tmp_path):
    head = ["audio", "text", "label", "Anger", "joy", "Sadness"]
    rows = [
        ["wav/a.wav", "Oh, no!", "Sadness", "1", "", "2"],
        ["wav/b.wav", None, None, "2", "2", "0"],
        ["wav/c.FLAC", "7", "joy", None, None, None],
    ]
    make(tmp_path, head=head, rows=rows)
    corpus = load_folder(tmp_path, vote_columns="Anger,joy, Sadness")["train"]
    assert corpus.features["label"].names == ["angry", "happy", "sad"]
    assert corpus["votes"][:] == [{"angry": 1, "happy": 0, "sad": 2}, {"angry": 2, "happy": 2, "sad": 0}, None]
    assert corpus["label"][:] == [2, None, 1]
    assert "Anger" not in corpus.column_names
    write_table(tmp_path / "table.csv", head[:2] + head[3:], [row[:2] + row[3:] for row in rows])
    assert load_folder(tmp_path, vote_columns="Anger,joy,Sadness")["train"]["label"][:] == [2, None, None]
    with pytest.raises(ValueError, match="has no column 'fear', which vote_columns names; it has audio"):
        load_folder(tmp_path, vote_columns="Anger,fear")
    rows[0][3] = "half"
    write_table(tmp_path / "table.csv", head, rows)
    with pytest.raises(ValueError, match="Row 0 of .*table.csv has 'half' in column Anger: votes are whole numbers"):
        load_folder(tmp_path, vote_columns="Anger,joy,Sadness")


def test_votes_are_for_the_classes_of_cleaned_labels(tmp_path):
    head = ["audio", "text", "label", "tense", "calm"]
    rows = [["wav/a.wav", "Oh!", " tense ", "1", "2"], ["wav/b.wav", "No.", "Calm", "0", "0"]]
    corpus = load_folder(make(tmp_path, head=head, rows=rows), vote_columns="tense,calm", fold_case=True)["train"]
    assert sorted(corpus.features["label"].names) == ["calm", "tense"]
    assert corpus["votes"][:] == [{"tense": 1, "calm": 2}, {"tense": 0, "calm": 0}]
    head[3:] = ["joy", "happiness"]
    corpus = load_folder(make(tmp_path, head=head[:2] + head[3:], rows=[row[:2] + row[3:] for row in rows]),
        vote_columns="joy,happiness")["train"]  # fmt: skip
    assert corpus["votes"][:] == [{"happy": 3}, {"happy": 0}]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_several_labels_and_of_values(tmp_path, kind):
    head = ["audio", "text", "Anger", "joy", "arousal", "valence"]
    rows = [
        ["wav/a.wav", "Oh, no!", "1", "1", "4.5", "1"],
        ["wav/b.wav", None, "0", "0", None, "2.25"],
        ["wav/c.FLAC", "7", None, None, "3", "5"],
    ]
    make(tmp_path, kind, head, rows)
    options = {"label_column": "", "labels_columns": "Anger,joy", "value_columns": "arousal, valence"}
    corpus = load_folder(tmp_path, **options)["train"]
    assert corpus.features["labels"].feature.names == ["angry", "happy"]
    assert corpus["labels"][:] == [[0, 1], [], None]
    assert (corpus["arousal"][:], corpus["valence"][:]) == ([4.5, None, 3.0], [1.0, 2.25, 5.0])
    assert corpus["label"][:] == [None] * 3
    assert "Anger" not in corpus.column_names
    rows[0][4] = "much"
    make(tmp_path, kind, head, rows)
    with pytest.raises(ValueError, match=r"Row 0 of .* has 'much' in column arousal: it must be a number"):
        load_folder(tmp_path, **options)
    rows[0][4], rows[1][3] = "1", "2"
    make(tmp_path, kind, head, rows)
    with pytest.raises(ValueError, match="Row 1 of .* has '2' in its labels_columns, not 0 or 1"):
        load_folder(tmp_path, **options)
    with pytest.raises(ValueError, match="has no column 'fear', which labels_columns names; it has audio"):
        load_folder(tmp_path, **{**options, "labels_columns": "Anger,fear"})


def test_several_labels_in_a_cell(tmp_path):
    head = ["audio", "text", "emotions"]
    rows = [
        ["wav/a.wav", "Oh, no!", "Anger; joy"],
        ["wav/b.wav", None, ";"],
        ["wav/c.FLAC", "7", None],
    ]
    options = {"label_column": "", "labels_columns": "emotions"}
    corpus = load_folder(make(tmp_path, head=head, rows=rows), label_separator=";", **options)["train"]
    assert corpus.features["labels"].feature.names == ["angry", "happy"]
    assert corpus["labels"][:] == [[0, 1], [], None]
    with pytest.raises(ValueError, match="has 'Anger; joy' in its labels_columns, not 0 or 1: give label_separator"):
        load_folder(tmp_path, **options)
    with pytest.raises(ValueError, match="label_separator is ';': name the column as labels_columns"):
        load_folder(tmp_path, label_column="", label_separator=";")
