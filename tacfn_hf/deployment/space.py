"""A Space on the Hub that runs the demo of a model."""

import json
import os
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import SpaceCardData

from ..sharing.hub import check_repo_id
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
        ValueError: the model is a folder here, or no id that the Hub can have; or the folder of the Space is not empty.
    """
    folder = Path(folder)
    if os.path.isdir(model):
        raise ValueError(f"{model} is a folder here: a Space needs a model on the Hub, where tacfn push uploads it.")
    check_repo_id(model)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose a new folder, or an empty one.")
    code = Path(__file__).with_name("demo.py").read_text("utf-8")
    title = model.split("/")[-1]
    head = SpaceCardData(title=title, sdk="gradio", sdk_version=version("gradio"), app_file="app.py", models=[model])
    files = {
        "app.py": code.replace(f"MODEL = {json.dumps(MODEL)}", f"MODEL = {json.dumps(model)}", 1),
        "requirements.txt": "".join(f"{name}=={version(name).split('+')[0]}\n" for name in REQUIREMENTS),
        "README.md": f"---\n{head.to_yaml()}\n---\n\nThe demo of {model}: emotions from audio and text.\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
