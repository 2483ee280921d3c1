"""What runs leave on a host: `before.json`, written once, and `applied.json`, written at each run's end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from deploys.model import daemon_json, paths
from deploys.model.layouts import Layout
from deploys.model.versions import DriverVersion

if TYPE_CHECKING:
    from collections.abc import Collection

    from deploys.model.snapshot import HostSnapshot


def _driver(text: str) -> str:
    DriverVersion.parse(text)
    return text


Driver = Annotated[str, AfterValidator(_driver)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    def text(self) -> str:
        """The file's content; the same record is always the same text."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"


class RuntimeProbe(_Record):
    """What `nvproxy-wrapper probe` found out about a runsc by trying it."""

    hooks_run: bool
    flags: tuple[str, ...]
    supported_drivers: tuple[Driver, ...]
    version: str | None
    # Not in the records of runs that did not ask: it has to be tried again then.
    capabilities: dict[str, bool] | None = None

    def answers_for(self, capabilities: Collection[str]) -> bool:
        """Whether it was asked about each of these; one that has no flag for them need not be."""
        known = self.capabilities
        return known is not None and (not known or known.keys() >= set(capabilities))


class AppliedRelease(_Record):
    """The installed release of gVisor: its name, the digest of its directory, and what its runsc does."""

    release: str
    tree: str
    probe: RuntimeProbe | None


class AppliedFile(_Record):
    """A file as it was written; `nvproxy-wrapper check` compares it with what is there."""

    sha256: str


class Before(_Record):
    """A host as it was before the first run changed it: what `remove` goes back to.

    Written before the first change and never again: a run that failed half way must not pass for what was
    there. `daemon_json` is the file's text, null where there was none; it may hold secrets, and so may this.
    `toolkit_config` is the text of the toolkit's `config.toml`, which its packages rewrite before a run comes
    to it. `docker_loaded` are the runtimes, name to path, that dockerd had, also those of its command line.
    """

    files: tuple[str, ...]
    packages: dict[str, str]
    daemon_json: str | None
    daemon_json_encoding: str = "utf-8"
    toolkit_config: str | None = None
    docker_loaded: dict[str, str] = {}

    @classmethod
    def of(cls, snapshot: HostSnapshot) -> Self:
        """The record of a host that no run has changed yet."""
        there = snapshot.files.get(paths.DAEMON_JSON)
        return cls(
            files=tuple(sorted(snapshot.files)),
            packages=dict(snapshot.packages),
            daemon_json=None if there is None else there.text,
            daemon_json_encoding="utf-8" if there is None else there.encoding,
            toolkit_config=snapshot.files[paths.TOOLKIT_CONFIG].text
            if paths.TOOLKIT_CONFIG in snapshot.files
            else None,
            docker_loaded=dict(snapshot.engine.runtimes),
        )

    @property
    def docker_runtimes(self) -> dict[str, Any]:
        """The runtimes that Docker was given before."""
        return daemon_json.runtimes(self.daemon_json or "")

    @classmethod
    def read(cls, snapshot: HostSnapshot) -> Self | None:
        """The record that is on the host; None where there is none yet.

        Raises:
            ValueError: there is one that cannot be read. It must not be taken for none.
        """
        there = snapshot.files.get(paths.BEFORE)
        return None if there is None else cls.model_validate_json(there.text or "")


class Applied(_Record):
    """What the last run that came to its end has put on the host.

    `kept_runtimes` are names that earlier settings had for our runtime, and that containers still run by.
    """

    gvisor: AppliedRelease | None = None
    layout: Layout = Layout.SHARED
    runtime: str | None = None
    kept_runtimes: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    files: dict[str, AppliedFile] = {}

    @classmethod
    def read(cls, snapshot: HostSnapshot) -> Self:
        """The record that is on the host; one that cannot be read counts as none, and is written anew."""
        try:
            return cls.model_validate_json(snapshot.text_of(paths.APPLIED))
        except ValidationError:
            return cls()
