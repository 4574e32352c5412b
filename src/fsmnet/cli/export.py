"""``fsmnet export``."""

from __future__ import annotations

import logging

from fsmnet.export.options import ExportConfig
from fsmnet.export.write import export

logger = logging.getLogger(__name__)


def command(config: ExportConfig) -> int:
    """Write the network."""
    export(config)
    logger.info("written: %s", config.out)
    return 0
