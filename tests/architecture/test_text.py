"""What no file of the repository says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.sources import GENERATED, files, shown

# Put together here, so that this file passes its own test.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"pypi" + r"\.org|pythonhosted" + r"\.org|npmjs" + r"\.(?:org|com)|yarnpkg" + r"\.com"
    ),
    "an index address": re.compile(
        r"--(?:extra-)?index" + r"-url|--find" + r"-links|\"resolved\"" + r":"
    ),
    "a path of one machine": re.compile(
        r"(?<![\w.$}])/(?:" + r"root|home/\w+|Users/\w+|work/(?:main|shared)|tmp/tv)\b"
    ),
    "unfinished work": re.compile(
        r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + r"Error"
    ),
}


def _texts() -> list[tuple[Path, str]]:
    texts = []
    for path in files():
        if GENERATED in path.parents:
            continue
        try:
            texts.append((path, path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return texts


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    """No file that a person wrote names a registry, one machine's path or unfinished work."""
    found = [
        f"{shown(path)}:{number}: {line.strip()[:100]}"
        for path, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == []
