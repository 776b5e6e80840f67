"""Audio + text emotion recognition for transformers. Importing it registers the model with the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForSequenceClassification,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .features.collation import TacfnDataCollator
from .model.beta_gate_tacfn import BetaGate
from .model.configuration_tacfn import TacfnConfig
from .model.cross_modal_tacfn import CrossModalBlock, CrossModalTransformer
from .model.modeling_tacfn import TacfnForSequenceClassification, TacfnModel, TacfnPreTrainedModel
from .model.pipeline_tacfn import EmotionRecognitionPipeline
from .model.processing_tacfn import TacfnProcessor


__version__ = "0.1.0"

AutoConfig.register(TacfnConfig.model_type, TacfnConfig, exist_ok=True)
# Of a tuple, `architectures` in the checkpoint picks the class: a classifier comes back with its head.
AutoModel.register(TacfnConfig, (TacfnModel, TacfnForSequenceClassification), exist_ok=True)
AutoModelForSequenceClassification.register(TacfnConfig, TacfnForSequenceClassification, exist_ok=True)
AutoModelForAudioClassification.register(TacfnConfig, TacfnForSequenceClassification, exist_ok=True)
AutoProcessor.register(TacfnConfig, TacfnProcessor, exist_ok=True)
if "multimodal-emotion-recognition" not in PIPELINE_REGISTRY.get_supported_tasks():
    PIPELINE_REGISTRY.register_pipeline(
        "multimodal-emotion-recognition",
        pipeline_class=EmotionRecognitionPipeline,
        pt_model=AutoModelForSequenceClassification,
        type="multimodal",
    )
