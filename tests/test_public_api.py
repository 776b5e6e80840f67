"""What others build on: names, and the versions that the metadata promises."""

import re
import tomllib
from pathlib import Path

import pytest

import tacfn_hf
import tacfn_hf.corpora


ROOT = Path(__file__).parents[1]
NAMES = {
    "BetaGate",
    "CrossModalBlock",
    "CrossModalTransformer",
    "EmotionRecognitionPipeline",
    "TacfnConfig",
    "TacfnDataCollator",
    "TacfnDualEncoderConfig",
    "TacfnDualEncoderForSequenceClassification",
    "TacfnForSequenceClassification",
    "TacfnModel",
    "TacfnPreTrainedModel",
    "TacfnProcessor",
}
CORPORA = {
    "crema_d",
    "diagnostic",
    "emodb",
    "esd",
    "folder",
    "hub",
    "iemocap",
    "meld",
    "mosei",
    "msp_improv",
    "msp_podcast",
    "ravdess",
    "savee",
    "tess",
}


def test_the_public_names():
    assert set(tacfn_hf.__all__) == NAMES
    assert set(dir(tacfn_hf)) >= NAMES
    assert all(getattr(tacfn_hf, name).__name__ == name for name in NAMES)


def test_the_corpora():
    assert set(tacfn_hf.corpora.CORPORA) == CORPORA


def requirements(section: dict) -> dict[str, str]:
    """The lower bound of each package of the metadata."""
    wanted = [*section["dependencies"], *section["optional-dependencies"]["dev"]]
    return dict(re.fullmatch(r"([\w-]+)(?:>=|==)([\d.]+)", requirement).groups() for requirement in wanted)


def constraints(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {package.replace("_", "-"): version.removesuffix(".*") for package, version in pairs}


def test_the_lowest_versions_are_those_of_the_metadata():
    bounds = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])
    lowest = constraints("constraints-min.txt")
    assert lowest.keys() == bounds.keys()
    for package, version in lowest.items():
        if package == "torch":
            assert version == constraints("constraints.txt")["torch"]
        else:
            assert version == bounds[package], package


@pytest.mark.parametrize("extra", ["mosei"])
def test_the_tests_have_every_extra(extra):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras[extra]) <= set(extras["dev"])
