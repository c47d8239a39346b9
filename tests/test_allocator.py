"""Claims about memory that is kept: by counts of pages the system had to clear."""

import os
import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource
import numpy as np
from solojax import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(2**23)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

allocator.keep()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
@pytest.mark.parametrize("own", [False, True])
def test_memory_is_taken_once_unless_the_environment_has_a_say(own):
    environment = {name: one for name, one in os.environ.items() if "MALLOC" not in name}
    environment |= {"MALLOC_MMAP_THRESHOLD_": "131072"} if own else {}
    told = subprocess.run(
        [sys.executable, "-c", ROUNDS], env=environment, capture_output=True, text=True, check=True
    )
    assert (int(told.stdout) > 50) == own
