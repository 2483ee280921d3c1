"""The four Debian packages of the NVIDIA Container Toolkit: real programs, laid out as in NVIDIA's.

Files, dependencies and maintainer scripts follow NVIDIA/nvidia-container-toolkit `packaging/debian` and
NVIDIA/libnvidia-container `pkg/deb`. libnvidia-container is C and not to be built here: its
nvidia-container-cli and its libraries are stand-ins that say so.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache, Part
from .commands import run_logged
from .golang import GoProgram, go_part
from .versions import TOOLKIT_MODULE, ToolkitVersion

SOURCES = Path(__file__).parent / "toolkit"
LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"
# This file is part of the recipe: it says which file goes where.
_RECIPE = Path(__file__).read_text()
_COMMANDS = f"{TOOLKIT_MODULE}/cmd"
_BASE_PROGRAMS = ("nvidia-container-runtime", "nvidia-ctk", "nvidia-cdi-hook")
_HOOK = "nvidia-container-runtime-hook"

# nvidia-cdi-refresh came with 1.18.0; its units moved out of /etc with 1.20.0.
_REFRESH_SINCE = (1, 18)
_UNITS_IN_LIB_SINCE = (1, 20)
# From 1.18 on, all four packages must have one version (before: at least this one).
_EXACT_TOOLS_SINCE = (1, 18)


@dataclass(frozen=True)
class _Package:
    name: str
    depends: str
    description: str
    conffiles: tuple[str, ...] = ()


def package_names() -> tuple[str, ...]:
    """In the order in which they depend on each other."""
    return (
        "libnvidia-container1",
        "libnvidia-container-tools",
        "nvidia-container-toolkit-base",
        "nvidia-container-toolkit",
    )


def toolkit_packages(toolkit: ToolkitVersion) -> Part:
    """The four .deb files of one version."""
    programs = go_part(
        f"toolkit-programs-{toolkit.version}",
        GoProgram(
            tuple(f"{_COMMANDS}/{name}" for name in (*_BASE_PROGRAMS, _HOOK)),
            f"v{toolkit.version}",
            cgo=True,
            # With -z now (some compilers' default) the unresolved nvml* symbols end a program at its start.
            external_linker_flags="-Wl,-z,lazy",
        ),
    )
    sources = "\0".join(f"{path.name}\0{path.read_text()}" for path in sorted(SOURCES.iterdir()))

    def build(cache: Cache, into: Path) -> None:
        for package in _packages(toolkit):
            tree = into / package.name
            (tree / "DEBIAN").mkdir(parents=True)
            _FILL[package.name](tree, toolkit, cache.path(programs), cache)
            (tree / "DEBIAN/control").write_text(_control(package, toolkit))
            if package.conffiles:
                (tree / "DEBIAN/conffiles").write_text("".join(f"{file}\n" for file in package.conffiles))
            argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(into)]
            run_logged(
                argv, log=cache.log(f"toolkit-packages-{toolkit.version}"), what=f"packing {package.name}"
            )
            shutil.rmtree(tree)

    definition = f"{toolkit}{sources}{_RECIPE}"
    return Part(f"toolkit-packages-{toolkit.version}", definition, build, (programs,))


def _packages(toolkit: ToolkitVersion) -> tuple[_Package, ...]:
    version = toolkit.package_version
    if toolkit.number >= _EXACT_TOOLS_SINCE:
        tools = f"libnvidia-container-tools (= {version})"
    else:
        tools = f"libnvidia-container-tools (>= {version}), libnvidia-container-tools (<< 2.0.0)"
    refreshes = toolkit.number >= _REFRESH_SINCE
    return (
        _Package(
            "libnvidia-container1", "libc6 (>= 2.14)", "NVIDIA container runtime library (lab stand-in)"
        ),
        _Package(
            "libnvidia-container-tools",
            f"libnvidia-container1 (= {version})",
            "NVIDIA container runtime library, command-line tools (lab stand-in)",
        ),
        _Package(
            "nvidia-container-toolkit-base",
            "libc6 (>= 2.34)",
            "NVIDIA Container Toolkit Base",
            ("/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env",) if refreshes else (),
        ),
        _Package(
            "nvidia-container-toolkit",
            f"nvidia-container-toolkit-base (= {version}), {tools}",
            "NVIDIA Container toolkit",
        ),
    )


def _control(package: _Package, toolkit: ToolkitVersion) -> str:
    fields = {
        "Package": package.name,
        "Version": toolkit.package_version,
        "Architecture": "amd64",
        "Section": "utils",
        "Priority": "optional",
        "Maintainer": "nvproxy-fleet lab <root@localhost>",
        "Depends": package.depends,
        "Description": package.description,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _put(source: Path, tree: Path, place: str, mode: int = 0o644) -> Path:
    target = tree / place
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)
    return target


def _fill_library(tree: Path, toolkit: ToolkitVersion, _programs: Path, cache: Cache) -> None:
    libraries = tree / LIBRARY_DIRECTORY
    libraries.mkdir(parents=True)
    for file, soname in (
        (f"libnvidia-container.so.{toolkit.version}", "libnvidia-container.so.1"),
        (f"libnvidia-container-go.so.{toolkit.version}", "libnvidia-container-go.so.1"),
    ):
        argv = [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{soname}",
            "-o",
            str(libraries / file),
            "-x",
            "c",
            "/dev/null",
        ]
        run_logged(argv, log=cache.log(f"toolkit-packages-{toolkit.version}"), what=f"compiling {file}")
        (libraries / soname).symlink_to(file)
    (tree / "DEBIAN/triggers").write_text("activate-noawait ldconfig\n")


def _fill_tools(tree: Path, toolkit: ToolkitVersion, _programs: Path, _cache: Cache) -> None:
    program = _put(SOURCES / "nvidia-container-cli", tree, "usr/bin/nvidia-container-cli", 0o755)
    program.write_text(program.read_text().replace("@VERSION@", toolkit.version))


def _fill_base(tree: Path, toolkit: ToolkitVersion, programs: Path, _cache: Cache) -> None:
    for name in _BASE_PROGRAMS:
        _put(programs / name, tree, f"usr/bin/{name}", 0o755)
    for script in ("postinst", "prerm", "postrm"):
        _put(SOURCES / f"base.{script}", tree, f"DEBIAN/{script}", 0o755)
    if toolkit.number >= _REFRESH_SINCE:
        units = "lib/systemd/system" if toolkit.number >= _UNITS_IN_LIB_SINCE else "etc/systemd/system"
        for unit in ("nvidia-cdi-refresh.service", "nvidia-cdi-refresh.path"):
            _put(SOURCES / unit, tree, f"{units}/{unit}")
        _put(SOURCES / "nvidia-cdi-refresh.env", tree, "etc/nvidia-container-toolkit/nvidia-cdi-refresh.env")


def _fill_toolkit(tree: Path, _toolkit: ToolkitVersion, programs: Path, _cache: Cache) -> None:
    _put(programs / _HOOK, tree, f"usr/bin/{_HOOK}", 0o755)
    _put(SOURCES / "toolkit.postinst", tree, "DEBIAN/postinst", 0o755)
    _put(SOURCES / "toolkit.postrm", tree, "DEBIAN/postrm", 0o755)


_FILL = {
    "libnvidia-container1": _fill_library,
    "libnvidia-container-tools": _fill_tools,
    "nvidia-container-toolkit-base": _fill_base,
    "nvidia-container-toolkit": _fill_toolkit,
}
