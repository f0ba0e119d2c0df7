"""A real NATS server, a log that is a list, and a broker between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.nats_log import Log
from tests.support.nats_server import NatsServer

from affidavit.triggers.brokers.nats.broker import NatsBroker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def broker(server: NatsServer, log: Log) -> Iterator[NatsBroker]:
    opened = NatsBroker(server.url, log)
    yield opened
    opened.close()
