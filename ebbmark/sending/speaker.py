"""Progress goes to standard error: one line that changes on a terminal, plain lines elsewhere."""

import os
import sys
import time

_SELDOM = 1.0  # seconds between two plain lines of progress


class Speaker:
    """Says how it goes. What is told stays; progress is soon out of date, and some of it is left out."""

    def __init__(self) -> None:
        """Look once whether somebody watches."""
        self._one_line = (
            sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
        )
        self._last = self._due = ""
        self._said_at = float("-inf")

    def tell(self, sentence: str) -> None:
        """Print a line that stays one, whatever names are in it."""
        if self._one_line and self._last:
            self._write("\r\033[K")
            self._last = ""
        shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
        self._write("".join(shown) + "\n")

    def progress(self, text: str) -> None:
        """Show this in place of what was shown before."""
        if text == self._last:
            self._due = ""
        elif self._one_line:
            self._write(f"\r\033[K{text}")
            self._last = text
        elif time.monotonic() - self._said_at >= _SELDOM:
            self._print(text)
        else:
            self._due = text

    def end(self) -> None:
        """Leave the last progress standing."""
        if self._one_line and self._last:
            self._write("\n")
        elif self._due:
            self._print(self._due)
        self._last = ""

    def _print(self, text: str) -> None:
        self._write(f"{text}\n")
        self._last, self._due, self._said_at = text, "", time.monotonic()

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
