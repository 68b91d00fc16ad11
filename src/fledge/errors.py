"""What a user is told in one sentence: a mistake that they can mend, or a training that came to no
number.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend: the message says what was given, what was wanted, and what to
    do.

    The command line prints it alone, without a traceback, and exits with `exit_code`.
    """

    exit_code = 2


class Diverged(UserError):
    """A loss, a gradient or weights that are no finite numbers any more. No setting was refused, so
    this is no mistake: exit 1.
    """

    exit_code = 1
