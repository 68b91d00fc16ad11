"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: the message says what was given, what was wanted, and what to do.

    The command line prints it alone, without a traceback, and exits with 2.
    """
