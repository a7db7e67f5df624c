"""What a client already has, and which part of the rest it wants: RFC 9110, sections 13 and 14."""

from ebbmark.errors import LimitExceeded

_LONGEST_NUMBER = 18


class OutOfRange(LimitExceeded):
    """The byte range lies outside of what is there; `size` says how much that is."""

    def __init__(self, size: int, *_: str) -> None:
        """Its answer names the size in a header, too."""
        super().__init__("range-not-satisfiable", f"The result has {size} bytes.")
        self.size = size


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has what this ETag names; weak ones will do."""
    if if_none_match is None:
        return False
    named = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return named == ["*"] or etag.removeprefix("W/") in named


def is_the_same(if_range: str | None, etag: str) -> bool:
    """Return whether a part would fit to what the client has; dates and weak ETags do not say so."""
    return if_range is None or (if_range.strip() == etag and not etag.startswith("W/"))


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, end) of a single byte range, or None for what asks for the whole.

    Raises:
        OutOfRange: it lies outside.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    digits = first + last
    if unit.strip() != "bytes" or not dash or not (digits.isascii() and digits.isdecimal()):
        return None
    if not first:
        start, end = max(0, size - _number(last)), size
    else:
        start, end = _number(first), min(size, _number(last) + 1) if last else size
    if start >= end:
        raise OutOfRange(size)
    return start, end


def _number(digits: str) -> int:
    """Return the number, or one that is larger than any size when it has too many digits to be read."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else 10**_LONGEST_NUMBER
