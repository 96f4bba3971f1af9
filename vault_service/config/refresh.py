"""A refresh: its spool, and its times, bounded so that a lease always outlives its request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from vault_service.config.section import Section
from vault_service.domain import limits


class RefreshConfig(Section):
    """How long the parts of a refresh may take; the same for all processes of a deployment. The
    lease of a grant lives for post_limit_s plus lease_margin_s."""

    post_limit_s: Annotated[
        float, Field(ge=limits.POST_LIMIT_MIN_S, le=limits.POST_LIMIT_S, allow_inf_nan=False)
    ] = Field(
        default=limits.POST_LIMIT_S,
        description="Longest request for tokens in seconds, connect to last byte, 1 to 20. What "
        "takes longer is in doubt. Class G with a short grace has less, with its lease: that is at "
        "most a quarter of its grace.",
    )
    lease_margin_s: Annotated[
        float,
        Field(ge=limits.LEASE_MARGIN_MIN_S, le=limits.LEASE_MARGIN_MAX_S, allow_inf_nan=False),
    ] = Field(
        default=limits.LEASE_MARGIN_S,
        description="How much longer than its request a lease lives, in seconds, 0.5 to 30. A "
        "request that could not begin within it is not sent.",
    )
    answer_limit_s: Annotated[
        float, Field(ge=limits.POST_LIMIT_MIN_S, le=limits.ANSWER_LIMIT_MAX_S, allow_inf_nan=False)
    ] = Field(
        default=limits.ANSWER_LIMIT_S,
        description="How long the answer to a request of class S is waited for in all, in seconds, "
        "1 to 600: it may be the only copy of the next refresh token. Callers are told after "
        "post_limit_s that it is in doubt, and nobody else presents the token meanwhile. No more "
        "than post_limit_s waits for no late answer.",
    )
    spool_wait_s: Annotated[
        float, Field(ge=limits.SPOOL_WAIT_MIN_S, le=limits.SPOOL_WAIT_MAX_S, allow_inf_nan=False)
    ] = Field(
        default=limits.SPOOL_WAIT_S,
        description="How long a grant in doubt of class S, or of class G past its grace, waits "
        "for the spool of a process that is gone, in seconds, 10 to 86400, and not less than a "
        "lease.",
    )


class SpoolConfig(Section):
    """Where this host keeps what it asked of providers and what came back, until the database
    has it (docs/how-to/spool.md). On a disk that outlives the process."""

    path: Path | None = Field(
        default=None,
        description="Folder of its own, mode 0700, made if missing; processes of one host may "
        "share it. Needed by `serve`.",
    )
    slots: Annotated[int, Field(ge=limits.SPOOL_SLOTS_MIN, le=limits.SPOOL_SLOTS_MAX)] = Field(
        default=limits.SPOOL_SLOTS,
        description="Refreshes that may be under way or wait for the database, in one process, "
        "16 to 4096; each takes 76 KiB of disk.",
    )
