"""Commands in this process, and what one training leaves."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import datasets
import pytest
from tiny import SPLIT, TINY, make_features
from transformers.utils import logging

from tacfn_hf.cli.main import main


@pytest.fixture(scope="session")
def tacfn() -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs `tacfn` in this process: its exit code, what it printed, and what it said on stderr."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    dataset_bars = datasets.are_progress_bars_disabled()

    def run(*argv: object) -> tuple[int, str, str]:
        code, printed, said = 0, io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(printed), redirect_stderr(said):
                main([str(argument) for argument in argv])
        except SystemExit as error:
            code = error.code
        finally:
            logging.set_verbosity(verbosity)
            (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
            (datasets.disable_progress_bars if dataset_bars else datasets.enable_progress_bars)()
        return code, printed.getvalue(), said.getvalue()

    return run


@pytest.fixture(scope="session")
def succeed(tacfn) -> Callable[..., str]:
    """Runs `tacfn`, which must succeed: what it printed."""

    def run(*argv: object) -> str:
        code, printed, said = tacfn(*argv)
        assert code == 0, said[-3000:]
        return printed

    return run


@pytest.fixture(scope="session")
def fail(tacfn) -> Callable[..., str]:
    """Runs `tacfn`, which must end with one sentence: the sentence."""

    def run(*argv: object) -> str:
        code, _, said = tacfn(*argv)
        assert code == 2, said[-3000:]
        assert "Traceback" not in said
        return said.strip().splitlines()[-1]

    return run


@pytest.fixture(scope="session")
def trained(succeed, tmp_path_factory) -> tuple[Path, Path, str]:
    """The folder of a dataset, the output folder of a training on it, and what the training printed."""
    folder = tmp_path_factory.mktemp("trained")
    make_features().save_to_disk(folder / "features")
    command = ["train", "--dataset", folder / "features", *SPLIT, *TINY, "--output_dir", folder / "run"]
    command += ["--num_train_epochs", "12", "--per_device_train_batch_size", "8", "--learning_rate", "5e-3"]
    printed = succeed(*command, "--use_cpu", "true", "--disable_tqdm", "true")
    return folder / "features", folder / "run", printed
