"""``fsmnet models``."""

from __future__ import annotations

import logging
from dataclasses import asdict, fields
from typing import Any

from fsmnet.cli.options import ModelsConfig
from fsmnet.cli.terminal import answer
from fsmnet.errors import UserError
from fsmnet.files import json_text
from fsmnet.inference.cost import Cost, human_bytes, predict_cost
from fsmnet.models import MODELS, model_options

logger = logging.getLogger(__name__)


def command(config: ModelsConfig) -> int:
    """Print what each model costs."""
    if config.size < 8 or config.batch < 1:
        raise UserError(f"size must be at least 8 and batch at least 1, not {config.size} and {config.batch}")
    rows: list[dict[str, Any]] = []
    for name in MODELS:
        try:
            options = {"image_size": config.size} if "image_size" in model_options(name) else {}
            cost = predict_cost(name, options, config.size, config.size, config.batch)
        except UserError as error:  # one from outside that is broken, or needs an option
            logger.warning(error)
            continue
        numbers = asdict(cost) if cost is not None else dict.fromkeys(one.name for one in fields(Cost))
        rows.append({"model": name, **numbers, "citation": MODELS.get(name).citation})
    if config.json:
        answer(*json_text(rows).splitlines())
        return 0
    answer(
        f"Default sizes; GFLOP and memory for {config.size} x {config.size}, training with batches of {config.batch}",
        "",
    )
    answer(f"{'model':16} {'parameters':>12} {'GFLOP/slice':>12} {'inference':>10} {'training':>10}  source")
    for row in rows:
        if row["parameters"] is None:
            answer(f"{row['model']:16} {'cost cannot be told':>48}  {row['citation']}")
            continue
        inference, training = human_bytes(row["inference_bytes"]), human_bytes(row["training_bytes"])
        sizes = f"{row['parameters']:>12,} {row['gflops']:>12.1f} {inference:>10} {training:>10}"
        answer(f"{row['model']:16} {sizes}  {row['citation']}")
    return 0
