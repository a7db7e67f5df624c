"""`make bench-imaging`: the CPU time of one photo in our imaging, beside the least that Pillow can do.

Each recipe is rendered by `render`, in this process, and by the pool of children that workers have; a bare
loop that makes the same file and thumbnail runs in turns with them, so that what else the machine does
meets all alike. Each turn gives a ratio; the median of them is what is told.
"""

import argparse
import asyncio
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
from PIL import Image, ImageChops, ImageStat

from ebbmark.imaging import drawing, layout, marks
from ebbmark.imaging.render import Rendered, render
from ebbmark.pool import ALLOCATION
from ebbmark.settings import Settings, Worker
from loadtest.bare import RECIPES, TEXT, Made, Pieces, Recipe, Stamp
from loadtest.corpus import SIZES, encoded, photo, sample
from loadtest.record import keep, say
from processors.pool import RenderPool

AIM, AIM_IN_POOL = 1.05, 1.15
_PLAN = {"0.3MP": (15, 8), "2MP": (15, 2), "12MP": (9, 1)}
"""Turns, and photos in each."""
_POOL_SIZE, _POOL_PLAN = "2MP", (9, 6)
_LARGE = 8160, 6120
_ALIKE = 38.0
"""Decibels; two encodings of one picture with the same tables have 45 and more."""
_OPACITY, _MARGIN, _SIZE = 0.6, 0.03, 0.05


Way = Callable[[int], Awaitable[None]]
"""Renders so many photos."""


class DifferentError(Exception):
    """A bare loop makes something else than Ebbmark, so that its time says nothing."""


class Ratio(NamedTuple):
    """What turns of two ways found, in CPU milliseconds for one photo."""

    bare_ms: float
    ours_ms: float
    ratio: float
    """The median of the ratios of all turns."""
    spread: tuple[float, float]
    """Their quartiles."""


def asked(recipe: Recipe) -> bytes:
    """Return a recipe as it travels."""
    return msgspec.json.encode({"operations": recipe.operations})


def stamp(recipe: Recipe, size: tuple[int, int]) -> Stamp:
    """Return the mark of a recipe for photos of a size, ready to be pasted."""
    if recipe.marked_at is None:
        return Stamp((), (), (0, 0, 1, 1))
    frame = recipe.marked_at(size)
    tiled = any(step.get("position") == "tiled" for step in recipe.operations)
    designs = [
        drawing.Design(
            text=TEXT,
            logo="",
            ink=ink,
            outline=True,
            shadow=False,
            plate=None,
            align="center" if tiled else "right",
        )
        for ink in (drawing.LIGHT, drawing.DARK)
    ]
    plan = layout.arrange(
        frame,
        marks.extent(designs[0], b""),
        position="tiled" if tiled else "bottom-right",
        em=layout.em_of(frame, _SIZE),
        margin=_MARGIN,
        angle=30.0 if tiled else 0.0,
    )
    light, dark = (_pieces(marks.draw(design, b"", plan, _OPACITY), plan) for design in designs)
    return Stamp(light, dark, (0, 0, *frame) if tiled else plan.places[0].box)


def _pieces(mark: marks.Mark, plan: layout.Arrangement) -> Pieces:
    return [
        ((place.left + piece.left, place.top + piece.top), piece.ink, piece.alpha)
        for place in plan.places
        for piece in mark.pieces
    ]


def size_of(content: bytes) -> tuple[int, int]:
    """Return width and height of a photo, by its header."""
    return Image.open(io.BytesIO(content)).size


def check_alike(ours: Rendered, bare: Made) -> None:
    """Raise `DifferentError` unless both are of one format and size, and the same picture."""
    for one, other in ((ours.data, bare.data), (ours.thumbnail, bare.thumbnail)):
        first, second = (Image.open(io.BytesIO(each)) for each in (one, other))
        if (first.format, first.size, first.mode) != (second.format, second.size, second.mode):
            raise DifferentError(f"{first.format} {first.size}, not {second.format} {second.size}")
        difference = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB")))
        mean = sum(difference.sum2) / sum(difference.count)
        if mean > 255**2 / 10 ** (_ALIKE / 10):
            raise DifferentError(f"their pixels differ by {mean**0.5:.1f} levels")


async def in_turns(ways: tuple[Way, Way], spent: Callable[[], float], turns: int, photos: int) -> Ratio:
    """Let a bare way and ours work in turns, each first as often as the other.

    A way renders so many photos; `spent` returns the CPU seconds so far.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = spent()
            await ways[which](photos)
            times[which].append(1000 * (spent() - began) / photos)
    # The first turn also did what is done only once, such as drawing a mark.
    bare, ours = times[0][1:], times[1][1:]
    ratios = [mine / least for mine, least in zip(ours, bare, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Ratio(statistics.median(bare), statistics.median(ours), middle, (low, high))


async def in_process(recipe: Recipe, content: bytes, turns: int, photos: int) -> Ratio:
    """Measure `render` in this process."""
    by, ready = asked(recipe), stamp(recipe, size_of(content))
    check_alike(render(content, by), recipe.bare(content, ready))

    async def ours(photos: int) -> None:
        for _ in range(photos):
            render(content, by)

    return await in_turns((_bare(recipe, content, ready), ours), time.process_time, turns, photos)


async def in_pool(recipe: Recipe, content: bytes, turns: int, photos: int) -> Ratio:
    """Measure the pool of a worker, its parent and its one child together."""
    by, ready = asked(recipe), stamp(recipe, size_of(content))
    async with RenderPool(_settings()) as pool:

        async def ours(photos: int) -> None:
            await asyncio.gather(*(pool.render(content, by, None, {}) for _ in range(photos)))

        # Looked up once: it takes longer than handing over a photo.
        children = [child.pid for child in psutil.Process().children(recursive=True)]
        return await in_turns(
            (_bare(recipe, content, ready), ours),
            lambda: time.process_time() + sum(map(_spent, children)),
            turns,
            photos,
        )


def _bare(recipe: Recipe, content: bytes, ready: Stamp) -> Way:
    async def bare(photos: int) -> None:
        for _ in range(photos):
            recipe.bare(content, ready)

    return bare


async def peak_megabytes(recipe: Recipe, content: bytes) -> float:
    """Return the most memory that a child of its own had while it rendered one photo."""
    before = set(psutil.Process().children(recursive=True))
    async with RenderPool(_settings()) as pool:
        await pool.render(content, asked(recipe), None, {})
        return max(_peak(child) for child in set(psutil.Process().children(recursive=True)) - before)


def _settings() -> Settings:
    return msgspec.structs.replace(Settings(), worker=Worker(children=1))


def _spent(pid: int) -> float:
    """Return the CPU seconds of a process so far; those of `psutil` are whole ticks."""
    spent = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            spent += int(path.read_text("ascii").split()[0]) / 1e9
    return spent


def _peak(child: psutil.Process) -> float:
    """Return the most memory that a process ever had; nothing of one that is just ending."""
    with suppress(OSError):
        for line in Path(f"/proc/{child.pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what was found as two tables."""
    sizes = [size for size in SIZES if any(size in each for each in found.values())]
    head = ["recipe", *(f"{size} bare, ms | ours / bare" for size in sizes), f"pool / bare, {_POOL_SIZE}"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * (2 * len(sizes) + 2)}"]
    for name, each in found.items():
        cells = [f"{each[size]['bare_ms']:.2f} | {each[size]['ratio']:.3f}" for size in sizes]
        lines.append(f"| {' | '.join([name, *cells, format(each['pool']['ratio'], '.3f')])} |")
    lines += ["", "| recipe | peak of a child, MB, 12 MP | 50 MP |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {each['peak_mb']['12MP']:.0f} | {each['peak_mb']['50MP']:.0f} |"
        for name, each in found.items()
    ]
    mine = [each[size]["ratio"] for each in found.values() for size in sizes]
    pooled = [each["pool"]["ratio"] for each in found.values()]
    return "\n".join(
        [
            "CPU milliseconds for one photo and its thumbnail, and the median of the ratios of all turns.",
            "",
            *lines,
            "",
            _verdict(f"`render` within {AIM} ×", mine, AIM),
            _verdict(f"the pool within {AIM_IN_POOL} × at {_POOL_SIZE}", pooled, AIM_IN_POOL),
        ]
    )


def _verdict(aim: str, ratios: Sequence[float], most: float) -> str:
    within = sum(ratio <= most for ratio in ratios)
    return (
        f"Aim, {aim}: {within} of {len(ratios)}; "
        f"median {statistics.median(ratios):.3f}, worst {max(ratios):.3f}."
    )


async def measured(contents: Mapping[str, bytes], large: bytes, *, less: int) -> dict[str, dict[str, Any]]:
    """Return all figures by recipe."""
    found: dict[str, dict[str, Any]] = {}
    for name, recipe in RECIPES.items():
        found[name] = {
            size: (await in_process(recipe, content, turns // less, photos))._asdict()
            for size, content, (turns, photos) in ((*each, _PLAN[each[0]]) for each in contents.items())
        }
        turns, photos = _POOL_PLAN
        found[name]["pool"] = (await in_pool(recipe, contents[_POOL_SIZE], turns // less, photos))._asdict()
        found[name]["peak_mb"] = {
            "12MP": await peak_megabytes(recipe, contents["12MP"]),
            "50MP": await peak_megabytes(recipe, large),
        }
        say(f"{name}: done")
    return found


def main() -> int:
    """Measure, print, and keep the raw results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, nothing kept")
    args = parser.parse_args()
    if ALLOCATION.items() - os.environ.items():
        # As the pool has it, for both ways; it is read when a process starts.
        again = [sys.executable, "-m", "loadtest.imaging", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, **ALLOCATION})  # noqa: S606 - ourselves
    with tempfile.TemporaryDirectory(prefix="ebbmark-imaging-") as folder:
        contents = {size: sample(size, Path(folder)) for size in SIZES}
    found = asyncio.run(measured(contents, encoded(photo(*_LARGE, seed=1)), less=4 if args.quick else 1))
    told = report(found)
    say(told)
    if not args.quick:
        keep(told, {"aims": {"render": AIM, "pool": AIM_IN_POOL}, "recipes": found}, of="imaging")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
