"""A Space on the Hub that runs the demo of a model."""

import json
import os
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import SpaceCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..writing import replacing
from .demo import MODEL


# What the code that travels with a model needs. Of gradio, a Space has the version that its README.md names.
REQUIREMENTS = ("torch", "transformers", "soundfile", "soxr", "av")


def write_space(folder: str | os.PathLike, model: str) -> None:
    """
    Writes the three files of a Space: `app.py`, `requirements.txt` and `README.md`.

    Args:
        folder: a new or an empty one.
        model: the id of a model on the Hub, as `tacfn push` uploads it.

    Raises:
        ValueError: the model is a folder here, or the folder of the Space has files in it.
    """
    folder = Path(folder)
    try:
        validate_repo_id(model)
    except HFValidationError:
        model_is_id = False
    else:
        model_is_id = model.count("/") == 1 and not os.path.isdir(model)
    if not model_is_id:
        raise ValueError(f"{model} is no id on the Hub, user/name, which a Space needs: upload it with tacfn push.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose a new folder, or an empty one.")
    code = Path(__file__).with_name("demo.py").read_text("utf-8")
    name = model.split("/")[1]
    head = SpaceCardData(title=name, sdk="gradio", sdk_version=version("gradio"), app_file="app.py", models=[model])
    files = {
        "app.py": code.replace(f"MODEL = {json.dumps(MODEL)}", f"MODEL = {json.dumps(model)}", 1),
        "requirements.txt": "".join(f"{name}=={version(name).split('+')[0]}\n" for name in REQUIREMENTS),
        "README.md": f"---\n{head.to_yaml()}\n---\n\nThe demo of {model}: emotions from audio and text.\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
