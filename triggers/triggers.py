"""``session.triggers``: what happens when rows change."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from affidavit.catalog.model.definition import VectorDefinition
from affidavit.catalog.topics.consumer import find_consumer, unsettled
from affidavit.catalog.topics.log import evict_before
from affidavit.catalog.topics.topic import topic_by_id
from affidavit.catalog.values.durations import is_seconds
from affidavit.catalog.values.python.arguments import checked_switch, checked_text_or_none
from affidavit.catalog.values.vectors import METRICS, fault_of, vector_type
from affidavit.errors import InvalidQueryError, InvalidTriggerError, TransactionError
from affidavit.triggers.predicates.predicate import compile_predicate
from affidavit.triggers.rules.event import CHANGE, NEAR
from affidavit.triggers.rules.trigger import (
    OWN_TRIGGERS,
    Trigger,
    checked_actions,
    drop_trigger,
    keep_trigger,
    own_triggers,
    watched_table,
)
from affidavit.triggers.subscriptions.callbacks import CallbackRunner
from affidavit.triggers.subscriptions.settings import Wanted, check_count, set_consumer
from affidavit.triggers.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from affidavit.catalog.lake.catalog import Catalog
    from affidavit.triggers.subscriptions.delivery import Delivery
    from affidavit.triggers.subscriptions.exchange import Exchange
    from affidavit.triggers.subscriptions.subscription import Subscription

TIMEOUT_S: Final = 30.0
TIMEOUT_MAX_S: Final = 10**8
MAX_DELIVERIES: Final = 5


class Triggers:
    """The triggers and standing searches of one tenant; in SQL ``CREATE TRIGGER``."""

    def __init__(self, catalog: Catalog, exchange: Exchange) -> None:
        self._catalog = catalog
        self._exchange = exchange

    def __repr__(self) -> str:
        return f"Triggers({', '.join(repr(each.name) for each in self.list()) or 'none'})"

    def list(self) -> list[Trigger]:
        """Return the tenant's triggers, by name."""
        with self._catalog.read() as reader:
            return own_triggers(reader, self._catalog)

    def on(
        self,
        table: str,
        action: str | Sequence[str],
        where: str | None = None,
        publish: str | None = None,
        call: Callable[[Delivery], object] | None = None,
        *,
        name: str | None = None,
        timeout: float = TIMEOUT_S,
        max_deliveries: int = MAX_DELIVERIES,
    ) -> Trigger:
        """Publish an event, or call a function, whenever rows of a table change.

        The event is written in the transaction that changes the rows, so that it is there exactly
        when they are. It has the rows that the trigger asks for, each as it was (``old``) and as it
        is (``new``), and an ``event_id`` by which to know it again.

        Args:
            table: A mutable or vector table of the tenant's own.
            action: One or more of ``insert``, ``update``, ``delete``.
            where: An SQL predicate over ``new.column`` and ``old.column``; a bare column is the
                new row's.
            publish: The topic for the events; it is registered if it is not there.
            call: A function that is given each event's delivery, after the commit, by a named
                consumer: what it raises is logged and the event delivered again. The trigger is
                kept in the lake and the function is not: say ``on`` again in each session.
            name: The trigger's name; made from the others by default. Making the same trigger
                again does nothing but to bring its function.
            timeout: How many seconds a call may take before it is made again.
            max_deliveries: How often an event is delivered before it goes to the dead letters, in
                the topic ``dead.<trigger>``.

        Raises:
            TableNotFoundError: There is no such table.
            InvalidTriggerError: An action is none, or there is not one of publish and call.
            UnsupportedPredicateError: The predicate cannot be evaluated on the table's columns.
            TriggerExistsError: There is another trigger of this name.
            SchemaConflictError: The topic is there with another schema.
        """
        actions = checked_actions(action)
        if (publish is None) == (call is None):
            msg = "a trigger needs one of publish='topic' and call=function"
            raise InvalidTriggerError(msg)
        if call is not None and not callable(call):
            msg = f"call must be a function, got {type(call).__name__}"
            raise InvalidTriggerError(msg)
        self._check_call(call, name, timeout, max_deliveries)
        chosen = name or _made_name(table, actions, publish or _name_of(call))
        if call is None:
            return make_trigger(self._catalog, table, actions, where, publish, name=chosen)
        with self._catalog.write():  # the trigger and its consumer, or neither
            made = make_trigger(self._catalog, table, actions, where, None, name=chosen)
            subscription = self._subscribed(made, timeout, max_deliveries)
        self._attach(made, call, subscription, timeout)
        return made

    def _check_call(
        self, call: object, name: object, timeout: object, max_deliveries: object
    ) -> None:
        checked_text_or_none(name, "name")
        if call is not None and self._catalog.transactions.current() is not None:
            msg = "a function is brought outside of transactions: COMMIT or ROLLBACK first"
            raise TransactionError(msg)
        if not is_seconds(timeout, least=0.001) or timeout > TIMEOUT_MAX_S:
            msg = (
                f"timeout must be a number of seconds from 0.001 to {TIMEOUT_MAX_S:,}, got "
                f"{timeout!r}"
            )
            raise InvalidQueryError(msg)
        check_count("max_deliveries", max_deliveries)

    def _subscribed(self, trigger: Trigger, timeout: float, max_deliveries: int) -> Subscription:
        """Return the trigger's events, from the first that its function has not taken."""
        topics = Topics(self._catalog, self._exchange)
        # the lease outlasts the call, so that a call that hangs is noticed here first
        ack_wait_s = timeout * 2 + 1
        wanted = Wanted(ack_wait_s=ack_wait_s, max_deliveries=max_deliveries)
        set_consumer(self._catalog, topics.get(trigger.topic), trigger.name, wanted)
        return topics.subscribe(
            trigger.topic, consumer=trigger.name, ack_wait=ack_wait_s,
            max_deliveries=max_deliveries, dead_letter=f"dead.{trigger.name}",
        )  # fmt: skip

    def _attach(
        self,
        trigger: Trigger,
        function: Callable[[Delivery], object],
        subscription: Subscription,
        timeout: float,
    ) -> None:
        """Call ``function`` with the trigger's events, in place of the one that was."""
        tidy, apart = partial(self._tidy, trigger), self._catalog.transactions.apart
        self._exchange.runners.run(
            self._key(trigger.name),
            lambda: CallbackRunner(trigger.name, function, subscription, timeout, tidy, apart),
        )

    def _tidy(self, trigger: Trigger) -> None:
        """Let go of the events that a trigger's function has taken."""
        with self._catalog.write() as writer:
            topic = topic_by_id(writer, trigger.topic_id)
            if topic is None:
                return
            found = find_consumer(writer, self._catalog.tenant, topic.topic_id, trigger.name)
            if found is not None:
                evict_before(writer, topic, min([*unsettled(writer, found)[:1], found.next_offset]))

    def near(
        self,
        name: str,
        table: str,
        query: npt.ArrayLike,
        within: float,
        publish: str,
        *,
        column: str | None = None,
        metric: str | None = None,
    ) -> Trigger:
        """Let a search stand: publish each new or changed row that is near to a query.

        Rows are compared as they are committed, every one of them; what is found is published in
        that transaction, nearest first, and put on record in ``audit.searches``.

        Args:
            name: The trigger's name.
            table: A vector table of the tenant's own.
            query: The vector.
            within: The largest distance, as :meth:`Session.search` measures it.
            publish: The topic; it is registered if it is not there.
            column: The vector column; the table's own by default.
            metric: ``cosine``, ``l2`` or ``dot``; the table's own by default.

        Raises:
            TableNotFoundError: There is no such table.
            InvalidQueryError: The query does not fit the column, or the distance is no number.
            TriggerExistsError: There is another trigger of this name.
        """
        checked_text_or_none(column, "column")
        checked_text_or_none(metric, "metric")
        info, schema = watched_table(self._catalog, table)
        if not isinstance(info.definition, VectorDefinition):
            msg = f"{table!r} is a {info.kind} table: standing searches are on vector tables"
            raise InvalidTriggerError(msg)
        chosen = column or info.definition.vector
        width = vector_type(schema, chosen, table=table, dimension=None, first=None).list_size
        vector = _checked_vector(query, width, f"column {chosen!r} of {table!r}")
        if (
            isinstance(within, bool)
            or not isinstance(within, int | float)
            or not math.isfinite(within)
        ):
            msg = f"within must be a distance, got {within!r}"
            raise InvalidQueryError(msg)
        by = metric or info.definition.metric
        if by not in METRICS:
            msg = f"metric must be one of {METRICS}, got {by!r}"
            raise InvalidQueryError(msg)
        if (fault := fault_of(vector, by)) is not None:
            raise InvalidQueryError(f"the query of standing search {name!r} {fault}")
        wanted = Trigger(
            "", name, NEAR, info.table_id, info.name, ("insert", "update"), None, publish,
            query=tuple(vector.tolist()), within=float(within), metric=by, column=chosen,
        )  # fmt: skip
        return keep_trigger(self._catalog, wanted, schema)

    def drop(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a trigger; the topic that it published to stays.

        Raises:
            TriggerNotFoundError: There is none, and not ``if_exists``.
        """
        checked_switch(if_exists, "if_exists")
        drop_trigger(self._catalog, name, if_exists=if_exists)
        if self._catalog.transactions.current() is None:  # else it ends when that is committed
            self._exchange.runners.end(self._key(name))

    def _key(self, name: str) -> tuple[str, str]:
        """Return under what a trigger's function runs."""
        return self._catalog.tenant, name


def _checked_vector(query: npt.ArrayLike, width: int, what: str) -> npt.NDArray[np.float32]:
    """Return ``query`` as a vector of ``width`` numbers, or raise InvalidQueryError."""
    try:
        vector = np.asarray(query, dtype=np.float32)
    except (TypeError, ValueError) as error:
        msg = f"query must be a vector of {width} numbers, got {type(query).__name__}: {error}"
        raise InvalidQueryError(msg) from error
    if vector.shape != (width,) or not np.isfinite(vector).all():
        msg = f"query must be {width} finite numbers for {what}, got shape {vector.shape}"
        raise InvalidQueryError(msg)
    return vector


def make_trigger(
    catalog: Catalog,
    table: str,
    actions: tuple[str, ...],
    where: str | None,
    publish: str | None,
    *,
    name: str,
) -> Trigger:
    """Make a change trigger; without ``publish`` its events are a callback's."""
    info, schema = watched_table(catalog, table)
    if where is not None:
        compile_predicate(where, schema, images=True)
    topic = f"{OWN_TRIGGERS}{name}" if publish is None else publish
    wanted = Trigger(
        "", name, CHANGE, info.table_id, info.name, actions, where, topic, callback=publish is None
    )
    return keep_trigger(catalog, wanted, schema)


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _made_name(table: str, actions: Sequence[str], target: str) -> str:
    return "-".join([table, *actions, target]).replace(".", "-").replace("<", "").replace(">", "")
