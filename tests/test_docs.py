"""The code blocks of README.md and docs/: Python blocks run as they stand, commands name options that there are."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny import NAMES

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.cli.main import COMMANDS, main
from tacfn_hf.features.extraction import extract_features


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(language, code, id=f"{page.name}-{i}")
    for page in PAGES
    for i, (language, code) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
]
# What a block names, and what the test puts in its place.
REPLACED = {
    "google-bert/bert-base-uncased": "{bert}",
    "microsoft/wavlm-base-plus": "{wavlm}",
    "/data/IEMOCAP_full_release": "{iemocap}",
}
# Blocks that a test of their own runs, by what they hold, and where.
ELSEWHERE = {"user/ravdess-emotions": "tests/sharing/test_hub.py runs the page about sharing against a Hub on loopback"}


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoders, processor) -> Path:
    """A folder with what the blocks expect: recordings, features, and a trained model with its processor."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("hello.wav", "laughter.flac"):
        soundfile.write(folder / name, 0.3 * np.sin(np.arange(9000) / 15), 16000)
    torch.manual_seed(0)
    config = TacfnConfig(
        audio_feature_size=processor.audio_encoder.model.config.hidden_size,
        text_feature_size=processor.text_encoder.model.config.hidden_size,
        id2label=dict(enumerate(NAMES)),
        label2id={name: i for i, name in enumerate(NAMES)},
        hidden_size=8,
        num_attention_heads=2,
    )
    TacfnForSequenceClassification(config).save_pretrained(folder / "runs" / "ravdess-0")
    processor.save_pretrained(folder / "runs" / "ravdess-0")
    from datasets import Dataset

    rows = Dataset.from_dict({"id": ["a"], "audio": [str(folder / "hello.wav")], "text": ["Hello there!"]})
    extract_features(rows, processor, folder / "features" / "ravdess")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("language", "code"), [block for block in BLOCKS if block.values[0] == "python"])
def test_a_python_block_runs(language, code, place, encoders, monkeypatch):
    if any(name in code for name in ELSEWHERE):
        assert (ROOT / "tests" / "sharing" / "test_hub.py").is_file()
        return
    if "{iemocap}" in code or "load_corpus" in code:  # the corpus is licensed: the call is checked, not made
        compile(code, "block", "exec")
        return
    monkeypatch.chdir(place)
    for name, fixture in REPLACED.items():
        code = code.replace(name, fixture.format(bert=encoders[0], wavlm=encoders[1], iemocap=""))
    exec(compile(code, "block", "exec"), {})


def options_of(command: str, capsys) -> str:
    """What `--help_all`, or else `--help`, of a command prints."""
    for flag in ("--help_all", "--help"):
        with pytest.raises(SystemExit) as ended:
            main([command, flag])
        if ended.value.code == 0:
            return capsys.readouterr().out
    raise AssertionError(command)


@pytest.mark.slow
@pytest.mark.parametrize(("language", "code"), [block for block in BLOCKS if block.values[0] == "bash"])
def test_a_command_names_options_that_there_are(language, code, capsys):
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "tacfn":
            assert words[1] in COMMANDS
            options = options_of(words[1], capsys)
            for word in words[2:]:
                if word.startswith("--"):
                    assert re.search(rf"{re.escape(word)}\b", options), f"{word} in: {line}"
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
        else:
            scripts = [word for word in words if word.startswith("scripts/")]
            assert all((ROOT / script).is_file() for script in scripts), line
            assert scripts or shutil.which(words[0]), line
