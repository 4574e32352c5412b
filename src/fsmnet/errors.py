"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something only the user can mend: a file, a value, an option.

    The message is one sentence that names the file or value and the remedy. The command line prints it without a
    traceback and exits with code 2.
    """


def listed(problems: list[str], most: int = 6) -> str:
    """The first few of a list, and how many more there are."""
    return "; ".join(problems[:most]) + (f"; and {len(problems) - most} more" if len(problems) > most else "")
