"""
A stranger's repository runs no code, is read nowhere but in itself, and no pickle of it is read.

Every code file and every pickle that lies in it for harm would leave a file in the folder `ran`. Few processes, since
each takes seconds to start: a fixture is what one of them reports.
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
from hub import LoopbackHub
from safetensors.torch import load_file
from test_hub import with_code
from tiny import config_for, save_text_encoder

from tacfn_hf import TacfnForSequenceClassification, TacfnProcessor


TASK = "multimodal-emotion-recognition"
PICKLES = ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt")
AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoModelForAudioClassification")

REPORT = """
import json, sys
import numpy as np, torch

INPUT = {"audio": np.sin(np.arange(5000, dtype=np.float32)), "text": "What a day!", "sampling_rate": 16000}

def attempt(function, *arguments, **settings):
    try:
        return function(*arguments, **settings)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def features(load, name, **trust):
    return {key: value.tolist() for key, value in load(name, **trust)(**INPUT).items()}

def recognize(*task, **settings):
    found = pipeline(*task, device="cpu", **settings)(INPUT)
    return sorted(row["score"] for row in found["scores"])

def loaded(load, name, **trust):
    return type(load(name, **trust)).__module__
"""

INSTALLED = """
import tacfn_hf
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
names, weights, processors = json.loads(sys.argv[1])
found = {}
for name in names:
    found[name] = {
        "config": attempt(loaded, AutoConfig.from_pretrained, name),
        "model": attempt(loaded, AutoModel.from_pretrained, name),
        "processor": attempt(features, AutoProcessor.from_pretrained, name),
        "own processor": attempt(features, tacfn_hf.TacfnProcessor.from_pretrained, name),
        "pipeline": attempt(recognize, "multimodal-emotion-recognition", model=name),
    }
for name in weights:
    found[name] = {
        "model": attempt(loaded, AutoModel.from_pretrained, name),
        "own model": attempt(loaded, tacfn_hf.TacfnForSequenceClassification.from_pretrained, name),
        "pipeline": attempt(recognize, "multimodal-emotion-recognition", model=name),
    }
for name in processors:
    found[name] = {
        "processor": attempt(features, AutoProcessor.from_pretrained, name),
        "own processor": attempt(features, tacfn_hf.TacfnProcessor.from_pretrained, name),
        "pipeline": attempt(recognize, "multimodal-emotion-recognition", model=name),
    }
print()  # behind a question
print(json.dumps(found))
"""

NOT_INSTALLED = """
sys.modules["tacfn_hf"] = None  # an import of it raises
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
name, = sys.argv[1:]
found = {
    "config": attempt(loaded, AutoConfig.from_pretrained, name),
    "model": attempt(loaded, AutoModel.from_pretrained, name),
    "processor": attempt(loaded, AutoProcessor.from_pretrained, name),
    "pipeline": attempt(recognize, "multimodal-emotion-recognition", model=name),
    "pipeline without a task": attempt(recognize, model=name),
}
print()  # behind a question
print(json.dumps(found))
"""

TRUSTED = """
sys.modules["tacfn_hf"] = None
from transformers import AutoProcessor, pipeline
name, = sys.argv[1:]
print(json.dumps({
    "processor": attempt(features, AutoProcessor.from_pretrained, name, trust_remote_code=True),
    "pipeline": attempt(recognize, model=name, trust_remote_code=True),
}))
"""


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def plant_code(folder: Path, ran: Path) -> None:
    """Makes every code file leave a file in `ran`, and adds planted.py, with the classes that `with_code` names."""
    with_code(folder, ran / f"{folder.name} planted")
    for path in folder.glob("*_tacfn.py"):
        path.write_text(f"open({str(ran / f'{folder.name} {path.name}')!r}, 'w').close()\n" + path.read_text())


def plant_pickles(folder: Path, ran: Path) -> None:
    for name in PICKLES:
        if not (folder / name).exists():
            (folder / name).write_bytes(pickle.dumps(Canary(ran / f"{folder.name} {name}")))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values) if file.exists() else json.dumps(values))


def point_to_code(folder: Path) -> None:
    """Makes every file of settings name code, in the folder or in another repository, and ask for trust."""
    trust = {"trust_remote_code": True, "code_revision": "main"}
    maps = dict.fromkeys(AUTO_CLASSES, "planted.Model") | {
        "AutoConfig": "planted.Config",
        "AutoProcessor": "planted.Processor",
        "AutoFeatureExtractor": "planted.Extractor",
        "AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"],
    }
    tasks = {task: {"impl": "planted.Pipeline", "pt": ["AutoModel"]} for task in (TASK, "text-classification")}
    change(folder / "config.json", auto_map=maps, custom_pipelines=tasks, **trust)
    extractor = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
    extractor |= {"auto_map": maps, **trust}
    change(folder / "processor_config.json", auto_map=maps, feature_extractor=extractor, **trust)
    change(folder / "preprocessor_config.json", **extractor)
    change(folder / "tokenizer_config.json", auto_map=maps, **trust)
    for name in ("text_encoder", "audio_encoder"):
        other = {key: f"lab/planted--{value}" for key, value in maps.items() if isinstance(value, str)}
        change(folder / name / "config.json", auto_map=maps if name == "text_encoder" else other, **trust)


def weigh_otherwise(folder: Path, kind: str, outside: Path) -> None:
    """
    Takes model.safetensors away and names its weights, which are good ones, in another way. `outside` is a safetensors
    file beside the folder.
    """
    weights = folder / "model.safetensors"
    if kind == "pickle":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
    elif kind == "explicit pickle":
        torch.save(load_file(weights), folder / "adapter_model.bin")
        change(folder / "config.json", transformers_weights="adapter_model.bin")
    else:
        shard = "pytorch_model.bin" if kind == "pickled shard" else f"../{outside.name}"
        if kind == "pickled shard":
            torch.save(load_file(weights), folder / shard)
        else:
            shutil.copy(weights, outside)
        weight_map = dict.fromkeys(load_file(weights), shard)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    weights.unlink()


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
def hub(pointing, weights, copy, root, ran) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add("lab/pointing", pointing)
        for kind in WEIGHTS:
            hub.add(f"lab/{kind.replace(' ', '-')}", weights[kind])
        coded = save_text_encoder(root / "coded")
        with_code(coded, ran / "encoder's own planted")
        hub.add("lab/coded", coded)
        yield hub


@pytest.fixture(scope="module")
def run(hub, root) -> Callable[..., dict]:
    """Runs a script in a fresh process. Whatever it asks on the terminal is answered with `answer`."""
    folder = root / "working directory"
    shutil.copytree(root / "honest" / "text_encoder", folder / "here")

    def run(script: str, *arguments: object, home: str, answer: str = "") -> dict:
        process = subprocess.run(
            [sys.executable, "-c", REPORT + script, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=folder,
            env=hub.environment(root / home) | {"DISABLE_SAFETENSORS_CONVERSION": "true"},
            input=answer,
            timeout=200,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-4000:]
        return json.loads(process.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def installed(run, honest, pointing, asking, weights, encoders_of) -> dict:
    """With the package and without trust; somebody says yes to every question that could be asked."""
    names = [str(honest), str(pointing), "lab/pointing"]
    of_models = [*map(str, weights.values()), *(f"lab/{kind.replace(' ', '-')}" for kind in WEIGHTS)]
    of_processors = [*map(str, encoders_of.values()), *map(str, asking.values())]
    return run(INSTALLED, json.dumps([names, of_models, of_processors]), home="installed", answer="y\n" * 99)


@pytest.fixture(scope="module")
def not_installed(run, pointing) -> dict:
    return run(NOT_INSTALLED, "lab/pointing", home="not installed")


@pytest.fixture(scope="module")
def trusted(run, hub, honest, processor, root) -> dict:
    """Without the package and with trust, of a checkpoint whose text encoder is a repository that brings code."""
    folder = Path(shutil.copytree(honest, root / "trusted"))
    shutil.rmtree(folder / "text_encoder")
    provenance = processor.text_provenance | {
        "encoder": "lab/coded",
        "revision": hub.revisions["lab/coded"]["main"].hash,
    }
    change(folder / "processor_config.json", text_provenance=provenance)
    change(folder / "config.json", text_provenance=provenance)
    hub.add("lab/trusted", folder)
    return run(TRUSTED, "lab/trusted", home="trusted")


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


@pytest.mark.parametrize("source", ["folder", "hub"])
def test_a_checkpoint_that_names_code_is_loaded_by_the_package_alone(installed, honest, pointing, source, ran):
    found = installed[str(pointing) if source == "folder" else "lab/pointing"]
    expected = installed[str(honest)]
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
@pytest.mark.parametrize("source", ["folder", "hub"])
@pytest.mark.parametrize("by", ["model", "own model", "pipeline"])
def test_weights_of_the_model_are_safetensors_in_its_own_folder(installed, weights, kind, source, by, ran):
    name = str(weights[kind]) if source == "folder" else f"lab/{kind.replace(' ', '-')}"
    assert isinstance(installed[name][by], str)
    assert REASONS[kind] in installed[name][by]
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


@pytest.mark.parametrize("by", ["config", "model", "processor", "pipeline", "pipeline without a task"])
def test_without_the_package_nothing_runs_and_the_error_says_what_to_do(not_installed, by, ran):
    assert isinstance(not_installed[by], str)
    assert "trust_remote_code=True" in not_installed[by]
    assert not list(ran.iterdir())


def test_trust_in_a_checkpoint_is_no_trust_in_its_encoders(trusted, installed, honest, ran):
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
