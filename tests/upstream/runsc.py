"""What a runsc knows: flags, drivers, driver capabilities, annotations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploys.model import paths
from tests.lab.golang import module_source
from tests.lab.versions import GVISOR_MODULE
from tests.upstream.facts import Fact, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.cache import Cache
    from tests.lab.versions import GvisorRelease
    from tests.matrix.site import Site

_CAPABILITIES = "pkg/sentry/devices/nvproxy/nvconf/caps.go"


def facts(site: Site, cache: Cache, release: GvisorRelease) -> tuple[Fact, ...]:
    """Install a release on a host and ask its runsc; what it cannot be asked for is read in its source."""
    source = module_source(cache, GVISOR_MODULE, str(release.module_version))
    probe = site.install_release(release)
    runs = "runs createContainer hooks" if probe.hooks_run else "does not run createContainer hooks"
    return (
        Fact(Kind.ABILITY, runs),
        *(Fact(Kind.FLAG, f"--{flag}") for flag in probe.flags),
        *(Fact(Kind.CAPABILITY, name) for name in _capabilities(site, release, source)),
        *(Fact(Kind.DRIVER, str(driver)) for driver in probe.supported_drivers),
        *(Fact(Kind.ANNOTATION, name) for name in annotations(source)),
    )


def _capabilities(site: Site, release: GvisorRelease, source: Path) -> list[str]:
    """Those that it takes: the source has names also of some that it refuses."""
    runsc = f"{paths.GVISOR_DIR}/{release.date}/runsc"
    names = capability_names((source / _CAPABILITIES).read_text(encoding="utf-8"))
    return [
        name
        for name in names
        if site.host.run(
            [runsc, f"--nvproxy-allowed-driver-capabilities={name}", "flags"], check=False
        ).returncode
        == 0
    ]


def capability_names(caps_go: str) -> list[str]:
    """Every capability that nvconf/caps.go has a name for."""
    return re.findall(r'case Cap\w+:\s+return "([a-z0-9-]+)"', caps_go)


def annotations(source: Path) -> list[str]:
    """Every annotation of gVisor's own that stands as a string in its Go source; prefixes end with a dot."""
    found: set[str] = set()
    for file in source.rglob("*.go"):
        if not file.name.endswith("_test.go"):
            found.update(re.findall(rb'"(dev\.gvisor\.[\w.-]+)"', file.read_bytes()))
    return sorted(name.decode() for name in found)
