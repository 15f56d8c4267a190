"""A process that calls somebody's function row by row, for `hffs.data.filters.function`.

Owns importing the function, calling it with rows as plain Python values, and putting into words
what goes wrong: whatever a function may do is done here, where it can only harm this process. It
must not know sources, shards or what the answer is for.
It listens on one socket, for a schema and then batches of rows, until that is closed. It says once
that the function is there, and answers every batch with a byte a row; the first thing that goes
wrong is said instead, and is the last. No pickle is read or written.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from hffs.data.child import die_with

Stage = Literal["import", "read", "call"]

ANSWER, FAILURE = b"+", b"-"
"""What a message of the worker begins with; behind FAILURE stands JSON: stage, row's index, why."""

_SHOWN_CHARS = 300


def main(descriptor: int, parent: int, function: str) -> None:
    """Serve one function, `module:name`, on an inherited socket of a parent process."""
    die_with(parent)
    with contextlib.suppress(FileNotFoundError):  # the folder was removed: nothing is in it
        # As `python -m` does; only now, so that no file there stands in for what hffs imports.
        sys.path.insert(0, os.getcwd())
    channel: Connection[Any, Any] = Connection(descriptor)
    with _Caller(channel, function) as caller:
        caller.serve()


class _MistakeError(Exception):
    """What is wrong with a function, in words that need nothing added."""


class _Caller:
    """Calls the function; as a context, says what ended it through the channel, and ends quietly.

    A context, since nothing but a guard of the mount may catch everything: this is no guard, the
    process ends. Not `sys.excepthook`: a function's module may set that.
    """

    def __init__(self, channel: Connection[Any, Any], function: str) -> None:
        self._channel = channel
        self._module, _, self._name = function.partition(":")
        self._stage: Stage = "import"
        self._index = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            report = json.dumps([self._stage, self._index, self._explain(error)])
            with contextlib.suppress(OSError):  # nobody listens any more
                self._channel.send_bytes(FAILURE + report.encode())
        return True

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        function = self._find_function()
        self._send(b"")
        if (described := self._receive()) is None:
            return
        schema = pa.ipc.read_schema(pa.py_buffer(described))
        while (data := self._receive()) is not None:
            self._stage, self._index = "read", 0
            rows = plain_rows(pa.ipc.read_record_batch(pa.py_buffer(data), schema))
            self._stage = "call"
            self._send(self._call(function, rows))

    def _find_function(self) -> Callable[[dict[str, Any]], object]:
        module = importlib.import_module(self._module)
        if not hasattr(module, self._name):
            callables = [name for name, value in vars(module).items() if callable(value)]
            near = difflib.get_close_matches(self._name, callables, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise _MistakeError(f"{self._module} has no {self._name}{hint}")
        function: object = getattr(module, self._name)
        if not callable(function):
            raise _MistakeError(f"it is {_name_type(function)}, not a function")
        return function

    def _call(self, function: Callable[[dict[str, Any]], object], rows: list[Any]) -> bytes:
        answers = np.zeros(len(rows), np.bool_)
        for self._index, row in enumerate(rows):
            answer = function(row)
            if not isinstance(answer, (bool, np.bool_)):
                raise _MistakeError(f"returned {_name_type(answer)}, not a bool")
            answers[self._index] = answer
        return answers.tobytes()

    def _send(self, answer: bytes) -> None:
        self._channel.send_bytes(ANSWER + answer)

    def _receive(self) -> bytes | None:
        try:
            return self._channel.recv_bytes()
        except (EOFError, ConnectionError):
            return None

    def _explain(self, error: BaseException) -> str:
        """One line, with the place in the function's own file where there is one."""
        if isinstance(error, _MistakeError):
            return shorten(str(error))
        if isinstance(error, ModuleNotFoundError) and self._is_own(error.name):
            return f"there is no module {error.name} in {sys.path[0]} or on Python's path"
        if isinstance(error, SystemExit):
            words = f"called sys.exit({error.code!r})"
        else:
            words = f"raised {type(error).__name__}: {error}".removesuffix(": ")
        if self._stage == "import":
            words = f"importing it {words}"
        return shorten(words) + self._find_place(error)

    def _is_own(self, missing: str | None) -> bool:
        """Whether a module that is missing is the function's own, or a package that it is in."""
        return self._stage == "import" and f"{self._module}.".startswith(f"{missing}.")

    def _find_place(self, error: BaseException) -> str:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename not in (__file__, importlib.__file__)
            and not frame.filename.startswith("<frozen ")
        ]
        if isinstance(error, SyntaxError) or self._stage == "read" or not frames:
            return ""  # a syntax error tells its place itself
        file = getattr(sys.modules.get(self._module), "__file__", None)
        frame = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        return f" ({os.path.basename(frame.filename)}, line {frame.lineno})"


def plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as dicts of plain values; text that is not UTF-8 has U+FFFD where it is not."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        as_bytes = pa.schema([(field.name, _bytes_type(field.type)) for field in batch.schema])
        columns = [
            column.cast(to) for column, to in zip(batch.columns, as_bytes.types, strict=True)
        ]
        rows = pa.RecordBatch.from_arrays(columns, schema=as_bytes).to_pylist()
        return [{name: _decode(value) for name, value in row.items()} for row in rows]
    return rows


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    """A plain type with bytes for text; what holds bytes already is never given to a function."""
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_large_list(kind):
        return pa.large_list(_bytes_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _bytes_type(field.type)) for field in kind])
    return kind


def _decode(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return {k: _decode(v) for k, v in value.items()} if isinstance(value, dict) else value


def shorten(text: str) -> str:
    """One line of a bounded length that does nothing to a terminal: it may hold a row's values."""
    line = "".join(char if char.isprintable() else " " for char in text[: 2 * _SHOWN_CHARS])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}..."


def _name_type(value: object) -> str:
    return "None" if value is None else type(value).__name__
