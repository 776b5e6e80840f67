"""`--device`: what it chooses, and what can't be had."""

import os
import re

import pytest
import torch

from tacfn_hf.cli.device import choose_device, take_gpu
from tacfn_hf.cli.errors import UsageError
from tacfn_hf.cli.parsing import parse_arguments
from tacfn_hf.training.training_arguments import TacfnTrainingArguments


COMPUTING = {
    "cross-validate": ["--dataset", "d", "--output_dir", "o"],
    "evaluate": ["--model", "m", "--dataset", "d", "--output_dir", "o"],
    "extract": ["--dataset", "d", "--output_dir", "o"],
    "predict": ["--model", "m", "--text", "t"],
    "train": ["--dataset", "d", "--output_dir", "o"],
}


@pytest.mark.parametrize("name", COMPUTING)
def test_every_command_that_computes_takes_both(tacfn, name):
    assert {"--use_cpu", "--device"} <= set(re.findall(r"--\w+", tacfn(name, "--help")[1]))


@pytest.mark.parametrize(
    ("device", "use_cpu", "message"),
    [
        ("gpu", None, "--device is 'gpu': it must be cpu, cuda, or one GPU by its number, cuda:1"),
        ("cuda:x", None, "--device is 'cuda:x': it must be"),
        ("cpu", False, "--device cpu and --use_cpu false contradict each other"),
        ("cuda", True, "--device cuda and --use_cpu true contradict each other"),
        ("cuda:1", True, "--device cuda:1 and --use_cpu true contradict each other"),
        ("xpu", None, "--device is xpu, but torch finds no xpu device here"),
    ],
)
def test_a_device_that_can_not_be_had(device, use_cpu, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        choose_device(device, use_cpu)


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("name", COMPUTING)
def test_no_gpu_here(fail, name, device):
    sentence = f"--device is {device}, but torch finds no cuda device here."
    assert fail(name, *COMPUTING[name], "--device", device) == f"tacfn {name}: error: {sentence}"


@pytest.fixture
def four_gpus(monkeypatch):
    """What torch says where CUDA_VISIBLE_DEVICES lets it see so many."""
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: len(os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(","))
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    take_gpu.cache_clear()
    yield
    take_gpu.cache_clear()


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("device", "before", "after"),
    [("cuda", None, None), ("cuda:2", None, "2"), ("cuda:1", "7,5", "5"), ("cuda:0", "GPU-a,GPU-b", "GPU-a")],
)
def test_one_gpu_of_several_is_the_only_one_that_is_seen(monkeypatch, device, before, after):
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    for _ in range(2):  # a comparison of methods reads its command line once a run
        assert choose_device(device, None) is False
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == after


@pytest.mark.usefixtures("four_gpus")
def test_a_gpu_that_can_not_be_had(monkeypatch):
    with pytest.raises(UsageError, match="--device is cuda:4, but torch finds 4 of them here: the last one is cuda:3"):
        choose_device("cuda:4", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--device is cuda:1, one GPU for several processes"):
        choose_device("cuda:1", None)


def test_the_device_reaches_the_trainer(tmp_path):
    (args,) = parse_arguments((TacfnTrainingArguments,), ["--output_dir", str(tmp_path), "--device", "cpu"])
    assert args.use_cpu
    assert args.device == torch.device("cpu")
