"""A function that runs as a task."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, get_type_hints

import anyio
from anyio.to_thread import run_sync
from pydantic import ConfigDict, TypeAdapter, ValidationError, validate_call

from app.tasks import TaskContext
from app.tasks.errors import InvalidArguments, TaskTimeout

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_to_plain = TypeAdapter(Any).dump_python


class Job:
    """A function that runs as a task: its arguments are validated, and its time is limited.

    A function that is not `async` runs in a thread. If its first parameter is annotated with
    `TaskContext`, it gets the context of its process there.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__qualname__
        signature = inspect.signature(function)
        hints = get_type_hints(function, include_extras=True)
        parameters = list(signature.parameters.values())
        self.takes_context = bool(parameters) and hints.get(parameters[0].name) is TaskContext

        # Validated like the arguments of the function, but without a call of it.
        def collect(*args: Any, **kwargs: Any) -> Arguments:
            return args, kwargs

        parameters = parameters[1:] if self.takes_context else parameters
        names = self.names = [parameter.name for parameter in parameters]
        collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        collect.__annotations__ = {name: hint for name, hint in hints.items() if name in names}
        self._validate = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(collect)

    def validate(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return the arguments as the annotations say, or raise InvalidArguments."""
        try:
            return self._validate(*args, **kwargs)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            causes = [f"{self._name(*problem['loc'])}: {problem['msg']}" for problem in problems]
            raise InvalidArguments(f"{self.name}: {'; '.join(causes)}") from None

    def _name(self, argument: int | str, *path: int | str) -> str:
        """Return the name of an argument, or of a part of it."""
        if isinstance(argument, int) and argument < len(self.names):
            argument = self.names[argument]
        return ".".join(map(str, (argument, *path)))

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return the arguments as what JSON has; raise InvalidArguments if they do not fit."""
        args, kwargs = self.validate(args, kwargs)
        return tuple(_to_plain(args, mode="json")), _to_plain(kwargs, mode="json")

    async def run(
        self,
        context: TaskContext,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        limit: float,
        watch: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Any:
        """Call the function, and return what it returns.

        `limit`: in seconds. After them, an async function is cancelled; a thread cannot be, and is left
        alone. `watch` encloses the call, in its thread, until the function has really ended.
        Raises InvalidArguments, TaskTimeout and what the function raises.
        """
        args, kwargs = self.validate(args, kwargs)
        if self.takes_context:
            args = (context, *args)
        call = partial(self.function, *args, **kwargs)

        def call_in_thread() -> Any:
            with watch():
                return call()

        with anyio.move_on_after(limit):
            if inspect.iscoroutinefunction(self.function):
                with watch():
                    return await call()
            return await run_sync(call_in_thread, abandon_on_cancel=True)
        raise TaskTimeout(f"{self.name} took longer than TASK_TIMEOUT, {limit:g} s")
