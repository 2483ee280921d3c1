"""The validation programs of github.com/opencontainers/runtime-tools, built with versions that fit them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.lab.cache import Part
from tests.lab.commands import run_logged
from tests.lab.golang import go_environment, module_source

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.cache import Cache

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.0"
COUNT = 58
"""So many programs are there."""

# What a container of theirs runs, which looks at it from inside; no program of the suite by itself.
INSIDE = "runtimetest"
# Their root file system, from the module; they look for it in the working directory, under Go's own name for
# the machine.
ROOT_FILE_SYSTEM = "rootfs-amd64.tar.gz"

# The module has no go.mod. Newer ones of the first two do not compile with it; the others are what was newest
# at the time of writing, so that a build is the same next year.
_GO_MOD = f"""\
module validation

go 1.23

require (
	github.com/opencontainers/runtime-spec v1.0.2
	github.com/opencontainers/selinux v1.8.0
	{MODULE} {VERSION}

	github.com/blang/semver v3.5.1+incompatible
	github.com/hashicorp/go-multierror v1.1.1
	github.com/mndrix/tap-go v0.0.0-20171203230836-629fa407e90b
	github.com/mrunalp/fileutils v0.5.1
	github.com/satori/go.uuid v1.2.0
	github.com/sirupsen/logrus v1.10.2
	github.com/syndtr/gocapability v0.0.0-20200815063812-42c35b437635
	github.com/urfave/cli v1.22.17
	github.com/xeipuuv/gojsonschema v1.2.0
)
"""


def programs() -> Part:
    """The programs, `INSIDE`, and their root file system, in one directory."""
    name = "oci-validation"

    def build(cache: Cache, into: Path) -> None:
        source = module_source(cache, MODULE, VERSION)
        home = cache.tmp / f"{into.name}-module"
        home.mkdir()
        (home / "go.mod").write_text(_GO_MOD)
        run_logged(
            ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", f"{into}/",
             f"{MODULE}/validation/...", f"{MODULE}/cmd/{INSIDE}"],
            log=cache.log(name),
            what=f"building the validation programs of runtime-tools {VERSION}",
            env=go_environment(cache) | {"CGO_ENABLED": "0"},
            cwd=home,
        )  # fmt: skip
        shutil.rmtree(home)
        shutil.copyfile(source / ROOT_FILE_SYSTEM, into / ROOT_FILE_SYSTEM)

    return Part(name, _GO_MOD, build)


def names(part: Path) -> list[str]:
    """The programs of the suite in a built part."""
    return sorted(path.name for path in part.iterdir() if path.name not in (INSIDE, ROOT_FILE_SYSTEM))
