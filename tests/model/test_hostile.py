"""
A stranger's repository runs no code, is read nowhere but in itself, and no pickle of it is read.

Every code file and every pickle in it would leave a file in the folder `ran`. From folders, checkpoints are loaded in
this process; from the Hub in fresh processes, each of which takes seconds to start and is a fixture.
"""

import json
import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import (
    PICKLES,
    change,
    plant_code,
    plant_pickles,
    point_to_code,
    weigh_otherwise,
    with_code,
    with_the_package,
)
from hub import LoopbackHub
from safetensors.torch import load_file
from tiny import config_for, save_text_encoder

from tacfn_hf import TacfnForSequenceClassification, TacfnProcessor


INSTALLED = """
import json, sys
sys.path.append(sys.argv[1])
from hostile import with_the_package
found = with_the_package(json.loads(sys.argv[2]))
print()  # behind a question
print(json.dumps(found))
"""

NOT_INSTALLED = """
import json, sys
sys.path.append(sys.argv[1])
sys.modules["tacfn_hf"] = None  # an import of it raises
from hostile import with_trust, without_trust
found = without_trust("lab/pointing") | {"trusted": with_trust("lab/trusted")}
print()  # behind a question
print(json.dumps(found))
"""


WEIGHTS = ("pickle", "explicit pickle", "pickled shard", "shard outside")
ENCODER_NAMES = {"above": "../../x", "absolute": "/etc", "later": "/tmp/not-yet-there", "here": "here"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def ran(root) -> Path:
    """Where a file appears for each canary that was set free."""
    folder = root / "ran"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def honest(processor, root) -> Path:
    torch.manual_seed(0)
    config = config_for(processor)
    TacfnForSequenceClassification(config).save_pretrained(root / "honest")
    processor.save_pretrained(root / "honest", save_encoders=True)
    return root / "honest"


@pytest.fixture(scope="module")
def copy(honest, root, ran) -> Callable[[str], Path]:
    """A copy of the honest checkpoint, with code and pickles for harm in it."""

    def copy(name: str) -> Path:
        folder = Path(shutil.copytree(honest, root / name))
        for place in (folder, folder / "text_encoder", folder / "audio_encoder"):
            plant_code(place, ran)
            plant_pickles(place, ran)
        return folder

    return copy


@pytest.fixture(scope="module")
def pointing(copy) -> Path:
    folder = copy("pointing")
    point_to_code(folder)
    return folder


@pytest.fixture(scope="module")
def asking(copy) -> dict[str, Path]:
    """Checkpoints of which a part is of a class that transformers does not have, so that it would ask the user."""
    folders = {"tokenizer": copy("asking by tokenizer"), "extractor": copy("asking by extractor")}
    for folder in folders.values():
        point_to_code(folder)
    change(folders["tokenizer"] / "tokenizer_config.json", tokenizer_class="Strange")
    file = folders["extractor"] / "processor_config.json"
    extractor = json.loads(file.read_text())["feature_extractor"] | {"feature_extractor_type": "Strange"}
    change(file, feature_extractor=extractor)
    change(file.with_name("preprocessor_config.json"), **extractor)
    return folders


@pytest.fixture(scope="module")
def weights(copy, root) -> dict[str, Path]:
    folders = {}
    for kind in WEIGHTS:
        folders[kind] = copy(f"model of {kind}")
        weigh_otherwise(folders[kind], kind, root / "outside.safetensors")
    return folders


@pytest.fixture(scope="module")
def encoders_of(copy, root) -> dict[str, Path]:
    """Checkpoints whose text encoder has other weights, has another place, or whose tokenizer has."""
    folders = {}
    for kind in WEIGHTS:
        folders[kind] = copy(f"encoder of {kind}")
        encoder = folders[kind] / "text_encoder"
        weigh_otherwise(encoder, kind, folders[kind] / "outside.safetensors")
    for kind, name in ENCODER_NAMES.items():
        folders[kind] = copy(f"encoder {kind}")
        shutil.rmtree(folders[kind] / "text_encoder")
        file = folders[kind] / "processor_config.json"
        provenance = json.loads(file.read_text())["text_provenance"]
        change(file, text_provenance=provenance | {"encoder": name, "revision": "main"})
    folders["tokenizer"] = copy("tokenizer outside")
    tokens = folders["tokenizer"] / "tokenizer.json"
    shutil.move(tokens, root / "tokenizer.json")
    settings = {"tokenizer_file": str(root / "tokenizer.json"), "vocab_file": str(root / "tokenizer.json")}
    change(folders["tokenizer"] / "tokenizer_config.json", **settings)
    return folders


@pytest.fixture(scope="module")
def hub(honest, pointing, weights, processor, root, ran) -> Iterator[LoopbackHub]:
    """The checkpoints, and lab/trusted, whose text encoder is lab/coded, a repository that brings code."""
    trusted = Path(shutil.copytree(honest, root / "trusted"))
    shutil.rmtree(trusted / "text_encoder")
    with LoopbackHub() as hub:
        hub.add("lab/pointing", pointing)
        for kind in WEIGHTS:
            hub.add(on_hub(kind), weights[kind])
        coded = save_text_encoder(root / "coded")
        with_code(coded, ran / "encoder's own planted")
        provenance = processor.text_provenance | {"encoder": "lab/coded", "revision": hub.add("lab/coded", coded)}
        change(trusted / "processor_config.json", text_provenance=provenance)
        change(trusted / "config.json", text_provenance=provenance)
        hub.add("lab/trusted", trusted)
        yield hub


def on_hub(kind: str) -> str:
    return f"lab/{kind.replace(' ', '-')}"


@pytest.fixture(scope="module")
def working_directory(root, honest) -> Path:
    """It holds the text encoder as "here"."""
    shutil.copytree(honest / "text_encoder", root / "working directory" / "here")
    return root / "working directory"


@pytest.fixture(scope="module")
def run(hub, root, working_directory) -> Callable[..., dict]:
    """Runs a script in a fresh process. Whatever it asks on the terminal is answered with `answer`."""

    def run(script: str, *arguments: str, home: str, answer: str = "") -> dict:
        process = subprocess.run(
            [sys.executable, "-c", script, Path(__file__).parent, *arguments],
            capture_output=True,
            text=True,
            cwd=working_directory,
            env=hub.environment(root / home) | {"DISABLE_SAFETENSORS_CONVERSION": "true"},
            input=answer,
            timeout=200,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-4000:]
        return json.loads(process.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def installed(honest, pointing, asking, weights, encoders_of, working_directory) -> dict[str, dict]:
    """From folders, with the package and without trust; every question would be answered with yes."""
    folders = [honest, pointing, *weights.values(), *encoders_of.values(), *asking.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working_directory)
        patch.setattr("builtins.input", lambda *_: "y")
        return with_the_package([str(folder) for folder in folders])


@pytest.fixture(scope="module")
def installed_hub(run) -> dict[str, dict]:
    """From the Hub, likewise."""
    return run(INSTALLED, json.dumps(["lab/pointing", *map(on_hub, WEIGHTS)]), home="installed", answer="y\n" * 99)


@pytest.fixture(scope="module")
def not_installed(run) -> dict:
    """From the Hub, without the package."""
    return run(NOT_INSTALLED, home="not installed")


def test_the_canaries_would_be_noticed(honest, tmp_path):
    ran = tmp_path / "ran"
    ran.mkdir()
    folder = Path(shutil.copytree(honest, tmp_path / "folder"))
    plant_code(folder, ran)
    plant_pickles(folder, ran)
    runpy.run_path(str(folder / "planted.py"))
    runpy.run_path(str(folder / "provenance_tacfn.py"))
    for name in PICKLES:
        pickle.loads((folder / name).read_bytes()).close()
    wanted = {"folder planted", "folder provenance_tacfn.py", *(f"folder {name}" for name in PICKLES)}
    assert {path.name for path in ran.iterdir()} == wanted


SOURCES = ["folder", pytest.param("hub", marks=pytest.mark.slow)]


@pytest.mark.parametrize("source", SOURCES)
def test_a_checkpoint_that_names_code_is_loaded_by_the_package_alone(installed, honest, pointing, source, ran, request):
    expected = installed[str(honest)]
    on_the_hub = source == "hub"
    found = request.getfixturevalue("installed_hub")["lab/pointing"] if on_the_hub else installed[str(pointing)]
    assert found["config"] == "tacfn_hf.model.configuration_tacfn"
    assert found["model"] == "tacfn_hf.model.modeling_tacfn"
    for name in ("processor", "own processor"):
        assert found[name].keys() == expected["processor"].keys()
        for key, value in expected["processor"].items():
            assert np.allclose(found[name][key], value, atol=1e-5)
    assert np.allclose(found["pipeline"], expected["pipeline"], atol=1e-6)
    assert not list(ran.iterdir())


@pytest.mark.parametrize("part", ["tokenizer", "extractor"])
@pytest.mark.parametrize("by", ["processor", "own processor", "pipeline"])
def test_nobody_is_asked_whether_code_may_run(installed, asking, part, by, ran):
    found = installed[str(asking[part])][by]
    assert isinstance(found, str)
    assert "contains custom code" in found
    assert not list(ran.iterdir())


REASONS = {
    "pickle": "model.safetensors",
    "explicit pickle": "transformers_weights is 'adapter_model.bin'",
    "pickled shard": "names 'pytorch_model.bin' as its weights",
    "shard outside": "names '../outside.safetensors' as its weights",
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("by", ["model", "own model", "pipeline"])
def test_weights_of_the_model_are_safetensors_in_its_own_folder(installed, weights, kind, source, by, ran, request):
    on_the_hub = source == "hub"
    found = request.getfixturevalue("installed_hub")[on_hub(kind)] if on_the_hub else installed[str(weights[kind])]
    assert isinstance(found[by], str)
    assert REASONS[kind] in found[by]
    assert not list(ran.iterdir())


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("by", ["processor", "pipeline"])
def test_weights_of_an_encoder_are_safetensors_in_its_own_folder(installed, encoders_of, kind, by, ran):
    found = installed[str(encoders_of[kind])][by]
    assert isinstance(found, str)
    assert found.startswith("ValueError: The weights of the text encoder")
    assert REASONS[kind].replace("transformers_weights is", "names") in found
    assert not list(ran.iterdir())


@pytest.mark.parametrize("kind", ENCODER_NAMES)
@pytest.mark.parametrize("by", ["processor", "pipeline"])
def test_an_encoder_elsewhere_on_this_machine_is_not_followed(installed, encoders_of, kind, by):
    found = installed[str(encoders_of[kind])][by]
    assert isinstance(found, str)
    assert "ValueError: " in found
    assert f"{encoders_of[kind]} names " in found
    assert repr(ENCODER_NAMES[kind]) in found
    assert "as its text encoder" in found


@pytest.mark.parametrize("by", ["processor", "pipeline"])
def test_a_vocabulary_elsewhere_on_this_machine_is_not_read(installed, encoders_of, by):
    found = installed[str(encoders_of["tokenizer"])][by]
    assert isinstance(found, str)
    assert "the file with its vocabulary is missing" in found


@pytest.mark.slow
@pytest.mark.parametrize("by", ["config", "model", "processor", "pipeline", "pipeline without a task"])
def test_without_the_package_nothing_runs_and_the_error_says_what_to_do(not_installed, by, ran):
    assert isinstance(not_installed[by], str)
    assert "trust_remote_code=True" in not_installed[by]
    assert not list(ran.iterdir())


@pytest.mark.slow
def test_trust_in_a_checkpoint_is_no_trust_in_its_encoders(not_installed, installed, honest, ran):
    trusted = not_installed["trusted"]
    expected = installed[str(honest)]
    for key, value in expected["processor"].items():
        assert np.allclose(trusted["processor"][key], value, atol=1e-5)
    assert np.allclose(trusted["pipeline"], expected["pipeline"], atol=1e-6)
    assert not list(ran.iterdir())


@pytest.mark.parametrize("value", [False, None])
def test_pickled_weights_cannot_be_asked_for(model, tmp_path, value):
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises((OSError, ValueError), match="never read" if value is False else "model.safetensors"):
        TacfnForSequenceClassification.from_pretrained(tmp_path, use_safetensors=value)


@pytest.mark.parametrize("file", ["processor_config.json", "audio_tokenizer_config.json"])
def test_an_audio_tokenizer_elsewhere_is_not_loaded(processor, tmp_path, file):
    processor.save_pretrained(tmp_path)
    named = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "/not/there"}
    change(tmp_path / file, **({"audio_tokenizer": named} if file == "processor_config.json" else named))
    with pytest.raises(ValueError, match="names an audio tokenizer"):
        TacfnProcessor.from_pretrained(tmp_path)
