"""The one exception that a person at the keyboard is meant to read."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

BAD_INPUT = 2


class UserError(Exception):
    """Bad input: one line that says what is wrong and how to mend it. Commands end with status 2."""


def exit_status(main: Callable[[], int], *, debug: bool) -> int:
    """Run a command's `main`; turn a UserError into one line on standard error and status 2."""
    try:
        return main()
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
