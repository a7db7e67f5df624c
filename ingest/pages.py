"""Pages are pure functions from data to HTML; every user's string in them is escaped."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import jinja2
import msgspec
from msgspec import Struct

from ebbmark.imaging.gravity import PLACES
from ebbmark.imaging.header import PHOTOS
from ebbmark.imaging.layout import POSITIONS
from ebbmark.imaging.recipe import LONGEST_NAME, Recipe, labelled, told_apart
from ebbmark.ledger import CANCELLED
from ebbmark.presets import Preset
from ingest.bars import WIDTH, chart
from ingest.forms import form_of
from ingest.schemas import Timeline

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What the pages may load: themselves, and the photos a person has just chosen."""

STATIC_FOLDER = Path(str(files("ingest").joinpath("static")))

_ENDS = MappingProxyType(
    {
        "living": ("These photos are still here", "Their link works. Nothing has been deleted yet."),
        "ending": (
            "These photos are being deleted",
            "Their links are dead. The deletion is not verified yet.",
        ),
        "deleted": (
            "These photos are deleted",
            "The deletion was verified by listing what is left: nothing. It will be listed once more.",
        ),
        "verified": (
            "These photos are deleted",
            "The deletion was verified by listing what is left, twice: nothing.",
        ),
    }
)
_WORDS = MappingProxyType({"queued": "Waiting", "rendering": "Rendering", "retrying": "Trying again"})


def _static_version() -> str:
    digest = hashlib.sha256()
    for path in sorted(STATIC_FOLDER.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


STATIC_VERSION = _static_version()
"""Part of every static address, so that they may be cached for ever."""


class UploadLimits(Struct, frozen=True, kw_only=True):
    """What the upload page tells about limits; sizes in bytes."""

    files: int
    file_bytes: int
    job_bytes: int
    ttl: timedelta
    preview_bytes: int = 0
    """Of the largest photo that is previewed; 0 where there are no previews."""


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ingest"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = f"/static/{STATIC_VERSION}"  # pyright: ignore[reportArgumentType] - any value may be one
    environment.filters["megabytes"] = _megabytes
    environment.filters["duration"] = _duration
    environment.filters["clock"] = _clock
    return environment


def upload_page(
    operations: Sequence[Mapping[str, Any]],
    limits: UploadLimits,
    *,
    presets: Sequence[Preset] = (),
    given: Recipe | None = None,
    preset: str | None = None,
) -> str:
    """Return the page that takes photos, with a form for every operation, plugins included.

    It is filled with the recipe that is given, which may be that of a preset.
    """
    return _ENVIRONMENT.get_template("upload.html").render(
        form=form_of(operations, labelled(given) if given else None),
        limits=limits,
        places=PLACES,
        positions=POSITIONS,
        presets=presets,
        preset=preset,
        given=given is not None,
        called=given.name if given else "",
        formats=PHOTOS,
        longest_name=LONGEST_NAME,
        year=datetime.now(UTC).year,
    )


def job_page(status: Mapping[str, Any]) -> str:
    """Return a job's page as of the status JSON; scripts keep it live, and without them it reloads."""
    return _ENVIRONMENT.get_template("job.html").render(
        job=status,
        words=_WORDS,
        counts=_counts(status),
        title=_title(status),
        pause=_pause(status),
        faults=_faults(status),
    )


def retry_page(
    operations: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
    *,
    recipe: bytes | None,
    has_logo: bool,
) -> str:
    """Return the form that retries failed photos with other options; it shows those of the last time."""
    steps: list[dict[str, Any]] = msgspec.json.decode(recipe)["operations"] if recipe else []
    labels = told_apart([step["operation"] for step in steps])
    return _ENVIRONMENT.get_template("retry.html").render(
        form=form_of(operations, list(zip(labels, steps, strict=True))),
        has_logo=has_logo,
        job=status,
        photos=[photo for photo in status["photos"] if photo["retryable"] and photo["code"] != CANCELLED],
        places=PLACES,
        positions=POSITIONS,
        year=datetime.now(UTC).year,
    )


def gone_page(kind: Literal["unknown", "expired"], receipt_url: str | None = None) -> str:
    """Return what a dead or unknown link shows, and where its receipt would be."""
    if kind == "expired":
        title, detail = (
            "These photos are deleted",
            "Their hour is over, or their owner deleted them. The last bytes go within minutes.",
        )
    else:
        title, detail = "There is nothing here", "The link is wrong, or what it led to is deleted."
    return _ENVIRONMENT.get_template("message.html").render(
        title=title, detail=detail, code=None, picture="ebb", of_form=False, receipt_url=receipt_url
    )


def timeline_page(timeline: Timeline) -> str:
    """Return the page of a job's time line; it reloads until every photo has ended."""
    return _ENVIRONMENT.get_template("timeline.html").render(
        timeline=timeline,
        chart=chart(timeline),
        width=WIDTH,
        pause=min(15, 3 + len(timeline.photos) // 10),
    )


def receipt_page(receipt: Mapping[str, Any]) -> str:
    """Return what a person reads of a receipt's JSON."""
    title, detail = _ENDS[receipt["state"]]
    times = {
        "Sent": receipt["created_at"],
        "Links dead" if receipt["state"] != "living" else "Links die": receipt["links_die_at"],
        "Deleted, and listed empty": receipt["deleted_at"],
        "Listed once more, and empty": receipt["verified_at"],
        "Whole bucket looked through since": receipt["audited_at"],
    }
    rows = [(name, _moment(moment) if moment else "not yet") for name, moment in times.items()]
    if receipt["state"] not in {"living", "ending"}:
        rows += [
            ("Originals deleted", receipt["originals"]),
            ("Results deleted, with their thumbnails", receipt["results"]),
            ("Objects deleted in all", f"{receipt['objects']}, {receipt['bytes']} bytes"),
        ]
    return _ENVIRONMENT.get_template("receipt.html").render(title=title, detail=detail, rows=rows)


def problem_page(status: int, title: str, detail: str, code: str, *, of_form: bool = False) -> str:
    """Return what a person sees when a request was refused, maybe one that a form made."""
    heading = "That did not work" if status < 500 else "Not right now"
    return _ENVIRONMENT.get_template("message.html").render(
        title=heading,
        detail=detail or title,
        code=code,
        picture="problem",
        of_form=of_form,
        receipt_url=None,
    )


def letters_page() -> str:
    """Return the operators' page of dead letters: the same for everybody, its scripts fetch the rest."""
    return _ENVIRONMENT.get_template("deadletters.html").render()


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:g} MB"


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%H:%M UTC")


def _moment(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(span: timedelta) -> str:
    """Return a span as people say it, in its largest whole unit."""
    seconds = int(span.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}s" if count > 1 else f"{'an' if unit == 'hour' else 'a'} {unit}"
    return f"{seconds} seconds"


def _counts(status: Mapping[str, Any]) -> str:
    total = status["total"] if status["total"] is not None else len(status["photos"])
    failed = f", {status['failed']} failed" if status["failed"] else ""
    return f"{status['done']} of {total} done{failed}"


def _faults(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the failed photos in groups that share what happened and what to do, the largest first."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for photo in status["photos"]:
        if photo["state"] == "failed":
            groups.setdefault((photo["code"], photo["detail"]), []).append(photo)
    return [
        {
            "code": code,
            "detail": detail,
            "fix": photos[0]["fix"],
            "photos": photos,
            "retryable": [photo["n"] for photo in photos if photo["retryable"]],
        }
        for (code, detail), photos in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _pause(status: Mapping[str, Any]) -> int:
    """Return the seconds between two reloads: each costs a reader the place, and many photos take long."""
    return min(15, 3 + len(status["photos"]) // 10)


def _title(status: Mapping[str, Any]) -> str:
    if status["state"] != "complete":
        return "Working on your photos"
    return "Your photos are ready" if status["done"] else "None of the photos could be done"


_ENVIRONMENT = _environment()
