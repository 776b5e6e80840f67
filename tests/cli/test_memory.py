"""Whether freed memory stays with the process, in a process of its own."""

import platform
import subprocess
import sys

import pytest


CODE = """
import numpy as np
from tacfn_hf.cli.memory import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if {kept}:
    keep_freed_memory()
for _ in range(3):
    block = np.ones(2**24)  # 128 MiB
    before = resident()
    del block
    print(before - resident() < 2**26)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's")
@pytest.mark.parametrize("kept", [True, False])
def test_large_blocks_are_kept(kept):
    done = subprocess.run([sys.executable, "-c", CODE.format(kept=kept)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(kept)] * 3
