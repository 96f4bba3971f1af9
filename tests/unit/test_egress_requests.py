"""The HTTP client's other requests: JSON, and a GET with an access token."""

from __future__ import annotations

from tests.fakes.https_server import Server, reply
from vault_service.domain.sensitive import Sensitive
from vault_service.egress.client import HttpClient


async def test_json_is_one_object_of_texts(server: Server, http: HttpClient) -> None:
    """JSON goes out in its order, and the rest of the request is that of a form."""
    fields: dict[str, str | Sensitive] = {"z": 'a"b€', "a": Sensitive("ü".encode())}
    await http.post_json(server.url, fields, basic=Sensitive(b"id:pass"))
    (request,) = server.requests
    assert request.body == b'{"z": "a\\"b\\u20ac", "a": "\\u00fc"}'
    assert request.head.startswith("POST /token HTTP/1.1\r\n")
    assert request.header("Content-Type") == "application/json"
    assert request.header("Authorization") == "Basic aWQ6cGFzcw=="


async def test_get_carries_the_token_and_nothing_else(server: Server, http: HttpClient) -> None:
    """A GET has the access token in its header and no body; redirects are not followed."""
    server.behaviour = reply(b"", "302 F", extra="Location: https://127.0.0.1:1/\r\n")
    answer = await http.get(server.url, bearer=Sensitive(b"at-1"))
    (request,) = server.requests
    assert request.head.startswith("GET /token HTTP/1.1\r\n")
    assert request.header("Authorization") == "Bearer at-1"
    assert request.header("Content-Type") is None
    assert (answer.status, request.body) == (302, b"")
