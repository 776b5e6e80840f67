"""A checkpoint goes to the Hub whole, in one commit, and is loaded again from there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import filter_repo_objects, validate_repo_id
from transformers import AutoModelForSequenceClassification
from transformers.dynamic_module_utils import get_relative_import_files
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..model.processing_tacfn import ENCODER_FOLDERS, TacfnProcessor
from ..writing import read_json


CODE = Path(__file__).parents[1] / "model"


NEEDED = ["config.json", "processor_config.json", "tokenizer_config.json", "README.md"]


# No pickles (training_args.bin); no predictions and metrics.json, which hold ids of a corpus and paths of a machine.
SHARED = ["*.json", "*.safetensors", "*.py", "*.md", "*.png", "*.txt", "*.model"]


NOT_SHARED = ["checkpoint-*/*", "metrics.json", "trainer_state.json", ".*"]


# Left in the repository by an earlier push, these would be read in place of what the folder has.
REPLACED = ["model*.safetensors*", *(f"{folder}/*" for folder in ENCODER_FOLDERS.values())]


TOLERANCE = 1e-6


# In a process of its own, where the package can't be imported: whoever loads it may not have it.
LOAD = """
import json, sys
sys.modules["tacfn_hf"] = None
import torch
from transformers import AutoModel, AutoProcessor
repo_id, commit = sys.argv[1:]
pinned = {"revision": commit, "code_revision": commit, "trust_remote_code": True}
model = AutoModel.from_pretrained(repo_id, **pinned).eval()
AutoProcessor.from_pretrained(repo_id, **pinned)
torch.manual_seed(0)
h_a, h_t = (torch.randn(2, 5, size) for size in (model.config.audio_feature_size, model.config.text_feature_size))
with torch.no_grad():
    logits = model(h_a=h_a, h_t=h_t).logits
    size = sum(weight.double().abs().sum() for weight in model.parameters())  # of encoders too, where it has them
print(json.dumps([logits.tolist(), float(size)]))
"""


def code_of(config: dict[str, Any]) -> list[str]:
    """The names of the files of code that a checkpoint with this config.json needs."""
    module = config.get("auto_map", {}).get("AutoModel", "modeling_tacfn.TacfnForSequenceClassification").split(".")[0]
    file = CODE / f"{module}.py"
    if not file.is_file():
        return []
    return sorted({Path(path).name for path in (file, *get_relative_import_files(str(file)))})


def missing_weights(folder: Path) -> list[str]:
    """Names of the weight files that a folder should hold, and does not."""
    if not (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        return [] if (folder / SAFE_WEIGHTS_NAME).is_file() else [SAFE_WEIGHTS_NAME]
    shards = set(read_json(folder / SAFE_WEIGHTS_INDEX_NAME)["weight_map"].values())
    return sorted(name for name in shards if not (folder / name).is_file())


def check_checkpoint(folder: str | os.PathLike) -> None:
    """
    The folder holds all that others need: weights, config, processor, code, card.

    Raises:
        ValueError: a file is missing, the config does not name the code, or the processor can't be loaded.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"The checkpoint {folder} is not a folder.")
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    missing = [name for name in (*NEEDED, *code_of(config)) if not (folder / name).is_file()]
    missing += missing_weights(folder)
    for encoder in ENCODER_FOLDERS.values():
        if (folder / encoder).is_dir():
            missing += [f"{encoder}/{name}" for name in missing_weights(folder / encoder)]
            missing += [f"{encoder}/config.json"] * (not (folder / encoder / "config.json").is_file())
    if missing:
        raise ValueError(
            f"The checkpoint {folder} is not complete, it lacks {', '.join(missing)}: save the model and the processor "
            "into it, and write a card, as tacfn train does."
        )
    if "auto_map" not in config:
        raise ValueError(f"{folder / 'config.json'} has no auto_map: save the model anew with save_pretrained.")
    try:
        TacfnProcessor.from_pretrained(folder)  # it says where it lacks a vocabulary, a setting or an encoder
    except (ValueError, OSError) as error:
        raise ValueError(f"The processor in {folder} can't be loaded: {error}") from error


def find_changes(folder: Path, there: list[str]) -> list[CommitOperationAdd | CommitOperationDelete]:
    """What makes a repository, in which those files are, one of the folder's checkpoint."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = list(filter_repo_objects(names, allow_patterns=SHARED, ignore_patterns=NOT_SHARED))
    stale = sorted(set(filter_repo_objects(there, allow_patterns=REPLACED)) - set(names))
    return [
        *(CommitOperationDelete(name, is_folder=False) for name in stale),
        *(CommitOperationAdd(name, folder / name) for name in names),
    ]


def check_repo_id(repo_id: str) -> None:
    """A ValueError unless a repository on the Hub can have this id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository, which is user/name: {error}") from error


def push_checkpoint(
    folder: str | os.PathLike,
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model, processor and code",
    token: str | None = None,
) -> CommitInfo:
    """
    Uploads a complete checkpoint in one commit: all of it is there, or none. The folder is left as it is, and so is
    the repository where it is the same already. Weights and encoders of an earlier checkpoint are removed from it.

    Args:
        folder: see `check_checkpoint`. Pickles, intermediate checkpoints and predictions stay here.
        repo_id: `user/name`; made where it does not exist.
        private: of a repository that is made. True: one that is there must be private too.
        revision: a branch; made where it does not exist.
        token: of the Hub; None: the one of `hf auth login` or HF_TOKEN.

    Raises:
        ValueError: an incomplete folder, a bad id, no token, or one that may not write there, a public repository where
            a private one is wanted, or a card that the Hub does not accept.
        OSError: the Hub did not take it. The same command again completes it.
    """
    check_checkpoint(folder)
    check_repo_id(repo_id)
    token = token or get_token()
    if token is None:
        raise ValueError("There is no token for the Hub: run `hf auth login`, or set HF_TOKEN.")
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = api.model_info(repo_id, revision=revision)
        if private and not there.private:
            raise ValueError(f"{repo_id} is there and public: make it private on the Hub, or push to another name.")
        # Not upload_folder: with hf_xet it divides a commit that failed, and leaves half a checkpoint.
        return api.create_commit(
            repo_id=repo_id,
            operations=find_changes(Path(folder), [file.rfilename for file in there.siblings or []]),
            revision=revision,
            commit_message=commit_message,
        )
    except ValueError:
        raise
    except Exception as error:  # versions of huggingface_hub differ in their HTTP library and its classes
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401:
            raise ValueError("The Hub does not know this token: run `hf auth login` anew, or set HF_TOKEN.") from None
        if status in (403, 404):
            raise ValueError(
                f"This token may not write to {repo_id}: give a repository of yours, or a token that may write there."
            ) from None
        reason = f"it answered {status}" if status else str(error)
        raise OSError(
            f"The Hub did not take {repo_id} ({reason}): nothing of {folder} was changed, give the same command again."
        ) from error


def check_pushed(folder: str | os.PathLike, repo_id: str, commit: str) -> None:
    """
    Loads a commit from the Hub in a new process without this package, and compares its logits with the folder's.

    Raises:
        ValueError: it can't be loaded, or the logits differ by more than 1e-6.
    """
    command = [sys.executable, "-c", LOAD, repo_id, commit]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{repo_id} at {commit} can't be loaded from the Hub: {last}")
    logits, found_size = json.loads(run.stdout.strip().splitlines()[-1])
    found = torch.tensor(logits)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.manual_seed(0)
    h_a, h_t = (torch.randn(2, 5, size) for size in (model.config.audio_feature_size, model.config.text_feature_size))
    with torch.no_grad():
        expected = model(h_a=h_a, h_t=h_t).logits
        size = float(sum(weight.double().abs().sum() for weight in model.parameters()))
    if found.shape != expected.shape or not torch.allclose(found, expected, atol=TOLERANCE, rtol=0):
        raise ValueError(f"The logits of {repo_id} at {commit} are not those of {folder}: they must be equal to 1e-6.")
    if abs(found_size - size) > TOLERANCE * size:
        raise ValueError(f"The weights of {repo_id} at {commit} are not those of {folder}.")
