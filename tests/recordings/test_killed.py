"""Commands that are killed midway, and called again: they end with the same tables as ones that nobody disturbed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tacfn_hf.cli.main import main


COMMAND = [sys.executable, "-c", "from tacfn_hf.cli.main import main; main()"]
pytestmark = pytest.mark.slow


def make_noise(folder: Path, count: int) -> Path:
    """Recordings of different lengths."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i in range(count):
        soundfile.write(folder / f"{i:02}.wav", 0.1 * generator.normal(size=8000 + 2000 * (i % 5)), 16000)
    return folder


def killed(arguments: list[str], reached: Callable[[], bool]) -> None:
    """Runs a command until something is reached, and kills it."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not reached():
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_timelines(model_folder, tmp_path, capsys):
    folder = make_noise(tmp_path / "noise", 12)
    arguments = ["annotate", str(folder), "--model", str(model_folder), "--use_cpu", "--window_seconds", "0.5"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    main([*arguments, "--output_dir", str(whole)])
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}
    said = capsys.readouterr().out
    for after in (1, 6):
        killed([*arguments, "--output_dir", str(out)], lambda after=after: len(list(out.glob("*.csv"))) >= after)
        left = {path: path.stat().st_mtime_ns for path in out.glob("*.csv")}
        assert after <= len(left) < 12
    main([*arguments, "--output_dir", str(out)])
    assert capsys.readouterr().out == said
    assert {path: path.stat().st_mtime_ns for path in left} == left  # nothing twice
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".tmp"} == expected


def test_transcripts(letters, tmp_path):
    folder = make_noise(tmp_path / "noise", 60)
    arguments = ["transcribe", str(folder), "--model", str(letters), "--use_cpu", "--batch_size", "4"]
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    main([*arguments, "--output", str(whole)])
    part = tmp_path / "out.csv.part.jsonl"
    killed([*arguments, "--output", str(out)], lambda: part.is_file() and part.read_text().count("\n") > 9)
    kept = part.read_text().split("\n")
    assert len(kept) < 61
    part.write_text("\n".join(kept[:7])[:-5])  # within a batch, and within a line
    main([*arguments, "--output", str(out)])
    assert out.read_bytes() == whole.read_bytes()
    assert not part.exists()
