"""Audio + text emotion recognition for transformers. Importing it registers the model with the Auto classes."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .features.collation import TacfnDataCollator
    from .model import (
        BetaGate,
        CrossModalBlock,
        CrossModalTransformer,
        EmotionRecognitionPipeline,
        TacfnConfig,
        TacfnDualEncoderConfig,
        TacfnDualEncoderForSequenceClassification,
        TacfnForSequenceClassification,
        TacfnModel,
        TacfnPreTrainedModel,
        TacfnProcessor,
    )


__version__ = "0.2.0.dev0"

__all__ = [
    "BetaGate",
    "CrossModalBlock",
    "CrossModalTransformer",
    "EmotionRecognitionPipeline",
    "TacfnConfig",
    "TacfnDataCollator",
    "TacfnDualEncoderConfig",
    "TacfnDualEncoderForSequenceClassification",
    "TacfnForSequenceClassification",
    "TacfnModel",
    "TacfnPreTrainedModel",
    "TacfnProcessor",
]

# `tacfn` must show its --help before torch is imported. Its commands import the model when they need it.
if os.path.basename(sys.argv[0]) not in ("tacfn", "tacfn.exe"):
    from . import model  # noqa: F401


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(".features.collation" if name == "TacfnDataCollator" else ".model", __name__)
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
