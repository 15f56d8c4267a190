"""A server in this process that acts as S3, and what the libraries that ask it find around them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import s3fs
from moto.server import ThreadedMotoServer

NONE = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")


@dataclass(eq=False)
class Buckets(logging.Handler):
    """A server: where it is, and the first line of each request with the status of its answer.

    While it `is_down` it answers 503 to everything.
    """

    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    is_down: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def wrap(self, app: Any) -> Any:
        """A WSGI application that is not always up."""

        def answer(environ: Any, start_response: Any) -> Any:
            if not self.is_down:
                return app(environ, start_response)
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []

        return answer

    def emit(self, record: logging.LogRecord) -> None:
        self.requests.append(record.getMessage())


@contextmanager
def serving_buckets() -> Iterator[Buckets]:
    """A server with no bucket in it yet."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    buckets, log = Buckets(), logging.getLogger("werkzeug")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(buckets)
    try:
        assert server._server is not None
        server._server.app = buckets.wrap(server._server.app)
        host, port = server.get_host_and_port()
        buckets.endpoint = f"http://{host}:{port}"
        yield buckets
    finally:
        server.stop()
        log.removeHandler(buckets)


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let S3 be at an address, and the environment have credentials for it."""
    for name in NONE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def write_keys(bucket: str, keys: Mapping[str, bytes]) -> None:
    """Put objects into a bucket, which is made if need be."""
    fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    if not fs.exists(bucket):
        fs.mkdir(bucket)
    for key, data in keys.items():
        fs.pipe_file(f"{bucket}/{key}", data)


def remove_key(bucket: str, key: str) -> None:
    """Take an object out of a bucket."""
    s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False).rm_file(f"{bucket}/{key}")
