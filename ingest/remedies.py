"""What its owner can do about a failed photo, by its code: the one table behind pages and answers."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from ebbmark.ledger import CANCELLED, PhotoRow
from ebbmark.states import PhotoState


class Remedy(Struct, frozen=True):
    """What happened to a photo, what to do about it, and whether a new round can help."""

    meaning: str
    fix: str
    retryable: bool


_OTHER_FILE = "Save it anew with another program and send it again."
_OUR_FAULT = "Retry it once the operator has given all workers the same version and settings."

REMEDIES: Mapping[str, Remedy] = MappingProxyType(
    {
        "animated": Remedy(
            "The picture moves, and its format or the one asked for cannot.",
            "Retry with PNG, WebP or the original's format; send an animated AVIF as one of these.",
            True,
        ),
        "bad-logo": Remedy(
            "The watermark's logo cannot be decoded.", "Retry with another logo, a small PNG at best.", True
        ),
        CANCELLED: Remedy("It was cancelled.", "Retry it if you want it after all.", True),
        "corrupt": Remedy(
            "The file is damaged or breaks off.",
            "Copy it anew from the camera or save it anew, and send it again.",
            False,
        ),
        "deadline": Remedy("It could not be rendered in time.", "Retry it when fewer photos wait.", True),
        "empty-file": Remedy("The file has no bytes.", "Send it again from where it came from.", False),
        "file-too-large": Remedy("The file is too large.", "Send a smaller one.", False),
        "heic-not-installed": Remedy(
            "It is a HEIC photo, and the workers lack what reads those.",
            "Retry it once the operator has installed ebbmark[heic], or send it as JPEG.",
            True,
        ),
        "invalid-name": Remedy("The workers do not take the name of the results.", _OUR_FAULT, True),
        "invalid-parameter": Remedy("The workers do not know one of the parameters.", _OUR_FAULT, True),
        "invalid-recipe": Remedy("The workers cannot read the recipe.", _OUR_FAULT, True),
        "missing-glyph": Remedy(
            "The text has a character that no font of the workers has.", "Retry with another text.", True
        ),
        "missing-logo": Remedy(
            "The recipe wants a logo and there is none.", "Retry with a logo, or without its watermark.", True
        ),
        "no-operations": Remedy("Nothing is to be done.", "Retry with at least one operation.", True),
        "nothing-to-write": Remedy(
            "The text is made of what this photo does not say.", "Retry with words of your own in it.", True
        ),
        "operation-failed": Remedy(
            "One of the operations has a fault.", "Retry without it, and tell whoever wrote it.", True
        ),
        "out-of-memory": Remedy(
            "Rendering it takes too much memory.", "Retry with fewer operations or a smaller result.", True
        ),
        "poison": Remedy(
            "Rendering it failed again and again.", f"Retry it once. If it fails again: {_OTHER_FILE}", True
        ),
        "too-large-for-format": Remedy(
            "The result is longer than its format allows.", "Retry with another format, or resize it.", True
        ),
        "too-long-for-format": Remedy(
            "The animation rests for longer than its format can say.", "Retry with another format.", True
        ),
        "too-many-bytes": Remedy("The file is larger than the workers take.", _OUR_FAULT, True),
        "too-many-frames": Remedy(
            "It has more frames than an animation may have.", "Send a shorter one, or one frame of it.", False
        ),
        "too-many-operations": Remedy("The recipe is too long.", "Retry with fewer operations.", True),
        "too-many-pixels": Remedy(
            "The picture or the result has too many pixels.",
            "Retry with a smaller result, or send a smaller picture.",
            True,
        ),
        "too-many-scans": Remedy("It has more scans than any camera makes.", _OTHER_FILE, False),
        "unknown-operation": Remedy("The workers lack one of the operations.", _OUR_FAULT, True),
        "unsupported-format": Remedy(
            "It is not a photo of a kind that is read.", "Convert it to JPEG or PNG and send it again.", False
        ),
    }
)
"""By code. A plugin may have codes that are not here."""

_UNFORESEEN = Remedy(
    "It could not be rendered.", "Retry it, with other options if it fails the same way.", True
)


def remedy_of(code: str | None) -> Remedy:
    """Return what can be done about this code."""
    return REMEDIES.get(code or "", _UNFORESEEN)


def retryable(photo: PhotoRow) -> bool:
    """Return whether the photo failed and a new round can help; without an original none can."""
    return photo.state is PhotoState.FAILED and photo.size > 0 and remedy_of(photo.code).retryable
