"""One form on its way in: the job is opened with its first file, and abandoned unless it is accepted."""

import asyncio

import msgspec

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import catalogue
from ebbmark.imaging.recipe import Recipe, parse_recipe, recipe_from_form
from ebbmark.ledger import NewPhoto
from ingest.jobs import Door, Opened, fingerprint, require_one_good
from ingest.uploads import Fields, Spool, Upload
from ingest.webhooks import FIELDS, Wish
from observability import metrics, tracing


class Intake:
    """One form on its way in: the job is opened with its first file, and abandoned unless accepted."""

    def __init__(self, door: Door, idempotency_key: str | None) -> None:
        self._door = door
        self._key = idempotency_key
        self.opened: Opened | None = None
        self._looked = self._came = 0.0
        self.photos: list[NewPhoto] = []
        self._began: list[int] = []
        self.logo: bytes | None = None

    async def open(self) -> Opened:
        """Open the job, once."""
        if self.opened is None:
            self.opened = await self._door.open(idempotency_key=self._key)
            self._looked = _clock()
        return self.opened

    async def _still_open(self) -> Opened:
        # A repeat may have been answered this job and its owner have deleted it. Nothing may be written
        # after the second listing, so a look is never older than a part of the time until then.
        opened = await self.open()
        if _clock() - self._looked >= self._door.look_again:
            await self._door.require_live(opened.job.id)
            self._looked = _clock()
        return opened

    async def on_file(self, upload: Upload, spool: Spool) -> None:
        """Keep a file that came whole, while the rest of the form is still coming."""
        self._came = _clock()
        opened = await self._still_open()
        if upload.field == "logo":
            self.logo = await self._door.keep_logo(opened.job.id, spool)
        elif upload.field in {"files", "file"}:
            self._began.append(tracing.now())
            kept = await self._door.keep_original(opened.job.id, len(self.photos), upload.name, spool)
            self.photos.append(kept)
        else:
            raise Rejected("unknown-field", "Photos belong in the field `files`, the logo in `logo`.")

    async def accept(self, wanted: Recipe, *, fill_later: bool, wish: Wish | None = None) -> Opened:
        """Enter and seal what came, or only the recipe when the photos follow."""
        if wanted.wants_logo() and self.logo is None:
            raise Rejected("missing-logo", "The watermark should carry a logo, but none was sent.")
        recipe = wanted.to_json()
        opened = await self.open()
        if not fill_later:
            require_one_good(self.photos)
        mark = fingerprint(recipe, self.logo, self.photos)
        if wish is not None:
            mark = wish.marked(mark)
        if fill_later:
            job = await self._door.describe(opened, recipe, logo_sha256=self.logo, fingerprint=mark)
        else:
            job = await self._door.submit(
                opened,
                self.photos,
                recipe,
                logo_sha256=self.logo,
                fingerprint=mark,
                began=self._began,
            )
            metrics.ACCEPT_SECONDS.observe(_clock() - self._came)
        return await self._tell(msgspec.structs.replace(opened, job=job), wish)

    async def _tell(self, opened: Opened, wish: Wish | None) -> Opened:
        """Have the receiver noted, once it is known that this request speaks for the job.

        A job that has ended by then is found by the janitor; a repeated request finds the first one's.
        """
        if wish is None:
            return opened
        webhook = await self._door.tell(opened.job.id, wish.webhook())
        return msgspec.structs.replace(opened, webhook=webhook)

    async def abandon(self) -> None:
        """Have what was not accepted deleted, but for what another request has built, or is building."""
        if self.opened is not None:
            await asyncio.shield(self._door.abandon(self.opened))


def _clock() -> float:
    return asyncio.get_running_loop().time()


def recipe_of(fields: Fields, *, has_logo: bool, whole_form: bool) -> Recipe:
    """Return what the form asks for: `recipe` as JSON, or the short form.

    A page's form sends the fields of all its operations (`whole_form`); those of the ones that were
    not chosen are ignored. Of a repeated field the last value counts, as a checked box follows its
    hidden default. The field `name` goes before the name that a recipe says.

    Raises:
        Rejected: an operation or a parameter is wrong, or there is none.
    """
    called, whole = fields.first("name"), fields.first("recipe")
    if whole:
        return _called(called, parse_recipe(whole))
    operations = [
        name.strip()
        for value in fields.values.get("operations", [])
        for name in value.split(",")
        if name.strip()
    ]
    flat = {
        name: values[-1]
        for name, values in fields.values.items()
        if name not in {"operations", "recipe", "name", *FIELDS}
    }
    if whole_form:
        chosen = [each for name, each in catalogue().items() if name in operations]
        taken = {name for each in chosen for name in each.__struct_fields__}
        flat = {name: value for name, value in flat.items() if name in taken}
    if has_logo and "watermark" in operations and not any(name.endswith(".logo") for name in flat):
        # The first of several marks, unless the form says which.
        flat["watermark.logo" if operations.count("watermark") > 1 else "logo"] = "true"
    return _called(called, recipe_from_form(operations, flat))


def _called(name: str | None, recipe: Recipe) -> Recipe:
    return msgspec.structs.replace(recipe, name=name) if name else recipe
