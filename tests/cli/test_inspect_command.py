"""The command that prints what is in a corpus."""

import json
from pathlib import Path

import pytest
import soundfile

from tacfn_hf.cli.inspect import main
from tacfn_hf.cli.main import main as tacfn
from tacfn_hf.corpora.schema import BadFilesError


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "sad").mkdir()
    for name in ("a", "b"):
        soundfile.write(tmp_path / "sad" / f"{name}.wav", [0.1, -0.1] * 800, 16000)
    (tmp_path / "sad" / "c.wav").write_text("no audio")
    table = "audio,text,label\nsad/a.wav,Oh.,sad\nsad/b.wav,,joy\nsad/c.wav,No.,joy\nsad/d.wav,So.,joy\n"
    (tmp_path / "table.csv").write_text(table)
    return tmp_path


def test_missing_and_bad_files_are_counted_and_named(root, capsys):
    main(["folder", str(root), "--json", str(root / "report.json")])
    report = json.loads((root / "report.json").read_text())
    assert report["corpus"] == "folder"
    assert report["root"] == str(root)
    assert report["options"] == {"allow_missing": True, "skip_bad_files": True}
    assert report["splits"]["train"]["labels"] == {"happy": 2, "sad": 1}
    assert report["splits"]["train"]["without_audio"] == ["sad/d"]
    assert "1 whose audio can't be opened (sad/c)" in report["description"]
    missing, bad = report["warnings"]
    assert missing.startswith("1 of 4 audio files of ")
    assert "sad/d.wav" in missing
    assert bad.startswith("1 of 3 audio files of ")
    assert "can't be opened, and their rows are left out: " in bad
    printed = capsys.readouterr().out
    assert report["description"] in printed
    assert all(f"Warning: {warning}" in printed for warning in report["warnings"])
    with pytest.raises(BadFilesError, match="^1 of 3 "):
        main(["folder", str(root), "skip_bad_files=false"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "{root}"], "There is no corpus 'nobody'"),
        (["folder", "{root}", "fold"], "The option 'fold' is not of the form name=value."),
        (["folder", "{root}", "allow_missing=false"], "1 of 4 audio files of {root} are missing"),
        (["folder", "{root}", "--json", "{root}/nowhere/report.json"], "No such file or directory"),
    ],
)
def test_errors_are_one_sentence(root, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        tacfn(["inspect", *(argument.format(root=root) for argument in arguments)])
    assert caught.value.code == 2
    (printed,) = capsys.readouterr().err.splitlines()[-1:]
    assert printed.startswith("tacfn inspect: error: ")
    assert message.format(root=root) in printed
