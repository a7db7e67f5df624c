"""The order in which letters stand: Unicode's bidirectional algorithm, for text of one line.

Signs that embed, override or isolate do not reach it, but for the pair that we put around words which are
not the author's: `FSI` and `PDI`, never nested. Such words are ordered by themselves and change nothing
around them.
"""

import itertools
import unicodedata
from collections.abc import Callable, Sequence

__all__ = ["FSI", "PDI", "base_level", "levels", "visual_order"]

FSI, PDI = "\u2068", "\u2069"

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_STRONG = {"L": 0, "R": 1, "AL": 1}
_RIGHTWARD = frozenset({"R", "EN", "AN"})
_NEUTRAL = frozenset({"B", "S", "WS", "ON"})


def base_level(text: str) -> int:
    """Return 1 if the first letter that has a direction runs from right to left, else 0 (rules P2, P3)."""
    kinds = (unicodedata.bidirectional(letter) for letter in _hidden(text)[0])
    return next((_STRONG[kind] for kind in kinds if kind in _STRONG), 0)


def levels(text: str, base: int) -> list[int]:
    """Return the embedding level of each character; odd ones run from right to left."""
    shown, inner = _hidden(text)
    outer = _resolved(shown, base)
    found: list[int] = []
    for letter, level in zip(shown, outer, strict=True):
        if letter != FSI:
            found.append(level)
            continue
        words = inner.pop(0)
        direction = base_level(words)
        # The next level of that direction, so that it is turned within what is around it.
        raised = level + 1 + ((level + 1 + direction) % 2) - direction
        found += [level, *(each + raised for each in _resolved(words, direction)), level]
    return found


def visual_order(run_levels: Sequence[int]) -> list[int]:
    """Return the order in which runs of these levels stand from left to right (rule L2)."""
    order = list(range(len(run_levels)))
    for level in range(max(run_levels, default=0), 0, -1):
        at = 0
        while at < len(order):
            end = at
            while end < len(order) and run_levels[order[end]] >= level:
                end += 1
            order[at:end] = reversed(order[at:end])
            at = max(end, at + 1)
    return order


def _hidden(text: str) -> tuple[str, list[str]]:
    """Return the text with `FSI` alone, which is neutral, for each isolated part, and those parts."""
    shown, inner = "", list[str]()
    for place, part in enumerate(text.split(FSI)):
        words, closed, rest = part.partition(PDI)
        if place and closed:
            inner.append(words)
            shown += FSI + rest
        else:
            shown += (PDI if place else "") + part  # of no pair, so it isolates nothing
    return shown, inner


def _resolved(text: str, base: int) -> list[int]:
    kinds = [unicodedata.bidirectional(letter) or "L" for letter in text]
    edge = "R" if base % 2 else "L"
    _resolve_weak(kinds, edge)
    _resolve_brackets(text, kinds, edge)
    _resolve_neutral(kinds, edge)
    found = [_level(kind, base) for kind in kinds]
    for at in range(len(text) - 1, -1, -1):  # L1: blanks at the end of a line stand where it ends
        if not text[at].isspace():
            break
        found[at] = base
    return found


def _level(kind: str, base: int) -> int:
    if base % 2:
        return base if kind == "R" else base + 1
    return base + {"L": 0, "R": 1}.get(kind, 2)


def _resolve_weak(kinds: list[str], edge: str) -> None:
    """Rules W1 to W7."""
    before, strong = edge, edge
    for at, kind in enumerate(kinds):
        if kind in {"NSM", "BN"}:
            kinds[at] = before
        elif kind == "EN" and strong == "AL":
            kinds[at] = "AN"
        before = kinds[at]
        strong = before if before in _STRONG else strong
    kinds[:] = ["R" if kind == "AL" else kind for kind in kinds]
    _join_numbers(kinds, edge)
    strong = edge
    for at, kind in enumerate(kinds):
        if kind == "EN" and strong == "L":
            kinds[at] = "L"
        strong = kinds[at] if kinds[at] in _STRONG else strong


def _join_numbers(kinds: list[str], edge: str) -> None:
    """Rules W4 to W6: what stands within or beside a number is part of it."""
    for at in range(1, len(kinds) - 1):
        one, sign, other = kinds[at - 1 : at + 2]
        if one == other and ((sign in {"ES", "CS"} and one == "EN") or (sign == "CS" and one == "AN")):
            kinds[at] = one
    _spread(kinds, "ET", lambda left, right: "EN" if "EN" in {left, right} else "ON", edge)
    kinds[:] = ["ON" if kind in {"ES", "CS"} else kind for kind in kinds]


def _resolve_brackets(text: str, kinds: list[str], edge: str) -> None:
    """Rule N0: both brackets of a pair get the direction of what they hold, or of what is before them."""
    opened: list[int] = []
    pairs: list[tuple[int, int]] = []
    for at, letter in enumerate(text):
        if kinds[at] in _NEUTRAL and letter in _PAIRS:
            opened.append(at)
        elif kinds[at] in _NEUTRAL and letter in _PAIRS.values():
            for place in range(len(opened) - 1, -1, -1):
                if _PAIRS[text[opened[place]]] == letter:
                    pairs.append((opened[place], at))
                    del opened[place:]
                    break
    for start, end in sorted(pairs):
        inside = {_strength(kind) for kind in kinds[start + 1 : end]} - {""}
        if edge in inside:
            kinds[start] = kinds[end] = edge
        elif inside:
            before = next((_strength(kind) for kind in reversed(kinds[:start]) if _strength(kind)), edge)
            kinds[start] = kinds[end] = before if before in inside else edge


def _resolve_neutral(kinds: list[str], edge: str) -> None:
    """Rules N1 and N2."""
    kinds[:] = ["ON" if kind in _NEUTRAL or not _strength(kind) else kind for kind in kinds]
    _spread(kinds, "ON", lambda left, right: left if left == right else edge, edge, _strength)


def _strength(kind: str) -> str:
    return "R" if kind in _RIGHTWARD else "L" if kind == "L" else ""


def _spread(
    kinds: list[str],
    kind: str,
    decide: Callable[[str, str], str],
    edge: str,
    seen_as: Callable[[str], str] = str,
) -> None:
    """Turn each row of one kind into what `decide` says of its neighbours."""
    at = 0
    for same, row in itertools.groupby(list(kinds), lambda each: each == kind):
        end = at + sum(1 for _ in row)
        if same:
            left = seen_as(kinds[at - 1]) if at else edge
            right = seen_as(kinds[end]) if end < len(kinds) else edge
            kinds[at:end] = [decide(left, right)] * (end - at)
        at = end
