"""Random secrets that are pushed through the service, and the search for what is left of them.

Each is looked for as it is and as code would write it by mistake: base64 at each alignment, hex,
URL-encoded once and twice, escaped for JSON and for HTML, in UTF-16, and by its first and last
sixteen characters, which survive a cut.
"""

from __future__ import annotations

import base64
import html
import json
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

_HALF: Final = 16
_GREP: Final = ("grep", "-aoF", "--with-filename", "-f")


class Canaries:
    """All of one campaign, by what they were minted as."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def mint(self, kind: str) -> str:
        """A new one of printable ASCII, which a provider may give as a token."""
        canary = f"{secrets.token_urlsafe(18)}+/=&%<'{secrets.token_urlsafe(18)}"
        return self.adopt(canary, kind)

    def adopt(self, secret: str, kind: str) -> str:
        """One that was made elsewhere: a state, a verifier."""
        self._kinds[secret] = kind
        return secret

    def __len__(self) -> int:
        return len(self._kinds)

    def count(self) -> Counter[str]:
        """How many of each kind."""
        return Counter(self._kinds.values())

    def search(self, paths: Iterable[Path], scratch: Path) -> list[str]:
        """What was found: kind, form and file. ``scratch`` is a folder that is not searched."""
        known = {form: what for canary in self._kinds for form, what in self._forms(canary)}
        patterns = scratch / "patterns"
        patterns.write_bytes(b"\n".join(known) + b"\n")
        patterns.chmod(0o600)
        files = [str(path) for path in paths]
        hits: list[str] = []
        for at in range(0, len(files), 200):
            done = subprocess.run(
                [*_GREP, str(patterns), *files[at : at + 200]],
                capture_output=True, check=False, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
            # 2 is a file that went away in between: PostgreSQL's temporary ones.
            assert done.returncode in (0, 1, 2), done.stderr.decode()
            for line in done.stdout.splitlines():
                file, _, form = line.partition(b":")
                what = known.get(form, f"{len(form)} bytes")
                hits.append(f"{what} in {file.decode(errors='replace')}")
        patterns.unlink()
        return sorted(set(hits))

    def _forms(self, canary: str) -> Iterator[tuple[bytes, str]]:
        kind, raw = self._kinds[canary], canary.encode()
        for form, written in forms(raw):
            yield written, f"{kind} ({form})"


def forms(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Every way in which it might have been written, named."""
    text = raw.decode()
    yield "raw", raw
    yield "first half", raw[:_HALF]
    yield "last half", raw[-_HALF:]
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "URL", quote(text, safe="").encode()
    yield "form", quote_plus(text).encode()
    yield "URL twice", quote(quote(text, safe=""), safe="").encode()
    yield "JSON", json.dumps(text)[1:-1].replace("/", "\\/").encode()
    yield "HTML", html.escape(text).encode()
    yield "UTF-16", text.encode("utf-16-le").strip(b"\0")
    for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
        for offset in range(3):
            # What stands before and after changes the characters at the edges: those are left out.
            encoded = encode(b"\0" * offset + raw)
            start = 0 if offset == 0 else 4
            yield f"{name} at {offset}", encoded[start : len(encoded) // 4 * 4 - 4]


def files_under(*folders: Path) -> Iterator[Path]:
    """Every readable file."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path
