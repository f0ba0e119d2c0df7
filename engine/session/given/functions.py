"""session.functions: Python functions that the session's statements call.

Rules:
    - A function is the session's own, as what it sets is: it is in no context that another session
      plans with, nothing of it is kept, and it goes with the session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from affidavit.catalog.values.python.arguments import checked_text
from affidavit.engine.scans.calls.functions import checked_function, is_taken
from affidavit.errors import FunctionNotFoundError, InvalidQueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from affidavit.engine.plan.state import PlanState
    from affidavit.engine.plan.tenant import TenantEngine
    from affidavit.engine.scans.calls.functions import Function


class Functions:
    """The Python functions of one session.

    Args:
        engine: Its tenant's.
        state: What the session has of its own.
    """

    def __init__(self, engine: TenantEngine, state: PlanState) -> None:
        self._engine = engine
        self._state = state

    def __repr__(self) -> str:
        return f"Functions({', '.join(map(str, self))})"

    def __iter__(self) -> Iterator[Function]:
        return iter(self.list())

    def list(self) -> list[Function]:
        """Return the functions that the session registered, by name."""
        return [each for _, each in sorted(self._state.functions.items())]

    @overload
    def register(
        self,
        name: str,
        function: Callable[..., Any],
        inputs: Sequence[pa.DataType] | pa.DataType,
        output: pa.DataType,
        volatility: str = ...,
    ) -> Callable[..., Any]: ...

    @overload
    def register(
        self,
        name: str,
        function: None = ...,
        inputs: Sequence[pa.DataType] | pa.DataType = ...,
        output: pa.DataType | None = ...,
        volatility: str = ...,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...

    def register(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        inputs: Sequence[pa.DataType] | pa.DataType = (),
        output: pa.DataType | None = None,
        volatility: str = "immutable",
    ) -> Callable[..., Any]:
        """Let this session's statements call a function; of the same name it takes the place.

        Without ``function`` this is a decorator::

            @session.functions.register("doubled", inputs=pa.int64(), output=pa.int64())
            def doubled(values: pa.Array) -> pa.Array:
                return pc.multiply(values, 2)

        Args:
            name: What SQL calls it: lower-case letters, digits and ``_``.
            function: Called with a ``pyarrow.Array`` an argument, all of one length, for a batch of
                rows at a time; NULLs come as they are. It returns one of that length. Several
                threads may call it at once.
            inputs: The type of each argument; others are cast to it where SQL would.
            output: The type of what it returns.
            volatility: ``immutable`` if equal arguments always give equal values: then it may be
                called once for a constant, even while a statement is planned. ``volatile`` if not.

        Returns:
            The function.

        Raises:
            InvalidQueryError: The name is a builtin's, or a type is none.
        """
        if function is None:

            def decorate(given: Callable[..., Any]) -> Callable[..., Any]:
                return self.register(name, given, inputs, output, volatility)

            return decorate
        asked = checked_function(name, function, inputs, output, volatility)
        with self._state.changing(self._engine) as contexts:
            if name not in self._state.functions and is_taken(contexts[0], name):
                msg = f"function {name!r}: SQL has a function or word of that name; choose another"
                raise InvalidQueryError(msg)
            for context in contexts:
                context.register_udf(asked.made())
            self._state.functions[name] = asked
        return function

    def unregister(self, name: str) -> None:
        """Forget a function; a statement that runs goes on with it.

        Raises:
            FunctionNotFoundError: This session registered none of that name.
        """
        checked_text(name, "name")
        with self._state.changing(self._engine) as contexts:
            if name not in self._state.functions:
                raise FunctionNotFoundError(name)
            for context in contexts:
                context.deregister_udf(name)
            del self._state.functions[name]
