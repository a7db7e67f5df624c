"""Every limit, address and duration, read from `EBBMARK_…` once, in a composition root.

`EBBMARK_JOB_TTL` sets `settings.job.ttl`; durations are ISO 8601 (`PT1H`), sizes are bytes.
`EBBMARK_STORE_SECRET_KEY_FILE` names a file that holds the value, for secrets mounted as files.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

PREFIX = "EBBMARK_"

Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Job(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a job lives and how much it may hold."""

    ttl: timedelta = timedelta(hours=1)
    """From the job's completion to the death of its links."""
    grace: timedelta = timedelta(minutes=2)
    """From the death of the links to the deletion of the objects: downloads under way may finish."""
    quiet: timedelta = timedelta(minutes=2)
    """From the deletion to the second listing that catches a late writer."""
    upload_deadline: timedelta = timedelta(minutes=30)
    """A job that is not sealed by then, or a form that got no 202, is abandoned and deleted."""
    deadline: timedelta = timedelta(minutes=30)
    """Photos not rendered by then, counted from the seal, fail."""
    retry_within: timedelta = timedelta(hours=6)
    """How long after a job was opened its failed photos may begin a new round."""
    tombstone: timedelta = timedelta(days=30)
    """How long the row of ids, counts and times outlives the job."""
    files: Positive = 500
    bytes: Positive = 2 * 1024**3


class Photo(Struct, frozen=True, forbid_unknown_fields=True):
    """How large one photo may be."""

    bytes: Positive = 25 * 1024**2
    pixels: Positive = 60_000_000


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """What people may choose from."""

    presets: str = ""
    """A TOML or JSON file of presets that stand beside those that come with Ebbmark, or in their place."""


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """Where ingest listens and how patient it is."""

    host: str = "127.0.0.1"
    port: Port = 8000
    forwarded_allow_ips: str = "127.0.0.1"
    """Proxies whose X-Forwarded-* headers are believed."""
    spool: str = ""
    """Folder for uploads under way; the system's temporary folder when empty."""
    spool_free: Annotated[int, Meta(ge=0)] = 1024**3
    """Bytes that must be free on the spool's disk; with less, uploads are answered 503."""
    backlog: Annotated[int, Meta(ge=0)] = 20_000
    """Photos that may wait to be rendered; with more, uploads are answered 503. 0 for any number."""
    backlog_jobs: Annotated[int, Meta(ge=0)] = 256
    """Jobs that may wait for their first result; with more, new ones are answered 503. 0 for any number."""
    uploads: Positive = 200
    """Uploads under way at once in one process; more are answered 429."""
    uploads_per_client: Positive = 16
    """How many of them one client may have."""
    jobs_per_minute: Annotated[int, Meta(ge=0)] = 120
    """Jobs that one client may open in a minute; 0 for as many as it likes."""
    operator_attempts: Annotated[int, Meta(ge=0)] = 10
    """Wrong operator tokens that one client may show in a minute; more are answered 429. 0 for any number."""
    upload_rate: Positive = 4096
    """Bytes a second that an upload must bring on average, once it was waited for longer than a silence."""
    downloads: Positive = 64
    """Downloads of results and archives under way at once in one process; more are answered 503."""
    downloads_per_client: Positive = 16
    """How many of them one client may have."""
    chunk_timeout: timedelta = timedelta(seconds=30)
    """Longest silence of a client in the middle of its upload or download."""
    stream_timeout: timedelta = timedelta(minutes=10)
    """Longest life of one event stream; the browser reconnects."""
    watchers: Positive = 1000
    """Event streams at once in one process; more are answered 429."""
    watchers_per_client: Positive = 50
    """How many of them one client may have."""
    connections: Positive = 4000
    """Connections at once to one process; then those without a request make room, and new ones get 503."""
    connections_per_client: Positive = 256
    """How many of them one client may have, unless it is a proxy that is believed."""
    header_timeout: timedelta = timedelta(seconds=10)
    """A connection on which no whole request head came by then is closed."""
    head_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024
    """Longest request line with its headers, and longest trailers; longer ones are answered 431."""


class Preview(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of one ingest process goes into showing people what their options do."""

    children: Annotated[int, Meta(ge=0)] = 1
    """Processes that render previews; with 0 there are no previews."""
    edge: Annotated[int, Meta(ge=64, le=4096)] = 1280
    """Longest edge of a preview, in pixels."""
    bytes: Positive = 25 * 1024**2
    """Largest photo that is previewed."""
    pixels: Positive = 60_000_000
    """The same in pixels."""
    timeout: timedelta = timedelta(seconds=10)
    """A child busy with one preview for longer is killed."""
    memory: Positive = 1024**3
    """Address space of one child, in bytes."""
    upload_deadline: timedelta = timedelta(minutes=1)
    """A photo not whole by then is not previewed."""
    per_minute: Annotated[int, Meta(ge=0)] = 120
    """Previews that one client may ask for in a minute; more are answered 429. 0 for as many as it likes."""
    at_once: Positive = 16
    """Previews asked for and not answered yet, in one process; more are answered 503."""
    per_client: Positive = 4
    """How many of them one client may have."""


class Kafka(Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers, and what is unique to this installation on them."""

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = ""
    """Put before every topic and consumer group."""
    replication: Positive = 1
    publish_timeout: timedelta = timedelta(seconds=8)
    """An event not acknowledged by then is reported as not published."""
    stall: timedelta = timedelta(minutes=2)
    """A consumer ends its process when for so long it is behind, has nothing in hand and does not move, or
    gets no answer from a Kafka that answers others."""


class Ledger(Struct, frozen=True, forbid_unknown_fields=True):
    """The Postgres database."""

    url: str = "postgresql://postgres@127.0.0.1:5432/ebbmark"
    password: str = ""
    """Used when the URL has none."""
    schema: str = "ebbmark"
    connections: Positive = 8
    """Largest pool of one process."""
    ingest_password: str = ""
    """Of the role that `migrate` makes for ingest, named by the schema and `_ingest`; none when empty."""
    worker_password: str = ""
    """Of the workers' role, `…_worker`."""
    janitor_password: str = ""
    """Of the janitors' role, `…_janitor`."""
    monitor_password: str = ""
    """Of the role of PostgreSQL's exporter, `…_monitor`, which may read statistics alone."""


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """The S3 bucket."""

    endpoint: str = "http://127.0.0.1:8333"
    bucket: str = "ebbmark"
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    timeout: timedelta = timedelta(seconds=15)
    """Longest wait for one request."""


class Worker(Struct, frozen=True, forbid_unknown_fields=True):
    """How much one worker process does at once."""

    instance: str = ""
    """Name of this worker's slot: a restarted worker of the same name gets its partitions back at once."""
    data: str = ""
    """Folder for what Faust keeps; a temporary one when empty."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
    children: Annotated[int, Meta(ge=0)] = 0
    """Rendering processes; 0 means one per core."""
    slots: Annotated[int, Meta(ge=0)] = 0
    """Photos in flight; 0 means two per child and two more."""
    lease: timedelta = timedelta(seconds=20)
    """A photo in hand is renewed three times a lease; without that another worker takes it."""
    child_timeout: timedelta = timedelta(seconds=45)
    child_memory: Positive = 2 * 1024**3
    child_photos: Positive = 500
    """A child is replaced after this many photos."""
    strikes: Positive = 5


def _require_some_time(name: str, given: timedelta) -> None:
    if given <= timedelta(0):
        raise ValueError(f"{PREFIX}{name}: Expected a duration above zero")


class Janitor(Struct, frozen=True, forbid_unknown_fields=True):
    """How often the janitor looks, and when it calls something stalled."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
    sweep: timedelta = timedelta(seconds=2)
    stale: timedelta = timedelta(seconds=90)
    """A photo accepted or dispatched this long ago and still not claimed is dispatched again."""
    audit: timedelta = timedelta(minutes=10)
    """Between two comparisons of the whole bucket with the ledger."""
    stall: timedelta = timedelta(minutes=2)
    """A janitor of whose sweep no step ends for so long ends its process, and so its lead."""

    def __post_init__(self) -> None:
        """Refuse to end at once for ever."""
        _require_some_time("JANITOR_STALL", self.stall)


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a job may tell of its end, and how patiently."""

    allow_http: bool = False
    """Take http:// too; for tests and private networks."""
    networks: str = ""
    """Networks that receivers may be in beside the public ones, such as 10.1.0.0/16, separated by commas."""
    ports: str = "443,8443"
    """Ports that receivers may listen on, separated by commas."""
    authorities: str = ""
    """Certificates to trust, as PEM text; those of the system when empty."""
    connect_timeout: timedelta = timedelta(seconds=5)
    timeout: timedelta = timedelta(seconds=10)
    """Longest attempt, from the name to the answer."""
    host_attempts: Positive = 4
    """Attempts under way at once towards one host, from one worker."""
    first_wait: timedelta = timedelta(seconds=5)
    """Before the second attempt; each later one waits three times as long."""
    longest_wait: timedelta = timedelta(minutes=10)
    farewell: timedelta = timedelta(minutes=10)
    """How long the address is kept after the end of a job, to tell of it."""

    def __post_init__(self) -> None:
        """Refuse what is no list of networks or ports, before anybody relies on it."""
        for name, read in (("NETWORKS", self.allowed_networks), ("PORTS", self.allowed_ports)):
            try:
                read()
            except ValueError as exc:
                raise ValueError(f"{PREFIX}WEBHOOK_{name}: {exc}") from exc

    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return `networks`, read."""
        return tuple(ip_network(each.strip()) for each in self.networks.split(",") if each.strip())

    def allowed_ports(self) -> frozenset[int]:
        """Return `ports`, read."""
        return frozenset(int(each) for each in self.ports.split(","))


class Operator(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may look after the system over HTTP."""

    token: str = ""
    """What operators show to see and redrive dead letters, 16 characters or more; nobody may without one."""

    def __post_init__(self) -> None:
        """Refuse a token that could be guessed, or that no header can carry."""
        if self.token and not (len(self.token) >= 16 and self.token.isascii() and self.token.isprintable()):
            raise ValueError(f"{PREFIX}OPERATOR_TOKEN: Expected 16 or more printable ASCII characters")

    def __repr__(self) -> str:
        """Show nothing."""
        return "Operator()"


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Trace(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the traces of photos go, if anywhere."""

    endpoint: str = ""
    """Where spans go, by OTLP over HTTP: http://127.0.0.1:4318/v1/traces. None are made when it is empty."""
    ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of photos that are traced, from 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse what is no address, before a thread fails on it for ever."""
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(
                f"{PREFIX}TRACE_ENDPOINT: Expected an address that begins with http:// or https://"
            )


class Process(Struct, frozen=True, forbid_unknown_fields=True):
    """When a process ends itself, for its supervisor to start anew."""

    stall: timedelta = timedelta(minutes=1)
    """Its event loop did nothing for so long, not counting the time when it was stopped as a whole."""

    def __post_init__(self) -> None:
        """Refuse to end at once for ever."""
        _require_some_time("PROCESS_STALL", self.stall)


class SettingsError(Exception):
    """The environment does not describe a runnable system; the message lists every problem."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    job: Job = field(default_factory=Job)
    photo: Photo = field(default_factory=Photo)
    recipe: Recipe = field(default_factory=Recipe)
    http: Http = field(default_factory=Http)
    preview: Preview = field(default_factory=Preview)
    kafka: Kafka = field(default_factory=Kafka)
    ledger: Ledger = field(default_factory=Ledger)
    store: Store = field(default_factory=Store)
    worker: Worker = field(default_factory=Worker)
    janitor: Janitor = field(default_factory=Janitor)
    webhook: Webhook = field(default_factory=Webhook)
    operator: Operator = field(default_factory=Operator)
    process: Process = field(default_factory=Process)
    log: Log = field(default_factory=Log)
    trace: Trace = field(default_factory=Trace)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from the environment.

        Raises:
            SettingsError: a name is unknown, a value cannot be read or is said in two ways; all problems
                are listed.
        """
        known = variables()
        values: dict[str, dict[str, object]] = {}
        problems: list[str] = []
        for name in sorted(n for n in environ if n.startswith(PREFIX)):
            plain = name.removesuffix("_FILE") if name not in known else name
            if plain not in known:
                problems.append(f"{name} is not a setting")
                continue
            if plain != name and environ.get(plain):
                problems.append(f"{name}: {plain} is set, too; say it in one way")
                continue
            try:
                text = environ[name] if plain == name else Path(environ[name]).read_text("utf-8").rstrip("\n")
                section, key, kind = known[plain]
                if kind is timedelta and not text.startswith("P"):
                    problems.append(f"{name}: Expected an ISO 8601 duration such as PT1H, got {text!r}")
                    continue
                values.setdefault(section, {})[key] = msgspec.convert(text, kind, strict=False)
            except (OSError, msgspec.ValidationError) as exc:
                problems.append(f"{name}: {exc}")
        if problems:
            raise SettingsError("\n".join(problems))
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as exc:  # a section that refused its values in words of its own
            raise SettingsError(str(exc).partition(" - at `")[0]) from exc


def variables() -> dict[str, tuple[str, str, object]]:
    """Return every variable's name with its section, key and type."""
    return {
        f"{PREFIX}{section.name}_{key.name}".upper(): (section.name, key.name, key.type)
        for section in msgspec.structs.fields(Settings)
        for key in msgspec.structs.fields(section.type)
    }
