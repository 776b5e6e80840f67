"""
What is saved is whole: it loads from a folder and from the Hub, with the package and without it, gives the same, and
can be saved again.

Few processes, since each takes seconds to start: a fixture is what one of them reports.
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
CODE_NAMES = {path.name for path in CODE.glob("*.py")} - {"__init__.py"}
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

def report(name, resaved=None, **trust):
    config = AutoConfig.from_pretrained(name, **trust)
    models = [
        AutoModel.from_pretrained(name, **trust),
        AutoModelForSequenceClassification.from_pretrained(name, **trust),
    ]
    processor = AutoProcessor.from_pretrained(name, **trust)
    pipelines = [pipeline("multimodal-emotion-recognition", model=name, device="cpu", **trust)]
    if "model" in PIPELINES:
        pipelines.append(pipeline(model=name, device="cpu", **trust))
    base = AutoModel.from_pretrained(name + "-base", **trust)
    features = processor(**INPUT)
    with torch.no_grad():
        logits = [model.eval()(**features).logits.tolist() for model in models]
        h_fused = base.eval()(**features).h_fused.tolist()
    if resaved is not None:
        config.save_pretrained(resaved + "/config")
        models[0].save_pretrained(resaved + "/model")
        processor.save_pretrained(resaved + "/processor")
        pipelines[0].save_pretrained(resaved + "/pipeline")
        base.save_pretrained(resaved + "/pipeline-base")
    return {
        "logits": logits,
        "h_fused": h_fused,
        "found": [one(INPUT) for one in pipelines],
        "modules": [type(one).__module__ for one in [config, *models, processor, *pipelines, base]],
    }
"""

WITHOUT_THE_PACKAGE = """
sys.modules["tacfn_hf"] = None  # an import of it raises
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline
PIPELINES = ("task", "model")
name, resaved = sys.argv[1:]
print(json.dumps(report(name, resaved, trust_remote_code=True)))
"""

WITH_THE_PACKAGE = """
import tacfn_hf
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline
PIPELINES = ("task",)
*names, resaved = sys.argv[1:]
print(json.dumps([report(name, f"{resaved}/{i}") for i, name in enumerate(names)]))
"""

ONE_PART = """
sys.modules["tacfn_hf"] = None
import transformers
name, auto_class, resaved = sys.argv[1:]
getattr(transformers, auto_class).from_pretrained(name, trust_remote_code=True).save_pretrained(resaved)
print("null")
"""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("complete")


@pytest.fixture(scope="module")
def saved(processor, root) -> Path:
    """A classifier with the processor and its encoders; beside it, "-base", the network of it alone."""
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
    """Runs a script in a fresh process with a cache of its own; returns the JSON that it prints last."""
    folder = root / "working directory"
    folder.mkdir()

    def run(script: str, *arguments: object, home: str):
        process = subprocess.run(
            [sys.executable, "-c", REPORT + script, *map(str, arguments)],
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
def from_folder(run, saved, root) -> dict:
    return run(WITHOUT_THE_PACKAGE, saved, root / "from folder", home="folder")


@pytest.fixture(scope="module")
def from_hub(run, root) -> dict:
    return run(WITHOUT_THE_PACKAGE, "lab/saved", root / "from hub", home="hub")


@pytest.fixture(scope="module")
def from_resaved(run, from_hub, root) -> dict:
    """Of a pipeline that was loaded from the Hub without the package, and saved again."""
    return run(WITHOUT_THE_PACKAGE, root / "from hub" / "pipeline", root / "from resaved", home="resaved")


@pytest.fixture(scope="module")
def installed(run, saved, from_hub, root) -> list[dict]:
    """The same three with the package, and without trust."""
    names = saved, "lab/saved", root / "from hub" / "pipeline"
    return run(WITH_THE_PACKAGE, *names, root / "installed", home="installed")


def assert_equal(report: dict, expected: dict) -> None:
    for logits in report["logits"]:
        assert np.allclose(logits, expected["logits"], rtol=0, atol=1e-6)
    assert np.allclose(report["h_fused"], expected["h_fused"], rtol=0, atol=1e-6)
    for found in report["found"]:
        assert [row["label"] for row in found["scores"]] == [row["label"] for row in expected["found"]["scores"]]
        for row, other in zip(found["scores"], expected["found"]["scores"]):
            assert row["score"] == pytest.approx(other["score"], abs=1e-6)
        assert found["beta"] == pytest.approx(expected["found"]["beta"], abs=1e-6)


@pytest.mark.parametrize("source", ["from_folder", "from_hub", "from_resaved"])
def test_it_gives_the_same_without_the_package(source, expected, request):
    report = request.getfixturevalue(source)
    assert len(report["modules"]) == 7
    assert all(module.startswith("transformers_modules.") for module in report["modules"])
    assert len(report["found"]) == 2  # with the task and without
    assert_equal(report, expected)


def test_it_gives_the_same_with_the_package_and_without_trust(installed, expected):
    assert len(installed) == 3
    for report in installed:
        assert all(module.startswith("tacfn_hf.model.") for module in report["modules"])
        assert_equal(report, expected)


@pytest.mark.parametrize("source", ["from folder", "from hub", "from resaved", "installed/0", "installed/1"])
def test_a_pipeline_saved_again_has_the_same_files(source, saved, root, from_folder, from_hub, from_resaved, installed):
    again = root / source / "pipeline"
    assert files(again) == files(saved)
    assert files(again.with_name("pipeline-base")) == files(saved.with_name("saved-base"))
    for name in CODE_NAMES:
        assert (again / name).read_bytes() == (CODE / name).read_bytes(), name


@pytest.mark.parametrize("source", ["from folder", "from hub", "from resaved", "installed/0", "installed/1"])
def test_what_config_json_names_stays(source, saved, root, from_folder, from_hub, from_resaved, installed):
    for name, other in (("pipeline", saved), ("pipeline-base", saved.with_name("saved-base"))):
        config = json.loads((root / source / name / "config.json").read_text())
        assert config == json.loads((other / "config.json").read_text())
        assert config["custom_pipelines"] == CUSTOM_PIPELINES


@pytest.mark.parametrize("part", ["model", "base"])
def test_a_model_brings_all_the_code(part, model, tmp_path):
    {"model": model, "base": model.model}[part].save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE_NAMES


@pytest.mark.parametrize("name", ["configuration", "processing", "pipeline"])
def test_the_file_of_the_model_leads_to_all_that_a_checkpoint_names(name):
    start = CODE / "modeling_tacfn.py"
    assert f"{name}_tacfn.py" in {Path(path).name for path in get_relative_import_files(start)}


def test_a_model_alone_from_the_hub_is_saved_with_all_the_code(run, root):
    run(ONE_PART, "lab/saved", "AutoModel", root / "AutoModel", home="AutoModel alone")
    assert {path.name for path in (root / "AutoModel").glob("*.py")} == CODE_NAMES


def test_the_pipelines_of_a_file_are_not_kept(saved, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    config["custom_pipelines"] = {"text-classification": {"impl": "other.Pipeline", "pt": ["AutoModel"]}}
    config["auto_map"] = {"AutoConfig": "lab/other--other.Config", "AutoProcessor": "other.Processor"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert not hasattr(loaded, "custom_pipelines")
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["custom_pipelines"] == CUSTOM_PIPELINES
    assert again["auto_map"] == {"AutoConfig": "configuration_tacfn.TacfnConfig"}
