"""Python functions that take what triggers publish, after the commit and outside of it.

Rules:
    - A function is called by a named consumer of the trigger's topic, in a thread of its own. What
      it raises is logged, and the event is delivered again, later each time, until it goes to the
      dead letters.
    - A function that hangs is left behind when its time is over: its event is delivered again.
    - Other writers that hold the store for long delay events, and end nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from affidavit.errors import AffidavitError, ClosedError, StoreBusyError, TopicNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.subscription import Subscription

BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 30.0
"""An event whose function failed is delivered again after so long, twice as long each time."""

TIDY_EVENTS: Final = 256
"""How many events are taken before those that were are let go."""

LOOK_S: Final = 0.5

_log = logging.getLogger("affidavit")
_T = TypeVar("_T")


class CallbackRunner:
    """Calls one function with each delivery of a subscription to a named consumer.

    Args:
        name: The trigger's name.
        function: What is called; when it returns, the delivery is acknowledged.
        subscription: Whose deliveries they are.
        timeout_s: How long a call may take.
        tidy: Lets go of what was taken; called now and then.
        apart: A block in which a thread has nothing to do with the transaction of whoever brought
            the function, which may be open when it is called.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Delivery], object],
        subscription: Subscription,
        timeout_s: float,
        tidy: Callable[[], None],
        apart: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.name = name
        self.function = function
        self._subscription = subscription
        self._timeout_s = timeout_s
        self._tidy = tidy
        self._apart = apart
        self._stopping = threading.Event()
        self._call: threading.Thread | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"affidavit-trigger-{name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        with self._apart():
            self._take()

    def _take(self) -> None:
        while not self._stopping.is_set():
            try:
                delivery = self._patiently(lambda: self._subscription.next(LOOK_S))
                if delivery is not None:
                    self._deliver(delivery)
            except (ClosedError, TopicNotFoundError):  # the trigger was dropped
                self._subscription.close()
                return
            except AffidavitError as error:
                if self._stopping.is_set():
                    return
                _log.warning("trigger %r takes no more events: %s", self.name, error)
                self._subscription.close()
                return

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Return what ``call`` returns, once other writers let it have the store."""
        while True:
            try:
                return call()
            except StoreBusyError as error:
                _log.warning("trigger %r waits: %s", self.name, error)
                if self._stopping.wait(LOOK_S):
                    raise

    def _deliver(self, delivery: Delivery) -> None:
        """Call the function, and settle the delivery by how that went."""
        raised: list[BaseException] = []

        def call() -> None:
            try:
                with self._apart():
                    self.function(delivery)
            except BaseException as error:  # noqa: BLE001 - whatever it is, nobody is harmed
                raised.append(error)

        thread = threading.Thread(target=call, name=f"affidavit-call-{self.name}", daemon=True)
        self._call = thread
        thread.start()
        thread.join(self._timeout_s)
        if thread.is_alive():
            _log.warning(
                "the function of trigger %r has not returned from event %d for %g s: it is left "
                "behind, and the event is delivered again", self.name, delivery.offset,
                self._timeout_s,
            )  # fmt: skip
            why = f"its function did not return within {self._timeout_s:g} s"
            self._patiently(lambda: delivery.nak(reason=why))
        elif raised:
            error = raised[0]
            _log.warning(
                "the function of trigger %r failed at event %d, delivery %d", self.name,
                delivery.offset, delivery.attempts, exc_info=error,
            )  # fmt: skip
            wait = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (delivery.attempts - 1))
            self._patiently(lambda: delivery.nak(wait, f"{type(error).__name__}: {error}"))
        elif delivery.lease is not None and not delivery.lease.is_given_back:
            self._patiently(delivery.ack)
            if delivery.offset % TIDY_EVENTS == TIDY_EVENTS - 1:
                self._patiently(self._tidy)

    def stop(self) -> None:
        """Take no more events."""
        self._stopping.set()
        self._subscription.close()

    def wait(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the call that is being made, unless that is who waits."""
        if threading.current_thread() not in {self._thread, self._call}:
            self._thread.join(seconds)
