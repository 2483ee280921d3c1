"""What a run leaves on a host about itself: `/var/lib/nvproxy-fleet/applied.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RuntimeProbe(_Part):
    """What `nvproxy-wrapper probe` found out about a runsc by trying it."""

    hooks_run: bool
    flags: tuple[str, ...]
    supported_drivers: tuple[str, ...]
    version: str | None


class AppliedRelease(_Part):
    """The installed release of gVisor: its name, the digest of its directory, and what its runsc does."""

    release: str
    tree: str
    probe: RuntimeProbe | None


class AppliedFile(_Part):
    """A file as it was written; `check` compares it with what is there."""

    sha256: str


class Applied(_Part):
    """The record. A host without one was never converged."""

    gvisor: AppliedRelease | None = None
    files: Mapping[str, AppliedFile] = {}
    packages_before: Mapping[str, str] = {}

    @classmethod
    def read(cls, record: Mapping[str, Any] | None) -> Applied:
        """The record as it was found; one that cannot be read counts as none, and is written anew."""
        try:
            return cls.model_validate(record or {})
        except ValidationError:
            return cls()

    def text(self) -> str:
        """The file's content; the same record is always the same text."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"
