"""What a request to retry says: which photos, and what is to be done with them this time."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import msgspec
import multipart

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.imaging.recipe import name_in
from ebbmark.ledger import JobRow
from ingest.intake import recipe_of
from ingest.rounds import Again
from ingest.services import AnyRequest, Services
from ingest.uploads import Fields, Spool, Upload, gathered, read_form

_MOST_BYTES = 64 * 1024
_KEEP_LOGO = "keep_logo"
_ABOUT = frozenset({"photos", _KEEP_LOGO})
_SHAPE = 'A retry is empty, or JSON such as {"photos": [0, 3], "operations": "grayscale"}, or a form.'


async def read_again(
    request: AnyRequest, body: AsyncIterator[bytes], services: Services, job: JobRow, *, whole_form: bool
) -> Again:
    """Read the body: nothing, JSON, or a form of either kind; a logo in it is stored.

    Raises:
        Rejected: it is none of these, or what it asks for is wrong.
    """
    logo: bytes | None = None

    async def on_file(upload: Upload, spool: Spool) -> None:
        nonlocal logo
        if upload.field != "logo":
            raise Rejected("unknown-field", "A retry takes no photos; its only file is `logo`.")
        logo = await services.door.keep_logo(job.id, spool)

    kind, _ = multipart.parse_options_header(request.headers.get("content-type", ""))
    if kind == "multipart/form-data":
        fields = await read_form(request, body, services.settings, on_file)
    else:
        fields = _fields_of(kind, await gathered(body, _MOST_BYTES))
    photos = _photos_of(fields)
    if not fields.values.keys() - {"photos"} and logo is None:
        return Again(photos)
    keeps = job.logo_sha256 is not None and (not whole_form or fields.first(_KEEP_LOGO) == "true")
    named = Fields({name: values for name, values in fields.values.items() if name not in _ABOUT})
    has_logo = logo is not None or (whole_form and keeps)
    wanted = recipe_of(named, services.presets, has_logo=has_logo, whole_form=whole_form)
    if wanted.wants_logo() and logo is None and not keeps:
        raise Rejected("missing-logo", "The watermark should carry a logo, but none was sent.")
    if not wanted.name:
        wanted = msgspec.structs.replace(wanted, name=name_in(job.recipe))
    return Again(photos, wanted.to_json(), logo)


def _fields_of(kind: str, body: bytes) -> Fields:
    """Return what a small body says as the fields of a form."""
    if not body.strip():
        return Fields({})
    try:
        if kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=600, errors="strict")
            return _grouped(pairs)
        told = msgspec.json.decode(body, type=dict[str, object])
    except (ValueError, RecursionError) as exc:
        raise Rejected("invalid-retry", _SHAPE) from exc
    if any(value == [] and name != "photos" for name, value in told.items()):  # no form can say that
        raise Rejected("invalid-retry", f"An empty list is no value. {_SHAPE}")
    return Fields({name: texts(value) for name, value in told.items() if value is not None})


def _grouped(pairs: list[tuple[str, str]]) -> Fields:
    fields = Fields({})
    for name, value in pairs:
        fields.values.setdefault(name, []).append(value)
    return fields


def texts(value: object) -> list[str]:
    """Return a JSON value as a form would send it."""
    if isinstance(value, list):
        return [_text(each) for each in msgspec.convert(value, list[object])]
    return [_text(value)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _photos_of(fields: Fields) -> frozenset[int] | None:
    """Return the numbers in the field `photos`, each alone or several with commas."""
    given = fields.values.get("photos")
    if given is None:
        return None
    named = [number.strip() for value in given for number in value.split(",")]
    if not all(number.isascii() and number.isdecimal() and len(number) < 10 for number in named):
        raise Rejected("invalid-retry", f"`photos` are the numbers of photos. {_SHAPE}")
    if len(named) > 10_000:
        raise LimitExceeded("body-too-large", "No job has so many photos.")
    return frozenset(map(int, named))
