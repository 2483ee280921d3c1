"""The pretend NVIDIA driver, as layers that go over a host's root.

For every host: libraries of a version, NVML and nvidia-smi, all stand-ins. For one with a kernel of its own
also the kernel's modules, stand-ins too, and who makes the nodes: the real nvidia-modprobe and
nvidia-persistenced.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from .cache import Cache, Part
from .commands import run_logged
from .debian import download_packages, unpack_package
from .definition import NodeMakers
from .errors import LabError
from .image import mount_overlay
from .machine import debian_mirror
from .trees import remove_tree
from .versions import DEBIAN_DRIVER_VERSION, DRIVER_VERSION, NVML_HEADER_REQUIREMENT

SOURCES = Path(__file__).parent / "driver"
KERNEL_SOURCES = SOURCES / "kernel"
BOOT_FILES = SOURCES / "boot"
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
    names = ("library.c", "nvml.c", "cfg.c", "nvidia_smi.c", "nodes.h", "kernel/nvidia-abi.h")
    sources = "\0".join((SOURCES / name).read_text() for name in names)

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
            code = {"libnvidia-ml": [SOURCES / "nvml.c", stubs], "libnvidia-cfg": [SOURCES / "cfg.c"]}
            compile_c(
                libraries / file,
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{soname}",
                *map(str, code.get(name, [SOURCES / "library.c"])),
            )
            if number:
                (libraries / soname).symlink_to(file)
        (libraries / "libcuda.so").symlink_to("libcuda.so.1")
        compile_c(into / "usr/bin/nvidia-smi", str(SOURCES / "nvidia_smi.c"))
        stubs.unlink()
        _open_directories(into)

    return Part(f"driver-{version}", sources + repr(LIBRARIES) + repr(_CFLAGS) + version, build, (header,))


# libcuda1 and what comes with it; without a screen's parts.
DEBIAN_PACKAGES = (
    "libcuda1",
    "libcudadebugger1",
    "libnvcuvid1",
    "libnvidia-cfg1",
    "nvidia-opencl-icd",
    "nvidia-smi",
)
# $1: the archive, $2: the suite; then the packages.
_INSTALL_PACKAGES = """
archive=$1 suite=$2
shift 2
echo "deb $archive $suite main contrib non-free" > /etc/apt/sources.list
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
rm -rf /etc/apt/sources.list /etc/resolv.conf /var/lib/apt/lists/* /var/cache/apt/*.bin
"""
# Where Debian's packages have the two files that take a kernel driver to answer.
_DEBIAN_PLACES = {
    f"{LIBRARY_DIRECTORY}/libnvidia-ml.so.{DEBIAN_DRIVER_VERSION}": f"{LIBRARY_DIRECTORY}/nvidia/current",
    "usr/bin/nvidia-smi": "usr/lib/nvidia/current",
}


def debian_driver(image: Part, suite: str) -> Part:
    """Layer: the user-space driver of Debian's own packages, installed by apt, with links and alternatives.

    Stand-ins, in the places of Debian's: NVML and nvidia-smi, which say nothing without a kernel driver.
    """
    stand_ins = driver_layer(DEBIAN_DRIVER_VERSION)
    name = f"debian-driver-{suite}"

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(name)
        work, root = (cache.tmp / f"{into.name}-{part}" for part in ("work", "root"))
        for directory in (work, root):
            directory.mkdir()
        mount_overlay([cache.path(image)], into, work, root)
        try:
            shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
            script = ["sh", "-ec", _INSTALL_PACKAGES, "sh", debian_mirror(), suite, *DEBIAN_PACKAGES]
            run_logged(["chroot", str(root), *script], log=log, what="installing Debian's driver packages")
        finally:
            remove_tree(root)
            remove_tree(work)
        for path, place in _DEBIAN_PLACES.items():
            file = into / place / Path(path).name
            if not file.is_file():
                raise LabError(
                    f"Debian's {suite} has no /{place}/{file.name} any more: change DEBIAN_DRIVER_VERSION in "
                    "tests/lab/versions.py"
                )
            shutil.copy2(cache.path(stand_ins) / path, file)

    definition = "\0".join([_INSTALL_PACKAGES, repr(DEBIAN_PACKAGES), repr(_DEBIAN_PLACES)])
    return Part(name, definition, build, (image, stand_ins))


# In every host's layer: the bus is there when a machine starts, and the driver's packages keep nouveau away.
_MODULES_LOAD = ("etc/modules-load.d/nvproxy-lab-pci.conf", "nvproxy-lab-pci\n")
_NO_NOUVEAU = ("etc/modprobe.d/nvidia-blacklists-nouveau.conf", "blacklist nouveau\n")
# $1: the kernel, which is not the one that runs; $2: the driver's version. Not `modules_install`: that signs
# Debian 13's modules, with a key that nobody has here. updates/dkms: where the driver's packages have them.
_BUILD_MODULES = """
cd /usr/src/nvproxy-lab
make -C "/lib/modules/$1/build" "M=$PWD" "DRIVER_VERSION=$2" modules
strip --strip-debug *.ko
mkdir -p "/lib/modules/$1/updates/dkms"
cp *.ko "/lib/modules/$1/updates/dkms"
depmod "$1"
"""
CLIENT = "usr/local/lib/nvproxy-lab/client"
STATIC_CFLAGS = (*_CFLAGS, "-static")


def kernel_driver(suite_root: Part, version: str = DRIVER_VERSION) -> Part:
    """Layer: the pretend kernel driver of one version, for one Debian suite's kernel, and the client.

    `suite_root` is a root of that suite with linux-image-amd64, linux-headers-amd64, gcc, make, libc6-dev and
    kmod. The layer goes over a host's root with the same kernel, and `driver_layer` of the same version with
    it. In it: the modules (depmod has run) and `CLIENT`, a static program that says which nodes open and
    whether the driver answers (its lines: driver/client.c).

    What a host has is said by its own file in modprobe.d, for instance:

        options nvproxy-lab-pci gpus=6
        options nvidia minors=0,1,2,3,5,4 excluded=1 mig=-1,-1,2

    nvproxy-lab-pci puts the GPUs on the PCI bus. `gpus`: how many, 0 to 32 (2). The layer has it loaded at
    boot, and udev loads nvidia by the GPUs' modalias, as on a real machine (whose bus is always there).
    `modprobe nvidia` alone loads both; without a GPU it fails, as the real one.

    nvidia's lists are in PCI order, and may be shorter than the GPUs: `minors` (a GPU's index), `excluded`
    (indices of the GPUs that the driver leaves alone), `mig` (-1: off; else how many instances, from gi1 on).
    `driver_version`: another than the modules are built with. `uuid_after_open=1`: /proc tells a GPU's UUID
    once somebody has opened it, as with some real ones. NVreg_ModifyDeviceFiles, NVreg_DeviceFileUID,
    NVreg_DeviceFileGID and NVreg_DeviceFileMode are as in the real driver.
    """
    name = f"kernel-driver-{version}-{suite_root.name}"
    sources = "\0".join(
        path.read_text() for path in sorted([*KERNEL_SOURCES.iterdir(), SOURCES / "client.c"])
    )
    texts = (_MODULES_LOAD, _NO_NOUVEAU)
    definition = "\0".join([version, _BUILD_MODULES, repr(STATIC_CFLAGS), repr(texts), sources])

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(name)
        work, root, upper = (cache.tmp / f"{into.name}-{name}" for name in ("work", "root", "upper"))
        for directory in (work, root, upper):
            directory.mkdir()
        mount_overlay([cache.path(suite_root)], upper, work, root)
        try:
            kernels = [path.name for path in (root / "usr/lib/modules").iterdir()]
            if len(kernels) != 1:
                raise LabError(f"{suite_root.name} has {len(kernels)} kernels: modules are built for one")
            shutil.copytree(KERNEL_SOURCES, root / "usr/src/nvproxy-lab")
            script = ["sh", "-ec", _BUILD_MODULES, "sh", kernels[0], version]
            run_logged(["chroot", str(root), *script], log=log, what="building the pretend kernel driver")
            shutil.copytree(upper / "usr/lib/modules", into / "usr/lib/modules")
        finally:
            for directory in (root, upper, work):
                remove_tree(directory)
        client = into / CLIENT
        client.parent.mkdir(parents=True)
        run_logged(
            ["gcc", *STATIC_CFLAGS, "-o", str(client), str(SOURCES / "client.c")],
            log=log,
            what="compiling client",
        )
        for path, text in texts:
            (into / path).parent.mkdir(parents=True)
            (into / path).write_text(text)
        _open_directories(into)

    return Part(name, definition, build, (suite_root,))


_PERSISTENCED_UNIT = "usr/lib/systemd/system/nvidia-persistenced.service"


def node_makers(suite: str, makers: NodeMakers) -> Part:
    """Layer: NVIDIA's nvidia-modprobe, and what `makers` says, for a host that has `kernel_driver`.

    Real, from Debian's contrib: nvidia-modprobe, nvidia-persistenced and its unit. A stand-in: the udev rule
    (Debian's packages have none that makes nodes) and the daemon's libnvidia-cfg (in `driver_layer`). The
    daemon needs libtirpc3 on the host.
    """
    daemon = makers is not NodeMakers.NONE
    texts = {}
    if daemon:
        texts["usr/lib/sysusers.d/nvpd.conf"] = (BOOT_FILES / "nvpd.conf").read_text()
        texts[f"{_PERSISTENCED_UNIT}.d/account.conf"] = (BOOT_FILES / "account.conf").read_text()
    if makers is NodeMakers.ALL:
        texts["usr/lib/udev/rules.d/60-nvidia.rules"] = (BOOT_FILES / "60-nvidia.rules").read_text()
    names = ("nvidia-modprobe", "nvidia-persistenced") if daemon else ("nvidia-modprobe",)

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(f"node-makers-{makers}-{suite}")
        packages = cache.tmp / f"{into.name}-packages"
        packages.mkdir()
        for package in download_packages(names, suite, packages, log, ("contrib",)):
            unpack_package(package, packages, log)
        shutil.copytree(packages / "usr/bin", into / "usr/bin")
        for path, text in texts.items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_text(text)
        if daemon:
            # Debian 12 has units in /lib; on a host that is the same place.
            (unit,) = packages.rglob("nvidia-persistenced.service")
            shutil.copy2(unit, into / _PERSISTENCED_UNIT)
            wants = into / "etc/systemd/system/multi-user.target.wants"
            wants.mkdir(parents=True)
            (wants / unit.name).symlink_to(f"/{_PERSISTENCED_UNIT}")
        remove_tree(packages)
        _open_directories(into)

    return Part(f"node-makers-{makers}-{suite}", repr((names, texts)), build)


def _open_directories(root: Path) -> None:
    for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
        directory.chmod(0o755)


def refresh_library_cache(root: Path) -> None:
    """As a driver's installer ends: ldconfig, in a host's root that is not booted yet."""
    subprocess.run(["chroot", root, "ldconfig"], check=True)
