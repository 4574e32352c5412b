"""Where freed memory goes, seen from outside: resident memory of a process of its own."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import torch
from fsmnet.inference.allocator import keep_freed_blocks, large_blocks_apart

def resident():
    return 4096 * int(open("/proc/self/statm").read().split()[1])

def left_of_a_map():
    before = resident()
    torch.ones(1 << 22)  # 16 MiB, freed at once
    return resident() - before

torch.ones(8)
large_blocks_apart()
print(left_of_a_map())
keep_freed_blocks()
print(left_of_a_map())
large_blocks_apart()
print(left_of_a_map())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="parameters of glibc's malloc")
def test_freed_maps_go_back_until_they_are_to_be_kept():
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    apart, kept, apart_again = (int(line) / 2**20 for line in run.stdout.split())
    assert apart < 2
    assert kept > 12
    assert apart_again < 2
