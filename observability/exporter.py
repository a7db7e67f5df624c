"""A process without an HTTP interface of its own serves /metrics on a port."""

from prometheus_client import start_http_server


def serve(host: str, port: int) -> None:
    """Serve the metrics of this process from a thread; port 0 serves nothing."""
    if port:
        start_http_server(port, addr=host)
