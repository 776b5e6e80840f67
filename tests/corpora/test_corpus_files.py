"""What every reader of a corpus finds and reads its files with."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from layout import write_text, write_wav

from tacfn_hf.corpora.corpus_files import (
    audio_files,
    check_root,
    choice,
    inside,
    lookup,
    need,
    parts_of_name,
    read_text,
)


def make_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "a")
    return path


def make_tar(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as file:
        file.add(__file__, "a.txt")
    return path


def test_a_root_is_an_absolute_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_root("Toy", ".", "a folder") == tmp_path


def test_roots_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="^The root of Toy does not exist: .*nowhere; it must be a folder with wavs.$"):
        check_root("Toy", tmp_path / "nowhere", "a folder with wavs")
    with pytest.raises(ValueError, match="^The root of Toy is a file: .*a.txt; it must be a folder with wavs.$"):
        check_root("Toy", write_text(tmp_path / "a.txt", ""), "a folder with wavs")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("Toy.zip", make_zip, "^Toy is still packed in .*Toy.zip: unpack it"),
        ("Toy.tar.gz", make_tar, "^Toy is still packed in .*Toy.tar.gz: unpack it"),
        ("Toy.rar", Path.touch, "^Toy is still packed in .*Toy.rar: unpack it"),
        ("Toy.zip", Path.touch, "^Toy is packed in .*Toy.zip, which can't be read as an archive: fetch it again.$"),
        ("Toy.tgz", Path.touch, "^Toy is packed in .*Toy.tgz, which can't be read as an archive"),
    ],
)
def test_archives(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        check_root("Toy", tmp_path / name, "a folder")
    with pytest.raises(ValueError, match=message):
        need("Toy", tmp_path, ["wav"], "a folder")


def test_the_first_name_that_is_there_is_needed(tmp_path):
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    make_zip(tmp_path / "b.zip")  # an archive beside its folder is of no interest
    assert need("Toy", tmp_path, ["a", "b", "c"], "") == tmp_path / "b"


def test_what_is_there_instead_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not the root of Toy: there is no x or y in it, but nothing; the root"):
        need("Toy", tmp_path, ["x", "y"], "a folder with x")
    for i in range(9):
        (tmp_path / f"{i}").mkdir()
    with pytest.raises(ValueError, match=r"but 0, 1, 2, 3, 4, 5, 6, 7, ...; the root must be a folder with x.$"):
        need("Toy", tmp_path, ["x"], "a folder with x")


def test_paths_of_a_table_stay_in_the_root(tmp_path):
    root = tmp_path / "root"
    write_wav(root / "wav" / "a.wav")
    assert inside(root, "wav/../wav/a.wav", "Row 1") == str(root / "wav" / "a.wav")
    assert inside(root, "not/there.wav", "Row 1") == str(root / "not" / "there.wav")
    write_wav(tmp_path / "roots" / "a.wav")  # begins as the root does
    for path in ("../a.wav", "/etc/passwd", "wav/../../a.wav", "../roots/a.wav"):
        with pytest.raises(ValueError, match=f"^Row 1 names '{path}', which lies outside of {root}: say so.$"):
            inside(root, path, "Row 1", otherwise="say so")
    assert inside(root, "../roots/a.wav", "Row 1", others=[tmp_path / "roots"]) == str(tmp_path / "roots" / "a.wav")


def test_links_of_the_root_are_followed(tmp_path):
    root, elsewhere = tmp_path / "root", write_wav(tmp_path / "elsewhere" / "a.wav")
    (root / "wav").mkdir(parents=True)
    (root / "folder").symlink_to(elsewhere.parent)
    (root / "wav" / "a.wav").symlink_to(elsewhere)
    for path in ("folder/a.wav", "wav/a.wav", f"{root}/folder/a.wav"):
        assert inside(root, path, "Row 1") == os.path.join(root, path)
    (tmp_path / "link").symlink_to(root)  # the root by another name
    assert inside(tmp_path / "link", f"{root}/a.wav", "Row 1") == f"{root}/a.wav"


def test_text_files(tmp_path):
    path = write_text(tmp_path / "a.txt", "\ufeffEin Bär\r\n")
    assert read_text(path) == "Ein Bär\n"
    with pytest.raises(ValueError, match=r"^The file .*none.txt is missing.$"):
        read_text(tmp_path / "none.txt")
    path = write_text(tmp_path / "b.txt", "x" * 20000 + "ä", "latin-1")
    with pytest.raises(
        ValueError, match="^The file .*b.txt is not in utf-8-sig at byte 20000: .*, in which this place reads 'x+ä'.$"
    ):
        read_text(path)
    assert read_text(path, "latin-1").endswith("ä")


def test_codes_and_choices():
    assert lookup({"A": "angry"}, "A", "Row 1", "emotion") == "angry"
    with pytest.raises(ValueError, match="^Row 1 has the emotion 'B': the known ones are A, S.$"):
        lookup({"A": "angry", "S": "sad"}, "B", "Row 1", "emotion")
    assert choice("Toy", "labels", "4", ["4", "6"]) == "4"
    with pytest.raises(ValueError, match="^labels of Toy is '5': it must be one of 4, 6.$"):
        choice("Toy", "labels", "5", ["4", "6"])


def test_files_whose_names_are_the_annotation(tmp_path):
    for name in ("b/2.wav", "b/._2.wav", "a/1.wav", "a/1.txt"):
        write_text(tmp_path / name, "")
    assert audio_files("Toy", tmp_path, "*/*.wav", "") == [tmp_path / "a/1.wav", tmp_path / "b/2.wav"]
    with pytest.raises(
        ValueError, match="not the root of Toy: it has a, b, and no audio where it belongs; the root must"
    ):
        audio_files("Toy", tmp_path, "*.wav", "a folder with wavs")
    pattern = r"(?P<speaker>f|m)-(?P<emotion>\d\d)"
    assert parts_of_name("Toy", pattern, Path("x/f-07.wav")) == {"speaker": "f", "emotion": "07"}
    with pytest.raises(
        ValueError, match="^x/f-07-a.wav has no name of Toy: its files are called <speaker>-<emotion>.$"
    ):
        parts_of_name("Toy", pattern, Path("x/f-07-a.wav"))
