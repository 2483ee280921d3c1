"""The pretend NVIDIA driver: a layer of versioned libraries, NVML and nvidia-smi, all stand-ins."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from .cache import Cache, Part
from .commands import run_logged
from .versions import NVML_HEADER_REQUIREMENT

SOURCES = Path(__file__).parent / "driver"
LIBRARY_DIRECTORY = "usr/lib/x86_64-linux-gnu"

# Library -> the number in its SONAME, as in NVIDIA's installer (None: the SONAME carries the driver's
# version).
LIBRARIES = {
    "libcuda": "1",
    "libnvidia-cfg": "1",
    "libnvidia-gpucomp": None,
    "libnvidia-ml": "1",
    "libnvidia-nvvm": "4",
    "libnvidia-opencl": "1",
    "libnvidia-ptxjitcompiler": "1",
}
# Not _GNU_SOURCE: with it, a newer glibc gives sscanf and strtol names that Debian 12's has not.
_CFLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")


def nvml_header() -> Part:
    """nvml.h, out of NVIDIA's package on the Python package index."""

    def build(cache: Cache, into: Path) -> None:
        requirements = into / "requirements.txt"
        requirements.write_text(NVML_HEADER_REQUIREMENT + "\n")
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        argv += ["--dest", str(into), "--requirement", str(requirements)]
        run_logged(argv, log=cache.log("nvml-header"), what="downloading nvml.h")
        (wheel,) = into.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/nvml.h"))
            (into / "nvml.h").write_bytes(archive.read(name))

    return Part("nvml-header", NVML_HEADER_REQUIREMENT, build)


def nvml_stubs(header: str) -> str:
    """C for every function that nvml.h declares: weak, so that those written by hand win; NOT_SUPPORTED."""
    names = sorted(set(re.findall(r"DECLDIR\s+(nvml\w+)\s*\(", header)))
    return "".join(f"__attribute__((weak)) int {name}(void) {{ return 3; }}\n" for name in names)


def driver_layer(version: str) -> Part:
    """Layer: the user-space driver of one version."""
    header = nvml_header()
    sources = "\0".join(path.read_text() for path in sorted(SOURCES.glob("*.c")))

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(f"driver-{version}")
        libraries = into / LIBRARY_DIRECTORY
        libraries.mkdir(parents=True)
        (into / "usr/bin").mkdir()
        include = cache.path(header)
        stubs = cache.tmp / f"{into.name}-stubs.c"
        stubs.write_text(nvml_stubs((include / "nvml.h").read_text()))
        flags = [*_CFLAGS, f'-DDRIVER_VERSION="{version}"', f"-I{include}"]

        def compile_c(output: Path, *arguments: str) -> None:
            run_logged(
                ["gcc", *flags, "-o", str(output), *arguments], log=log, what=f"compiling {output.name}"
            )

        for name, number in LIBRARIES.items():
            file = f"{name}.so.{version}"
            soname = f"{name}.so.{number}" if number else file
            code = (
                [str(SOURCES / "nvml.c"), str(stubs)]
                if name == "libnvidia-ml"
                else [str(SOURCES / "library.c")]
            )
            compile_c(libraries / file, "-shared", "-fPIC", f"-Wl,-soname,{soname}", *code)
            if number:
                (libraries / soname).symlink_to(file)
        (libraries / "libcuda.so").symlink_to("libcuda.so.1")
        compile_c(into / "usr/bin/nvidia-smi", str(SOURCES / "nvidia_smi.c"))
        stubs.unlink()
        for directory in (into, *(path for path in into.rglob("*") if path.is_dir())):
            directory.chmod(0o755)

    return Part(f"driver-{version}", sources + repr(LIBRARIES) + repr(_CFLAGS) + version, build, (header,))


def refresh_library_cache(root: Path) -> None:
    """As a driver's installer ends: ldconfig, in a host's root that is not booted yet."""
    subprocess.run(["chroot", root, "ldconfig"], check=True)
