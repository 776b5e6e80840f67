"""
Encoders and checkpoints from the Hub: pinned to commits, offline, and without the package.

Each process takes seconds to start. A fixture is the report of one process.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from hostile import with_code
from hub import LoopbackHub
from stock_encoders import save_whisper
from tiny import save_speech_encoder, save_text_encoder
from transformers import BertModel

from tacfn_hf import TacfnProcessor


CONVERSION = "Adding `safetensors` variant of this model"  # the title by which the bot's pull request is known
BOT = "SFconvertbot"

PRELUDE = """
import hashlib, json, sys
import numpy as np, torch

def digests(batch):
    return {name: hashlib.sha256(batch["h_" + name].numpy().tobytes()).hexdigest() for name in "at"}

def batch_of(processor):
    return processor(text="What a day!", audio=np.sin(np.arange(5000, dtype=np.float32)), sampling_rate=16000)

def report(processor):
    revisions = {"a": processor.audio_provenance["revision"], "t": processor.text_provenance["revision"]}
    return {"features": digests(batch_of(processor)), "revisions": revisions}

def attempt(function, *arguments, **settings):
    try:
        return report(function(*arguments, **settings))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}

def logits_of(model, processor):
    with torch.no_grad():
        return model.eval()(**batch_of(processor)).logits.tolist()

def pause():
    print("paused", flush=True)
    sys.stdin.readline()
"""

MAKE = """
from tacfn_hf import TacfnConfig, TacfnForSequenceClassification, TacfnProcessor
folder, second, empty_cache = sys.argv[1:]
make = TacfnProcessor.from_encoders
processor = make("lab/text", "lab/speech")
found = {"main": report(processor)}
processor.save_pretrained(folder + "/plain")
processor.save_pretrained(folder + "/whole", save_encoders=True)
torch.manual_seed(0)
config = TacfnConfig(
    audio_feature_size=32, text_feature_size=24, hidden_size=16, num_attention_heads=2, initializer_range=0.5
)
model = TacfnForSequenceClassification(config)
model.save_pretrained(folder + "/whole")
found["logits"] = logits_of(model, processor)
found["named"] = attempt(make, "lab/text", "lab/speech", text_revision="v2", audio_revision=second)
found["converted"] = attempt(make, "lab/pickled", "lab/speech")
if "error" not in found["converted"]:
    make("lab/pickled", "lab/speech").save_pretrained(folder + "/converted")
whisper = make("lab/text", "lab/whisper")
whisper.save_pretrained(folder + "/whisper", save_encoders=True)
found["whisper"] = report(whisper)
found["custom"] = attempt(make, "lab/custom", "lab/speech")
found["bad"] = {
    "text id": attempt(make, "lab/nothing", "lab/speech"),
    "audio id": attempt(make, "lab/text", "lab/nothing"),
    "text revision": attempt(make, "lab/text", "lab/speech", text_revision="v9"),
    "audio revision": attempt(make, "lab/text", "lab/speech", audio_revision="v9"),
    "unconverted": attempt(make, "lab/unconverted", "lab/speech"),
    "impostor": attempt(make, "lab/impostor", "lab/speech"),
    "older": attempt(make, "lab/pickled", "lab/speech", text_revision="v0"),
}
pause()
load, there = TacfnProcessor.from_pretrained, {"cache_dir": empty_cache}  # the old commits must be asked for
found["later"] = {name: attempt(load, folder + "/" + name, **there) for name in ("plain", "converted")}
found["later"]["anew"] = attempt(make, "lab/text", "lab/speech", **there)
print(json.dumps(found))
"""

OFFLINE = """
from tacfn_hf import TacfnProcessor
folder = sys.argv[1]
found = {"plain": attempt(TacfnProcessor.from_pretrained, folder + "/plain")}
found["anew"] = attempt(TacfnProcessor.from_encoders, "lab/text", "lab/speech")
print(json.dumps(found))
"""

FOLDER_WITHOUT_THE_PACKAGE = """
sys.modules["tacfn_hf"] = None  # an import of it raises
from transformers import AutoModel, AutoProcessor
folder = sys.argv[1] + "/whole"
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
modules = [type(processor).__module__, type(model).__module__]
found = {"whole": report(processor), "logits": logits_of(model, processor), "modules": modules}
found["whisper"] = report(AutoProcessor.from_pretrained(sys.argv[1] + "/whisper", trust_remote_code=True))
print(json.dumps(found))
"""

HUB_WITHOUT_THE_PACKAGE = """
sys.modules["tacfn_hf"] = None
from transformers import AutoModel, AutoProcessor
first, resaved = sys.argv[1:]
load = AutoProcessor.from_pretrained
processor = load("lab/checkpoint", trust_remote_code=True)
direct = type(processor).from_pretrained("lab/checkpoint", trust_remote_code=True)
model = AutoModel.from_pretrained("lab/checkpoint", trust_remote_code=True)
modules = [type(processor).__module__, type(model).__module__]
pause()  # nothing has asked for the encoders' weights yet
found = {"loaded": report(processor), "direct": report(direct), "modules": modules}
found["logits"] = logits_of(model, processor)
second = load("lab/checkpoint", trust_remote_code=True)
found["second"] = report(second)
found["first"] = report(load("lab/checkpoint", revision=first, trust_remote_code=True))
second.save_pretrained(resaved)
found["resaved"] = attempt(load, resaved, trust_remote_code=True)
print(json.dumps(found))
"""


CACHED = """
from tacfn_hf import TacfnProcessor
print(json.dumps({"second": report(TacfnProcessor.from_pretrained("lab/checkpoint"))}))
"""


class Refusal(BaseHTTPRequestHandler):
    """A proxy that lets nothing through, and remembers what was asked for."""

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(403)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def proxy() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        server.asked = []
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(root) -> Iterator[LoopbackHub]:
    """
    lab/text, with other weights at v2; lab/speech; lab/whisper; lab/pickled, without safetensors but with the bot's
    pull request on its main, on which a stranger's was opened as well; lab/unconverted without; lab/impostor with the
    stranger's; lab/custom, whose config names code.
    """
    text, other_text = save_text_encoder(root / "text"), save_text_encoder(root / "other text", intermediate_size=40)
    with LoopbackHub() as hub:
        hub.add("lab/text", text)
        hub.add("lab/text", other_text, ref="v2")
        hub.add("lab/speech", save_speech_encoder(root / "speech"))
        hub.add("lab/speech", save_speech_encoder(root / "other speech", intermediate_size=48), ref="v2")
        hub.add("lab/whisper", save_whisper(root / "whisper on the hub", chunk_length=3))
        hub.add("lab/pickled", pickled(other_text, root / "pickled before"))
        hub.revisions["lab/pickled"]["v0"] = hub.revisions["lab/pickled"]["main"]
        for name in ("pickled", "unconverted", "impostor"):
            hub.add(f"lab/{name}", pickled(text, root / name))
        hub.add("lab/pickled", text, ref="refs/pr/1")
        hub.add_pull_request("lab/pickled", CONVERSION, BOT, ref="refs/pr/1")
        for name, number in (("pickled", 2), ("impostor", 1)):
            hub.add(f"lab/{name}", other_text, ref=f"refs/pr/{number}")
            hub.add_pull_request(f"lab/{name}", CONVERSION, "stranger", ref=f"refs/pr/{number}")
        hub.add("lab/custom", with_code(save_text_encoder(root / "custom"), root / "custom ran"))
        yield hub


def pickled(encoder: Path, folder: Path) -> Path:
    """The encoder with pytorch_model.bin instead of safetensors."""
    folder.mkdir()
    torch.save(BertModel.from_pretrained(encoder).state_dict(), folder / "pytorch_model.bin")
    for file in encoder.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(hub, proxy, root) -> Callable[..., dict]:
    """
    Runs a script in a fresh process with the Hub's cache in the folder `home`. Returns the JSON that it prints last,
    with the requests that reached the Hub.
    """

    def run(script: str, *arguments: object, home: str, meanwhile: Callable[[], object] | None = None, **environment):
        environment = hub.environment(root / home) | environment
        environment |= {
            "https_proxy": f"http://127.0.0.1:{proxy.server_port}",
            "DISABLE_SAFETENSORS_CONVERSION": "true",
        }
        asked = len(hub.requests)
        folder = root / "working directory"
        folder.mkdir(exist_ok=True)
        with open(root / f"{home}.log", "w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PRELUDE + script, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=environment,
            )
            if meanwhile is not None:
                while (line := process.stdout.readline()) and not line.endswith("paused\n"):
                    pass
                meanwhile()
            output, _ = process.communicate("\n", timeout=100)
            log.seek(0)
            assert process.returncode == 0, log.read()[-4000:]
        return json.loads(output.splitlines()[-1]) | {"requests": hub.requests[asked:]}

    return run


@pytest.fixture(scope="module")
def commits(hub) -> dict[str, str]:
    """The Hub's commits before anything moves, by "repository revision"."""
    return {
        f"{repo_id.removeprefix('lab/')} {revision}": commit.hash
        for repo_id, revisions in hub.revisions.items()
        for revision, commit in revisions.items()
    }


@pytest.fixture(scope="module")
def moved() -> dict[str, str]:
    """The commits by which other weights come to main, and into the bot's pull request, once `made` has saved."""
    return {}


@pytest.fixture(scope="module")
def made(run, hub, commits, moved, root) -> dict:
    """
    From a process that makes processors of encoders on the Hub and saves them, one with its encoders and a model; and
    that loads them again after main has moved, from an empty cache.
    """

    def move() -> None:
        hub.add("lab/pickled", root / "other text", ref="refs/pr/1")
        moved.update({name: hub.add(f"lab/{name}", root / f"other {name}") for name in ("text", "speech")})

    return run(MAKE, root, commits["speech v2"], root / "later", home="filled", meanwhile=move)


@pytest.fixture(scope="module")
def later(made) -> dict:
    """What `made` loads after main has moved."""
    return made["later"]


@pytest.fixture(scope="module")
def offline(run, made, root) -> dict:
    """From a process without a network, with the cache that `made` filled."""
    return run(OFFLINE, root, home="filled", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def from_folder(run, made, root) -> dict:
    """From a process without a network, a cache or the package."""
    return run(FOLDER_WITHOUT_THE_PACKAGE, root, home="empty", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def from_hub(hub, run, made, root) -> dict:
    """
    From a process without the package, that loads a checkpoint from the Hub, whose main then gets another one, of
    encoders in folders. In both the text encoder's config names code.
    """
    first, second = root / "first checkpoint", root / "second checkpoint"
    shutil.copytree(root / "whole", first)
    TacfnProcessor.from_encoders(root / "other text", root / "other speech").save_pretrained(second)
    for folder in (first, second):
        with_code(folder / "text_encoder", root / "planted code ran")
        shutil.copy(folder / "text_encoder" / "planted.py", folder)  # where transformers would look for it
    commit = hub.add("lab/checkpoint", first)
    return run(
        HUB_WITHOUT_THE_PACKAGE,
        commit,
        root / "resaved",
        home="from hub",
        meanwhile=lambda: hub.add("lab/checkpoint", second),
    )


def test_a_branch_is_remembered_as_its_commit(made, commits):
    assert made["main"]["revisions"] == {"a": commits["speech main"], "t": commits["text main"]}
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in made["main"]["revisions"].values())


def test_a_branch_and_a_commit_can_be_asked_for(made, later, commits):
    assert made["named"]["revisions"] == {"a": commits["speech v2"], "t": commits["text v2"]}
    for name in ("a", "t"):
        assert made["named"]["features"][name] != made["main"]["features"][name]
        # what main has later is what v2 had before
        assert made["named"]["features"][name] == later["anew"]["features"][name]


def test_a_saved_processor_stays_at_its_commit_when_main_moves(made, later, moved):
    assert later["anew"]["revisions"] == {"a": moved["speech"], "t": moved["text"]}
    assert later["plain"] == made["main"]


@pytest.mark.slow
def test_without_a_network_the_cache_is_enough(made, offline):
    assert offline["plain"] == made["main"]
    assert offline["anew"] == made["main"]
    assert offline["requests"] == []


@pytest.mark.slow
def test_a_checkpoint_with_its_encoders_needs_no_network_no_cache_and_no_package(made, from_folder):
    assert all(module.startswith("transformers_modules.") for module in from_folder["modules"])
    assert from_folder["whole"] == made["main"]
    assert np.allclose(from_folder["logits"], made["logits"], atol=1e-5)
    assert from_folder["requests"] == []


@pytest.mark.slow
def test_whisper_comes_from_the_hub_and_is_saved_with_the_rest(made, from_folder, commits, root):
    assert made["whisper"]["revisions"]["a"] == commits["whisper main"]
    assert from_folder["whisper"] == made["whisper"]
    assert (root / "whisper" / "audio_encoder" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_checkpoint_on_the_hub_gives_the_same_without_the_package(made, from_hub):
    assert all(module.startswith("transformers_modules.") for module in from_hub["modules"])
    assert from_hub["loaded"] == made["main"]
    assert np.allclose(from_hub["logits"], made["logits"], atol=1e-5)
    assert {path.split("/resolve/")[0] for _, path in from_hub["requests"] if "/resolve/" in path} == {
        "/lab/checkpoint"
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loaded", "direct", "first"])
def test_a_checkpoint_on_the_hub_keeps_the_encoders_of_its_commit(made, from_hub, name):
    assert from_hub[name] == made["main"]


@pytest.mark.slow
def test_a_checkpoint_loaded_after_a_push_has_its_own_encoders(made, from_hub):
    assert from_hub["second"]["features"] == made["named"]["features"]
    assert all(revision.startswith("sha256:") for revision in from_hub["second"]["revisions"].values())


@pytest.mark.slow
def test_without_a_network_the_cache_of_a_checkpoint_is_enough(run, from_hub):
    cached = run(CACHED, home="from hub", HF_HUB_OFFLINE="1")
    assert cached == {"second": from_hub["second"], "requests": []}


@pytest.mark.slow
def test_encoders_that_the_hub_does_not_have_are_saved_again(from_hub, root):
    assert from_hub["resaved"] == from_hub["second"]
    assert (root / "resaved" / "audio_encoder" / "model.safetensors").is_file()


def test_code_that_an_encoder_on_the_hub_brings_is_never_run(made, root):
    assert not (root / "custom ran").exists()
    assert made["custom"]["features"] == made["main"]["features"]


@pytest.mark.slow
def test_code_that_an_encoder_brings_is_not_run_where_the_checkpoint_is_trusted(made, from_hub, root):
    assert not (root / "planted code ran").exists()
    assert from_hub["loaded"]["features"] == made["main"]["features"]


def test_the_bots_pull_request_stands_in_for_pickled_weights(made, later, commits):
    assert made["converted"]["revisions"]["t"] == commits["pickled refs/pr/1"]
    assert made["converted"]["features"] == made["main"]["features"]
    assert later["converted"] == made["converted"]  # though the pull request has moved on


@pytest.mark.parametrize(
    ("name", "repo_id"), [("unconverted", "lab/unconverted"), ("impostor", "lab/impostor"), ("older", "lab/pickled")]
)
def test_pickled_weights_without_a_conversion_of_them_are_an_error(made, name, repo_id):
    error = made["bad"][name].get("error", "")
    assert error.startswith(f"ValueError: The text encoder {repo_id!r} has no safetensors weights at revision")


def test_pickled_weights_are_never_asked_for(hub, proxy, made, later):
    assert any("lab/pickled" in path for _, path in hub.requests)
    assert not [path for _, path in hub.requests if ".bin" in path]
    assert proxy.asked == []  # nor is the service asked that would convert them


@pytest.mark.parametrize(
    ("name", "start", "reason"),
    [
        ("text id", "ValueError: The text encoder 'lab/nothing' can't be loaded", "not a valid model identifier"),
        ("audio id", "ValueError: The audio encoder 'lab/nothing' can't be loaded", "not a valid model identifier"),
        ("text revision", "ValueError: The text encoder 'lab/text' can't be loaded", "v9 is not a valid git"),
        ("audio revision", "ValueError: The audio encoder 'lab/speech' can't be loaded", "v9 is not a valid git"),
    ],
)
def test_what_the_hub_does_not_have_is_named(made, name, start, reason):
    error = made["bad"][name].get("error", "")
    assert error.startswith(start)
    assert reason in error
