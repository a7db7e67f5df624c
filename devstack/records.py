"""Small JSON files: replaced at once, readable by their owner alone, and no trouble when damaged."""

import json
import os
from pathlib import Path


def write(path: Path, content: object) -> None:
    """Replace the file: a reader sees the old content or the new, never half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(0o600)
    draft.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    draft.replace(path)


def read(path: Path) -> dict[str, object]:
    """Return the content; nothing when there is none, or it was damaged by a power cut."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
