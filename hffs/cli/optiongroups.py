"""Options that several commands share, as the fields of a dataclass.

Owns how such a class becomes parameters of a command. Must not know what any option means.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_type_hints

_R = TypeVar("_R")


def with_options(group: type[Any], name: str) -> Callable[[Callable[..., _R]], Callable[..., _R]]:
    """Give a command the fields of a dataclass as options; it takes them as one, `name`.

    Each field is annotated as a parameter of a command is.
    """

    def decorate(command: Callable[..., _R]) -> Callable[..., _R]:
        hints = get_type_hints(group, include_extras=True)
        own = fields(group)

        @functools.wraps(command)
        def with_group(**given: Any) -> _R:
            values = {field.name: given.pop(field.name) for field in own}
            return command(**given, **{name: group(**values)})

        signature = inspect.signature(command, eval_str=True)
        others = [each for key, each in signature.parameters.items() if key != name]
        made = [_make_parameter(field, hints[field.name]) for field in own]
        # `inspect` asks for both, and takes the words of the signature over those of the function.
        with_group.__dict__["__signature__"] = signature.replace(parameters=[*others, *made])
        with_group.__annotations__ = {each.name: each.annotation for each in [*others, *made]}
        return with_group

    return decorate


def _make_parameter(field: Field[Any], annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=annotation)
