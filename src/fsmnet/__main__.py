"""``python -m fsmnet``."""

import sys

from fsmnet.cli import main

sys.exit(main())
