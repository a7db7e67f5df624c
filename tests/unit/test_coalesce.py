"""Calls made together become one."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from ebbmark.errors import Unavailable
from processors.coalesce import Coalesced


class Asked:
    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, questions: Sequence[int]) -> Mapping[int, str]:
        self.calls.append(list(questions))
        await self.gate.wait()
        if self.error:
            raise self.error
        return {question: str(question) for question in questions if question >= 0}


async def test_what_is_asked_while_a_call_is_under_way_goes_out_together() -> None:
    asked = Asked()
    coalesced = Coalesced(asked)
    first = asyncio.create_task(coalesced(1))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(coalesced(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0.01)
    asked.gate.set()
    assert await asyncio.gather(first, *others) == ["1", "2", "3", "4"]
    assert asked.calls == [[1], [2, 3, 4]]


async def test_equal_questions_get_one_answer_between_them() -> None:
    asked = Asked()
    asked.gate.set()
    coalesced = Coalesced(asked)
    assert await asyncio.gather(coalesced(7), coalesced(7), coalesced(-1)) == ["7", None, None]


async def test_everyone_hears_of_the_failure_and_the_next_call_works() -> None:
    asked = Asked()
    asked.gate.set()
    asked.error = Unavailable("down", "It is down.")
    coalesced = Coalesced(asked)
    answers = await asyncio.gather(coalesced(1), coalesced(2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    asked.error = None
    assert await coalesced(3) == "3"


async def test_no_call_is_larger_than_allowed() -> None:
    asked = Asked()
    asked.gate.set()
    coalesced = Coalesced(asked, most=2)
    await asyncio.gather(*(coalesced(n) for n in range(5)))
    assert [len(call) for call in asked.calls] == [2, 2, 1]


async def test_a_caller_that_left_does_not_disturb_the_others() -> None:
    asked = Asked()
    coalesced = Coalesced(asked)
    leaving, staying = asyncio.create_task(coalesced(1)), asyncio.create_task(coalesced(2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    asked.gate.set()
    assert await staying == "2"


async def test_a_question_at_fault_fails_alone() -> None:
    asked: list[Sequence[int]] = []

    async def ask(questions: Sequence[int]) -> Mapping[int, str]:
        asked.append(questions)
        if 13 in questions:
            raise ValueError("13 is at fault")
        return {question: str(question) for question in questions}

    coalesced = Coalesced(ask)
    answers = await asyncio.gather(*(coalesced(n) for n in (1, 13, 2)), return_exceptions=True)
    assert (answers[0], answers[2]) == ("1", "2")
    assert isinstance(answers[1], ValueError)
    assert asked == [[1, 13, 2], [1], [13], [2]]


async def test_an_answer_that_nobody_waits_for_any_more_is_handed_back() -> None:
    asked, left = Asked(), list[str]()

    async def keep(answer: str) -> None:
        left.append(answer)

    coalesced = Coalesced(asked, leftover=keep)
    asking = [asyncio.create_task(coalesced(n)) for n in (1, -2, 3)]
    await asyncio.sleep(0.01)
    assert asked.calls == [[1, -2, 3]]
    for each in asking[:2]:
        each.cancel()
    asked.gate.set()
    assert await asking[2] == "3"
    assert left == ["1"]
