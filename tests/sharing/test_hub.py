"""A checkpoint on a Hub on loopback: pushed whole, through faults, and loaded again with the package and without it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hub import LoopbackHub

from tacfn_hf import TacfnConfig, TacfnForSequenceClassification
from tacfn_hf.sharing.hub import NEEDED, check_checkpoint, code_of


torch.set_num_threads(1)  # as in the processes that it starts: with others sums round differently

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "SecretOfTheLab" * 2
REPO = "lab/emotions"
OLDER = dict.fromkeys(
    ["NOTES.md", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "audio_encoder/older.json"], b"{}"
)
CARD = "---\nlibrary_name: transformers\npipeline_tag: multimodal-emotion-recognition\n---\n# A model\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.tokens = {TOKEN: "lab", "hf_of_the_user": "user"}
        hub.commit("other/emotions", {}, "main")
        hub.commit("lab/older", OLDER, "main")
        yield hub


@pytest.fixture(scope="module")
def run(hub, tmp_path_factory):
    """Runs a command in a process of a machine whose Hub is that on loopback."""
    environment = {**hub.environment(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(*command, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*map(str, command)],
            env={**environment, **more},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "h_a": torch.randn(2, 6, 32, generator=generator),
        "h_t": torch.randn(2, 4, 24, generator=generator),
    }


def logits_of(model: TacfnForSequenceClassification) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs()).logits


def make_model(seed: int) -> TacfnForSequenceClassification:
    torch.manual_seed(seed)
    config = TacfnConfig(
        audio_feature_size=32,
        text_feature_size=24,
        hidden_size=8,
        num_attention_heads=2,
        gate_hidden_size=4,
        initializer_range=0.5,
    )
    return TacfnForSequenceClassification(config)


@pytest.fixture(scope="module")
def checkpoints(processor, tmp_path_factory) -> tuple[Path, Path]:
    """Two versions of a model with its processor and a card, and with what training leaves beside them."""
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("checkpoint") / f"v{seed + 1}"
        make_model(seed).save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "README.md").write_text(CARD)
        (folder / "training_args.bin").write_bytes(b"\x80\x04a pickle")
        (folder / "predictions.parquet").write_bytes(b"ids of a corpus")
        (folder / "checkpoint-7").mkdir()
        (folder / "checkpoint-7" / "trainer_state.json").write_text("{}")
        folders.append(folder)
    return tuple(folders)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PUSH = """
import json, os, sys
import torch
from transformers import Trainer, TrainingArguments
from tacfn_hf import EmotionRecognitionPipeline, TacfnDataCollator, TacfnForSequenceClassification, TacfnProcessor
from tacfn_hf.sharing.hub import check_pushed, push_checkpoint
first, second, token, work, tests = sys.argv[1:]
sys.path.append(tests)
from tiny import make_features

def attempt(*arguments, call=push_checkpoint, **settings):
    try:
        return getattr(call(*arguments, **settings), "oid", None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

found = {"no token": attempt(first, "lab/emotions")}
os.environ["HF_TOKEN"] = "hf_unknown"
found["unknown token"] = attempt(first, "lab/emotions")
os.environ["HF_TOKEN"] = token
found["bad id"] = attempt(first, "lab/emo/tions")
found["someone else's"] = attempt(first, "other/emotions")
found["faults"] = [attempt(first, "lab/emotions") for _ in range(3)]
found["first"] = attempt(first, "lab/emotions")
found["again"] = attempt(first, "lab/emotions")
found["second"] = attempt(second, "lab/emotions")
found["branch"] = attempt(first, "lab/emotions", revision="v1")
found["older"] = attempt(first, "lab/older")
found["public"] = attempt(first, "lab/emotions", private=True)
found["equal"] = attempt(second, "lab/emotions", found["second"], call=check_pushed)
found["other logits"] = attempt(first, "lab/emotions", found["second"], call=check_pushed)
found["no such commit"] = attempt(first, "lab/emotions", "0" * 40, call=check_pushed)
model, processor = TacfnForSequenceClassification.from_pretrained(first), TacfnProcessor.from_pretrained(first)
model.push_to_hub("lab/both")
processor.push_to_hub("lab/both")
model.save_pretrained(work + "/saved", push_to_hub=True, repo_id="lab/saved")
processor.save_pretrained(work + "/saved", push_to_hub=True, repo_id="lab/saved")
EmotionRecognitionPipeline(model, processor).save_pretrained(work + "/piped", push_to_hub=True, repo_id="lab/piped")
settings = TrainingArguments(
    output_dir=work, push_to_hub=True, hub_model_id="lab/trained", max_steps=1, save_strategy="no", report_to="none",
    use_cpu=True, disable_tqdm=True, remove_unused_columns=False, label_names=["labels"],
)
rows = [{"h_a": torch.randn(3, 32), "h_t": torch.randn(2, 24), "label": i % 4} for i in range(8)]
trainer = Trainer(
    model=model, args=settings, train_dataset=rows, data_collator=TacfnDataCollator(), processing_class=processor
)
trainer.train()
trainer.push_to_hub()
make_features().save_to_disk(work + "/features")
from tacfn_hf.cli.main import main
main([
    "train", "--dataset", work + "/features", "--output_dir", work + "/run", "--processor_name", first,
    "--hidden_size", "8",
    "--num_attention_heads", "2", "--gate_hidden_size", "4", "--group_column", "session", "--test_groups", "4",
    "--valid_groups", "3", "--num_train_epochs", "1", "--push_to_hub", "true", "--hub_model_id", "lab/by-train",
    "--use_cpu", "--report_to", "none", "--disable_tqdm", "true",
])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pushed(hub, run, checkpoints, tmp_path_factory) -> dict:
    """What came of each push, and the folders before and after."""
    hub.faults = [500, 429, None]
    before = [content(folder) for folder in checkpoints]
    done = run(sys.executable, "-c", PUSH, *checkpoints, TOKEN, tmp_path_factory.mktemp("trained"), ROOT / "tests")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "unchanged": before == [content(folder) for folder in checkpoints], "output": done}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no token", "ValueError: There is no token for the Hub: run `hf auth login`, or set HF_TOKEN."),
        ("unknown token", "ValueError: The Hub does not know this token"),
        ("bad id", "ValueError: 'lab/emo/tions' is no name of a repository, which is user/name"),
        ("someone else's", "ValueError: This token may not write to other/emotions"),
        ("public", "ValueError: lab/emotions is there and public: make it private on the Hub"),
        ("other logits", "ValueError: The logits of lab/emotions at "),
        ("no such commit", f"ValueError: lab/emotions at {'0' * 40} can't be loaded from the Hub: "),
    ],
)
def test_what_is_refused(pushed, case, message):
    assert pushed[case].startswith(message)


def test_a_push_that_fails_changes_nothing_and_is_completed_by_the_next(pushed, hub):
    assert len(pushed["faults"]) == 3
    assert all(message.startswith("OSError: ") for message in pushed["faults"]), pushed["faults"]
    assert all("give the same command again" in message for message in pushed["faults"])
    assert pushed["unchanged"]
    assert len(pushed["first"]) == 40
    assert [commit.files for commit in hub.revisions[REPO][pushed["first"]].history] == [{}]  # one commit, or none


def test_the_repository_is_complete_and_holds_nothing_else(pushed, hub, checkpoints):
    files = set(hub.revisions[REPO][pushed["first"]].files)
    assert set(NEEDED) <= files
    assert {"model.safetensors", "audio_encoder/model.safetensors", "text_encoder/model.safetensors"} <= files
    kept = {name for name in content(checkpoints[0]) if not name.endswith((".bin", ".parquet"))}
    assert files == {name for name in kept if not name.startswith("checkpoint-")}


def test_the_token_is_nowhere(pushed, hub):
    assert TOKEN not in pushed["output"].stdout + pushed["output"].stderr
    for revisions in hub.revisions.values():
        assert not any(TOKEN.encode() in data for commit in revisions.values() for data in commit.files.values())


def test_pushing_the_same_again_changes_nothing(pushed):
    assert pushed["again"] == pushed["first"]
    assert pushed["equal"] is None


def test_weights_and_encoders_of_an_earlier_checkpoint_are_removed(pushed, hub):
    commit = hub.revisions["lab/older"][pushed["older"]]
    assert len(commit.history) == 1
    assert commit.files == {"NOTES.md": b"{}", **hub.revisions[REPO][pushed["first"]].files}


def test_a_branch_is_made(pushed, hub):
    assert hub.revisions[REPO]["v1"].hash == pushed["branch"]
    assert hub.revisions[REPO]["main"].hash == pushed["second"]


def test_training_pushes_once_and_with_its_card(pushed, hub):
    commit = hub.revisions["lab/by-train"]["main"]
    assert [older.files for older in commit.history] == [{}]
    assert {*NEEDED, "confusion.png", "beta.png"} <= set(commit.files)
    assert b"model-index:" in commit.files["README.md"]
    assert b'model="lab/by-train"' in commit.files["README.md"]
    assert not {"training_args.bin", "predictions.parquet", "metrics.json"} & set(commit.files)


@pytest.mark.parametrize("repo_id", ["lab/both", "lab/trained", "lab/saved", "lab/piped"])
def test_what_transformers_pushes_by_itself_is_complete(pushed, hub, tmp_path, repo_id):
    for name, data in hub.revisions[repo_id]["main"].files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    check_checkpoint(tmp_path)


FETCH = """
import json, sys
without, first, resaved, shared = sys.argv[1:]
if without == "True":
    sys.modules["tacfn_hf"] = None
    trust = {"trust_remote_code": True}
else:
    import tacfn_hf
    trust = {}
sys.path.append(shared)
import numpy as np, torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline
inputs = torch.load(resaved + ".inputs", weights_only=True)
def logits(model):
    with torch.no_grad():
        return model.eval()(**inputs).logits.tolist()
repo = "lab/emotions"
pinned = {"revision": first, **trust}
if trust:
    pinned["code_revision"] = first
model = AutoModel.from_pretrained(repo, **trust)
processor = AutoProcessor.from_pretrained(repo, **trust)
sound = np.sin(np.arange(8000) / 20).astype(np.float32)
recognizer = pipeline("multimodal-emotion-recognition", model=repo, **trust)
answer = recognizer({"audio": sound, "sampling_rate": 16000, "text": "What a day!"})
found = {
    "config": AutoConfig.from_pretrained(repo, **trust).model_type,
    "main": logits(model),
    "classifier": logits(AutoModelForSequenceClassification.from_pretrained(repo, **trust)),
    "first": logits(AutoModel.from_pretrained(repo, **pinned)),
    "features": processor(text="Oh.")["h_t"].shape[-1],
    "labels": len(answer["scores"]),
    "modules": [type(part).__module__.split(".")[0] for part in (model, processor, recognizer)],
}
inferred = pipeline(model=repo, **trust)  # with trust by config.json, without by the card
found["the task is inferred"] = inferred({"audio": sound, "sampling_rate": 16000, "text": "What a day!"}) == answer
model.save_pretrained(resaved)
processor.save_pretrained(resaved)
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=[True, False], ids=["without the package", "with the package"])
def fetched(request, pushed, run, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("fetched") / "resaved"
    torch.save(inputs(), f"{folder}.inputs")
    done = run(sys.executable, "-c", FETCH, request.param, pushed["first"], folder, ROOT / "tests")
    assert done.returncode == 0, done.stderr[-3000:]
    module = "transformers_modules" if request.param else "tacfn_hf"
    return {**json.loads(done.stdout.splitlines()[-1]), "folder": folder, "module": module}


def test_what_is_fetched_gives_the_same(fetched):
    assert fetched["config"] == "tacfn"
    assert fetched["modules"] == [fetched["module"]] * 3
    for name, seed in (("main", 1), ("classifier", 1), ("first", 0)):
        expected = logits_of(make_model(seed))
        assert (torch.tensor(fetched[name]) - expected).abs().max() < 1e-6, name
    assert fetched["features"] == 24
    assert fetched["labels"] == 4
    assert fetched["the task is inferred"]


def test_what_is_saved_again_is_complete(fetched, checkpoints):
    shutil.copy(checkpoints[0] / "README.md", fetched["folder"])
    check_checkpoint(fetched["folder"])
    assert (
        logits_of(TacfnForSequenceClassification.from_pretrained(fetched["folder"])) == logits_of(make_model(1))
    ).all()


COMMAND = "import sys; from tacfn_hf.cli.main import main; main(sys.argv[1:])"


def test_the_command_loads_what_it_has_pushed(run, hub, checkpoints):
    more = ["--private", "--commit_message", "Trained for longer"]
    done = run(sys.executable, "-c", COMMAND, "push", checkpoints[0], "lab/by-command", *more, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr[-3000:]
    commit = hub.revisions["lab/by-command"]["main"]
    assert commit.title == "Trained for longer"
    assert "lab/by-command" in hub.private
    assert f"pushed: {hub.endpoint}/lab/by-command/commit/{commit.hash}" in done.stdout
    assert "loaded again without this package: the logits are equal to 1e-6" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_the_command_says_what_is_wrong_in_one_line(run, checkpoints):
    done = run(sys.executable, "-c", COMMAND, "push", checkpoints[0], "other/emotions", HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert re.fullmatch("tacfn push: error: This token may not write to other/emotions: .*\n", done.stderr)
    assert TOKEN not in done.stdout + done.stderr


CODE = code_of({})  # of the fusion network
ENCODER_FILES = [
    f"{folder}/{name}" for folder in ("audio_encoder", "text_encoder") for name in ("config.json", "model.safetensors")
]


@pytest.mark.parametrize("name", [*NEEDED, *CODE, "model.safetensors", *ENCODER_FILES])
def test_a_file_that_is_missing_is_named(checkpoints, tmp_path, name):
    folder = shutil.copytree(checkpoints[0], tmp_path / "copy")
    check_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"is not complete, it lacks {name}: save the model and the processor"):
        check_checkpoint(folder)


def test_a_shard_that_is_missing_is_named(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints[0], tmp_path / "copy")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ValueError, match="it lacks model-00002-of-00002.safetensors:"):
        check_checkpoint(folder)


def test_a_processor_that_can_not_be_loaded_is_no_part_of_a_checkpoint(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints[0], tmp_path / "no vocabulary")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="can't be loaded: .*the file with its vocabulary is missing"):
        check_checkpoint(folder)
    folder = shutil.copytree(checkpoints[0], tmp_path / "no encoder")
    shutil.rmtree(folder / "audio_encoder")
    with pytest.raises(ValueError, match="can't be loaded: .*as its audio encoder and does not hold it"):
        check_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is no JSON: "):
        check_checkpoint(folder)


def test_folders_that_are_no_checkpoint(checkpoints, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        check_checkpoint(tmp_path / "nowhere")
    folder = shutil.copytree(checkpoints[0], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config.json has no auto_map"):
        check_checkpoint(folder)


def test_every_file_of_the_model_is_wanted():
    code = {path.name for path in (ROOT / "tacfn_hf" / "model").glob("*.py")} - {"__init__.py"}
    place = "modeling_dual_encoder_tacfn.TacfnDualEncoderForSequenceClassification"
    assert set(code_of({"auto_map": {"AutoModel": place}})) == code
    of_encoders = {"configuration_dual_encoder_tacfn.py", "modeling_dual_encoder_tacfn.py"}
    assert set(CODE) == code - of_encoders


def test_the_page_about_sharing_word_for_word(run, hub, checkpoints, tmp_path):
    page = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks] == ["bash", "python", "python"]
    shutil.copytree(checkpoints[0], tmp_path / "runs" / "ravdess-0")
    soundfile.write(tmp_path / "hello.wav", np.sin(np.arange(9000) / 15), 16000)
    environment = {"HF_TOKEN": "hf_of_the_user", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    prefixes = ["", "import sys; sys.modules['tacfn_hf'] = None\n", ""]
    for (kind, block), prefix in zip(blocks, prefixes, strict=True):
        command = ["bash", "-e"] if kind == "bash" else [sys.executable]
        done = run(*command, "-c", prefix + block, cwd=tmp_path, **environment)
        assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
    assert "user/ravdess-emotions-again" in hub.revisions
