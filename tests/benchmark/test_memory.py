"""Peak memory is that of a process of its own."""

from __future__ import annotations

import torch

from fsmnet.benchmark.memory import measured_in_a_process
from fsmnet.benchmark.options import BenchmarkConfig


def test_memory_is_the_peak_of_a_process_of_its_own():
    config = BenchmarkConfig(model="fsmnet", device="cpu", features=8, size=32, runs=2)
    torch.ones(2 * 10**8)  # 0.8 GB that this process once had, which the other must not count as its own
    measured = measured_in_a_process(config, "float32", "fast")
    assert measured is not None
    assert 5e7 < measured["before"] < measured["peak"] < 7e8
