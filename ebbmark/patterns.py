"""What a text must look like is said so that Python and every reader of JSON Schema take it alike."""

__all__ = ["whole"]


def whole(pattern: str) -> str:
    r"""Return the pattern of a text that is all of this and nothing else.

    In Python `$` alone admits a line feed behind it, and `\Z` is known nowhere else.
    """
    return rf"^({pattern})(?!\n)$"
