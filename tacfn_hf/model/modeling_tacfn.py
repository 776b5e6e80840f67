"""The TACFN-inspired fusion of audio and text features, as transformers models."""

import copy
import re

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .beta_gate_tacfn import BetaGate, masked_mean
from .configuration_tacfn import TacfnConfig, place_of
from .cross_modal_tacfn import CrossModalTransformer
from .distance_tacfn import FeatureDistance
from .heads_tacfn import ClassificationHead, QueryHead
from .inputs_tacfn import check_keywords, check_tensor, complete_inputs
from .label_loss_tacfn import check_labels, count_labels, problem_type_of, sample_losses
from .outputs_tacfn import TacfnClassifierOutput, TacfnModelOutput
from .pipeline_tacfn import CUSTOM_PIPELINES
from .standardization_tacfn import FeatureStandardizer
from .weights_tacfn import check_weights


# The buffers that hold statistics of the training part, in the state of either model.
STATISTICS = r"(audio|text)_(standardizer|distance)\."


class TacfnPreTrainedModel(PreTrainedModel):
    """What the models share: their configuration, how weights start, and how a folder is written."""

    config: TacfnConfig
    base_model_prefix = "model"
    main_input_name = "h_a"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ["CrossModalBlock"]
    # Statistics of features as they come, which may be larger than half precision holds.
    _keep_in_fp32_modules_strict = ["audio_standardizer", "text_standardizer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _auto_map: dict[str, str] = {}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """
        As `PreTrainedModel.from_pretrained`, from safetensors alone.

        Raises:
            ValueError: pickled weights, weights elsewhere than in the folder itself, or a checkpoint without the
                statistics that features are standardised by.
        """
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors is False: pickled weights are never read.")
        kwargs["use_safetensors"] = True
        if pretrained_model_name_or_path is not None:
            names = ("variant", "revision", "subfolder", "token", "cache_dir", "local_files_only")
            check_weights(pretrained_model_name_or_path, **{name: kwargs[name] for name in names if name in kwargs})
        with_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        lacking = sorted(key for key in info["missing_keys"] if re.search(STATISTICS, key))
        if lacking:
            raise ValueError(
                f"{pretrained_model_name_or_path} lacks {', '.join(lacking)}: without the statistics that features are "
                "standardised by, its answers would mean nothing. Save the model again where it was trained."
            )
        return (model, info) if with_info else model

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, FeatureStandardizer):
            init.zeros_(module.mean)
            init.ones_(module.std)
        if isinstance(module, FeatureDistance):
            init.eye_(module.weight)
            init.zeros_(module.bias)
        if isinstance(module, MeanProjection):
            init.normal_(module.bias, std=self.config.initializer_range * module.in_features**0.5)
        if isinstance(module, QueryHead):
            module.init_queries(self.config.initializer_range)

    @property
    def averages_over_time(self) -> bool:
        """Whether features and their means over time give the same answers, as without cross-modal blocks."""
        return not self.config.num_hidden_layers

    def get_input_embeddings(self) -> None:
        """None: the inputs are features, of which there is no table."""
        return None

    def save_pretrained(self, save_directory, **kwargs):
        """
        As `PreTrainedModel.save_pretrained`; the folder also gets the code of model, processor and pipeline, which
        `auto_map` and `custom_pipelines` in its config.json name.
        """
        # The config may be shared with a model of another class, or come from another repository.
        self.config.auto_map = {"AutoConfig": place_of(type(self.config)), **self._auto_map}
        self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        super().save_pretrained(save_directory, **kwargs)


class MeanProjection(nn.Linear):
    """
    Projection of features that were averaged over time. Its bias starts as large as the product with the features of
    one position. The gate's layer norm takes away the norm of a vector. Beside such a bias the norm of the mean still
    shows. It says how far the positions agree.
    """


class TacfnModel(TacfnPreTrainedModel):
    """The fusion network without a head: standardise, project, [`CrossModalTransformer`], [`BetaGate`]."""

    _auto_class = "AutoModel"
    _auto_map = {"AutoModel": "modeling_tacfn.TacfnModel"}

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        if config.gate_reads_distance:
            self._keep_in_fp32_modules_strict = [*self._keep_in_fp32_modules_strict, "audio_distance", "text_distance"]
        self.audio_standardizer = FeatureStandardizer(config.audio_feature_size)
        self.text_standardizer = FeatureStandardizer(config.text_feature_size)
        if config.gate_reads_distance:
            self.audio_distance = FeatureDistance(config.audio_feature_size)
            self.text_distance = FeatureDistance(config.text_feature_size)
        self.feature_dropout = nn.Dropout1d(config.feature_dropout_prob)
        self.audio_projection = feature_projection(config.audio_feature_size, config)
        self.text_projection = feature_projection(config.text_feature_size, config)
        self.cross_modal = CrossModalTransformer(config)
        self.gradient_checkpointing = False  # transformers wants one module to have it, also where there are no blocks
        self.beta_gate = BetaGate(config)
        if not config.has_statistics:
            self._keys_to_ignore_on_load_missing = [STATISTICS]
        self.post_init()

    def forward(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_fused_sequence: bool = False,
        return_dict: bool | None = None,
        **kwargs,
    ) -> TacfnModelOutput | tuple:
        r"""
        Args:
            h_a (`torch.FloatTensor` of shape `(batch_size, audio_length, audio_feature_size)`, *optional*):
                Audio features, or `(batch_size, audio_feature_size)` for one vector per utterance. None: no audio.
            h_t (`torch.FloatTensor` of shape `(batch_size, text_length, text_feature_size)`, *optional*):
                Text features, likewise.
            mask_a (`torch.BoolTensor` of shape `(batch_size, audio_length)`, *optional*):
                **True = PAD.** A row that is True throughout: this sample has no audio.
            mask_t (`torch.BoolTensor` of shape `(batch_size, text_length)`, *optional*):
                Likewise for text.
            output_attentions (`bool`, *optional*):
                Return the attention weights; needs `attn_implementation="eager"`.
            output_hidden_states (`bool`, *optional*):
                Return the states around every block.
            output_fused_sequence (`bool`, *optional*, defaults to `False`):
                Return the fused sequence and its mask.
            return_dict (`bool`, *optional*):
                False: a plain tuple of the output's values that are not None, in their order.

        Raises:
            ValueError: no modality at all, shapes that do not fit the config or each other, or attention weights asked
                of an implementation that keeps none.
            TypeError: features or a mask that are no tensors, a mask that is not boolean, or an unknown argument.
        """
        check_keywords(self.forward, kwargs)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        both = h_a is not None and h_t is not None
        h_a, h_t, mask_a, mask_t = complete_inputs(self.config, h_a, h_t, mask_a, mask_t)
        h_a, h_t = self.standardize(h_a, h_t)
        # Where all samples lack a modality, the gate is a constant.
        distances = self.distances(h_a, h_t, mask_a, mask_t) if both else None
        h_a, h_t = self.feature_dropout(h_a.mT).mT, self.feature_dropout(h_t.mT).mT
        h_a, h_t, mask_a, mask_t = self.project(h_a, h_t, mask_a, mask_t)
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        h_a, h_t, *recorded = self.cross_modal(h_a, h_t, mask_a, mask_t, **options)
        h_fused, gate, beta = self.beta_gate(h_a, h_t, mask_a, mask_t, distances, both)
        if output_fused_sequence:
            fused = self.beta_gate.fuse_sequences(h_a, h_t, mask_a, mask_t, gate)
            recorded.append({"fused_sequence": fused[0], "fused_mask": fused[1]})
        output = TacfnModelOutput(
            beta=beta,
            h_fused=h_fused,
            gate=gate,
            has_audio=~mask_a.all(dim=1),
            has_text=~mask_t.all(dim=1),
            h_a_tilde=h_a,
            h_t_tilde=h_t,
            **{name: value for found in recorded for name, value in found.items()},
        )
        return output if return_dict else output.to_tuple()

    def standardize(self, h_a: torch.Tensor, h_t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`h_a [B, L_a, audio_feature_size]` and `h_t`, standardised by statistics of the training part, in float32."""
        return self.audio_standardizer(h_a), self.text_standardizer(h_t)

    def distances(
        self,
        h_a: torch.Tensor,
        h_t: torch.Tensor,
        mask_a: torch.Tensor,
        mask_t: torch.Tensor,
        rows: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None),
    ) -> torch.Tensor | None:
        """
        How far standardised features lie from those of the training part, `[B, 2]`; None where no gate reads it.
        `rows`: see [`FeatureDistance`], of audio and of text.
        """
        if not self.config.gate_reads_distance:
            return None
        of_audio = self.audio_distance(h_a, mask_a, rows[0])
        return torch.cat([of_audio, self.text_distance(h_t, mask_t, rows[1])], dim=-1)

    def project(
        self, h_a: torch.Tensor, h_t: torch.Tensor, mask_a: torch.Tensor, mask_t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Standardised features as states of the network, `[B, L_a, d]` and `[B, L_t, d]`, with their masks. Without
        cross-modal blocks nothing looks at single positions: the features are averaged over time first, and both
        lengths are 1.
        """
        projected = []
        for h, mask, projection in ((h_a, mask_a, self.audio_projection), (h_t, mask_t, self.text_projection)):
            if not self.config.num_hidden_layers:
                h, mask = masked_mean(h, mask).unsqueeze(1), mask.all(dim=1, keepdim=True)
            # In front of the product: NaN behind the mask would reach the gradient of the weights.
            h = h.masked_fill(mask.unsqueeze(-1), 0.0).to(self.dtype)
            projected.append((projection(h), mask))
        (h_a, mask_a), (h_t, mask_t) = projected
        return h_a, h_t, mask_a, mask_t


def feature_projection(feature_size: int, config: TacfnConfig) -> nn.Module:
    """`[B, L, feature_size] -> [B, L, d]`; the identity in front of blocks where the two sizes are equal."""
    if not config.num_hidden_layers:
        return MeanProjection(feature_size, config.hidden_size)
    return nn.Identity() if feature_size == config.hidden_size else nn.Linear(feature_size, config.hidden_size)


class TacfnForSequenceClassification(TacfnPreTrainedModel):
    """The fusion network with a classifier (or regressor): on the pooled fused vector, or a query for each label."""

    _auto_class = "AutoModelForSequenceClassification"
    _auto_map = dict.fromkeys(
        ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForAudioClassification"),
        "modeling_tacfn.TacfnForSequenceClassification",
    )

    def __init__(self, config: TacfnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = TacfnModel(config)
        self.classifier = QueryHead(config) if config.head == "queries" else ClassificationHead(config)
        self.post_init()

    def forward(
        self,
        h_a: torch.Tensor | None = None,
        h_t: torch.Tensor | None = None,
        mask_a: torch.Tensor | None = None,
        mask_t: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_fused_sequence: bool = False,
        return_dict: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> TacfnClassifierOutput | tuple:
        r"""
        Everything but the following is as in [`TacfnModel.forward`].

        Args:
            labels (`torch.Tensor`, *optional*):
                Classes `(batch_size,)` as integers, -100 = not labelled; or `(batch_size, num_labels)` as floats in
                [0, 1] for multi-label; or `(batch_size, num_labels)` values (or `(batch_size,)` where `num_labels` is
                1) for regression. `config.problem_type` says which; where it is None, `num_labels == 1` means
                regression, integers mean classes, floats mean multi-label.
            return_dict (`bool`, *optional*):
                False: `(loss,) logits, beta, h_fused`, then what was requested.
            num_items_in_batch (`int`, *optional*):
                What the sum of the losses is divided by, in place of the number of labels in this call: `Trainer`
                passes the count over all processes and accumulation steps, so that a batch has the same loss
                however it is split.

        Raises:
            ValueError: labels out of range or of the wrong shape.
            TypeError: labels that are no tensor.
        """
        check_keywords(self.forward, kwargs)
        check_tensor(labels, "labels")
        return_dict = self.config.return_dict if return_dict is None else return_dict
        by_queries = self.config.head == "queries"
        of_sequence = output_fused_sequence or by_queries
        outputs = self.model(
            h_a, h_t, mask_a, mask_t, output_attentions, output_hidden_states, of_sequence, return_dict=True
        )
        label_attentions = None
        if by_queries:
            logits, label_attentions = self.classifier(outputs.fused_sequence, outputs.fused_mask)
        else:
            logits = self.classifier(outputs.h_fused)
        loss = None
        if labels is not None:
            check_labels(self.config, labels)
            losses = sample_losses(self.config, logits, labels)
            # As transformers' own classifiers do; whoever loads the model finds it in the config.
            self.config.problem_type = problem_type_of(self.config, labels)
            loss = losses.sum() / (count_labels(labels, losses) if num_items_in_batch is None else num_items_in_batch)
        internal = ["h_a_tilde", "h_t_tilde", *(() if output_fused_sequence else ("fused_sequence", "fused_mask"))]
        shared = {name: value for name, value in outputs.items() if name not in internal}
        output = TacfnClassifierOutput(loss=loss, logits=logits, label_attentions=label_attentions, **shared)
        return output if return_dict else output.to_tuple()
