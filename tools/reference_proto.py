"""The page of the gRPC interface, from the comments in proto/."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

from tokenvault.v1 import options_pb2

_PROTO = Path(__file__).parents[1] / "proto"
_PACKAGE = ".tokenvault.v1."
# Fields of descriptor.proto, as SourceCodeInfo's paths name them.
_MESSAGES, _ENUMS, _SERVICES, _MEMBERS = 4, 5, 6, 2
_ERRORS_FILE = "error_reason.proto"  # errors.md has them
_HEAD = """# The gRPC interface

Package `tokenvault.v1`, over mutual TLS 1.3. [proto/](../../proto/tokenvault/v1) is the contract;
`buf breaking` keeps what is installed already working. What each reason means is in
[errors.md](errors.md). *secret* marks what must never be logged. gRPC's own health service says
whether the service serves, and for `database` and `transit` whether each answers.

This page is made from the comments in proto/ (`make docs`)."""


def interface() -> str:
    """Every service with its calls, then every message and enum."""
    files = [file for file in _descriptors() if not file.name.endswith(_ERRORS_FILE)]
    lines = [_HEAD]
    for file in files:
        lines += _services(file, _comments(file))
    lines.append("\n## Messages\n")
    for file in files:
        lines += _messages(file, _comments(file))
    lines.append("\n## Enums\n")
    for file in files:
        lines += _enums(file, _comments(file))
    return "\n".join(lines).rstrip() + "\n"


def _descriptors() -> list[pb.FileDescriptorProto]:
    sources = sorted((_PROTO / "tokenvault" / "v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{_PROTO}"]
        command += ["--include_source_info", f"--descriptor_set_out={target}", *map(str, sources)]
        subprocess.run(command, check=True)
        return list(pb.FileDescriptorSet.FromString(target.read_bytes()).file)


def _comments(file: pb.FileDescriptorProto) -> Mapping[tuple[int, ...], str]:
    return {
        tuple(place.path): place.leading_comments
        for place in file.source_code_info.location
        if place.leading_comments
    }


def _services(
    file: pb.FileDescriptorProto, comments: Mapping[tuple[int, ...], str]
) -> Iterator[str]:
    for number, service in enumerate(file.service):
        yield f"\n## {service.name}\n\n{_text(comments[_SERVICES, number])}"
        for index, method in enumerate(service.method):
            asked, answered = _short(method.input_type), _short(method.output_type)
            yield f"\n### {service.name}.{method.name}\n"
            yield f"{_linked(asked)} → {_linked(answered)}\n"
            yield _text(comments[_SERVICES, number, _MEMBERS, index])


def _messages(
    file: pb.FileDescriptorProto, comments: Mapping[tuple[int, ...], str]
) -> Iterator[str]:
    for number, message in enumerate(file.message_type):
        yield f"\n### {message.name}\n\n{_text(comments[_MESSAGES, number])}\n"
        if not message.field:
            continue
        yield "| field | type | what it is |\n| --- | --- | --- |"
        maps = {f"{_PACKAGE}{message.name}.{one.name}": one for one in message.nested_type}
        for index, field in enumerate(message.field):
            comment = _cell(comments.get((_MESSAGES, number, _MEMBERS, index), ""))
            choice = message.oneof_decl[field.oneof_index].name if _is_choice(field) else ""
            shown = f"{comment} One of `{choice}`." if choice else comment
            yield f"| `{field.name}` | {_type(field, maps)} | {shown} |"


def _enums(file: pb.FileDescriptorProto, comments: Mapping[tuple[int, ...], str]) -> Iterator[str]:
    for number, enum in enumerate(file.enum_type):
        yield f"\n### {enum.name}\n\n{_text(comments[_ENUMS, number])}\n"
        yield "| value | what it means |\n| --- | --- |"
        for index, value in enumerate(enum.value):
            comment = _cell(comments.get((_ENUMS, number, _MEMBERS, index), ""))
            yield f"| `{value.name}` | {comment} |"


def _is_choice(field: pb.FieldDescriptorProto) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional


def _type(field: pb.FieldDescriptorProto, maps: Mapping[str, pb.DescriptorProto]) -> str:
    if field.type_name in maps:
        key, value = maps[field.type_name].field
        return f"map of {_type(key, maps)} to {_type(value, maps)}"
    name = (
        _linked(_short(field.type_name))
        if field.type_name
        else pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    repeated = field.label == pb.FieldDescriptorProto.LABEL_REPEATED
    secret = ", *secret*" if field.options.Extensions[options_pb2.sensitive] else ""
    return f"{'list of ' if repeated else ''}{name}{secret}"


def _short(name: str) -> str:
    return name.removeprefix(_PACKAGE).removeprefix(".google.protobuf.")


def _linked(name: str) -> str:
    return name if name in ("Timestamp", "Duration") else f"[{name}](#{name.lower()})"


def _text(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _cell(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")
