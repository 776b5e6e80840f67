"""What tests of the processor and its encoders share."""

import shutil
from pathlib import Path

import pytest
from utterances import AUDIOS, RATE, TEXTS


@pytest.fixture(scope="session")
def batch(processor) -> dict:
    """The features of all utterances."""
    return processor(text=TEXTS, audio=AUDIOS, sampling_rate=RATE)


@pytest.fixture
def own(encoders, tmp_path) -> tuple[Path, Path]:
    """Copies of the folders of the text and the speech encoder, which a test may spoil."""
    return tuple(Path(shutil.copytree(folder, tmp_path / "own" / Path(folder).name)) for folder in encoders)
