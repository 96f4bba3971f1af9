"""What every section of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Unknown fields are refused, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)
