"""What format 1 costs beside bare AES-256-GCM: a key for each message, and the commitment.

Interleaved rounds in one process; prints and stores medians and ratios.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cryptography
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_service.crypto.dek import Dek
from vault_service.crypto.envelope import open_envelope, seal
from vault_service.domain.envelope import Binding, DekOwner, Field, Level
from vault_service.domain.sensitive import Sensitive

_ROUNDS = 15
_CALLS = 2_000
_PAYLOAD_BYTES = 2_048
_RESULT = Path(__file__).parent / "results" / "envelopes.json"


def main() -> None:
    """Measure, print, store."""
    owner = DekOwner("acme", Level.USER, "user-42")
    binding = Binding(owner, "record", Field.ACCESS_TOKEN, 1, "provider")
    dek = Dek(os.urandom(16), owner, Sensitive(os.urandom(32)))
    payload = Sensitive(os.urandom(_PAYLOAD_BYTES))
    bare, nonce, aad = AESGCM(os.urandom(32)), os.urandom(12), os.urandom(120)
    envelope = seal("dep", dek, binding, payload, os.urandom(32))
    encrypted = bare.encrypt(nonce, payload.reveal(), aad)
    work: dict[str, Callable[[], object]] = {
        "aes_gcm_encrypt": lambda: bare.encrypt(nonce, payload.reveal(), aad),
        "seal": lambda: seal("dep", dek, binding, payload, os.urandom(32)),
        "aes_gcm_decrypt": lambda: bare.decrypt(nonce, encrypted, aad),
        "open": lambda: open_envelope("dep", dek, binding, envelope),
    }
    rounds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(_ROUNDS):
        for name, call in work.items():
            rounds[name].append(_microseconds(call))
    medians = {name: round(statistics.median(times), 2) for name, times in rounds.items()}
    result = {
        "method": f"median of {_ROUNDS} interleaved rounds of {_CALLS} calls, "
        f"payload {_PAYLOAD_BYTES} bytes",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared",
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "microseconds": medians,
        "ratio_seal": round(medians["seal"] / medians["aes_gcm_encrypt"], 2),
        "ratio_open": round(medians["open"] / medians["aes_gcm_decrypt"], 2),
    }
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _microseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(_CALLS):
        call()
    return (time.perf_counter() - started) / _CALLS * 1e6


if __name__ == "__main__":
    main()
