"""``fsmnet export``."""

from __future__ import annotations

import logging

from fsmnet.export.export import export
from fsmnet.export.options import ExportConfig

logger = logging.getLogger(__name__)


def command(config: ExportConfig) -> int:
    """Write the network."""
    export(config)
    logger.info("written: %s", config.out)
    return 0
