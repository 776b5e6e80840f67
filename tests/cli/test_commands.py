"""How every command ends, what it says of a wrong command line, and what it computes on."""

import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import datasets
import pandas as pd
import pytest
import torch
from datasets import DatasetDict
from safetensors import SafetensorError
from tiny import make_features
from transformers.utils import logging

from tacfn_hf.cli.shared import CommandParser, UsageError, choose_device, parse_arguments, run_command, take_gpu
from tacfn_hf.sharing.hub import check_checkpoint
from tacfn_hf.training.training_arguments import TacfnTrainingArguments
from tacfn_hf.writing import writing_into


SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = sorted(path.stem for path in SCRIPTS.glob("*.py"))
COMPUTING = ["cross_validate", "evaluate", "extract_features", "gate_truth", "predict", "train"]
# Each with something that is not there.
BAD = {
    "cross_validate": ["--dataset", "MISSING", "--group_column", "session", "--output_dir", "OUTPUT"],
    "evaluate": ["--model", "MISSING", "--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "extract_features": ["--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "gate_truth": ["--model", "MISSING", "--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "import_features": ["--table", "MISSING", "--audio", "MISSING", "--output_dir", "OUTPUT"],
    "inspect_corpus": ["ravdess", "MISSING"],
    "make_card": ["MISSING"],
    "predict": ["--model", "MISSING", "--text", "Hello!"],
    "push_to_hub": ["MISSING", "user/name"],
    "quickstart": ["--output_dir", "MISSING/file"],
    "summarize": ["MISSING"],
    "train": ["--dataset", "MISSING", "--output_dir", "OUTPUT"],
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script, or a function in its place, in this process: its exit code, what it printed and what it said."""
    verbosity, bars, dataset_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        datasets.are_progress_bars_disabled(),
    )

    def run(name: str, *argv: object, main: Callable[[list[str]], None] | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *map(str, argv)])
        code = 0
        try:
            if main is None:
                runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
            else:
                run_command(main)
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    yield run
    logging.set_verbosity(verbosity)
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    (datasets.disable_progress_bars if dataset_bars else datasets.enable_progress_bars)()


def test_every_command_is_tested():
    assert sorted(BAD) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_that_is_misspelt(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "9999")  # no name is broken at the end of a line
    code, printed, said = run(name, "--help")
    assert (code, said) == (0, "")
    assert "With --debug, an error also shows where" in printed
    flags = sorted(set(re.findall(r"(?<=\[)--[a-z]\w{3,}(?= |\])", printed)) - {"--debug"})
    assert flags
    for flag in flags[:: 1 + len(flags) // 16]:
        middle = len(flag) // 2
        misspelt = flag[:middle] + flag[middle + 1 :]
        code, printed, said = run(name, misspelt, "1")
        assert (code, printed) == (2, "")
        assert said == f"{name}.py: error: {misspelt} is not an option of {name}.py: did you mean {flag}?\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_there(run, tmp_path, name):
    (tmp_path / "missing").write_text("a file is no folder") if name == "quickstart" else None
    places = {"MISSING": str(tmp_path / "missing"), "OUTPUT": str(tmp_path / "output")}
    argv = [re.sub("MISSING|OUTPUT", lambda found: places[found[0]], argument) for argument in BAD[name]]
    code, _, said = run(name, *argv)
    assert code == 2
    assert re.fullmatch(
        rf"{name}\.py: error: [^\n]*{re.escape(places['MISSING'])}[^\n]* \(--debug shows where\)\n", said
    )
    sentence = said.removesuffix(" (--debug shows where)\n")
    code, _, said = run(name, *argv, "--debug")
    assert code == 2
    assert said.startswith("Traceback")
    assert said.endswith(f"\n{sentence}\n")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--model", "m", "--text", "t", "--top_k", "two"], "argument --top_k/--top-k: invalid int value: 'two'"),
        (["--text", "t"], "the following arguments are required: --model"),
        (["--model", "m", "other", "--text", "t"], "other belongs to no option of predict.py."),
        (["--model", "m", "--text"], "argument --text: expected one argument"),
        (["-model", "m"], "-model is not an option of predict.py: did you mean --model?"),
        (["--qqq"], "--qqq is not an option of predict.py: --help lists all."),
        (["--t", "t"], "ambiguous option: --t could match --text, --top_k, --top-k, --truncation"),
        (["--model", "m"], "give --audio, --text or both"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_without_usage(run, argv, sentence):
    assert run("predict", *argv) == (2, "", f"predict.py: error: {sentence}\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("It is wrong.\n  And long."), "It is wrong. And long."),
        (TypeError("no text"), "no text"),
        (FileNotFoundError(2, "No such file or directory", "a  b"), "No such file or directory: 'a  b'"),
        (OSError(28, "No space left on device", "a", None, "b"), "No space left on device: 'a' -> 'b'"),
        (ModuleNotFoundError("No module named 'av'"), "No module named 'av'"),
        (SafetensorError("header too large"), "a .safetensors file can't be read or written: header too large"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_that_a_user_can_mend(run, error, sentence):
    def main(argv):
        raise error

    assert run("train", main=main) == (2, "", f"train.py: error: {sentence} (--debug shows where)\n")


@pytest.mark.parametrize("error", [AssertionError, KeyError, IndexError, AttributeError, RuntimeError])
def test_an_error_of_the_code_keeps_its_traceback(run, error):
    def main(argv):
        raise error("here")

    with pytest.raises(error, match="here"):
        run("train", main=main)


def test_an_interruption(run):
    def main(argv):
        raise KeyboardInterrupt

    assert run("train", main=main) == (130, "", "train.py: interrupted\n")


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], []),
        (["--debug", "recipe.json", "--seed", "1"], ["recipe.json", "--seed", "1"]),
        (["--seeds", "1", "2", "--debug"], ["--seeds", "1", "2"]),
        (["--debug", "underflow_overflow"], ["--debug", "underflow_overflow"]),  # transformers'
        (["--debug=underflow_overflow", "--debug"], ["--debug=underflow_overflow"]),
    ],
)
def test_debug_is_taken_off(run, given, passed):
    found = []
    assert run("train", *given, main=found.extend)[0] == 0
    assert found == passed


@dataclass
class Arguments:
    text: str = field(default="")
    layers: list[int] = field(default_factory=list)
    use_cpu: bool = field(default=False)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--layers", "-1", "-2"], Arguments(layers=[-1, -2])),
        (["--text", "- he said -"], Arguments(text="- he said -")),
        (["--text=--audio"], Arguments(text="--audio")),
        (["--lay", "3"], Arguments(layers=[3])),
        (["--use-cpu"], Arguments(use_cpu=True)),
        (["--device", "cpu"], Arguments(use_cpu=True)),
        (["--device", "cpu", "--use_cpu", "true"], Arguments(use_cpu=True)),
        ([], Arguments()),
    ],
)
def test_what_argparse_reads_is_read(argv, expected):
    assert CommandParser(Arguments).parse_args_into_dataclasses(argv) == (expected,)


@pytest.mark.parametrize("name", COMPUTING)
def test_every_command_that_computes_takes_both(run, name):
    printed = run(name, "--help")[1]
    assert {"--use_cpu", "--device"} <= set(re.findall(r"--\w+", printed))


@pytest.mark.parametrize(
    ("device", "use_cpu", "message"),
    [
        ("gpu", None, "--device is 'gpu': it must be cpu, cuda, or one GPU by its number, cuda:1"),
        ("cuda:x", None, "--device is 'cuda:x': it must be"),
        ("cpu", False, "--device cpu and --use_cpu false contradict each other"),
        ("cuda", True, "--device cuda and --use_cpu true contradict each other"),
        ("cuda:1", True, "--device cuda:1 and --use_cpu true contradict each other"),
        ("xpu", None, "--device is xpu, but torch finds no xpu device here"),
    ],
)
def test_a_device_that_can_not_be_had(device, use_cpu, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        choose_device(device, use_cpu)


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
@pytest.mark.parametrize("name", COMPUTING)
def test_no_gpu_here(run, tmp_path, name, device):
    required = {"predict": ["--model", "m", "--text", "t"], "train": ["--output_dir", tmp_path, "--dataset", "d"]}
    required["evaluate"] = required["gate_truth"] = ["--model", "m", *required["train"]]
    argv = required.get(name, required["train"])
    sentence = f"--device is {device}, but torch finds no cuda device here."
    assert run(name, *argv, "--device", device) == (2, "", f"{name}.py: error: {sentence}\n")


@pytest.fixture
def four_gpus(monkeypatch):
    """What torch says where CUDA_VISIBLE_DEVICES lets it see so many."""
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: len(os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(","))
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    take_gpu.cache_clear()
    yield
    take_gpu.cache_clear()


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("device", "before", "after"),
    [("cuda", None, None), ("cuda:2", None, "2"), ("cuda:1", "7,5", "5"), ("cuda:0", "GPU-a,GPU-b", "GPU-a")],
)
def test_one_gpu_of_several_is_the_only_one_that_is_seen(monkeypatch, device, before, after):
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    for _ in range(2):  # cross-validation reads its command line once a run
        assert choose_device(device, None) is False
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == after


@pytest.mark.usefixtures("four_gpus")
def test_a_gpu_that_can_not_be_had(monkeypatch):
    with pytest.raises(UsageError, match="--device is cuda:4, but torch finds 4 of them here: the last one is cuda:3"):
        choose_device("cuda:4", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--device is cuda:1, one GPU for several processes"):
        choose_device("cuda:1", None)


def test_the_device_reaches_the_trainer(tmp_path):
    (args,) = parse_arguments((TacfnTrainingArguments,), ["--output_dir", str(tmp_path), "--device", "cpu"])
    assert args.use_cpu
    assert args.device == torch.device("cpu")


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


def test_the_commands_name_the_folder_of_a_full_disk(run, tmp_path):
    make_features(24).save_to_disk(tmp_path / "features")
    data = ["--dataset", tmp_path / "features", "--group_column", "session", "--device", "cpu"]
    tiny = ["--hidden_size", "16", "--num_attention_heads", "2", "--num_hidden_layers", "1", "--num_train_epochs", "1"]
    tiny += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    model = ["--model", tmp_path / "train", "--test_groups", "2"]
    for name, argv, file in (
        ("train", [*tiny, "--test_groups", "2"], "predictions.parquet"),
        ("evaluate", model, "predictions.parquet"),
        ("gate_truth", model, f".gate_truth.json.{os.getpid()}.tmp"),
        ("cross_validate", [*tiny, "--num_folds", "2"], f".cross_validation.json.{os.getpid()}.tmp"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).symlink_to("/dev/full")
        code, _, said = run(name, *data, *argv, "--output_dir", tmp_path / name)
        assert code == 2
        sentence = f"{tmp_path / name} can't be written, no space is left: make room and try again."
        assert f"{name}.py: error: {sentence} (--debug shows where)\n" in said


def test_the_checkpoint_of_the_quickstart_is_one_for_the_hub(run, processor, tmp_path):
    quickstart = runpy.run_path(str(SCRIPTS / "quickstart.py"))
    features = DatasetDict({split: make_features(12) for split in quickstart["PARTS"]})
    trainer, result, table = quickstart["train"]("fused", features, tmp_path, seed=0)
    quickstart["save"](tmp_path / "checkpoint", trainer, processor, features, result, table)
    check_checkpoint(tmp_path / "checkpoint")
    card = (tmp_path / "checkpoint" / "README.md").read_text()
    assert f"| test | 12 | {100 * result['WA']:.1f} |" in card
    assert "rows: 12 train, 12 valid, 12 test" in card
    code, _, said = run("push_to_hub", tmp_path / "checkpoint", "no name")
    assert (code, said) == (2, said)
    assert "'no name' is no name of a repository" in said


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--hidden_dropout_prob", "1.5"], "hidden_dropout_prob is 1.5: it must be in"),
        (["--hidden_size", "0"], "hidden_size is 0: it must be at least 1"),
    ],
)
def test_what_a_config_refuses_is_one_sentence(run, tmp_path, setting, message):
    make_features().save_to_disk(tmp_path / "features")
    split = ["--group_column", "session", "--test_groups", "4", "--valid_groups", "3", "--use_cpu", "true"]
    code, _, said = run("train", "--dataset", tmp_path / "features", "--output_dir", tmp_path / "run", *split, *setting)
    assert code == 2
    assert "Traceback" not in said
    assert message in said.strip().splitlines()[-1]
