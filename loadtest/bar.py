"""How far a run is, of what its generator says line by line: first what it prepares, then what was served."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from loadtest.shapes import Plan

_TROUBLE = ("refused", "errors", "wrong", "late")


@contextmanager
def bar(plan: Plan) -> Generator[Callable[[Mapping[str, Any]], None]]:
    """Yield what takes a line and shows how far the run is; nothing is shown where nobody looks."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(plan.shape, total=None, told="starting …")
        yield lambda said: progress.update(task, **state(plan, said))


def state(plan: Plan, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bar's total, what of it is completed, and its words."""
    if "preparing" in said:
        told = f"{said['preparing']}, {said['done']} of {said['of']}"
        return {"total": said["of"], "completed": said["done"], "told": told}
    parts = [f"{said['served']} of {said['asked']} served"]
    parts += [f"{said[name]} {name}" for name in _TROUBLE if said[name]]
    count = plan.closed.count if plan.closed else 0
    return {
        "total": count or plan.seconds,
        "completed": said["served"] if count else min(said["at"], plan.seconds),
        "told": ", ".join(parts),
    }
