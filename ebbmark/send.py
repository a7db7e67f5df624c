"""`ebbmark send`: photos in, results out, over the HTTP interface alone."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from ebbmark.imaging.recipe import name_in
from ebbmark.sending.errand import Errand
from ebbmark.sending.files import as_wrong_usage, find_photos
from ebbmark.sending.flags import add_arguments, form_fields
from ebbmark.sending.server import Server
from ebbmark.sending.speaker import Speaker
from ebbmark.sending.trouble import ALL_DONE, INTERRUPTED, SOME_FAILED, SendError

__all__ = ["add_arguments", "form_fields", "run"]


def run(args: argparse.Namespace) -> int:
    """Send, wait, download; return the exit code. From the moment there is a job, a summary is printed."""
    speaker = Speaker()
    try:
        photos = find_photos(args.photos, args.out)
        fields = form_fields(vars(args))
        with as_wrong_usage(f"{args.logo} cannot be read"):
            logo = None if args.logo is None else (args.logo.name, args.logo.read_bytes())
        out = None if args.no_wait else args.out
        if out is not None:
            with as_wrong_usage(f"{out} cannot be a folder"):
                out.mkdir(parents=True, exist_ok=True)
        server = Server(args.url, speaker.progress)
        template = fields.get("name") or name_in(fields.get("recipe", "").encode())
        errand = Errand(server, speaker, photos, out, template)
        asyncio.run(_run(errand, server, fields, logo))
    except SendError as exc:
        speaker.tell(f"ebbmark send: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        speaker.tell("ebbmark send: interrupted")
        return INTERRUPTED
    finally:
        speaker.end()
    summary = errand.summary()
    for each in summary["failures"]:
        speaker.tell(f"{each['source']}: {each['detail']} ({each['code']})")
    if errand.trouble:
        speaker.tell(f"ebbmark send: {errand.trouble}; {_fate(errand)}")
    if args.json:
        sys.stdout.write(_json(summary) + "\n")
    elif args.no_wait and not errand.trouble:
        sys.stdout.write(f"{errand.link}\n")
    if errand.trouble:
        return errand.trouble.exit_code
    return SOME_FAILED if summary["failures"] else ALL_DONE


async def _run(
    errand: Errand, server: Server, fields: Mapping[str, str], logo: tuple[str, bytes] | None
) -> None:
    async with server:
        await errand.run(fields, logo)


def _fate(errand: Errand) -> str:
    if errand.state == "deleted":
        return "the job is deleted"
    if errand.state == "open":
        return "the job could not be deleted and ends by itself"
    return f"the rest is at {errand.link}"


def _json(summary: Mapping[str, Any]) -> str:
    """Return JSON for people's eyes, or in ASCII where a name cannot be spelt: so it is still whole."""
    text = json.dumps(summary, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(summary)
    return text
