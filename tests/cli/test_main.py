"""`tacfn` itself: its help, which command runs, and what is imported for that."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tacfn_hf.cli.main import COMMANDS, without_debug


ROOT = Path(__file__).parents[2]
# In the process of the console script: the help of all commands, and then what a command finds.
LIGHT = """
import sys
sys.argv[0] = "/somewhere/bin/tacfn"
from tacfn_hf.cli.main import COMMANDS, main

def heavy():
    return {"torch", "datasets", "pandas", "sklearn", "accelerate", "tacfn_hf.model"}.intersection(sys.modules)

for argv in (["--help"], *([name, "--help"] for name in COMMANDS)):
    try:
        main(argv)
    except SystemExit as end:
        assert end.code == 0, argv
    assert "transformers" not in sys.modules or len(argv) == 2
    assert not heavy(), (argv, heavy())
import tacfn_hf
assert "TacfnDataCollator" in dir(tacfn_hf)
from tacfn_hf import TacfnConfig
from transformers import AutoConfig
assert type(AutoConfig.for_model("tacfn")) is TacfnConfig
"""


def test_help_imports_nothing_heavy_and_the_model_is_registered_when_it_is_used():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_overview_names_every_command(tacfn):
    code, printed, said = tacfn("--help")
    assert (code, said) == (0, "")
    assert re.findall(r"^  ([a-z-]+)  ", printed, re.MULTILINE) == list(COMMANDS)
    assert tacfn() == (2, printed, "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cross_validate", "did you mean cross-validate?"), ("qqq", f"there are {', '.join(COMMANDS)}.")],
)
def test_a_command_that_there_is_not(tacfn, name, hint):
    assert tacfn(name, "--dataset", "x") == (2, "", f"tacfn: error: there is no command {name}: {hint}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(tacfn, name):
    code, printed, said = tacfn(name, "--help")
    assert (code, said) == (0, "")
    assert printed.startswith(f"usage: tacfn {name} [options]")
    assert not re.search(r"--\w+-\w+", printed), "one name for each option"
    assert re.search(rf"^    tacfn {name} ", printed, re.MULTILINE), "an example"
    assert "None)" not in printed
    assert ".py" not in re.sub(
        r"scripts/(train|fine_tune|extract_features)\.py|my-model-onnx/recognize\.py", "", printed
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_that_is_misspelt(tacfn, name):
    flags = re.findall(r"^  (--\w{4,})", tacfn(name, "--help")[1], re.MULTILINE)
    assert flags
    for flag in flags[:: 1 + len(flags) // 8]:
        middle = len(flag) // 2
        misspelt = flag[:middle] + flag[middle + 1 :]
        sentence = f"{misspelt} is not an option of tacfn {name}: did you mean {flag}?"
        assert tacfn(name, misspelt, "1") == (2, "", f"tacfn {name}: error: {sentence}\n")


# Each with something that is not there.
BAD = {
    "annotate": ["MISSING", "--model", "MISSING"],
    "card": ["MISSING"],
    "cross-validate": ["--dataset", "MISSING", "--group_column", "session", "--output_dir", "OUTPUT"],
    "demo": ["MISSING"],
    "evaluate": ["--model", "MISSING", "--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "export": ["MISSING", "--output_dir", "OUTPUT"],
    "extract": ["--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "fine-tune": ["--model_name_or_path", "run", "--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "import": ["--table", "MISSING", "--audio", "MISSING", "--output_dir", "OUTPUT"],
    "inspect": ["ravdess", "MISSING"],
    "predict": ["--model", "MISSING", "--text", "Hello!"],
    "push": ["MISSING", "user/name"],
    "quickstart": ["--output_dir", "MISSING/file"],
    "report": ["MISSING"],
    "summarize": ["MISSING"],
    "train": ["--dataset", "MISSING", "--output_dir", "OUTPUT"],
    "transcribe": ["MISSING", "--model", "MISSING", "--output", "OUTPUT.csv"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_there(tacfn, tmp_path, name):
    (tmp_path / "missing").write_text("a file is no folder") if name == "quickstart" else None
    places = {"MISSING": str(tmp_path / "missing"), "OUTPUT": str(tmp_path / "output")}
    argv = [re.sub("MISSING|OUTPUT", lambda found: places[found[0]], argument) for argument in BAD[name]]
    code, _, said = tacfn(name, *argv)
    assert code == 2
    assert re.fullmatch(
        rf"tacfn {name}: error: [^\n]*{re.escape(places['MISSING'])}[^\n]* \(--debug shows where\)\n", said
    )
    sentence = said.removesuffix(" (--debug shows where)\n")
    code, _, said = tacfn(name, *argv, "--debug")
    assert code == 2
    assert said.startswith("Traceback")
    assert said.endswith(f"\n{sentence}\n")


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], []),
        (["--debug", "train", "--seed", "1"], ["train", "--seed", "1"]),
        (["--seeds", "1", "2", "--debug"], ["--seeds", "1", "2"]),
        (["--debug", "underflow_overflow"], ["--debug", "underflow_overflow"]),  # transformers'
        (["--debug=underflow_overflow", "--debug"], ["--debug=underflow_overflow"]),
    ],
)
def test_debug_is_taken_off(given, passed):
    found, debug = without_debug(given)
    assert found == passed
    assert debug == (len(given) > len(passed))
