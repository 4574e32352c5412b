"""The one exception a user is meant to read, and words that recur."""

from __future__ import annotations

NOT_CLINICAL = "research use only, not for clinical use"


class UserError(Exception):
    """Something only the user can mend: a file, a value, an option.

    The message is one sentence that names the file or value and the remedy. The command line prints it without a
    traceback and exits with code 2.
    """


def listed(problems: list[str], most: int = 6) -> str:
    """The first few of a list, and how many more there are."""
    return "; ".join(problems[:most]) + (f"; and {len(problems) - most} more" if len(problems) > most else "")


def first_line(error: BaseException) -> str:
    """First line of an error's text, or its kind if it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
