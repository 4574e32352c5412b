"""Shared set-up: one thread per test process, since the suite runs in several."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
