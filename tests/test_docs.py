"""
The code blocks of README.md, CONTRIBUTING.md and docs/ run, each in a folder with small copies of what it names.

`MADE` says what stands behind the names, `NOT_RUN` what is not run, and why.
"""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from layout import write_table, write_text, write_wav
from safetensors.numpy import save_file
from test_iemocap import make as make_iemocap
from tiny import save_speech_encoder, save_text_encoder
from transformers.utils import logging

from tacfn_hf.cli.main import main
from tacfn_hf.corpora.diagnostic import make_diagnostic


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name}-{i}": (language, code)
    for page in PAGES
    for i, (language, code) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
}


def make_recording(path: Path) -> None:
    soundfile.write(path, 0.3 * np.sin(np.arange(9000) / 15), 16000)


def make_ravdess(path: Path) -> None:
    """Six actors, each with all eight emotions."""
    for actor in range(1, 7):
        for emotion in range(1, 9):
            name = f"03-01-{emotion:02}-01-01-01-{actor:02}.wav"
            write_wav(path / f"Actor_{actor:02}" / name, seconds=0.2)


def make_my_corpus(path: Path) -> None:
    rows = [(f"{i}.wav", "Hello there!", ("angry", "sad")[i % 2], f"actor{i // 2}") for i in range(4)]
    for name, *_ in rows:
        write_wav(path / name, seconds=0.2)
    write_table(path / "utterances.csv", ("wav", "transcript", "label", "actor"), rows)


def make_arrays(path: Path) -> None:
    """The tables and arrays of IEMOCAP and of MELD's development set, a few rows of each, by their columns and keys."""
    (path / "meld").mkdir(parents=True)
    random, six = np.random.default_rng(0), ["neutral", "happy", "angry", "sad", "excited", "frustrated"]
    rows = [
        (f"u{i}", str(i // 36 + 1), f"d{i // 12}", six[i % 6] if i % 6 < 4 else None, six[i % 6], *1 + random.random(3))
        for i in range(144)
    ]
    values = ("arousal", "valence", "dominance")
    write_table(path / "iemocap_utterances.parquet", ("id", "session", "dialogue", "label4", "label6", *values), rows)
    offsets = np.arange(145) * 2
    arrays = {"audio": random.normal(size=(144, 5)), "text": random.normal(size=(288, 6)), "text_offsets": offsets}
    save_file(arrays, path / "iemocap_features.safetensors")

    rows = [(f"u{i}", 2 * i, six[i % 4], f"s{i % 5}", f"d{i}") for i in range(40)]
    write_table(path / "iemocap_session1_utterances.parquet", ("id", "row", "label", "scenario", "dialogue"), rows)
    arrays = {"audio": random.normal(size=(120, 5)), "audio_offsets": np.arange(41) * 3}
    save_file(arrays, path / "iemocap_session1_whisper.safetensors")

    seven = ["neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust"]
    rows = [(f"{i // 7}", f"{i % 7}", seven[i % 7], "neutral") for i in range(140)] + [("110", "7", "joy", "neutral")]
    write_table(path / "meld" / "dev.parquet", ("dialogue_id", "utterance_id", "emotion", "sentiment"), rows)
    arrays = {"audio": random.normal(size=(140, 5)), "text": random.normal(size=(140, 6))}
    save_file(arrays, path / "meld_dev_features.safetensors")


def make_features_of_ravdess(path: Path) -> None:
    tacfn("extract", "--corpus", "ravdess", "--dataset", "data/ravdess", "--output_dir", path)


def make_features_of_crema_d(path: Path) -> None:
    """Another corpus, whose labels are not those of RAVDESS, with votes."""
    votes: list = []
    for actor in range(1001, 1005):
        for emotion in ("ANG", "SAD", "NEU"):
            write_wav(Path("data/crema_d/AudioWAV") / f"{actor}_DFA_{emotion}_XX.wav", seconds=0.2)
            votes.append((str(100001 + len(votes)), *"311124", f"{actor}_DFA_{emotion}_XX"))
    head = ("", "A", "D", "F", "H", "N", "S", "fileName")
    write_table(Path("data/crema_d/processedResults/tabulatedVotes.csv"), head, votes)
    tacfn("extract", "--corpus", "crema_d", "--dataset", "data/crema_d", "--output_dir", path)


def make_imported(path: Path) -> None:
    """Features of the arrays, by the block of the documentation that imports them."""
    run_bash(next(code for _, code in BLOCKS.values() if f"tacfn import --output_dir {path} " in code))


def make_tokens(path: Path) -> None:
    """Tokens of some of the utterances, by the block of the documentation that joins them."""
    run_python(next(code for _, code in BLOCKS.values() if f'"{path}")' in code))


def make_run(path: Path) -> None:
    options = ["--group_column", "group", "--test_fraction", "0.25", "--valid_fraction", "0.15"]
    tacfn("train", "--dataset", "features/ravdess", "--output_dir", path, *options)


def make_features_of_the_quickstart(path: Path) -> None:
    tacfn("extract", "--corpus", "diagnostic", "--dataset", "quickstart/corpus", "--output_dir", path)


def make_my_labels(path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_wav(path / name, seconds=0.2)
    rows = [("a.wav", "Hello there!", "happy;sad"), ("b.wav", "Goodbye!", ";")]
    write_table(path / "utterances.csv", ("audio", "text", "emotions"), rows)


def make_my_clips(path: Path) -> None:
    write_wav(path / "a.wav", seconds=0.2)
    head = ("id", "audio", "text", "language", "confidence")
    write_table(path / "transcripts.csv", head, [("a.wav", "a.wav", "Hello there!", "en", "0.9")])


def make_msp_podcast(path: Path) -> None:
    """Turns of eight emotions in each split, and one without agreement in the training split, with votes."""
    lines, votes = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"], ["FileName,EmoClass_Major"]
    words = {"A": "Angry", "S": "Sad", "H": "Happy", "U": "Surprise", "F": "Fear", "D": "Disgust", "C": "Contempt"}
    for speaker, split in enumerate(("Train", "Development", "Test1")):
        for i, code in enumerate("ASHUFDCN" + "X" * (split == "Train")):
            name = f"MSP-PODCAST_000{speaker}_000{i}.wav"
            write_wav(path / "Audios" / name, seconds=0.2)
            write_text(path / "Transcripts" / name.replace(".wav", ".txt"), "Hello there!\n")
            lines.append(f"{name},{code},4.0,4.0,4.0,{speaker},Male,{split}")
            votes += [f"{name},{words.get(code, 'Neutral')}", f"{name},Neutral"]
    write_text(path / "Labels" / "labels_consensus.csv", "\n".join(lines) + "\n")
    write_text(path / "Labels" / "labels_detailed.csv", "\n".join(votes) + "\n")


# The names in the documentation, and what makes the file or folder of that name where the blocks run. A Hub id is found
# as a folder there, and / and $ in front are taken away. What is made later may use what was made before.
MADE: dict[str, Callable[[Path], object]] = {
    "hello.wav": make_recording,
    "laughter.flac": make_recording,
    "call.wav": make_recording,
    "call.srt": lambda path: write_text(path, "1\n00:00:00,100 --> 00:00:00,400\nHello there!\n"),
    "google-bert/bert-base-uncased": save_text_encoder,
    "microsoft/wavlm-base-plus": save_speech_encoder,
    "/data/ravdess": make_ravdess,
    "/data/IEMOCAP_full_release": make_iemocap,
    "$TACFN_DATA": make_arrays,
    "/data/MSP-Podcast": make_msp_podcast,
    "my-corpus": make_my_corpus,
    "my-labels": make_my_labels,
    "my-clips": make_my_clips,
    "features/ravdess": make_features_of_ravdess,
    "features/crema_d": make_features_of_crema_d,
    "features/iemocap": make_imported,
    "features/iemocap6": make_imported,
    "features/meld": make_imported,
    "session1-text.safetensors": make_tokens,
    "runs/ravdess-0": make_run,
    "runs/ravdess-1": make_run,
    "quickstart/corpus": lambda path: make_diagnostic(path, num_speakers=6, repetitions=1),
    "quickstart/features": make_features_of_the_quickstart,
    "quickstart/checkpoint": lambda path: tacfn("train", "--dataset", "quickstart/features", "--output_dir", path),
    "my-model-onnx": lambda path: tacfn("export", "quickstart/checkpoint", "--output_dir", path),
}
# What a command that is not run begins with, or what a Python block that is not run holds, and why.
NOT_RUN = {
    "make ": "it installs, or runs these tests; .ci/run calls it",
    "pip install": "it installs; tests/cli/test_wheel.py installs a wheel",
    "accelerate launch --multi_gpu": "several processes; tests/cli/test_launch.py starts two",
    "tacfn quickstart": "it takes minutes; .ci/run calls it",
    "tacfn fine-tune --model_name_or_path quickstart": "it takes minutes; tests/cli/test_quickstart.py runs it",
    "tacfn annotate call.mp3": "it needs a speech recognition model; tests/recordings runs one",
    "tacfn demo": "it serves until it is interrupted; tests/deployment runs it",
    "python my-model-onnx": "tests/deployment runs it without torch",
    "python scripts/benchmarks": "it takes minutes",
    "tacfn extract --output_dir s3": "it needs object storage; tests/features run both on a file system in memory",
    "tacfn train --dataset s3": "it needs object storage",
    "tacfn transcribe": "it needs a speech recognition model; tests/recordings runs one",
    "tacfn push": "it needs a Hub; tests/sharing/test_hub.py runs docs/sharing.md against one on loopback",
    "user/ravdess-emotions": "it needs a Hub; tests/sharing/test_hub.py runs docs/sharing.md against one on loopback",
    "scripts/benchmarks/gpu.sh": "it takes minutes, and fetches packages",
}
# Arguments that are added to a command, so that it takes seconds.
SHORTENED = {
    "train": ["--num_train_epochs", "1", "--hidden_size", "16"],
    "fine-tune": ["--num_train_epochs", "1"],
    "cross-validate": ["--num_train_epochs", "1", "--hidden_size", "16", "--num_folds", "2", "--seeds", "0"],
}


def commands(code: str) -> list[list[str]]:
    """The words of each command of a bash block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_run(command: list[str]) -> bool:
    return not " ".join([*command, ""]).startswith(tuple(NOT_RUN))


def local(name: str) -> str:
    """The path below the current folder that stands for a name of the documentation."""
    return name.lstrip("/$")


def tacfn(command: str, *arguments: object) -> None:
    """Runs a command of `tacfn` in this process, shortened; one that fails raises SystemExit."""
    main([command, *map(str, arguments), *SHORTENED.get(command, [])])


def run_bash(code: str) -> None:
    """Runs what can be run of a bash block; the folders of its --output_dir are made anew."""
    for name in MADE:
        if name[0] in "/$":
            code = code.replace(name, local(name))
    todo = [command for command in commands(code) if is_run(command)]
    for command in todo:
        for option, folder in zip(command, command[1:]):
            if option == "--output_dir":
                shutil.rmtree(folder, ignore_errors=True)
    for program, *arguments in todo:
        assert program == "tacfn", f"{program} is neither run nor in NOT_RUN"
        tacfn(*arguments)


def run_python(code: str) -> None:
    """Runs a Python block."""
    for name in MADE:
        if name[0] in "/$":
            code = code.replace(name, local(name))
    exec(compile(code, "block", "exec"), {})


@pytest.fixture(scope="module", autouse=True)
def progress_bars() -> Iterator[None]:
    """`tacfn cross-validate` switches transformers' progress bars off for its process, which is that of all tests."""
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with everything in MADE."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TACFN_DATA", local("$TACFN_DATA"))
        for name, make in MADE.items():
            path = Path(local(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, in which a block runs."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TACFN_DATA", local("$TACFN_DATA"))
    return tmp_path / "here"


def blocks_of(language: str) -> list:
    return [pytest.param(code, id=name) for name, (found, code) in BLOCKS.items() if found == language]


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks_of("python"))
def test_a_python_block_runs(code, place):
    if any(name in code for name in NOT_RUN):
        compile(code, "block", "exec")
        return
    run_python(code)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks_of("bash"))
def test_a_bash_block_runs(code, place):
    run_bash(code)
    for command in commands(code):
        for option, folder in zip(command, command[1:]):
            if option == "--output_dir" and is_run(command):
                assert any((place / folder).iterdir()), f"{shlex.join(command)} leaves nothing in {folder}"


@pytest.mark.parametrize("code", blocks_of("bash"))
def test_a_command_that_is_not_run_is_one(code, capsys):
    for program, *arguments in filter(lambda command: not is_run(command), commands(code)):
        if program == "tacfn":
            with pytest.raises(SystemExit) as ended:
                main([arguments[0], "--help"])
            assert ended.value.code == 0
            options = capsys.readouterr().out
            assert all(re.search(rf"{word}\b", options) for word in arguments if word.startswith("--")), arguments
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text("utf-8"), re.M), arguments
        else:
            scripts = [word for word in (program, *arguments) if word.startswith("scripts/")]
            assert all((ROOT / script).is_file() for script in scripts), scripts


def test_pages_have_blocks_of_known_languages_and_links_to_what_is_there():
    assert {language for language, _ in BLOCKS.values()} <= {"python", "bash", "text"}
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_name_in_the_tables_is_in_a_block():
    code = "\n".join(code for _, code in BLOCKS.values())
    assert [name for name in (*MADE, *NOT_RUN) if name not in code] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200
