"""One connection to a NATS server that has JetStream, from its opening to its loss.

Rules:
    - A lost connection is never mended: what nats-py left of it is ended, and a new one is opened.
    - Nothing secret is sent to a server that is to speak TLS and does not.
    - No password or token stands in an error.

What nats-py 2.16.0 lacks, and the reason for each line that reaches into it, stands beside it with
what would let it go.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from affidavit.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import ModuleType

    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from affidavit.triggers.brokers.nats.address import Address

ANSWER_S: Final = 5.0
HANG_UP_S: Final = 0.5
PING_S: Final = 5
LOSS_S: Final = 0.1
"""How soon a loss is seen.

Until nats-py calls ``disconnected_cb`` whenever a connection ends: in 2.16.0 it does not where its
last write fails.
"""


def library() -> ModuleType:
    """Return nats-py; BrokerError if it is not installed."""
    try:
        import nats  # noqa: PLC0415 - an optional library, imported where it is asked for
    except ImportError:
        raise BrokerError(
            "the NATS broker needs the package nats-py: pip install 'affidavit[nats]'"
        ) from None
    return nats


@dataclass(slots=True)
class Connection:
    """An open connection, and what runs on it; all of it the loop's own."""

    client: Client
    js: JetStreamContext
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run ``work`` until it ends, or the connection does."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def until_lost(self) -> None:
        """Return when the connection is lost."""
        while self.client.is_connected:  # noqa: ASYNC110 - nats-py has no event to trust
            await asyncio.sleep(LOSS_S)


class Connector:
    """Opens connections to one server, and closes them for good.

    Args:
        nats: The library.
        address: Where the server is.
        timeout_s: How long it may take to answer.
        outliving: The tasks of the loop that outlive a connection; all others but a connection's
            own are nats-py's.
    """

    def __init__(
        self,
        nats: ModuleType,
        address: Address,
        timeout_s: float,
        outliving: set[asyncio.Task[None]],
    ) -> None:
        self._nats = nats
        self._address = address
        self._timeout_s = timeout_s
        self._outliving = outliving

    async def open(self) -> Connection:
        """Return a connection to a server that has JetStream, or raise BrokerError in time."""
        client: Client = self._nats.NATS()
        reasons: list[Exception] = []

        async def failed(error: Exception) -> None:
            del reasons[:]
            reasons.append(error)

        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._hang_up, client)
                async with asyncio.timeout(self._timeout_s):
                    await client.connect(
                        f"nats://{self._address}",
                        **self._credentials(client),
                        name="affidavit",
                        error_cb=failed,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=max(1, round(self._timeout_s)),
                        ping_interval=PING_S,
                    )
                    self._insist_on_tls(client)
                    js: JetStreamContext = client.jetstream(timeout=ANSWER_S)
                    await js.account_info()
                undo.pop_all()
        except self._nats.js.errors.ServiceUnavailableError as error:
            raise BrokerError(
                f"NATS at {self._address} has no JetStream: start the server with -js, and allow "
                "JetStream to the account"
            ) from error
        except Exception as error:  # whatever nats-py makes of whoever listens there
            told = reasons[-1] if reasons else error
            why = str(told) or f"no answer within {self._timeout_s:g} s"
            raise BrokerError(f"NATS at {self._address} cannot be used: {why}") from error
        return Connection(client, js)

    def _credentials(self, client: Client) -> dict[str, Any]:
        """Return what nats-py is to say who we are; it asks for it after the server's greeting."""

        def secret() -> str:
            self._insist_on_tls(client)
            return self._address.password or self._address.user or ""

        if self._address.password is not None:
            return {"user": self._address.user, "password": secret}
        return {"token": secret if self._address.user else None}

    def _insist_on_tls(self, client: Client) -> None:
        """Raise unless the server asks for TLS where the address does.

        Until nats-py refuses by itself to speak plain text where ``tls://`` was asked for: in
        2.16.0 it does so to every server that does not ask for TLS, and what the server said of it
        is private. Its successor nats-core both refuses and has a public ``server_info``.
        """
        if self._address.tls and not client._server_info.get("tls_required"):  # noqa: SLF001
            raise self._nats.errors.SecureConnWantedError

    async def close(self, connection: Connection) -> None:
        """End what runs on ``connection``, and hang up."""
        await end(connection.tasks)
        await self._hang_up(connection.client)

    async def _hang_up(self, client: Client) -> None:
        """Close the connection, and end what nats-py left running: the loop has nothing else."""
        with suppress(TimeoutError, OSError, self._nats.errors.Error):
            async with asyncio.timeout(HANG_UP_S):
                await client.close()
        await end(asyncio.all_tasks() - self._outliving)
        # Until ``Client.close`` closes the socket whatever happens, or nats-py has a public way to
        # abort: in 2.16.0 a flush that fails, or is given up, leaves the socket open.
        writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            with suppress(AttributeError):  # Python 3.11.2's, if a TLS connection was closed before
                writer.transport.abort()


async def end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel ``tasks``, and return when they have ended.

    More than once, until nats-py lets a cancellation pass that comes while it flushes: in 2.16.0
    it swallows one.
    """
    while tasks:
        for task in tasks:
            task.cancel()
        ended, _ = await asyncio.wait(tasks, timeout=HANG_UP_S)
        tasks = tasks - ended
