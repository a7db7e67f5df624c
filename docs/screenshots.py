"""The pictures of the pages in the documentation, made from a running Ebbmark and landscapes that never were.

python docs/screenshots.py --url http://127.0.0.1:8000
"""  # noqa: INP001 - a script, not a package

import argparse
import asyncio
import io
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter
from playwright.async_api import Browser, FilePayload, Page, Route, ViewportSize, async_playwright, expect

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 300_000
PATIENCE_MS = 60_000
MARK = "© Студия 2026"
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """A landscape: colours of the sky from the zenith down, hills from the far ones on, and a light."""

    name: str
    size: tuple[int, int]
    sky: tuple[Colour, ...]
    far: Colour
    near: Colour
    sun: tuple[float, float, float] = (0.7, 0.45, 0.05)
    sun_colour: Colour = (255, 244, 214)
    glow: float = 0.6
    hills: int = 4
    horizon: float = 0.55
    roughness: float = 1.0
    seed: int = 1
    water: bool = False
    stars: bool = False
    trees: bool = False


SCENES = (
    Scene("Байкал на рассвете.jpg", (1500, 1000), ((46, 62, 112), (190, 130, 150), (255, 196, 140)),
          (196, 150, 160), (38, 40, 72), (0.62, 0.5, 0.045), hills=4, horizon=0.5, seed=3, water=True),
    Scene("DSC_0413.JPG", (1500, 1000), ((84, 150, 214), (160, 204, 236), (232, 242, 246)),
          (150, 186, 206), (44, 92, 58), (0.25, 0.2, 0.035), glow=0.5, seed=8, trees=True),
    Scene("Dunes.jpg", (1500, 1000), ((226, 150, 96), (246, 196, 130), (255, 226, 170)),
          (232, 170, 110), (140, 66, 34), (0.3, 0.42, 0.06), hills=5, roughness=0.35, seed=12),
    Scene("Nordlys.png", (1500, 1000), ((8, 14, 36), (14, 58, 74), (60, 150, 120)),
          (24, 62, 76), (6, 12, 22), (0.7, 0.3, 0.02), (220, 240, 255), 0.3, seed=5, stars=True, trees=True),
    Scene("Portrait of a valley.jpg", (900, 1200), ((96, 120, 170), (200, 190, 200), (250, 220, 190)),
          (170, 170, 190), (50, 66, 60), (0.5, 0.4, 0.06), hills=6, seed=21, trees=True),
    Scene("Étretat, soir.jpg", (1500, 1000), ((70, 54, 110), (222, 108, 106), (255, 190, 110)),
          (150, 86, 110), (46, 28, 54), (0.5, 0.52, 0.06), (255, 226, 160), hills=2, horizon=0.56,
          seed=33, water=True),
    Scene("Alpenglow.webp", (1500, 1000), ((60, 80, 140), (170, 150, 190), (250, 190, 180)),
          (226, 150, 150), (54, 44, 80), (0.15, 0.3, 0.03), hills=4, roughness=2.0, horizon=0.45, seed=51),
    Scene("Лаванда.jpg", (1500, 1000), ((130, 180, 226), (206, 214, 236), (250, 232, 226)),
          (150, 140, 196), (92, 60, 140), (0.78, 0.3, 0.045), hills=5, roughness=0.4, horizon=0.48, seed=64),
    Scene("Moonrise.jpg", (1500, 1000), ((10, 16, 44), (34, 48, 96), (96, 110, 160)),
          (60, 74, 120), (12, 16, 34), (0.66, 0.28, 0.05), (240, 240, 230), 0.4, seed=72, water=True,
          stars=True),
)  # fmt: skip


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _chance(seed: int, n: int) -> float:
    """Return a number from 0 to 1, the same for the same arguments."""
    return math.modf(abs(math.sin(seed * 127.1 + n * 311.7) * 43758.5453))[0]


def _sky(scene: Scene) -> Image.Image:
    height = scene.size[1]
    column = Image.new("RGB", (1, height))
    last = len(scene.sky) - 1
    for y in range(height):
        at = min(y / height / scene.horizon, 0.999) * last
        column.putpixel((0, y), _mixed(scene.sky[int(at)], scene.sky[int(at) + 1], at % 1))
    return column.resize(scene.size)


def _light(scene: Scene, image: Image.Image) -> Image.Image:
    width, height = scene.size
    x, y, radius = (part * by for part, by in zip(scene.sun, (width, height, height), strict=True))
    for spread, share in ((5.0, scene.glow * 0.5), (2.2, scene.glow), (1.0, 1.0)):
        light = Image.new("RGB", scene.size)
        disc = radius * spread
        colour = _mixed((0, 0, 0), scene.sun_colour, share)
        ImageDraw.Draw(light).ellipse((x - disc, y - disc, x + disc, y + disc), fill=colour)
        small = light.resize((width // 4, height // 4)).filter(ImageFilter.GaussianBlur(disc / 7 + 0.5))
        image = ImageChops.screen(image, small.resize(scene.size, Image.Resampling.BICUBIC))
    return image


def _stars(scene: Scene, image: Image.Image) -> None:
    draw = ImageDraw.Draw(image)
    for n in range(260):
        x, y = _chance(scene.seed, n) * scene.size[0], _chance(scene.seed + 1, n) ** 1.5 * scene.size[1] * 0.5
        size, bright = (
            0.6 + 1.3 * _chance(scene.seed + 2, n) ** 4,
            round(120 + 130 * _chance(scene.seed, n + 9)),
        )
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(bright, bright, min(255, bright + 20)))


def _ridge(scene: Scene, layer: int) -> Callable[[float], float]:
    """Return the height of a ridge, a share of the picture's, over the share of its width."""
    waves = [
        (
            1.3 * 1.9**octave * (1 + 0.3 * _chance(scene.seed + layer, octave)),
            6.3 * _chance(scene.seed + layer, octave + 50),
            0.085 * 0.5**octave * (scene.roughness if octave else 1),
        )
        for octave in range(7)
    ]
    depth = layer / max(1, scene.hills - 1)
    base = scene.horizon + (0.9 - scene.horizon) * depth**1.3 * (0.0 if scene.water else 1.0)

    def height(x: float) -> float:
        rough = sum(abs(math.sin(x * often * 3 + phase)) * high for often, phase, high in waves)
        return base + 0.09 - rough * (0.55 if scene.water else 1.0) * (1 - 0.3 * depth)

    return height


def _land(scene: Scene, image: Image.Image) -> Image.Image:
    width, height = scene.size
    for layer in range(scene.hills):
        depth = layer / max(1, scene.hills - 1)
        ridge = _ridge(scene, layer)
        colour = _mixed(scene.far, scene.near, depth)
        mask = Image.new("L", scene.size)
        draw = ImageDraw.Draw(mask)
        outline = [(x, ridge(x / width) * height) for x in range(0, width + 4, 4)]
        draw.polygon([*outline, (width, height), (0, height)], fill=255)
        if scene.trees and layer >= scene.hills - 2:
            for n in range(90):
                x = _chance(scene.seed + layer, n + 7) * width
                tall = (14 + 46 * _chance(scene.seed, n + 3)) * (0.5 + depth) * height / 1000
                foot = ridge(x / width) * height + 6
                draw.polygon([(x, foot - tall), (x - tall / 5, foot), (x + tall / 5, foot)], fill=255)
        shade = Image.linear_gradient("L").resize(scene.size).point([level // 3 for level in range(256)])
        ground = Image.composite(
            Image.new("RGB", scene.size, _mixed(colour, scene.sky[-1], 0.3 * (1 - depth))),
            Image.new("RGB", scene.size, colour),
            shade,
        )
        image.paste(ground, mask=mask.filter(ImageFilter.GaussianBlur(0.8 + 1.2 * (1 - depth))))
    return image


def _water(scene: Scene, image: Image.Image) -> Image.Image:
    width, height = scene.size
    shore = round(height * (scene.horizon + 0.06))
    above = image.crop((0, max(0, 2 * shore - height), width, shore))
    mirror = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM).filter(ImageFilter.GaussianBlur(3))
    mirror = Image.blend(mirror, Image.new("RGB", mirror.size, scene.near), 0.28)
    image.paste(scene.near, (0, shore, width, height))
    for y in range(mirror.height):
        drift = round(math.sin(y * 0.35 + 40 / (1 + y * 0.04)) * (1 + y * 0.03))
        row = mirror.crop((0, y, width, y + 1))
        image.paste(ImageChops.offset(row, drift, 0), (0, shore + y))
    return image


def photo(scene: Scene) -> FilePayload:
    """Return the scene as the file that a camera would have written."""
    image = _light(scene, _sky(scene))
    if scene.stars:
        _stars(scene, image)
    image = _land(scene, image)
    if scene.water:
        image = _water(scene, image)
    vignette = Image.radial_gradient("L").resize(scene.size).point([255 - level // 4 for level in range(256)])
    image = ImageChops.multiply(image, Image.merge("RGB", (vignette,) * 3))
    suffix = scene.name.rpartition(".")[2].lower()
    form = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[suffix]
    written = io.BytesIO()
    image.save(written, form, quality=90)
    return {"name": scene.name, "mimeType": f"image/{form.lower()}", "buffer": written.getvalue()}


def _palette(image: Image.Image, colours: int) -> Image.Image:
    """Return a palette that has the page's own flat colours exactly, and shares the rest among the photos."""
    counted = image.getcolors(image.width * image.height) or []
    flat = [colour for _, colour in sorted(counted, reverse=True)[: colours // 8]]
    shared = (
        image.quantize(colours - len(flat), method=Image.Quantize.MAXCOVERAGE, kmeans=2).getpalette() or []
    )
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in flat for part in colour] + shared)  # pyright: ignore[reportGeneralTypeIssues] - RGB
    return palette


def _save(shot: bytes, name: str) -> None:
    """Write the picture with as many colours as fit into the size that a page may have."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    for colours in (256, 192, 128, 64):
        small = image.quantize(palette=_palette(image, colours), dither=Image.Dither.FLOYDSTEINBERG)
        written = io.BytesIO()
        small.save(written, "PNG", optimize=True)
        if written.tell() < MOST_BYTES:
            break
    (IMAGES / name).write_bytes(written.getvalue())
    print(f"{name}: {image.width}×{image.height}, {written.tell() // 1000} kB, {colours} colours")  # noqa: T201 - a command's output


async def _page(browser: Browser, url: str, viewport: ViewportSize, *, dark: bool, scale: float) -> Page:
    context = await browser.new_context(
        base_url=url,
        viewport=viewport,
        color_scheme="dark" if dark else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_label("Text", exact=True).fill(MARK)
    await page.get_by_label("Size", exact=True).fill("0.07")
    return page


async def _settled(page: Page) -> None:
    for picture in await page.locator("img:visible").all():
        await picture.scroll_into_view_if_needed()
        await expect(picture).to_have_js_property("complete", value=True)
    await page.evaluate("scrollTo(0, 0)")


async def shoot(url: str) -> None:
    """Make every picture."""
    files = [photo(scene) for scene in SCENES]
    broken: FilePayload = {"name": "scan-07.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo"}
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        )

        page = await _page(browser, url, {"width": 1280, "height": 860}, dark=False, scale=1)
        await page.locator("#files").set_input_files([*files, broken])
        await page.locator("h1:visible").click()
        await _settled(page)
        _save(await page.screenshot(), "upload.png")
        await page.get_by_role("button", name="Mark the photos").click()
        await expect(page.locator("h1:visible")).to_have_text("Your photos are ready", timeout=PATIENCE_MS)
        await _settled(page)
        _save(await page.screenshot(full_page=True), "job.png")

        page = await _page(browser, url, {"width": 390, "height": 800}, dark=True, scale=2)
        release = asyncio.Event()

        async def hold(route: Route) -> None:
            await release.wait()
            await route.continue_()

        for late in (3, 4, 5):
            await page.route(f"**/photos/{late}", hold)
        await page.locator("#files").set_input_files(files[:6])
        await page.get_by_role("button", name="Mark the photos").click()
        await expect(page.locator("[data-tiles] > li[data-state=done]")).to_have_count(3, timeout=PATIENCE_MS)
        await _settled(page)
        _save(await page.screenshot(), "job-phone.png")
        release.set()
        await expect(page.locator("h1:visible")).to_have_text("Your photos are ready", timeout=PATIENCE_MS)
        await browser.close()


def main() -> None:
    """Shoot what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Ebbmark runs")
    IMAGES.mkdir(exist_ok=True)
    asyncio.run(shoot(parser.parse_args().url))


if __name__ == "__main__":
    main()
