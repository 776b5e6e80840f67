"""What a stranger's repository could hold for harm, and what comes of loading it."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline


TASK = "multimodal-emotion-recognition"
PICKLES = ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt")
AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoModelForAudioClassification")
INPUT = {"audio": np.sin(np.arange(5000, dtype=np.float32)), "text": "What a day!", "sampling_rate": 16000}


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def with_code(encoder: Path, marker: Path) -> Path:
    """Plants code in an encoder's folder that its config and its tokenizer name, and that would write the marker."""
    (encoder / "planted.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "import transformers\n"
        "class Config(transformers.BertConfig): pass\n"
        "class Model(transformers.BertModel): config_class = Config\n"
        "class Tokenizer(transformers.BertTokenizer): pass\n"
    )
    for name, auto_map in (
        ("config.json", {"AutoConfig": "planted.Config", "AutoModel": "planted.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"]}),
    ):
        if (encoder / name).exists():
            change(encoder / name, auto_map=auto_map)
    return encoder


def plant_code(folder: Path, ran: Path) -> None:
    """Makes every code file leave a file in `ran`, and adds planted.py, with the classes that `with_code` names."""
    with_code(folder, ran / f"{folder.name} planted")
    for path in folder.glob("*_tacfn.py"):
        path.write_text(f"open({str(ran / f'{folder.name} {path.name}')!r}, 'w').close()\n" + path.read_text())


def plant_pickles(folder: Path, ran: Path) -> None:
    """Adds the usual pickles, each of which would leave a file in `ran`."""
    for name in PICKLES:
        if not (folder / name).exists():
            (folder / name).write_bytes(pickle.dumps(Canary(ran / f"{folder.name} {name}")))


def change(file: Path, **values: object) -> None:
    """Sets values in a JSON file."""
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


def attempt(function: Callable, *arguments: object, **settings: object) -> object:
    """What a call gives, or its error in words."""
    try:
        return function(*arguments, **settings)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def features(load: Callable, name: str, **trust: bool) -> dict[str, list]:
    """The features of `INPUT` by the processor that `load` gives."""
    return {key: value.tolist() for key, value in load(name, **trust)(**INPUT).items()}


def recognize(*task: str, **settings: object) -> list[float]:
    """The scores of `INPUT` by a pipeline."""
    found = pipeline(*task, device="cpu", **settings)(INPUT)
    return sorted(row["score"] for row in found["scores"])


def loaded(load: Callable, name: str, **trust: bool) -> str:
    """The module of the class of what `load` gives."""
    return type(load(name, **trust)).__module__


def with_the_package(names: list[str]) -> dict[str, dict]:
    """What comes of loading checkpoints where the package is installed, without trust."""
    from tacfn_hf import TacfnForSequenceClassification, TacfnProcessor

    return {
        name: {
            "config": attempt(loaded, AutoConfig.from_pretrained, name),
            "model": attempt(loaded, AutoModel.from_pretrained, name),
            "own model": attempt(loaded, TacfnForSequenceClassification.from_pretrained, name),
            "processor": attempt(features, AutoProcessor.from_pretrained, name),
            "own processor": attempt(features, TacfnProcessor.from_pretrained, name),
            "pipeline": attempt(recognize, TASK, model=name),
        }
        for name in names
    }


def without_trust(name: str) -> dict[str, object]:
    """What comes of loading a checkpoint without trust."""
    return {
        "config": attempt(loaded, AutoConfig.from_pretrained, name),
        "model": attempt(loaded, AutoModel.from_pretrained, name),
        "processor": attempt(loaded, AutoProcessor.from_pretrained, name),
        "pipeline": attempt(recognize, TASK, model=name),
        "pipeline without a task": attempt(recognize, model=name),
    }


def with_trust(name: str) -> dict[str, object]:
    """What comes of loading a checkpoint with trust."""
    return {
        "processor": attempt(features, AutoProcessor.from_pretrained, name, trust_remote_code=True),
        "pipeline": attempt(recognize, model=name, trust_remote_code=True),
    }
