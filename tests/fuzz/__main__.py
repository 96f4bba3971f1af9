"""``python -m tests.fuzz TARGET CORPUS [libFuzzer options]``: one parser under atheris.

A finding ends the process with the input on standard error and in a file ``crash-...``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vault_service"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Write the seeds into CORPUS and begin."""
    name, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], TARGETS[name].run)
    atheris.Fuzz()


main()
