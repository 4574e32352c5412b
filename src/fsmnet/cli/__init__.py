"""The command line; only here is anything printed."""

from fsmnet.cli.parser import main

__all__ = ["main"]
