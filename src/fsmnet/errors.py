"""The one exception a user is meant to read, and words that recur."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from logging import Logger

NOT_CLINICAL = "research use only, not for clinical use"


class UserError(Exception):
    """Something only the user can mend: a file, a value, an option.

    The message is one sentence that names the file or value and the remedy. The command line prints it without a
    traceback and exits with code 2.
    """


def listed(problems: list[str], most: int = 6) -> str:
    """The first few of a list, and how many more there are."""
    return "; ".join(problems[:most]) + (f"; and {len(problems) - most} more" if len(problems) > most else "")


def warn_of_each(logger: Logger, words: str, *values: object) -> None:
    """Warn of what every scan of a data set may have; the terminal shows the first one and how many more there are."""
    logger.warning(words, *values, extra={"kind": words})


def first_line(error: BaseException) -> str:
    """First line of an error's text, or its kind if it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def similar(name: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """A hint at what a misspelt name may have meant; empty if nothing comes near."""
    plain = name.lower().lstrip("-").replace("-", "_")
    near = {one.lower().replace("-", "_"): one for one in known}
    close = get_close_matches(plain, near, n=1, cutoff=0.75)
    return f" (did you mean {show(near[close[0]])}?)" if close else ""
