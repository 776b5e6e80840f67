"""`--device`: the one that transformers and accelerate then take by themselves."""

import functools
import os
from typing import TYPE_CHECKING

from .errors import UsageError


if TYPE_CHECKING:
    import torch


def choose_device(device: str | None, use_cpu: bool | None) -> bool:
    """
    Makes a device the one that transformers and accelerate take by themselves. Of several GPUs, one that is named by
    its number becomes the only visible one.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, or another that torch finds here; None leaves the choice to them.
        use_cpu: what was said beside it; None: nothing.

    Returns:
        Whether to use the CPU.

    Raises:
        UsageError: a device that is not here, or that contradicts `use_cpu`.
    """
    if device is None:
        return bool(use_cpu)
    import torch

    try:
        wanted = torch.device(device)
        count = torch.get_device_module(wanted).device_count()
    except RuntimeError as error:
        raise UsageError(f"--device is {device!r}: it must be cpu, cuda, or one GPU by its number, cuda:1.") from error
    if use_cpu is not None and use_cpu != (wanted.type == "cpu"):
        raise UsageError(f"--device {device} and --use_cpu {str(use_cpu).lower()} contradict each other: give one.")
    if wanted.type == "cpu":
        return True
    if count == 0:
        raise UsageError(f"--device is {device}, but torch finds no {wanted.type} device here.")
    if wanted.type == "cuda" and wanted.index is not None:
        take_gpu(wanted)
    elif wanted.index:
        raise UsageError(f"--device is {device}: by its number only a device of cuda can be chosen.")
    return False


@functools.cache  # when a command line is read again, the GPUs are no longer counted as before
def take_gpu(wanted: "torch.device") -> None:
    """Hides all other GPUs. CUDA looks at what is visible when it starts, which is after the arguments are read."""
    import torch

    count = torch.get_device_module(wanted).device_count()
    if wanted.index >= count:
        last = f"{wanted.type}:{count - 1}"
        raise UsageError(f"--device is {wanted}, but torch finds {count} of them here: the last one is {last}.")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(f"--device is {wanted}, one GPU for several processes: choose theirs by CUDA_VISIBLE_DEVICES.")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = str(wanted.index) if visible is None else visible.split(",")[wanted.index]
