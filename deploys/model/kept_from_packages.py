"""A host as it was before the packages whose installation was cut off halfway rewrote `config.toml`. Pure."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, ValidationError

from deploys.model import paths
from deploys.model.snapshot import HostSnapshot, ManagedFile


class _Kept(BaseModel):
    """What `left_alone` of host/remote/prelude.py keeps: a letter for each byte, null for no file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    content: str | None
    mode: int
    owner: int
    group: int


def put_back(snapshot: HostSnapshot) -> HostSnapshot:
    """The snapshot with the file as it was, for the run begins by putting it back; else the same snapshot."""
    if paths.KEPT_FROM_PACKAGES not in snapshot.files:
        return snapshot
    try:
        kept = _Kept.model_validate_json(snapshot.text_of(paths.KEPT_FROM_PACKAGES))
        content = None if kept.content is None else kept.content.encode("latin-1")
    except (ValidationError, UnicodeEncodeError):
        # Written whole or not at all: this is somebody else's, and says nothing.
        return snapshot
    files = {path: file for path, file in snapshot.files.items() if path != paths.TOOLKIT_CONFIG}
    if content is not None:
        files[paths.TOOLKIT_CONFIG] = ManagedFile(
            sha256=hashlib.sha256(content).hexdigest(),
            mode=kept.mode,
            owner=kept.owner,
            group=kept.group,
            is_link=False,
            text=_text(content),
        )
    return snapshot.model_copy(update={"files": files})


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
