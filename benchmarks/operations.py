"""Does another version do the same operations? Counted, so that it can be told on a busy machine, unlike times.

    python benchmarks/operations.py --baseline DIR

``DIR`` is a checkout of an older commit. For the released network, one optimised slice and one training step, in
float32 and bfloat16: how many operations PyTorch's dispatcher saw in either version, how many with other shapes, types
or strides than in the other, and whether the value (the image's sum, the loss) is the same to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import speed
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Counts operations by name, and by shapes, types and strides of what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        self.seen[f"{function} {[(*t.shape, str(t.dtype), *t.stride()) for t in tensors]}"] += 1
        return function(*args, **(kwargs or {}))


def counted(request: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = getattr(speed, request["task"])(request)
    task(0)
    with Operations() as operations:
        value = task(1)
    return {"value": value, "seen": operations.seen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(counted(arguments.child)))
        return
    for task in ("inference", "training"):
        for precision in ("float32", "bfloat16"):
            request = {
                "task": task, "features": 16, "size": 72, "batch": 1, "channels_last": True, "precision": precision,
            }  # fmt: skip
            both = []
            for source in (arguments.baseline.resolve() / "src", speed.SOURCE):
                command = [sys.executable, __file__, "--child", json.dumps(request)]
                environment = {**os.environ, "PYTHONPATH": str(source)}
                run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                both.append(json.loads(run.stdout))
            before, now = (Counter(one["seen"]) for one in both)
            same = (
                "the same value" if both[0]["value"] == both[1]["value"] else f"{both[0]['value']} {both[1]['value']}"
            )
            print(f"{task} {precision}: {before.total()} and {now.total()} operations, {same}")
            for operation in before - now:
                print("  before only:", operation)
            for operation in now - before:
                print("  now only:", operation)


if __name__ == "__main__":
    main()
