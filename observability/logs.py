"""Logs are one JSON object a line on standard error, or readable text, whoever's logger it was."""

import logging
import sys
from typing import Literal

import structlog

_NOISY = {
    # A broker's outage of 15 s is 2,400 lines of these.
    "aiokafka": logging.ERROR,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "botocore": logging.WARNING,
    "boto3": logging.WARNING,
    "urllib3": logging.WARNING,
    "psycopg.pool": logging.ERROR,
    "PIL": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "asyncio": logging.WARNING,
}


class _OncePerWindow(logging.Filter):
    """Lets a foreign logger say the same thing once in ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.lineno)
        if record.created - self._said.get(key, 0.0) < 10:
            return False
        self._said[key] = record.created
        return True


def configure(service: str, *, level: str = "info", form: Literal["json", "console"] = "json") -> None:
    """Send every log line of this process to standard error, with `service` on each."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor
    if form == "json":
        shared.append(structlog.processors.format_exc_info)
        last = structlog.processors.JSONRenderer()
    else:
        # The rich formatter shows local variables, and settings hold secrets.
        plain = structlog.dev.plain_traceback
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, lowest in _NOISY.items():
        foreign = logging.getLogger(name)
        foreign.setLevel(max(lowest, root.level))
        foreign.handlers.clear()
        foreign.addFilter(_OncePerWindow())
    structlog.contextvars.bind_contextvars(service=service)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose keyword arguments become fields."""
    return structlog.stdlib.get_logger(name)
