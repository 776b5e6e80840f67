"""Kernels that encode faster on a CPU. What they compute differs by rounding."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def has_onednn() -> bool:
    """Whether this build of torch has oneDNN's linear layer."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


class CpuKernels(TorchFunctionMode):
    """
    `with CpuKernels(use_onednn):` takes other kernels on a CPU, in the current thread. The modules stay as they are.

    - Convolutions over time are computed as images of one row, in the layout channels-last: frame by frame, as layer
      norm and linear layers have them. Those with one input channel, or one for each output, are left alone.
    - With `use_onednn`, linear layers in float32 take oneDNN's matrix product instead of MKL's, without gradients. On
      AMD it is faster. The operator is not part of torch's interface: where a build of torch lacks it, layers are
      computed as always.
    """

    def __init__(self, use_onednn: bool):
        super().__init__()
        self.use_onednn = use_onednn

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """What torch calls in place of each of its functions."""
        if not kwargs and args and isinstance(args[0], torch.Tensor) and args[0].device.type == "cpu":
            if function is F.linear and self.use_onednn and args[0].dtype == torch.float32 and has_onednn():
                h, weight, *bias = args
                return torch.ops.mkldnn._linear_pointwise(h, weight, bias[0] if bias else None, "none", [], "")
            if function is F.conv1d and len(args) == 7 and args[0].dim() == 3 and args[1].shape[1] > 1:
                h, weight, bias, stride, padding, dilation, groups = args
                weight = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
                padding = padding if isinstance(padding, str) else (0, *padding)
                return F.conv2d(h.unsqueeze(2), weight, bias, (1, *stride), padding, (1, *dilation), groups).squeeze(2)
        return function(*args, **(kwargs or {}))


@cache
def onednn_is_faster() -> bool:
    """Whether a layer of usual size takes less than three quarters of its time with oneDNN's product: tried once."""
    if not has_onednn():
        return False
    h, layer = torch.randn(256, 768), nn.Linear(768, 768)
    best: dict[bool, float] = {}
    with torch.no_grad():
        for use_onednn in (False, True) * 6:
            with CpuKernels(use_onednn):
                start = time.perf_counter()
                layer(h)
                taken = time.perf_counter() - start
            best[use_onednn] = min(taken, best.get(use_onednn, taken))
    return best[True] < 0.75 * best[False]


def cpu_kernels(use_onednn: bool | None, device: torch.device) -> AbstractContextManager:
    """The context in which an encoder runs on a device. `use_onednn` None: oneDNN's product where it is faster."""
    if device.type != "cpu":
        return nullcontext()
    return CpuKernels(onednn_is_faster() if use_onednn is None else use_onednn)
