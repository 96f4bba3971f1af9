"""Asking the metrics port of a process."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_LIMIT_S = 10.0
_WAIT_S = 40.0


class Scraped:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._values[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, sample: str, **labels: str) -> float:
        """Of one series; 0 where there is none yet."""
        return self._values.get((sample, frozenset(labels.items())), 0.0)

    def labels(self) -> set[str]:
        """Every value of every label."""
        return {text for _, labels in self._values for _, text in labels}


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_LIMIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(port: int) -> Scraped:
    """/metrics."""
    status, text = get(port, "/metrics")
    assert status == 200, text
    return Scraped(text)


def ready(port: int) -> tuple[int, Mapping[str, Any]]:
    """Status and detail of /readyz."""
    status, text = get(port, "/readyz")
    detail: Mapping[str, Any] = json.loads(text)
    return status, detail


async def until_ready(port: int, wanted: int) -> Mapping[str, Any]:
    """Wait until /readyz has this status; its detail. TimeoutError."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            status, detail = await asyncio.to_thread(ready, port)
            if status == wanted:
                return detail
            await asyncio.sleep(0.05)


def port_of(file: Path) -> int:
    """What a port file says."""
    return int(file.read_text())
