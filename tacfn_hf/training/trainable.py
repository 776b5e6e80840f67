"""Which weights of the encoders are trained: all of them, those above a layer, or adapters; and at which rates."""

from torch import nn

from ..model.modeling_dual_encoder_tacfn import TacfnDualEncoderForSequenceClassification
from ..model.pretrained_encoders_tacfn import PretrainedEncoder
from .arguments import FineTuningArguments


def layers_in(encoder: PretrainedEncoder, modality: str) -> tuple[str, nn.ModuleList]:
    """
    The transformer layers of an encoder, with the name that they have in it.

    Raises:
        ValueError: which modules are its layers can't be told.
    """
    total = encoder.model.config.num_hidden_layers
    lists = {name: m for name, m in encoder.named_modules() if type(m) is nn.ModuleList and len(m) == total}
    if not lists:
        kind = encoder.model.config.model_type
        raise ValueError(f"Which layers the {modality} encoder has can't be told, of a {kind} model.")
    name = max(lists, key=lambda name: sum(parameter.numel() for parameter in lists[name].parameters()))
    return name, lists[name]


def without_adapters(model: nn.Module) -> nn.Module:
    """The model that a `PeftModel` wraps, with the adapters in it; another model itself."""
    return getattr(model, "get_base_model", lambda: model)()


def freeze(model: TacfnDualEncoderForSequenceClassification, tuning_args: FineTuningArguments) -> None:
    """
    Freezes the first layers of both encoders, and of the speech encoder all that is outside of its layers.

    Raises:
        ValueError: more layers than an encoder has, adapters beside a front that is to be tuned, or options of adapters
            without them.
    """
    given = [name for name in ("lora_alpha", "lora_target_modules") if getattr(tuning_args, name) is not None]
    if tuning_args.lora_rank is None and given:
        raise ValueError(f"{', '.join(given)} is given without lora_rank: there are no adapters.")
    if tuning_args.tune_front and tuning_args.lora_rank is not None:
        raise ValueError("tune_front and lora_rank are both given: adapters are in the layers alone; leave one out.")
    for modality, number, front in (
        ("audio", tuning_args.frozen_audio_layers, not tuning_args.tune_front),
        ("text", tuning_args.frozen_text_layers, tuning_args.frozen_text_layers > 0),
    ):
        encoder = getattr(model, f"{modality}_encoder")
        layers = layers_in(encoder, modality)[1]
        if not 0 <= number <= len(layers):
            raise ValueError(f"frozen_{modality}_layers is {number}: the {modality} encoder has {len(layers)} layers.")
        for layer in layers[:number]:
            layer.requires_grad_(False)
        if front:
            inner = {id(parameter) for parameter in layers.parameters()}
            for parameter in encoder.model.parameters():
                if id(parameter) not in inner:
                    parameter.requires_grad_(False)


def add_lora(model: TacfnDualEncoderForSequenceClassification, tuning_args: FineTuningArguments) -> nn.Module:
    """
    The model as a `PeftModel`, of which adapters of low rank and the fusion network are trained. The adapters are
    beside the linear maps of the layers that are not frozen (LoRA, Hu et al. 2021, arXiv:2106.09685).

    Raises:
        ValueError: peft is not installed, or `lora_target_modules` names nothing in an encoder that has layers to tune.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ValueError("lora_rank needs the package peft: pip install 'tacfn-hf[lora]'.") from error
    wanted = tuning_args.lora_target_modules
    targets = []
    for modality in ("audio", "text"):
        prefix, layers = layers_in(getattr(model, f"{modality}_encoder"), modality)
        tuned = list(layers)[getattr(tuning_args, f"frozen_{modality}_layers") :]
        names = [
            (i, name)
            for i, layer in enumerate(layers)
            for name, module in layer.named_modules()
            if layer in tuned and isinstance(module, nn.Linear)
        ]
        found = [f"{i}.{name}" for i, name in names if wanted is None or name.split(".")[-1] in wanted]
        if tuned and not found:
            there = ", ".join(sorted({name.split(".")[-1] for _, name in names}))
            raise ValueError(
                f"lora_target_modules is {' '.join(wanted or [])}: no linear map in the layers of the {modality} "
                f"encoder is called so; there are {there}."
            )
        targets += [f"{modality}_encoder.{prefix}.{name}" for name in found]
    trained = [name for name, module in model.model.named_children() if next(module.parameters(), None) is not None]
    mixes = [f"{name}_encoder.layer_mix" for name in ("audio", "text") if getattr(model, f"{name}_encoder").layer_mix]
    trained = [*(f"model.{name}" for name in trained), "classifier", *mixes]
    config = LoraConfig(
        r=tuning_args.lora_rank,
        lora_alpha=2 * tuning_args.lora_rank if tuning_args.lora_alpha is None else tuning_args.lora_alpha,
        target_modules=targets,
        modules_to_save=trained,
    )
    return get_peft_model(model, config)


def learning_rates(model: nn.Module, tuning_args: FineTuningArguments, learning_rate: float) -> dict[str, float]:
    """
    The peak learning rate of each weight, by its name: `learning_rate` in the fusion network, `encoder_learning_rate`
    in the last layer of an encoder, and `layerwise_lr_decay` times that of the layer above in each other one. What is
    in no layer has the rate of a layer below the first one.

    Args:
        model: with adapters or without.

    Raises:
        ValueError: a decay that is not in (0, 1], or a negative rate.
    """
    decay, peak = tuning_args.layerwise_lr_decay, tuning_args.encoder_learning_rate
    if not 0 < decay <= 1 or peak < 0:
        raise ValueError(
            f"layerwise_lr_decay is {decay} and encoder_learning_rate {peak}: they must be in (0, 1], and at least 0."
        )
    plain = without_adapters(model)
    layers_of = {modality: layers_in(getattr(plain, f"{modality}_encoder"), modality) for modality in ("audio", "text")}
    rates = {}
    for name, _ in model.named_parameters():
        name_in_plain = name.removeprefix("base_model.model.")
        rates[name] = learning_rate
        for modality, (prefix, layers) in layers_of.items():
            if not name_in_plain.startswith(f"{modality}_encoder.model."):
                continue
            prefix = f"{modality}_encoder.{prefix}."
            inside = name_in_plain.startswith(prefix)
            below = len(layers) - int(name_in_plain.removeprefix(prefix).split(".")[0]) - 1 if inside else len(layers)
            rates[name] = peak * decay**below
    return rates
