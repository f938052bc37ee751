"""A capability in Python: description, dispatch, undo records and files, for components built with componentize-py.

    from redress_capability import Call, Capability, Undo, object_schema, provide, write_text

    def execute(call: Call) -> dict:
        [before] = call.save_files(call.input["path"])
        write_text(before.path, (before.text or "") + call.input["line"] + "\n")
        return {"path": before.path}

    def compensate(call: Undo) -> None:
        call.restore_files()

    Provider = provide(
        Capability(
            id="acme.notes.add",
            title="Add a note",
            summary="Adds a line to a file of notes.",
            risk="MEDIUM",
            effect="reversible",
            idempotent=True,
            permissions=["fs:read", "fs:write"],
            input=object_schema({"path": {"type": "string"}, "line": {"type": "string"}}),
            output=object_schema({"path": {"type": "string"}}),
            execute=execute,
            compensate=compensate,
        )
    )

- `provide` checks the definitions when the component is built: a mistake is an error of the build.
- What `execute` and `compensate` raise becomes a failure: a `Failure` as it is, an `OSError` under the code that fits, anything else
  under the code `unexpected`.
- Save before the first change, and start from what `save` returns; `call.save_files` does both for files.
- Each call runs in a fresh copy of the built component: no variable keeps its value from one call to the next, and what runs at the
  top level runs once, when the component is built. A module that is imported only inside a function is not in the component.

`open`, `os` and `pathlib` work on the granted directories. There are no sockets, and so no `urllib`: this helper sends no requests.
"""

import errno
import json
import os
import re
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from componentize_py_types import Err
from wit_world.exports import provider
from wit_world.imports import context as host_context
from wit_world.imports import undo as host_undo

RISKS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
EFFECTS = ("none", "reversible", "irreversible")

MOST_SAVED = 6 << 20
"""What `save_files` keeps of all files together: several copies of it are in memory, of which a call has 64 MiB."""


class Failure(Exception):
    """Why a call did not do what it was asked to do.

    `code` is a word: `invalid-input`, `not-found`, `unauthorized`, `rate-limited`, `unavailable`, `conflict`, `undo_too_large`,
    `not-settled` (an undo that must wait), or one of your own. `message` is one sentence for a person, `details` is more.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: Optional[int] = None,
        details: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.details = details


# Files


@dataclass(frozen=True)
class FileState:
    """How a file is; the content is `None` if there is none."""

    path: str
    content: Optional[bytes]

    @property
    def text(self) -> Optional[str]:
        """The content as text with the line ends that it has. Fails if it is not UTF-8."""
        if self.content is None:
            return None
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise Failure("invalid-input", f"`{self.path}` is not UTF-8 text") from None


def look(path: str) -> FileState:
    """How a file is."""
    try:
        with open(path, "rb") as file:
            return FileState(path, file.read())
    except FileNotFoundError:
        return FileState(path, None)


def write(path: str, content: bytes) -> None:
    """Makes a file or replaces its content, in place, so that its mode and owner stay. The directory must exist."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0) as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        file.truncate(len(content))


def write_text(path: str, text: str) -> None:
    """The same with text, as UTF-8 and with the line ends that it has."""
    write(path, text.encode("utf-8"))


def remove(path: str) -> None:
    """Removes a file; nothing happens if there is none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def restore(state: FileState) -> None:
    """Brings a file back to how it was, byte for byte; changes nothing if it is so already."""
    if look(state.path) == state:
        return
    if state.content is None:
        remove(state.path)
    else:
        write(state.path, state.content)


# The record of files is a zero, the paths and sizes as JSON, a line feed, and the contents. It begins as no JSON does, and is not larger than
# the files.


def _packed(states: list[FileState]) -> bytes:
    sizes = [{"path": state.path, "size": None if state.content is None else len(state.content)} for state in states]
    return b"".join([b"\0", _encoded(sizes), b"\n", *(state.content or b"" for state in states)])


def _unpacked(record: bytes) -> list[FileState]:
    offset = record.index(b"\n") + 1
    states = []
    for entry in json.loads(record[1:offset]):
        size = entry["size"]
        states.append(FileState(entry["path"], None if size is None else record[offset : offset + size]))
        offset += size or 0
    return states


# Calls


@dataclass(frozen=True)
class Call:
    """One attempt of one step."""

    capability: str
    input: Any
    key: str
    """The idempotency key: the same for every attempt of a step."""
    attempt: int
    """1 for the first."""
    timeout_ms: int
    """How long the host will wait."""

    def save(self, state: Any) -> list:
        """Before the first change: keeps what brings the target back, any JSON value.

        Returns the records in force, of which the first is the state: this one, or those of an earlier attempt; then bring the
        target back to them first.
        """
        return [_decoded(record) for record in _save(_encoded(state))[0]]

    def append(self, state: Any) -> None:
        """After a change: keeps what was learned, such as an id that the target chose."""
        try:
            host_undo.append(_encoded(state))
        except Err as error:
            raise Failure("undo-refused", str(error.value)) from None

    def save_files(self, *paths: str) -> list[FileState]:
        """Before the first change: saves how these files are. If an earlier attempt did, brings them back to how it found them.

        Returns how they are, in the order of the paths. In place of `save`.
        """
        states: list[FileState] = []
        size = 0
        for path in paths:
            states.append(look(path))
            size += len(states[-1].content or b"")
            if size > MOST_SAVED:
                break
        # Too much fails, unless an earlier attempt saved less and has made the files grow since.
        fits = size <= MOST_SAVED
        records, earlier = _save(_packed(states if fits else []))
        if earlier:
            states = _unpacked(records[0])
            for state in states:
                restore(state)
        elif not fits:
            most, counted = f"{MOST_SAVED >> 20} MiB", states[-1].path
            raise Failure("undo_too_large", f"undoing this needs more than {most}, counted up to `{counted}`")
        return states


@dataclass(frozen=True)
class Undo:
    """The undoing of one step."""

    capability: str
    input: Any
    execute_key: str
    """The key that `execute` was given."""
    key: str
    attempt: int
    timeout_ms: int
    output: Any
    """What `execute` returned; `None` if it is unclear whether it happened."""
    records: list
    """The state that was saved, then what was appended; empty if nothing was saved, and so nothing changed. What `save_files` saved is a
    list of `FileState`."""

    def restore_files(self) -> None:
        """Brings the files of `save_files` back, byte for byte."""
        if self.records:
            for state in self.records[0]:
                restore(state)


def _save(own: bytes) -> tuple[list[bytes], bool]:
    """The records in force, and whether they are an earlier attempt's."""
    try:
        in_force = host_undo.save(own)
    except Err as error:
        raise Failure("undo-refused", str(error.value)) from None
    if not in_force:
        raise Failure("undo-refused", "the host returned no undo record")
    return in_force, in_force[0] != own


def _encoded(value: Any) -> bytes:
    return _json(value).encode("utf-8")


def _decoded(record: bytes) -> Any:
    return _unpacked(record) if record.startswith(b"\0") else json.loads(record)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# Definitions


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One capability."""

    id: str
    """Two or more segments of lower-case letters, digits, `_` or `-`, joined by dots."""
    title: str
    summary: str
    risk: str
    """`LOW`, `MEDIUM`, `HIGH` or `CRITICAL`."""
    effect: str
    """`none` changes nothing; `reversible` has `compensate`; `irreversible` is at least HIGH."""
    idempotent: bool
    """Whether a second execution with the same key has no further effect."""
    input: dict
    """A JSON Schema, such as `object_schema` makes."""
    output: dict
    execute: Callable[[Call], Any]
    """Does the operation once; returns the output."""
    compensate: Optional[Callable[[Undo], None]] = None
    """Undoes it; must be safe to repeat."""
    permissions: list[str] = field(default_factory=list)
    """`fs:read`, `fs:write`, `config:NAME`."""

    def __post_init__(self) -> None:
        def need(holds: Any, otherwise: str) -> None:
            if not holds:
                raise ValueError(f"the capability `{self.id}`: {otherwise}")

        need(re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", self.id), "the id must be lower-case segments joined by dots")
        need(self.title.strip() and self.summary.strip(), "without a title or a summary")
        need(self.risk in RISKS, f"the risk must be one of {', '.join(RISKS)}")
        need(self.effect in EFFECTS, f"the effect must be one of {', '.join(EFFECTS)}")
        need(self.effect != "irreversible" or RISKS.index(self.risk) >= 2, "what is irreversible is at least HIGH")
        need(self.effect != "reversible" or self.compensate, "it is reversible and has no `compensate`")
        need(self.effect != "none" or not self.compensate, "the effect is `none`, so there is nothing to compensate")


def object_schema(properties: dict[str, dict], optional: tuple[str, ...] = ()) -> dict:
    """The schema of an object that has exactly these properties, all of them required but those that are named as optional."""
    unknown = [name for name in optional if name not in properties]
    if unknown:
        raise ValueError(f"there is no property `{unknown[0]}` that could be optional")
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def provide(*capabilities: Capability) -> type:
    """The class that componentize-py expects under the name `Provider` in the module that is built."""
    by_id = {capability.id: capability for capability in capabilities}
    if len(by_id) != len(capabilities):
        raise ValueError("a capability is defined twice")
    told = ("id", "title", "summary", "risk", "effect", "idempotent", "permissions", "input", "output")
    described = [{name: getattr(capability, name) for name in told} for capability in capabilities]
    description = _json({"schema": 1, "capabilities": described})

    def find(id: str) -> Capability:
        if id not in by_id:
            raise Failure("not-found", f"this component has no capability `{id}`")
        return by_id[id]

    class Provider:
        def describe(self) -> str:
            return description

        def execute(self, call: provider.Call) -> str:
            def work() -> str:
                given = Call(call.capability, json.loads(call.input), call.key, call.attempt, call.timeout_ms)
                return _json(find(call.capability).execute(given))

            return _answering(work)

        def compensate(self, call: provider.Compensation) -> None:
            def work() -> None:
                given = Undo(
                    call.capability,
                    json.loads(call.input),
                    call.execute_key,
                    call.key,
                    call.attempt,
                    call.timeout_ms,
                    None if call.output is None else json.loads(call.output),
                    [_decoded(record) for record in call.undo],
                )
                undo = find(call.capability).compensate
                if undo:
                    undo(given)

            _answering(work)

    return Provider


def _answering(work: Callable[[], Any]) -> Any:
    """Runs a call; whatever is raised becomes a failure of the contract, never a trap."""
    try:
        return work()
    except Failure as failure:
        known = failure
    except OSError as error:
        known = _failure_of(error)
    except (Exception, SystemExit, RecursionError) as error:
        known = Failure("unexpected", f"{type(error).__name__}: {error}", details=traceback.format_exc())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    raise Err(provider.Failure(known.code, known.message, known.retryable, known.retry_after_ms, known.details))


_CODES = {
    errno.ENOENT: "not-found",
    errno.EACCES: "unauthorized",
    errno.EPERM: "unauthorized",
    errno.EROFS: "unauthorized",
    errno.EEXIST: "conflict",
    errno.ENOTEMPTY: "conflict",
    errno.EINVAL: "invalid-input",
    errno.EISDIR: "invalid-input",
    errno.ENOTDIR: "invalid-input",
    errno.ENAMETOOLONG: "invalid-input",
    errno.EFBIG: "invalid-input",
    errno.ELOOP: "invalid-input",
    errno.EAGAIN: "unavailable",
    errno.EBUSY: "unavailable",
    errno.EINTR: "unavailable",
    errno.ENOSPC: "unavailable",
    errno.EDQUOT: "unavailable",
}


def _failure_of(error: OSError) -> Failure:
    code = _CODES.get(error.errno, "io-error")
    where = f" `{error.filename}`" if error.filename else ""
    message = f"{error.strerror or error}{where}"
    return Failure(code, message, retryable=code == "unavailable", details=traceback.format_exc())


# Context and log


def context(name: str) -> Optional[str]:
    """What the host tells of the run: `run`, `step`, `principal`, `deadline`; `None` if there is none."""
    return host_context.get(name)


def config(name: str) -> Optional[str]:
    """A configuration value that is asked for with `config:NAME` and granted; `None` otherwise."""
    return context(f"config.{name}")


def log(*values: Any) -> None:
    """Writes a line to standard error, which `redress logs` shows. Print no secrets."""
    print(*values, file=sys.stderr, flush=True)
