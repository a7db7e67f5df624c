"""One message to one receiver, over real sockets on loopback; 127.0.0.2 stands for the public internet."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import cast

import aiodns
import msgspec
import pytest

from ebbmark.settings import Webhook
from processors.courier import OUTCOMES, Answer, Busy, Courier
from processors.courier import Names as PublicNames
from tests.people import eventually
from tests.receivers import (
    Receiver,
    certificate,
    half_an_answer,
    hang_up,
    nonsense,
    silence,
    status,
    without_end,
)
from tests.system import free_port
from tests.unit.test_webhooks import LITERALS

PUBLIC, INTERNAL = "127.0.0.2", "127.0.0.1"
HEADERS = {"webhook-id": "evt_1", "content-type": "application/json"}
DELIVERED = Answer("delivered", 200)


class Names:
    """A resolver that gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def allowing(*ports: int, **changes: object) -> Webhook:
    """Settings under which 127.0.0.2 is allowed and nothing else on this machine is."""
    settings = Webhook(
        allow_http=True,
        networks=f"{PUBLIC}/32",
        ports=",".join(map(str, ports)),
        timeout=timedelta(seconds=5),
    )
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(PUBLIC) as running:
        yield running


@pytest.fixture
def internal(receiver: Receiver) -> Iterator[Receiver]:
    """What must not be reached, on the same port."""
    with Receiver(INTERNAL, receiver.port) as running:
        yield running


def courier_to(receiver: Receiver, names: Names | None = None, **changes: object) -> Courier:
    return Courier(allowing(receiver.port, **changes), names or Names([PUBLIC]))


async def post(courier: Courier, receiver: Receiver, path: str = "/", host: str = "hooks.example") -> Answer:
    answer = await courier.post(receiver.url(path, host), HEADERS, b'{"a": 1}')
    assert answer.outcome in OUTCOMES
    return answer


async def test_a_message_arrives_as_it_was_sent_for_the_host_it_was_sent_to(receiver: Receiver) -> None:
    assert await post(courier_to(receiver), receiver, "/hook?a=%20b") == DELIVERED
    (seen,) = receiver.seen
    assert (seen.path, seen.body) == ("/hook?a=%20b", b'{"a": 1}')
    assert seen.headers["host"] == f"hooks.example:{receiver.port}"
    assert HEADERS.items() <= seen.headers.items()
    assert seen.headers["user-agent"] == "Ebbmark"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (301, "redirected"),
        (400, "refused"),
        (410, "gone"),
        (429, "refused"),
        (500, "refused"),
    ],
)
async def test_the_status_decides(receiver: Receiver, code: int, outcome: str) -> None:
    receiver.scripts["/"] = [status(code)]
    assert await post(courier_to(receiver), receiver) == Answer(outcome, code)


# What must not be reached


async def test_a_redirect_is_not_followed(receiver: Receiver, internal: Receiver) -> None:
    for code in (301, 302, 303, 307, 308):
        receiver.scripts["/"] = [status(code, location=internal.url("/latest/meta-data"))]
        assert await post(courier_to(receiver), receiver) == Answer("redirected", code)
    assert internal.seen == []
    assert len(receiver.seen) == 5


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_judged(
    receiver: Receiver, internal: Receiver
) -> None:
    names = Names([PUBLIC], [INTERNAL])
    courier = courier_to(receiver, names)
    assert await post(courier, receiver) == DELIVERED
    assert names.asked == ["hooks.example"]
    assert await post(courier, receiver) == Answer("forbidden-address")
    assert (len(receiver.seen), internal.seen) == (1, [])


async def test_one_forbidden_address_among_others_forbids_them_all(
    receiver: Receiver, internal: Receiver
) -> None:
    for addresses in ([PUBLIC, INTERNAL], [INTERNAL, PUBLIC], [PUBLIC, "::1"], ["::ffff:127.0.0.1"]):
        assert await post(courier_to(receiver, Names(addresses)), receiver) == Answer("forbidden-address")
    assert (receiver.seen, internal.seen) == ([], [])


@pytest.mark.parametrize("address", LITERALS)
async def test_a_name_that_leads_to_an_address_that_is_not_public_leads_nowhere(
    receiver: Receiver, address: str
) -> None:
    courier = courier_to(receiver, Names([address]))
    assert await post(courier, receiver) == Answer("forbidden-address")


async def test_the_name_of_this_machine_is_looked_up_and_forbidden(internal: Receiver) -> None:
    courier = Courier(allowing(internal.port))
    assert await courier.post(internal.url(host="localhost"), HEADERS, b"") == Answer("forbidden-address")
    assert internal.seen == []


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "file:///etc/passwd", "https://2130706433/"])
async def test_an_address_that_the_rules_forbid_by_now_is_not_even_looked_up(url: str) -> None:
    names = Names([PUBLIC])
    assert await Courier(Webhook(), names).post(url, HEADERS, b"") == Answer("forbidden-address")
    assert names.asked == []


async def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, internal: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, internal.url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await post(courier_to(receiver), receiver) == DELIVERED
    assert internal.seen == []


# Receivers that behave badly


async def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    for addresses in (["127.0.0.3", PUBLIC], [PUBLIC, "127.0.0.3"]):
        courier = courier_to(receiver, Names(addresses), networks="127.0.0.2/31")
        assert await post(courier, receiver) == DELIVERED
    assert len(receiver.seen) == 2


async def test_where_nobody_listens_is_unreachable() -> None:
    port = free_port()
    courier = Courier(allowing(port), Names([PUBLIC]))
    assert await courier.post(f"http://hooks.example:{port}/", HEADERS, b"") == Answer("unreachable")


async def test_a_name_that_leads_nowhere_is_unresolved(receiver: Receiver) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port}")

    assert await post(courier_to(receiver, Names([])), receiver) == Answer("unresolved")
    assert await post(Courier(allowing(receiver.port), unknown), receiver) == Answer("unresolved")


class NameServer(asyncio.DatagramProtocol):
    """Knows where `*.quick.example` is, and is silent on every other name."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.asked = 0
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        question = data[12 : data.index(b"\0", 12) + 5]
        if b"\x05quick\x07example" not in question:
            return
        v4 = question[-4:-2] == b"\0\x01"
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton(PUBLIC) if v4 else b""
        counts = struct.pack(">HHHH", 1, int(v4), 0, 0)
        self.transport.sendto(data[:2] + b"\x81\x80" + counts + question + answer, addr)


async def test_a_hundred_names_whose_servers_are_silent_hold_up_no_other(receiver: Receiver) -> None:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=(INTERNAL, 0)
    )
    port = transport.get_extra_info("sockname")[1]
    # Its patience is for ever, as far as this test goes.
    make = partial(aiodns.DNSResolver, [INTERNAL], udp_port=port, timeout=300, tries=1)
    async with PublicNames(make) as names, asyncio.timeout(50):
        courier = Courier(allowing(receiver.port, timeout=timedelta(seconds=60)), names)
        silent = [
            asyncio.create_task(post(courier, receiver, host=f"{n}.silent.example")) for n in range(100)
        ]
        while server.asked < 100:  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0.01)
        assert await post(courier, receiver, host="one.quick.example") == DELIVERED
        assert not any(each.done() for each in silent)
        for each in silent:
            each.cancel()
        await asyncio.gather(*silent, return_exceptions=True)
    transport.close()


async def test_a_resolver_that_never_answers_costs_no_more_than_an_attempt(receiver: Receiver) -> None:
    async def never(_: str, __: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    courier = Courier(allowing(receiver.port, timeout=timedelta(seconds=0.2)), never)
    assert await post(courier, receiver) == Answer("timeout")


async def test_silence_is_a_timeout(receiver: Receiver) -> None:
    receiver.scripts["/"] = [silence]
    courier = courier_to(receiver, timeout=timedelta(seconds=0.5))
    assert await post(courier, receiver) == Answer("timeout")


async def test_an_answer_whose_body_never_comes_is_an_answer(receiver: Receiver) -> None:
    receiver.scripts["/"] = [half_an_answer]
    courier = courier_to(receiver, timeout=timedelta(seconds=0.5))
    assert await post(courier, receiver) == DELIVERED


async def test_an_answer_without_end_is_not_read_to_the_end(receiver: Receiver) -> None:
    receiver.scripts["/"] = [without_end]
    assert await post(courier_to(receiver), receiver) == DELIVERED
    assert receiver.sent < 32 * 1024**2  # what the buffers of both kernels hold, and much more


@pytest.mark.parametrize("answer", [nonsense, hang_up])
async def test_what_is_no_answer_is_malformed(receiver: Receiver, answer: object) -> None:
    receiver.scripts["/"] = [answer]  # pyright: ignore[reportAttributeAccessIssue]
    assert await post(courier_to(receiver), receiver) == Answer("malformed-answer")


async def test_one_slow_host_does_not_take_more_than_its_share(receiver: Receiver) -> None:
    receiver.scripts["/slow"] = [silence]
    courier = courier_to(receiver, host_attempts=2, timeout=timedelta(seconds=30))
    slow = [asyncio.create_task(post(courier, receiver, "/slow")) for _ in range(2)]
    await asyncio.to_thread(eventually, lambda: len(receiver.seen), lambda seen: seen == 2)
    with pytest.raises(Busy):
        await post(courier, receiver)
    assert await post(courier, receiver, host="other.example") == DELIVERED
    slow[0].cancel()
    await asyncio.wait(slow[:1])
    assert await post(courier, receiver) == DELIVERED
    slow[1].cancel()
    await asyncio.wait(slow)


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return certificate(tmp_path_factory.mktemp("tls"), "DNS:hooks.example")


@pytest.fixture
def secure(tls: tuple[ssl.SSLContext, Path]) -> Iterator[Receiver]:
    with Receiver(PUBLIC, tls=tls[0]) as running:
        yield running


async def test_the_certificate_is_checked_against_the_name_not_the_address(
    secure: Receiver, tls: tuple[ssl.SSLContext, Path]
) -> None:
    names_asked_for: list[str | None] = []
    tls[0].sni_callback = lambda _, name, __: names_asked_for.append(name)
    courier = courier_to(secure, authorities=tls[1].read_text())
    assert await post(courier, secure) == DELIVERED
    assert names_asked_for == ["hooks.example"]
    assert await post(courier, secure, host="other.example") == Answer("bad-certificate")
    assert len(secure.seen) == 1


async def test_a_certificate_nobody_vouches_for_is_bad(secure: Receiver) -> None:
    assert await post(courier_to(secure), secure) == Answer("bad-certificate")
    assert secure.seen == []


async def test_plain_http_where_tls_is_due_is_bad(receiver: Receiver) -> None:
    courier = courier_to(receiver)
    url = receiver.url(host="hooks.example").replace("http:", "https:")
    assert await courier.post(url, HEADERS, b"") == Answer("bad-certificate")
