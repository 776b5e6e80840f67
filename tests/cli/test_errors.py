"""An error that a user can mend is one sentence; any other keeps its traceback."""

import pytest
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from tacfn_hf.cli.errors import UsageError, run_command


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("It is wrong.\n  And long."), "It is wrong. And long."),
        (TypeError("no text"), "no text"),
        (FileNotFoundError(2, "No such file or directory", "a  b"), "No such file or directory: 'a  b'"),
        (OSError(28, "No space left on device", "a", None, "b"), "No space left on device: 'a' -> 'b'"),
        (ModuleNotFoundError("No module named 'av'"), "No module named 'av'"),
        (SafetensorError("header too large"), "a .safetensors file can't be read or written: header too large"),
        (caused(StrictDataclassError("Validation"), ValueError("hidden_size is 0")), "hidden_size is 0"),
        (caused(DatasetGenerationError("It failed"), ValueError("bad row")), "It failed: bad row"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_that_a_user_can_mend(capsys, error, sentence):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command("tacfn train", main, [])
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"tacfn train: error: {sentence} (--debug shows where)\n")


def test_a_command_line_that_can_not_be_read_needs_no_traceback(capsys):
    def main(argv):
        raise UsageError("no option")

    with pytest.raises(SystemExit):
        run_command("tacfn train", main, [])
    assert capsys.readouterr().err == "tacfn train: error: no option\n"


@pytest.mark.parametrize("error", [AssertionError, KeyError, IndexError, AttributeError, RuntimeError])
def test_an_error_of_the_code_keeps_its_traceback(error):
    def main(argv):
        raise error("here")

    with pytest.raises(error, match="here"):
        run_command("tacfn train", main, [])


def test_an_interruption(capsys):
    def main(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_command("tacfn train", main, [])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "tacfn train: interrupted\n"
