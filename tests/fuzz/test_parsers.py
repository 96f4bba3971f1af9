"""Parsers of bytes from outside: no input makes one raise what it does not promise."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

_ALL = pytest.mark.parametrize("name", TARGETS)
_SECONDS = 30
_INPUT_MAX_BYTES = 8_192
_ROOT = Path(__file__).parents[2]


@_ALL
def test_seeds(name: str) -> None:
    """What the fuzzers begin from holds already: whole, cut anywhere and with bits turned."""
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)
        for at in range(0, len(seed), 1 + len(seed) // 60):
            TARGETS[name].run(seed[:at])
            TARGETS[name].run(seed[:at] + bytes([seed[at] ^ 1 << at % 8]) + seed[at + 1 :])


@_ALL
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged(name: str, data: st.DataObject) -> None:
    """Seeds with pieces taken out, doubled, and mixed with noise."""
    seeds = st.sampled_from(TARGETS[name].seeds) | st.binary(max_size=80)
    pieces = st.lists(
        st.tuples(seeds, st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=3
    )
    TARGETS[name].run(
        b"".join(seed[start : start + size] for seed, start, size in data.draw(pieces))
    )


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="no atheris for this Python"
)
@_ALL
def test_guided_by_coverage(name: str, tmp_path: Path) -> None:
    """Half a minute of inputs that atheris makes from what they reach in the code."""
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz", name, str(tmp_path / "corpus"),
            f"-max_total_time={_SECONDS}", f"-max_len={_INPUT_MAX_BYTES}", "-timeout=10",
            "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/",
        ],
        cwd=_ROOT, capture_output=True, text=True, timeout=_SECONDS + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert runs is not None, done.stderr[-3_000:]
    assert int(runs[1]) > 200
