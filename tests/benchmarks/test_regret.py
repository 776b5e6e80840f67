"""How far the network is below the best of the simple methods."""

import sys
from pathlib import Path

import pytest


sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

from regret import SIMPLE, regret_of  # noqa: E402


def methods(**ua: float) -> dict:
    above = {"UA": {"difference": 0.0, "standard_error": 0.013, "p": 0.5}}
    return {name.replace("_", " "): {"mean": {"UA": value}, "network_above": above} for name, value in ua.items()}


def test_regret_is_to_the_best_of_the_simple_methods():
    found = methods(tacfn=0.6, audio_only=0.5, text_only=0.65, concatenation=0.61, late_fusion=0.2, SVM=0.3, LMF=0.9)
    regret = regret_of(found)
    assert (regret["best"], regret["p"]) == ("text only", 0.5)
    assert regret["regret"] == pytest.approx(5.0)
    assert regret["standard error"] == pytest.approx(1.3)
    assert regret_of(found | methods(tacfn=0.7))["regret"] == pytest.approx(-5.0)


@pytest.mark.parametrize("name", ["tacfn", *SIMPLE])
def test_a_method_that_is_not_there_is_named(name):
    found = methods(tacfn=0.6, audio_only=0.5, text_only=0.65, concatenation=0.61, late_fusion=0.2, SVM=0.3)
    del found[name]
    with pytest.raises(ValueError, match=f"The methods {name} are not there"):
        regret_of(found)
