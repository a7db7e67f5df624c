"""`python -m observability.dashboards`: write the JSON that Grafana is provisioned with."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from observability.dashboards import door, load, machine, overview, pipeline, workers
from observability.dashboards.panels import Page

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
PAGES: tuple[Page, ...] = (
    overview.PAGE,
    pipeline.PAGE,
    workers.PAGE,
    door.PAGE,
    load.PAGE,
    machine.PAGE,
)


def written(page: Page) -> str:
    """Return the JSON of a page, the same at every call."""
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(page.build()) + "\n"


def main() -> None:
    """Write every page under its uid."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        (FOLDER / f"{page.uid}.json").write_text(written(page), "utf-8")


if __name__ == "__main__":
    main()
