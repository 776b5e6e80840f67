"""
A saved checkpoint is complete: it loads from a folder and from the Hub, with the package and without it, gives the same
answers, and can be saved again with all its files.

Each process takes seconds to start. A fixture is the report of one process, in which several checkpoints are loaded.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import LoopbackHub
from tiny import config_for
from transformers import AutoConfig, pipeline
from transformers.dynamic_module_utils import get_relative_import_files

import tacfn_hf.model
from tacfn_hf import TacfnForSequenceClassification


torch.set_num_threads(1)

TASK = "multimodal-emotion-recognition"
CODE = Path(tacfn_hf.model.__file__).parent
# The model with its encoders brings two files more than the fusion network alone.
OF_ENCODERS = {"configuration_dual_encoder_tacfn.py", "modeling_dual_encoder_tacfn.py"}
CODE_NAMES = {path.name for path in CODE.glob("*.py")} - {"__init__.py"} - OF_ENCODERS
CUSTOM_PIPELINES = {
    TASK: {
        "impl": "pipeline_tacfn.EmotionRecognitionPipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "multimodal",
    }
}
INPUT = {"audio": np.sin(np.arange(5000, dtype=np.float32)), "text": "What a day!", "sampling_rate": 16000}

REPORT = """
import json, sys
import numpy as np, torch
torch.set_num_threads(1)  # as in the process that compares: with others sums round differently

INPUT = {"audio": np.sin(np.arange(5000, dtype=np.float32)), "text": "What a day!", "sampling_rate": 16000}

def report(name, resaved, **trust):
    config = AutoConfig.from_pretrained(name, **trust)
    models = [
        auto.from_pretrained(name, **trust)
        for auto in (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification)
    ]
    models[0].save_pretrained(resaved + "/model")  # before another part has fetched its code
    base = AutoModel.from_pretrained(name + "-base", **trust)
    base.save_pretrained(resaved + "/pipeline-base")
    base.save_pretrained(resaved + "/parts-base")
    processor = AutoProcessor.from_pretrained(name, **trust)
    pipelines = [pipeline("multimodal-emotion-recognition", model=name, device="cpu", **trust)]
    if trust:
        pipelines.append(pipeline(model=name, device="cpu", **trust))
    features = processor(**INPUT)
    with torch.no_grad():
        logits = [model.eval()(**features).logits.tolist() for model in models]
        h_fused = base.eval()(**features).h_fused.tolist()
    pipelines[0].save_pretrained(resaved + "/pipeline")
    models[0].save_pretrained(resaved + "/parts")
    processor.save_pretrained(resaved + "/parts")
    return {
        "logits": logits,
        "h_fused": h_fused,
        "found": [one(INPUT) for one in pipelines],
        "modules": [type(one).__module__ for one in [config, *models, processor, *pipelines, base]],
    }
"""

IMPORTS = """
from transformers import (
    AutoConfig, AutoModel, AutoModelForAudioClassification, AutoModelForSequenceClassification, AutoProcessor, pipeline
)
"""

WITHOUT_THE_PACKAGE = f"""
sys.modules["tacfn_hf"] = None  # an import of it raises
{IMPORTS}
names = json.loads(sys.argv[1])
print(json.dumps([report(name, resaved, trust_remote_code=True) for name, resaved in names]))
"""

WITH_THE_PACKAGE = f"""
import tacfn_hf
{IMPORTS}
names = json.loads(sys.argv[1])
print(json.dumps([report(name, resaved) for name, resaved in names]))
"""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("complete")


@pytest.fixture(scope="module")
def saved(processor, root) -> Path:
    """A classifier with the processor and its encoders; in the folder beside it, "-base", the network of it alone."""
    torch.manual_seed(0)
    config = config_for(processor)
    model = TacfnForSequenceClassification(config)
    model.save_pretrained(root / "saved")
    processor.save_pretrained(root / "saved", save_encoders=True)
    model.model.save_pretrained(root / "saved-base")
    return root / "saved"


@pytest.fixture(scope="module")
def hub(saved) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add("lab/saved", saved)
        hub.add("lab/saved-base", saved.with_name("saved-base"))
        yield hub


@pytest.fixture(scope="module")
def run(hub, root) -> Callable:
    """
    Reports on checkpoints, each loaded from a place and saved again in another, in a fresh process with an empty cache.
    """
    folder = root / "working directory"
    folder.mkdir()

    def run(script: str, *names: tuple[str | Path, Path], home: str) -> list[dict]:
        process = subprocess.run(
            [sys.executable, "-c", REPORT + script, json.dumps([list(map(str, pair)) for pair in names])],
            capture_output=True,
            text=True,
            cwd=folder,
            env=hub.environment(root / home),
            stdin=subprocess.DEVNULL,
            timeout=100,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-4000:]
        return json.loads(process.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def expected(saved, processor) -> dict:
    """What the objects give that were saved."""
    model = TacfnForSequenceClassification.from_pretrained(saved).eval()
    with torch.no_grad():
        output = model(**processor(**INPUT))
    found = pipeline(TASK, model=model, processor=processor, device="cpu")(INPUT)
    return {"logits": output.logits.tolist(), "h_fused": output.h_fused.tolist(), "found": found}


@pytest.fixture(scope="module")
def from_hub(run, root) -> list[dict]:
    """Without the package: from the Hub, and from the folder into which the pipeline was saved again."""
    target = root / "from hub"
    return run(WITHOUT_THE_PACKAGE, ("lab/saved", target), (target / "pipeline", root / "from resaved"), home="without")


@pytest.fixture(scope="module")
def from_folder(run, saved, root) -> list[dict]:
    """Without the package: from the folder, and from one into which model and processor were saved."""
    target = root / "from folder"
    return run(WITHOUT_THE_PACKAGE, (saved, target), (target / "parts", root / "from parts"), home="folder")


@pytest.fixture(scope="module")
def installed(run, saved, from_hub, root) -> list[dict]:
    """With the package and without trust: from the folder, from the Hub, and from the one saved without the package."""
    names = saved, "lab/saved", root / "from hub" / "pipeline"
    return run(WITH_THE_PACKAGE, *((name, root / f"installed {i}") for i, name in enumerate(names)), home="installed")


def assert_equal(report: dict, expected: dict) -> None:
    for logits in report["logits"]:
        assert np.allclose(logits, expected["logits"], rtol=0, atol=1e-6)
    assert np.allclose(report["h_fused"], expected["h_fused"], rtol=0, atol=1e-6)
    for found in report["found"]:
        assert [row["label"] for row in found["scores"]] == [row["label"] for row in expected["found"]["scores"]]
        for row, other in zip(found["scores"], expected["found"]["scores"]):
            assert row["score"] == pytest.approx(other["score"], abs=1e-6)
        assert found["beta"] == pytest.approx(expected["found"]["beta"], abs=1e-6)


SOURCES = ["from_hub", pytest.param("from_folder", marks=pytest.mark.slow)]
RESAVED = {  # which fixture fills which folders
    "from_hub": ("from hub", "from resaved"),
    "from_folder": ("from folder", "from parts"),
    "installed": ("installed 0", "installed 1", "installed 2"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_it_gives_the_same_without_the_package(source, expected, request):
    reports = request.getfixturevalue(source)
    assert len(reports) == 2
    for report in reports:
        assert len(report["modules"]) == 8
        assert all(module.startswith("transformers_modules.") for module in report["modules"])
        assert len(report["found"]) == 2  # with the task and without
        assert_equal(report, expected)


@pytest.mark.slow
def test_it_gives_the_same_with_the_package_and_without_trust(installed, expected):
    assert len(installed) == 3
    for report in installed:
        assert all(module.startswith("tacfn_hf.model.") for module in report["modules"])
        assert_equal(report, expected)


@pytest.mark.parametrize("source", [*SOURCES, pytest.param("installed", marks=pytest.mark.slow)])
def test_what_is_saved_again_has_the_same_files(source, saved, root, request):
    request.getfixturevalue(source)
    base = saved.with_name("saved-base")
    for folder in RESAVED[source]:
        for name, other in (("pipeline", saved), ("parts", saved), ("model", base), ("pipeline-base", base)):
            assert files(root / folder / name) == files(other), (folder, name)
            for code in CODE_NAMES:
                assert (root / folder / name / code).read_bytes() == (CODE / code).read_bytes()
        for name, other in (("pipeline", saved), ("parts", saved), ("model", saved), ("pipeline-base", base)):
            config = json.loads((root / folder / name / "config.json").read_text())
            assert config == json.loads((other / "config.json").read_text())
            assert config["custom_pipelines"] == CUSTOM_PIPELINES


@pytest.mark.parametrize("part", ["model", "base"])
def test_a_saved_model_brings_all_the_code(part, model, tmp_path):
    (model if part == "model" else model.model).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE_NAMES


def test_imports_lead_from_the_models_file_to_all_others_and_never_back():
    """transformers fetches and copies the files that the one in `auto_map` imports, directly or not."""
    reached = {path: get_relative_import_files(path) for path in map(str, CODE.glob("*_tacfn.py"))}
    model = str(CODE / "modeling_dual_encoder_tacfn.py")
    assert {model, *reached[model]} == set(reached)
    assert not [path for path, others in reached.items() if path in others]


def test_the_pipelines_of_a_file_are_not_kept(saved, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    config["custom_pipelines"] = {"text-classification": {"impl": "other.Pipeline", "pt": ["AutoModel"]}}
    config["auto_map"] = {"AutoConfig": "lab/other--other.Config", "AutoProcessor": "other.Processor"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert not hasattr(loaded, "custom_pipelines")
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "custom_pipelines" not in again
    assert again["auto_map"] == {"AutoConfig": "configuration_tacfn.TacfnConfig"}
