"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something only the user can mend: a file, a value, an option.

    The message is one sentence that names the file or value and the remedy. The command line prints it without a
    traceback and exits with code 2.
    """
