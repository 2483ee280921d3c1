"""Real programs built from their Go modules."""

import json
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache, Part
from .commands import output_of, run_logged


@dataclass(frozen=True)
class GoProgram:
    """Commands of one Go module at one version, built in one go so that they share what is compiled."""

    packages: tuple[str, ...]
    version: str
    cgo: bool = False
    tags: str = ""
    external_linker_flags: str = ""


def go_part(name: str, program: GoProgram) -> Part:
    """The programs, by their names, in one directory. Needs a Go that is new enough for the module."""

    def build(cache: Cache, into: Path) -> None:
        # -s -w: no debug information; it is a third of the size and of the linking time.
        linker_flags = "-s -w"
        if program.external_linker_flags:
            linker_flags += f" -extldflags={program.external_linker_flags}"
        argv = ["go", "install", "-trimpath", f"-ldflags={linker_flags}"]
        if program.tags:
            argv += ["-tags", program.tags]
        argv += [f"{package}@{program.version}" for package in program.packages]
        # cgo compiles in TMPDIR and takes headers from there: with /tmp, somebody's /tmp/nvml.h would hide
        # the module's own.
        temporary = cache.tmp / f"{into.name}-go"
        temporary.mkdir()
        env = {
            **go_environment(cache),
            "CGO_ENABLED": str(int(program.cgo)),
            "GOBIN": str(into),
            "TMPDIR": str(temporary),
        }
        run_logged(
            argv, log=cache.log(name), what=f"building {name} {program.version}", env=env, cwd=temporary
        )
        temporary.rmdir()

    return Part(name, repr(program), build)


def go_environment(cache: Cache) -> dict[str, str]:
    """Where Go keeps what it downloads and compiles, and how it goes about it."""
    return {
        "GOCACHE": str(cache.directory / "go" / "build"),
        "GOMODCACHE": str(_module_cache(cache)),
        "GOFLAGS": "-mod=mod",
        "GOGC": "400",  # the compiler collects less often: a tenth less time for some hundred MB more
    }


def module_source(cache: Cache, module: str, version: str) -> Path:
    """Where the source of a module lies; it is downloaded where it is not there."""
    cached = f"GOMODCACHE={_module_cache(cache)}"
    argv = ["env", cached, "go", "mod", "download", "-json", f"{module}@{version}"]
    return Path(json.loads(output_of(argv, what=f"downloading {module} {version}"))["Dir"])


def _module_cache(cache: Cache) -> Path:
    return cache.directory / "go" / "mod"
