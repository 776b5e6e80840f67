"""Writing onto a full disk says which folder it is."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from tacfn_hf.writing import writing_into


def write_text(path: Path) -> None:
    path.write_text("text")


def write_parquet(path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(path)


def write_safetensors(path: Path) -> None:  # what it says; it replaces a file, so that this one would not be full
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [write_text, write_parquet, write_safetensors])
def test_a_full_disk_is_named_by_its_folder(tmp_path, write):
    (tmp_path / "file").symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"{re.escape(str(tmp_path))} can't be written, no space is left: make room"):
        with writing_into(tmp_path):
            write(tmp_path / "file")


def test_a_full_disk_of_which_torch_does_not_speak(tmp_path, monkeypatch):
    (tmp_path / "file").symlink_to("/dev/full")

    def save():
        with writing_into(tmp_path / "not" / "there" / "yet"):
            torch.save(torch.zeros(100_000), tmp_path / "file")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        save()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="yet can't be written, no space is left"):
        save()


@pytest.mark.parametrize("error", [ValueError("a"), FileNotFoundError(2, "No such file", "a"), RuntimeError("a")])
def test_other_errors_in_writing_stay(tmp_path, error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        with writing_into(tmp_path):
            raise error
