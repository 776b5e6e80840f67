"""
The part of tacfn_hf that travels to the Hub: one flat folder on torch, numpy and transformers alone.

Importing it registers the model with the Auto classes and with `pipeline`. This file does not travel: a checkpoint on
the Hub names its classes in its config.json.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForSequenceClassification,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .beta_gate_tacfn import BetaGate
from .configuration_dual_encoder_tacfn import TacfnDualEncoderConfig
from .configuration_tacfn import TacfnConfig
from .cross_modal_tacfn import CrossModalBlock, CrossModalTransformer
from .modeling_dual_encoder_tacfn import TacfnDualEncoderForSequenceClassification
from .modeling_tacfn import TacfnForSequenceClassification, TacfnModel, TacfnPreTrainedModel
from .pipeline_tacfn import EmotionRecognitionPipeline
from .processing_tacfn import TacfnProcessor


__all__ = [
    "BetaGate",
    "CrossModalBlock",
    "CrossModalTransformer",
    "EmotionRecognitionPipeline",
    "TacfnConfig",
    "TacfnDualEncoderConfig",
    "TacfnDualEncoderForSequenceClassification",
    "TacfnForSequenceClassification",
    "TacfnModel",
    "TacfnPreTrainedModel",
    "TacfnProcessor",
]

AutoConfig.register(TacfnConfig.model_type, TacfnConfig, exist_ok=True)
# Of a tuple, `architectures` in the checkpoint picks the class: a classifier comes back with its head.
AutoModel.register(TacfnConfig, (TacfnModel, TacfnForSequenceClassification), exist_ok=True)
AutoModelForSequenceClassification.register(TacfnConfig, TacfnForSequenceClassification, exist_ok=True)
AutoModelForAudioClassification.register(TacfnConfig, TacfnForSequenceClassification, exist_ok=True)
AutoProcessor.register(TacfnConfig, TacfnProcessor, exist_ok=True)
AutoConfig.register(TacfnDualEncoderConfig.model_type, TacfnDualEncoderConfig, exist_ok=True)
for auto_class in (AutoModel, AutoModelForSequenceClassification, AutoModelForAudioClassification):
    auto_class.register(TacfnDualEncoderConfig, TacfnDualEncoderForSequenceClassification, exist_ok=True)
AutoProcessor.register(TacfnDualEncoderConfig, TacfnProcessor, exist_ok=True)
if "multimodal-emotion-recognition" not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        "multimodal-emotion-recognition",
        pipeline_class=EmotionRecognitionPipeline,
        pt_model=AutoModelForSequenceClassification,
        type="multimodal",
    )
