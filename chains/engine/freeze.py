# SPDX-License-Identifier: Apache-2.0
"""The freeze switch as the engine sees it: asked in the database before every push, and once more a moment before.

Used by reconcile and observe. Device threads read what the caller's thread last saw, at most `LOOK_S` and one
tick of the fleet old: they have no database.
"""

from __future__ import annotations

import time

from chains import models, selectors

LOOK_S = 1.0


class Frozen(Exception):
    """Nothing may be written now. Not an error: wait. was_counted: the attempt was counted before."""

    def __init__(self, detail: str, *, was_counted: bool) -> None:
        super().__init__(detail)
        self.was_counted = was_counted


class Gate:
    """For one attempt. is_counted: set by the owner once the attempt was counted."""

    def __init__(self) -> None:
        self.is_counted = False
        self._seen: models.Freeze | None = None
        self._looked = float("-inf")

    def look(self) -> None:
        """While devices are waited for: ask again, at most once in `LOOK_S`. Raises nothing: what is read may end."""
        if time.monotonic() - self._looked >= LOOK_S:
            self._ask()

    def check(self) -> None:
        """Ask now. Errors: Frozen."""
        self._ask()
        self.must_be_open()

    def must_be_open(self) -> None:
        """In any thread, without a question. Errors: Frozen."""
        if self._seen is not None:
            text = f"frozen (freeze {self._seen.pk}: {self._seen.reason}); goes on when an operator lifts it"
            raise Frozen(text, was_counted=self.is_counted)

    def _ask(self) -> None:
        self._seen = selectors.freeze_now()
        self._looked = time.monotonic()
