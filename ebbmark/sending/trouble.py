"""What ends a command, or one photo: a sentence for the person, and a code for programs."""

ALL_DONE, SOME_FAILED, WRONG, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130


class SendError(Exception):
    """What the person must read, with the exit code."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


class RefusedError(SendError):
    """No repeat will change this: the server will not take it, or the file is at fault."""

    def __init__(self, code: str, detail: str) -> None:
        """`code` and `detail` are the server's, or those of `docs/errors.md` for what happens here."""
        super().__init__(WRONG, f"{detail} ({code})")
        self.code = code
        self.detail = detail
