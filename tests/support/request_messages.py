"""Hypothesis strategies for any protobuf message, made from its descriptor: a new RPC or field is
fuzzed without a line of ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_F = FieldDescriptor
_INTS = {
    _F.TYPE_INT32: (-(2**31), 2**31 - 1), _F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _F.TYPE_SFIXED32: (-(2**31), 2**31 - 1), _F.TYPE_ENUM: (-(2**31), 2**31 - 1),
    _F.TYPE_INT64: (-(2**63), 2**63 - 1), _F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    _F.TYPE_SFIXED64: (-(2**63), 2**63 - 1), _F.TYPE_UINT32: (0, 2**32 - 1),
    _F.TYPE_FIXED32: (0, 2**32 - 1), _F.TYPE_UINT64: (0, 2**64 - 1),
    _F.TYPE_FIXED64: (0, 2**64 - 1),
}  # fmt: skip
HOSTILE_TEXTS = (
    "\0", "a\0b", "\n", "\r\n", "\x1b[31m", "\u202e", "\ufeff", "\u00fc", "\U0001f511", "'", '"',
    "'; DROP TABLE grants; --", "%", "%00", "%s%n", "{}", "${x}", "../..", "a/b", "-", " ", "0",
    "-1", "1", "9" * 30, "1e9", "\u0661", "x" * 64, "x" * 300, "tenants/", "tenants//", "x" * 5_000,
    "https://169.254.169.254/", "javascript:alert(1)", "id_token:", "id_token:sub", "AAAA", "null",
)  # fmt: skip


def messages(descriptor: Descriptor, known: Sequence[str] = ()) -> st.SearchStrategy[Message]:
    """Messages of this type: each field left out or filled, texts often from ``known``."""
    return _message(descriptor, _texts(known))


def changed(
    sound: Message, known: Sequence[str] = (), keep: Collection[str] = ()
) -> st.SearchStrategy[Message]:
    """``sound`` with up to three of its fields, at any depth, replaced or cleared, but none that is
    named in ``keep``: what comes past the first checks."""
    texts = _texts(known)
    paths = [path for path in _paths(_of(sound)) if path[-1].name not in keep]
    if not paths:
        return st.just(sound)
    changes = st.lists(
        st.sampled_from(paths).flatmap(
            lambda path: st.tuples(st.just(path), st.none() | _field(path[-1], texts))
        ),
        max_size=3,
    )
    return changes.map(lambda drawn: _with(sound, drawn))


def _texts(known: Sequence[str]) -> st.SearchStrategy[str]:
    texts = st.sampled_from(HOSTILE_TEXTS) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=80
    )
    return st.sampled_from(known) | texts if known else texts


_Path = tuple[FieldDescriptor, ...]


def _paths(descriptor: Descriptor) -> Iterator[_Path]:
    """Each field, and each field of the messages that stand in single fields."""
    for field in descriptor.fields:
        yield (field,)
        if _kind(field) == "message" and field.message_type is not None:
            yield from ((field, *rest) for rest in _paths(field.message_type))


def _of(message: Message) -> Descriptor:
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[assignment]  # two kinds of one
    return descriptor


def _with(sound: Message, changes: Sequence[tuple[_Path, Any]]) -> Message:
    message = type(sound)()
    message.CopyFrom(sound)
    for (*above, last), value in changes:
        holder = message
        for field in above:
            holder = getattr(holder, field.name)
        holder.ClearField(last.name)
        if value is not None:
            _SETTERS[_kind(last)](holder, last.name, value)
    return message


def _message(descriptor: Descriptor, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Message]:
    fields = list(descriptor.fields)
    wanted = st.fixed_dictionaries(
        {}, optional={field.name: _field(field, texts) for field in fields}
    )

    def build(values: dict[str, Any]) -> Message:
        message = GetMessageClass(descriptor)()
        for name, value in values.items():
            _SETTERS[_kind(descriptor.fields_by_name[name])](message, name, value)
        return message

    return wanted.map(build)


def _kind(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "map"
    if field.is_repeated:
        return "list"
    return "message" if field.message_type is not None else "single"


def _field(field: FieldDescriptor, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    match _kind(field):
        case "map":
            entry = field.message_type
            assert entry is not None
            values = _single(entry.fields_by_name["value"], texts)
            return st.dictionaries(texts, values, max_size=4)
        case "list":
            return st.lists(_single(field, texts), max_size=4)
        case _:
            return _single(field, texts)


def _single(field: FieldDescriptor, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _message(field.message_type, texts)
    if field.type == _F.TYPE_STRING:
        return texts
    if field.type == _F.TYPE_BYTES:
        return st.binary(max_size=64) | st.sampled_from([b"", b"\0" * 65_537])
    if field.type == _F.TYPE_BOOL:
        return st.booleans()
    low, high = _INTS[field.type]
    edges = [value for value in (0, 1, 2, 4, 600, low, high) if low <= value <= high]
    return st.sampled_from(edges) | st.integers(low, high)


def _set_map(message: Message, name: str, value: dict[str, Any]) -> None:
    for key, entry in value.items():
        if isinstance(entry, Message):
            getattr(message, name)[key].CopyFrom(entry)
        else:
            getattr(message, name)[key] = entry


def _set_list(message: Message, name: str, value: list[Any]) -> None:
    getattr(message, name).extend(value)


def _set_message(message: Message, name: str, value: Message) -> None:
    getattr(message, name).CopyFrom(value)
    getattr(message, name).SetInParent()


_SETTERS: dict[str, Callable[[Message, str, Any], None]] = {
    "map": _set_map,
    "list": _set_list,
    "message": _set_message,
    "single": setattr,
}
