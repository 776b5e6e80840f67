"""Where pretrained encoders and saved processors are: on the Hub at a commit, in a folder, in a fine-tuned model."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, PreTrainedConfig
from transformers.safetensors_conversion import get_conversion_pr_reference
from transformers.utils import (
    AUDIO_TOKENIZER_NAME,
    CONFIG_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    is_env_variable_true,
)
from transformers.utils.hub import cached_file, extract_commit_hash, has_file

from .exact_speech_encoders_tacfn import SPEECH_ENCODERS


# The folders of a saved processor that hold its encoders.
ENCODER_FOLDERS = {"audio": "audio_encoder", "text": "text_encoder"}
# Files of an encoder's folder, besides the weights, that its features depend on; and what trainings leave beside them.
SETTINGS_SUFFIXES = (".json", ".txt", ".model")
NO_SETTINGS = ("metrics.json", "trainer_state.json")
# The Hub's bot that adds safetensors weights to repositories, and the title of its pull requests.
CONVERSION_BOT = "SFconvertbot"
CONVERSION_TITLE = "Adding `safetensors` variant of this model"


class EncoderSource(NamedTuple):
    """Where an encoder is: a Hub id or a folder, the commit, the subfolder, and how to reach the Hub."""

    name_or_path: str
    revision: str | None = None
    subfolder: str = ""
    token: str | bool | None = None
    cache_dir: str | None = None
    local_files_only: bool = False

    def arguments(self) -> dict[str, Any]:
        """Arguments of every `from_pretrained`, besides the name. The encoder's own code is never run."""
        return {**self.hub_arguments(), "trust_remote_code": False}

    def hub_arguments(self) -> dict[str, Any]:
        """Arguments of `cached_file`, besides the name."""
        arguments = self._asdict()
        del arguments["name_or_path"]
        return arguments


def choose_encoder(
    source: EncoderSource, modality: str, layer: int | Sequence[int], dtype: str, settings: Mapping[str, bool]
) -> tuple[EncoderSource, dict[str, Any], dict[str, list[str]]]:
    """
    Args:
        source, modality: as in `find_encoder`.
        layer: as in `resolve_layer`.
        dtype: what the encoder computes in.
        settings: `pad_to_30s` for audio, `add_special_tokens` for text.

    Returns:
        The pinned source, the provenance of the features, and the `tuned_rows` of an encoder that was tuned.

    Raises:
        ValueError: as `find_encoder` and `resolve_layer`, or settings that do not go with the encoder.
    """
    name = source.name_or_path
    pinned, config, revision = find_encoder(source, modality)
    model = model_of(pinned)
    tuned = [] if model is None else model[f"{modality}_layer"]
    tuned = tuned if isinstance(tuned, list) else [tuned]
    if layer in (-1, [-1]) and len(tuned) == 1:
        layer = tuned[0]  # of layer 0 the model has one more layer, which its features do not come from
    provenance = {
        "encoder": os.path.basename(os.path.abspath(name)) if os.path.isdir(name) else name,
        "revision": revision,
        "layer": resolve_layer(layer, config.num_hidden_layers, modality),
        "dtype": dtype,
    }
    if not settings.get("pad_to_30s", True) and config.model_type != "whisper":
        raise ValueError(
            f"pad_to_30s is False: it is for Whisper, and the audio encoder {name!r} is a {config.model_type} model, "
            "which never fills audio up."
        )
    provenance |= {name: value for name, value in settings.items() if name != "pad_to_30s" or not value}
    if model is None:
        return pinned, provenance, {}
    made = model.get(f"{modality}_provenance") or {}
    for setting, value in settings.items():
        if made.get(setting, True) != value:
            raise ValueError(
                f"{setting} is {value}: the {modality} encoder of {name} was tuned with {made[setting]}; give the same."
            )
    if len(tuned) > 1 and (layer == -1 or model.get("learn_layer_weights")):
        remedy = f"give {modality}_layer {tuned}"
        if model.get("learn_layer_weights"):
            remedy = "take its own processor, with from_model, or as --processor_name"
        raise ValueError(f"The {modality} encoder of {name} was tuned with several layers, {tuned}: {remedy}.")
    if "tuned_on" not in made:
        return pinned, provenance, {}  # its encoder stayed as it was
    provenance["tuned_on"] = made["tuned_on"]
    file = cached_file(name, PROCESSOR_NAME, **where_of(pinned.hub_arguments()))
    saved = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    return pinned, provenance, saved.get("tuned_rows") or {}


def find_encoder(source: EncoderSource, modality: str) -> tuple[EncoderSource, PreTrainedConfig, str | None]:
    """
    Finds an encoder and pins it to its present state.

    If the wanted revision has no safetensors weights (such as `microsoft/wavlm-base-plus`), the pull request is used in
    which the Hub's conversion bot adds them.

    Args:
        source: a Hub id or a folder; its revision may be a branch or a tag.
        modality: "audio" or "text".

    Returns:
        The pinned source, the encoder's config, and the revision for the provenance: the commit of a Hub repository, or
        "sha256:..." over the files of a folder.

    Raises:
        ValueError: there is no model, it is of the wrong kind, or it has no safetensors weights.
    """
    config = load_config(source, modality)
    if os.path.isdir(source.name_or_path):
        folder = Path(source.name_or_path, source.subfolder)
        if not any(folder.glob("*.safetensors")):
            raise ValueError(
                f"The {modality} encoder {folder} holds no .safetensors file: save the model with save_pretrained; "
                "pickled weights are never read."
            )
        revision = hash_of_folder(folder)
        return source._replace(revision=revision), config, revision
    pinned = source._replace(revision=find_commit(source))
    if not has_safetensors(pinned):
        try:
            pinned = pinned._replace(revision=find_conversion(pinned))
        except Exception as error:  # the network, the Hub and the bot raise errors of many classes
            raise ValueError(
                f"The {modality} encoder {source.name_or_path!r} has no safetensors weights at revision "
                f"{pinned.revision}, and no conversion of them was found: {error}"
            ) from error
    return pinned, load_config(pinned, modality), pinned.revision


def find_saved_encoder(name: str, modality: str, provenance: dict[str, Any], **settings) -> EncoderSource:
    """
    Where the encoder of a saved processor is: inside of it, or on the Hub at the commit that its provenance names.

    Args:
        name: the Hub id or the folder of the saved processor.
        modality: "audio" or "text".
        provenance: what the saved processor says about its encoder. A folder named there is never opened.
        settings: the keyword arguments of `from_pretrained`.

    Raises:
        ValueError: the processor neither holds the encoder nor names one on the Hub.
    """
    hub: dict[str, Any] = {key: settings.get(key) for key in ("token", "cache_dir")}
    hub["local_files_only"] = settings.get("local_files_only", False)
    parent, revision = settings.get("subfolder", ""), settings.get("revision")
    subfolder = f"{parent}/{ENCODER_FOLDERS[modality]}" if parent else ENCODER_FOLDERS[modality]
    if has_file(name, f"{subfolder}/{CONFIG_NAME}", revision=revision, **hub):
        # Pinned, since it is loaded later and shared. By then another checkpoint may be in this place.
        source = EncoderSource(name, revision, subfolder, **hub)
        return source._replace(revision=find_commit(source) or provenance.get("revision"))
    if "encoder" not in provenance:
        raise ValueError(f"{name} neither holds its {modality} encoder nor names one: it is no saved TacfnProcessor.")
    source = EncoderSource(str(provenance["encoder"]), provenance.get("revision"), **hub)
    if str(source.revision).startswith("sha256:") or os.path.isdir(source.name_or_path):
        raise ValueError(
            f"{name} names a folder, {source.name_or_path!r}, as its {modality} encoder and does not hold it: save the "
            "processor with save_encoders=True, or make it anew with from_encoders."
        )
    try:
        validate_repo_id(source.name_or_path)
    except HFValidationError as error:  # a path, where a folder may appear before the encoder is used
        raise ValueError(
            f"{name} names {source.name_or_path!r} as its {modality} encoder: it must be a name on the Hub."
        ) from error
    return source


def load_config(source: EncoderSource, modality: str) -> PreTrainedConfig:
    """
    The config of an encoder.

    Raises:
        ValueError: there is no model, or it is not a speech model (for "audio"), not an encoder of text (for "text").
    """
    name = source.name_or_path
    if not os.path.isdir(name):
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise ValueError(
                f"The {modality} encoder {name!r} is neither a folder here nor a name on the Hub."
            ) from error
    try:
        model = model_of(source)
        if model is None:
            config = AutoConfig.from_pretrained(name, **source.arguments())
        else:
            config = AutoConfig.for_model(**model[f"{modality}_config"])
    except (OSError, ValueError) as error:
        where = (
            "this folder holds no model" if os.path.isdir(name) else "it is no folder here, and the Hub gave no model"
        )
        raise ValueError(f"The {modality} encoder {name!r} can't be loaded, {where}: {error}") from error
    is_speech = config.model_type in SPEECH_ENCODERS
    if modality == "audio" and not is_speech:
        raise ValueError(
            f"The audio encoder {name!r} is a {config.model_type} model: it must be one of "
            f"{', '.join(sorted(SPEECH_ENCODERS))}."
        )
    if modality == "text" and (is_speech or config.is_encoder_decoder or not hasattr(config, "vocab_size")):
        raise ValueError(f"The text encoder {name!r} is a {config.model_type} model: it must be an encoder like BERT.")
    return config


def model_of(source: EncoderSource) -> dict[str, Any] | None:
    """The content of the config of a fine-tuned model, which has encoders in it; None where the source is none."""
    content = PreTrainedConfig.get_config_dict(source.name_or_path, **source.hub_arguments())[0]
    return content if content.get("model_type") == "tacfn-dual-encoder" else None


def resolve_layer(layer: int | Sequence[int], num_hidden_layers: int, modality: str) -> int | list[int]:
    """
    A layer or several as indices from 0; negative ones count from the end. Layer 0 is the input of the first layer.

    Raises:
        ValueError: there is no layer, or one that the encoder does not have.
    """
    layers = [layer] if isinstance(layer, int) else list(layer)
    if not layers or not all(-num_hidden_layers - 1 <= k <= num_hidden_layers for k in layers):
        raise ValueError(
            f"{modality}_layer is {layer}: the encoder has the layers 0 (the input of the first one) to "
            f"{num_hidden_layers}, or -1 for the last one; a list means their mean."
        )
    layers = [k % (num_hidden_layers + 1) for k in layers]
    return layers[0] if isinstance(layer, int) else layers


def find_commit(source: EncoderSource) -> str | None:
    """The commit behind the revision of a Hub repository, from the Hub or, offline, from the cache. None: a folder."""
    return extract_commit_hash(cached_file(source.name_or_path, CONFIG_NAME, **source.hub_arguments()), None)


def has_safetensors(source: EncoderSource) -> bool:
    """Whether a Hub repository has safetensors weights, in one file or in shards."""
    return any(
        has_file(
            source.name_or_path,
            name,
            revision=source.revision,
            token=source.token,
            cache_dir=source.cache_dir,
            local_files_only=source.local_files_only,
        )
        for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
    )


def find_conversion(source: EncoderSource) -> str:
    """
    The commit of the open pull request in which the Hub's bot adds safetensors weights to exactly this commit.

    If there is none, the bot is asked to make it, as transformers does, unless the environment variable
    DISABLE_SAFETENSORS_CONVERSION is set.

    Raises:
        ValueError: there is no such pull request.
    """
    if source.local_files_only:
        raise ValueError("with local_files_only the Hub is not asked for one.")
    api, name = HfApi(token=source.token), source.name_or_path

    def find() -> str | None:
        # Only those of the bot: anyone can open a pull request with this title and any weights.
        for request in api.get_repo_discussions(name, author=CONVERSION_BOT, discussion_type="pull_request"):
            if request.title == CONVERSION_TITLE and request.status == "open":
                commits = [commit.commit_id for commit in api.list_repo_commits(name, revision=request.git_reference)]
                if commits[1:2] == [source.revision]:
                    return commits[0]
        return None

    commit = find()
    if commit is None and not is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION"):
        get_conversion_pr_reference(api, name, token=source.token)
        commit = find()
    if commit is None:
        raise ValueError(f"there is no open pull request {CONVERSION_TITLE!r} by {CONVERSION_BOT} on this revision.")
    return commit


def hash_of_folder(folder: Path) -> str:
    """The hash, "sha256:...", of the names and contents of the files in `folder` that features depend on."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", *SETTINGS_SUFFIXES) and path.name not in NO_SETTINGS and path.is_file():
            digest.update(path.name.encode() + b"\0")
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"


def where_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `cached_file` for a file that may be missing, from the keyword arguments of `from_pretrained`."""
    names = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
    return {key: settings[key] for key in names if key in settings} | {"_raise_exceptions_for_missing_entries": False}


def config_beside(name: str | os.PathLike, **settings: Any) -> dict[str, Any]:
    """The config.json of the model that a saved processor lies beside; empty where there is none."""
    file = cached_file(name, CONFIG_NAME, **where_of(settings))
    return {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))


def check_parts(name: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """
    Refuses a saved processor whose settings name an audio tokenizer, which transformers would load from elsewhere.

    Args:
        name: a Hub id or a folder.
        settings: the keyword arguments of `from_pretrained`.

    Raises:
        ValueError: they name one.
    """
    where = where_of(settings)
    file = cached_file(name, PROCESSOR_NAME, **where)
    named = file is not None and "audio_tokenizer" in json.loads(Path(file).read_text(encoding="utf-8"))
    if named or cached_file(name, AUDIO_TOKENIZER_NAME, **where) is not None:
        raise ValueError(f"{name} names an audio tokenizer, which a TacfnProcessor does not have: it is not loaded.")
