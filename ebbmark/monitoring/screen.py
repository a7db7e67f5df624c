"""How a moment looks on a terminal: one column that fits 80 characters, two where there is room."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.console import Group as Stacked
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ebbmark.monitoring.tick import Lane, Tick, Topic, Waited

_WIDE = 110
_BAR = 10
_MUCH, _FULL = 0.75, 0.95
_UNITS = ("", "k", "M", "G", "T")
_MOST_FAILURES, _MOST_TROUBLES = 3, 4

Row = Sequence[str | Text]


class Screen:
    """One moment, to be printed by rich."""

    def __init__(self, tick: Tick) -> None:
        """Show this."""
        self._tick = tick

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out for the width there is."""
        tick = self._tick
        throughput, latency = _throughput(tick), _latency(tick)
        failures, letters = _failures(tick), _leftovers(tick)
        yield _head(tick)
        if options.max_width >= _WIDE:
            yield _beside(
                Stacked(_beside(throughput, letters), _lanes(tick), _workers(tick)),
                Stacked(latency, _stages(tick), failures),
                ratios=(3, 2),
            )
        else:
            yield _beside(throughput, latency)
            yield _lanes(tick)
            yield _workers(tick)
            yield _beside(failures, letters)


def _head(tick: Tick) -> Stacked:
    title = Text("Ebbmark", style="bold")
    title.append(f"  {len(tick.up)} of {len(tick.up) + len(tick.down)} processes", style="default")
    title.append(f"  rates over {tick.window:.0f} s", style="dim")
    clock = Text(f"{tick.time:%H:%M:%S} UTC", style="dim")
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    line.add_row(title, clock)
    told = [Text(f"! {each}", style="bold red") for each in tick.trouble[:_MOST_TROUBLES]]
    if (more := len(tick.trouble) - _MOST_TROUBLES) > 0:
        told.append(Text(f"! and {more} more", style="bold red"))
    return Stacked(line, *(told or [Text("all is well", style="green")]))


def _throughput(tick: Tick) -> Stacked:
    each = tick.throughput
    rows: list[Row] = [
        ("accepted", f"{_number(each.accepted)}/s"),
        ("rendered", f"{_number(each.rendered)}/s"),
        ("failed", Text(f"{_number(each.failed)}/s", style="yellow" if each.failed else "")),
        ("pixels", f"{_number(each.pixels)}/s"),
        ("bytes in", f"{_number(each.bytes_in)}B/s"),
        ("bytes out", f"{_number(each.bytes_out)}B/s"),
    ]
    return _part("Photos", _table(("", ""), rows, heads_shown=False))


def _latency(tick: Tick) -> Stacked:
    rows = [("accept", tick.accept), ("result", tick.result)]
    rows += [(f"  {size}", waited) for size, waited in tick.result_by_size.items()]
    return _part("Latency", _waits(rows))


def _stages(tick: Tick) -> Stacked:
    return _part("Stages of rendering", _waits(list(tick.stages.items())))


def _waits(rows: Sequence[tuple[str, Waited]]) -> Table:
    return _table(("", "half", "95 %"), [(name, *_both(waited)) for name, waited in rows])


def _lanes(tick: Tick) -> Stacked:
    rows: list[Row] = [
        (
            each.lane,
            *_behind(each),
            str(each.in_hand),
            f"{_number(each.handled)}/s",
            *_both(each.wait),
        )
        for each in tick.lanes
    ]
    waiting = [each for each in tick.topics if each.lag]
    rows += [(each.topic, *_behind(each), "", f"{_number(each.handled)}/s", "", "") for each in waiting]
    if quiet := [each for each in tick.topics if not each.lag]:
        done = sum(each.handled for each in quiet)
        rows.append((f"{len(quiet)} topics more", "0", "", "", f"{_number(done)}/s", "", ""))
    heads = ("lane or topic", "lag", "oldest", "in hand", "done", "wait, half", "95 %")
    return _part("What waits", _table(heads, rows))


def _workers(tick: Tick) -> Stacked:
    rows: list[Row] = [
        (
            each.process,
            _bar(each.utilisation),
            f"{each.busy} of {each.children}",
            f"{_number(each.rendered)}/s",
            f"{each.cpu:.2f}",
            f"{_number(each.memory)}B",
        )
        for each in tick.workers
    ]
    heads = ("worker", "children's time", "busy", "photos", "CPU", "memory")
    return _part("Workers", _table(heads, rows or [("none answers", "", "", "", "", "")]))


def _failures(tick: Tick) -> Stacked:
    rows: list[Row] = [
        (f"{each.code}, {each.where}", f"{_number(each.per_minute)}/min")
        for each in tick.failures[:_MOST_FAILURES]
    ]
    if (more := len(tick.failures) - _MOST_FAILURES) > 0:
        rows.append((f"and {more} more", ""))
    return _part("Failures by code", _table(("", ""), rows or [("none", "")], heads_shown=False))


def _leftovers(tick: Tick) -> Stacked:
    age = "" if tick.dead_letter_age is None else f", oldest {_time(tick.dead_letter_age)}"
    rows: list[Row] = [
        ("dead letters", _alarm(tick.dead_letters, age)),
        ("deletion late", _alarm(tick.deletion_overdue, unit=_time)),
        ("audit findings", _alarm(tick.audit_findings)),
    ]
    return _part("Left over", _table(("", ""), rows, heads_shown=False))


def _alarm(value: float | None, more: str = "", *, unit: Callable[[float], str] = str) -> Text:
    if value is None:
        return Text("–", style="dim")
    return Text(f"{unit(value)}{more}", style="bold red") if value else Text("none", style="green")


def _behind(each: Lane | Topic) -> tuple[str, str]:
    return str(each.lag), _time(each.oldest) if each.lag else ""


def _both(waited: Waited) -> tuple[str, str]:
    return _time(waited.p50), _time(waited.p95)


def _bar(share: float | None) -> Text:
    if share is None:
        return Text("–", style="dim")
    full = round(share * _BAR)
    style = "red" if share >= _FULL else "yellow" if share >= _MUCH else "green"
    bar = Text("█" * full, style=style)
    bar.append("░" * (_BAR - full), style="dim")
    return bar.append(f" {share:4.0%}", style="default")


def _time(seconds: float | None) -> str:
    """Return a time in two or three digits, in the unit that fits."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def _number(value: float) -> str:
    """Return a number in three digits or so, with a letter for its thousands and a space for the unit."""
    scaled, power = value, 0
    while scaled >= 1000 and power < len(_UNITS) - 1:
        scaled, power = scaled / 1000, power + 1
    digits = f"{scaled:.1f}" if scaled and scaled < 99.95 else f"{scaled:.0f}"
    return f"{digits} {_UNITS[power]}"


def _table(heads: Sequence[str], rows: Iterable[Row], *, heads_shown: bool = True) -> Table:
    """Return a table whose first column is words and whose others are numbers."""
    table = Table(
        box=None,
        expand=True,
        show_header=heads_shown,
        header_style="dim",
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _part(title: str, content: Table) -> Stacked:
    """Return it under a line with its title: a frame around it would cost a line more of the 24."""
    return Stacked(Rule(Text(title, style="bold"), align="left", style="dim"), content)


def _beside(left: Stacked, right: Stacked, *, ratios: tuple[int, int] = (1, 1)) -> Table:
    grid = Table.grid(expand=True, padding=(0, 2), pad_edge=False)
    for ratio in ratios:
        grid.add_column(ratio=ratio)
    grid.add_row(left, right)
    return grid
