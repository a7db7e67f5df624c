"""Where a webhook may point, and how its messages are signed."""

import base64

import pytest

from ebbmark.errors import Rejected
from ebbmark.settings import Settings, SettingsError, Webhook
from ebbmark.webhooks import Rules, Target, new_secret, parse_secret, show_secret, signed_headers
from ingest.uploads import Fields
from ingest.webhooks import wish_of

RULES = Rules.of(Webhook())
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the published example


def test_the_published_example_of_standard_webhooks_is_signed_as_published() -> None:
    headers = signed_headers(
        parse_secret(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    ("event", "timestamp", "body"),
    [("msg_2", 1614265330, b"{}"), ("msg_1", 1614265331, b"{}"), ("msg_1", 1614265330, b"{ }")],
)
def test_a_signature_holds_for_one_message_at_one_time(event: str, timestamp: int, body: bytes) -> None:
    secret = parse_secret(SECRET)
    signed = signed_headers(secret, "msg_1", 1614265330, b"{}")["webhook-signature"]
    assert signed_headers(secret, event, timestamp, body)["webhook-signature"] != signed


def test_a_secret_that_was_made_is_read_back() -> None:
    secret = new_secret()
    assert parse_secret(show_secret(secret)) == secret
    assert new_secret() != secret


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_secret_are_taken(size: int) -> None:
    assert len(parse_secret("whsec_" + base64.b64encode(bytes(size)).decode())) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64 at all, though long enough",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwü",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="invalid-webhook"):
        parse_secret(text)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.org", Target("https", "example.org", 443, "/"), "example.org"),
        ("HTTPS://Example.ORG:443/A?b=%20c", Target("https", "example.org", 443, "/A?b=%20c"), "example.org"),
        ("https://example.org?b", Target("https", "example.org", 443, "/?b"), "example.org"),
        ("https://example.org:8443/a@b", Target("https", "example.org", 8443, "/a@b"), "example.org:8443"),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/"), None),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/"), "8.8.8.8"),
        ("https://[2606:4700::1111]/", Target("https", "2606:4700::1111", 443, "/"), "[2606:4700::1111]"),
    ],
)
def test_an_address_is_taken_apart(url: str, target: Target, authority: str | None) -> None:
    assert RULES.target(url) == target
    assert target.authority == (authority or target.host)


LITERALS = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - refused
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", LITERALS)
def test_an_address_that_is_not_public_is_not_admitted_and_refused_at_the_door(address: str) -> None:
    assert not RULES.admits(address)
    with pytest.raises(Rejected, match="invalid-webhook"):
        RULES.target(f"https://[{address}]/" if ":" in address else f"https://{address}/")


def test_a_link_local_address_with_its_interface_is_not_admitted() -> None:
    assert not RULES.admits("fe80::1%eth0")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_admitted_however_it_is_written(address: str) -> None:
    assert RULES.admits(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hook",
        "//example.org/hook",
        "http://example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1:6379/_",
        "javascript:alert(1)",
        "https://",
        "https:///hook",
        "https://user@example.org/",
        "https://user:password@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/\\..",
        "https://example.org#@127.0.0.1/",
        "https://example.org/#a",
        "https://example.org/a b",
        "https://example.org/a\r\nx: y",
        "https://example.org/ü",
        "https://exämple.org/",
        "https://example。org/",
        "https://①②⑦.0.0.1/",
        "https://example.org:/",
        "https://example.org:80/",
        "https://example.org:22/",
        "https://example.org:0/",
        "https://example.org:70000/",
        "https://example.org:443443/",
        "https://-example.org/",
        "https://example-.org/",
        "https://example..org/",
        "https://example.org./",
        "https://.example.org/",
        "https://ex_ample.org/",
        "https://" + "a" * 64 + ".org/",
        "https://" + ".".join(["a" * 60] * 5) + "/",
        "https://example.org/" + "a" * 2048,
        # Other ways to write 127.0.0.1
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0x7F.1/",
        "https://0177.0.0.1/",
        "https://0177.1/",
        "https://017700000001/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://00127.0.0.1/",
        "https://127.0.0.0x1/",
        "https://127.0.0.0x/",
        "https://[127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://::1/",
    ],
)
def test_what_may_not_be_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match="invalid-webhook"):
        RULES.target(url)


@pytest.mark.parametrize(
    "url", ["https://localhost/", "https://metadata.internal/", "https://0x.example.org/"]
)
def test_a_name_is_judged_by_where_it_leads_at_each_attempt(url: str) -> None:
    assert RULES.target(url).port == 443


def test_an_installation_may_open_its_own_networks_ports_and_plain_http() -> None:
    rules = Rules.of(Webhook(allow_http=True, networks="10.1.0.0/16, fd00::/8", ports="80,9000"))
    assert rules.target("http://10.1.2.3").port == 80
    assert rules.target("https://[fd00::1]:9000/x").host == "fd00::1"
    assert rules.admits("::ffff:10.1.2.3")
    assert not rules.admits("10.2.0.1")
    assert not rules.admits("127.0.0.1")
    with pytest.raises(Rejected, match="one of 80, 9000"):
        rules.target("https://example.org/")


@pytest.mark.parametrize(
    ("name", "value"), [("NETWORKS", "10.1.2.3/16"), ("NETWORKS", "all"), ("PORTS", "https"), ("PORTS", "")]
)
def test_settings_that_are_no_networks_or_ports_are_told_at_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        Settings.from_env({f"EBBMARK_WEBHOOK_{name}": value})
    assert str(wrong.value).startswith(f"EBBMARK_WEBHOOK_{name}: ")
    assert "$" not in str(wrong.value)


# What a form says


def form(**values: str) -> Fields:
    return Fields(values={name: [value] for name, value in values.items()})


def test_a_form_without_a_webhook_wants_nobody_told() -> None:
    assert wish_of(form(operations="resize"), RULES) is None
    assert wish_of(form(webhook="", webhook_secret="", webhook_reference=""), RULES) is None


def test_a_wish_keeps_the_secret_it_came_with_and_makes_one_else() -> None:
    given = wish_of(
        form(webhook="https://example.org/", webhook_secret=SECRET, webhook_reference="17 ü"), RULES
    )
    assert given is not None
    assert (given.webhook().secret, given.webhook().reference) == (parse_secret(SECRET), "17 ü")
    bare = wish_of(form(webhook="https://example.org/"), RULES)
    assert bare is not None
    assert bare.webhook().secret != bare.webhook().secret
    assert bare.webhook().reference is None


@pytest.mark.parametrize(
    "fields",
    [
        {"webhook": "https://127.0.0.1/"},
        {"webhook": "https://example.org/", "webhook_secret": "whsec_short"},
        {"webhook": "https://example.org/", "webhook_reference": "a" * 201},
        {"webhook": "https://example.org/", "webhook_reference": "two\nlines"},
        {"webhook_secret": SECRET},
        {"webhook_reference": "17"},
    ],
)
def test_a_wish_that_cannot_be_kept_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="invalid-webhook"):
        wish_of(form(**fields), RULES)


def test_requests_with_other_wishes_have_other_fingerprints() -> None:
    wishes = [
        form(webhook="https://example.org/"),
        form(webhook="https://example.org/a"),
        form(webhook="https://example.org/", webhook_reference="a"),
        form(webhook="https://example.org/", webhook_secret=SECRET),
    ]
    marks = {wish.marked(b"1") for each in wishes if (wish := wish_of(each, RULES))}
    assert len(marks) == 4
    again = {wish.marked(b"1") for each in wishes if (wish := wish_of(each, RULES))}
    assert again == marks


def test_a_wish_shows_nothing_of_itself() -> None:
    wish = wish_of(form(webhook="https://example.org/key", webhook_secret=SECRET), RULES)
    assert repr(wish) == "Wish()"
