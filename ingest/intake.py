"""One form on its way in: the job is opened with its first file, and abandoned unless it is accepted."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import Operation, catalogue
from ebbmark.imaging.recipe import (
    Recipe,
    arranged,
    labelled,
    listed_names,
    operation_of,
    parse_recipe,
    recipe_from_form,
)
from ebbmark.ledger import NewPhoto
from ebbmark.presets import Preset, named
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
        opened = await self._tell(msgspec.structs.replace(opened, job=job), wish)
        if not fill_later:
            await self._door.accept(job.id)
            last = max(photo.n for photo in self.photos if photo.code is None)
            metrics.ACCEPT_SECONDS.observe(_clock() - self._came, tracing.exemplar_of(job.id, last))
        return opened

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


def recipe_of(fields: Fields, presets: Mapping[str, Preset], *, has_logo: bool, whole_form: bool) -> Recipe:
    """Return what the form asks for: `recipe` as JSON, `preset` by its name, or the short form.

    A page's form sends the fields of all its operations (`whole_form`); those of the ones that were
    not chosen are ignored. Its field `order` lists the operations that were ticked when it was shown; what
    was ticked since is performed where it is of use. Of a repeated field the last value counts, as a checked
    box follows its hidden default. The field `name` goes before the name that a recipe says.

    Raises:
        Rejected: an operation, a parameter or a preset is wrong, or there is none.
    """
    called, whole = fields.first("name"), fields.first("recipe")
    if whole:
        return parse_recipe(whole).called(called)
    wanted = fields.first("preset")
    preset = named(presets, wanted).recipe if wanted else None
    operations = listed_names(fields.values.get("operations", []))
    flat = {
        name: values[-1]
        for name, values in fields.values.items()
        if name not in {"name", "operations", "order", "preset", "recipe", *FIELDS}
    }
    if whole_form:
        order = fields.first("order")
        operations = operations if order is None else arranged(operations, _listed(order))
        takes = {label: catalogue().get(operation_of(label)) for label in operations}
        flat = {name: value for name, value in flat.items() if _is_of(name, takes)}
    if has_logo:
        flat |= _logo_of(operations, flat, preset, whole_form=whole_form)
    return recipe_from_form(operations, flat, preset).called(called)


def _is_of(field: str, takes: Mapping[str, type[Operation] | None]) -> bool:
    label, _, parameter = field.rpartition(".")
    if label:
        return label in takes
    return any(cls and parameter in cls.__struct_fields__ for cls in takes.values())


def _logo_of(
    operations: Sequence[str], flat: Mapping[str, str], preset: Recipe | None, *, whole_form: bool
) -> dict[str, str]:
    """Return what says that a logo goes to the first of several marks, unless it is said which.

    On a page it is chosen in the first one, which then says nothing more.
    """
    given = dict(labelled(preset)) if preset else {}
    marks = [label for label in (*given, *operations) if operation_of(label) == "watermark"]
    said = any(name.endswith(".logo") for name in flat) or any(step.get("logo") for step in given.values())
    if not marks or f"{marks[0]}.logo" in flat or (said and not whole_form):
        return {}
    return {f"{marks[0]}.logo": "true"}


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
