"""What one look at a host shows: parsed from the JSON that `host/remote/snapshot_probe.py` prints."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    # Strict on purpose: the probe is ours, so a shape that differs is a fault of ours, not of the host.
    model_config = ConfigDict(extra="forbid", frozen=True)


class OperatingSystem(_Part):
    """From `/etc/os-release` and uname."""

    id: str
    id_like: tuple[str, ...]
    version: str
    name: str
    kernel: str
    machine: str
    systemd: bool


class Gpu(_Part):
    """One GPU of `/proc/driver/nvidia/gpus`, in PCI order, which is NVML's order.

    The minor is not the index: the driver numbers minors as it binds devices (google/gvisor issue 9389). The
    UUID is null until a program has opened the GPU.
    """

    pci: str
    uuid: str | None
    minor: int | None
    model: str | None


class DeviceNode(_Part):
    """A node below `/dev` whose name begins with `nvidia`; `kind` is `c`, `b` or `-`."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int


class Driver(_Part):
    """The loaded kernel driver and the user-space files of the same version.

    Attributes:
        version: the loaded kernel driver's; None where none is loaded.
        libraries: the 64-bit files themselves, by their real paths.
        links: the names by which programs load and start them, as `libcuda.so.1`, wherever they lie.
        programs: as `libraries`.
        capabilities: what lies in its directory of that name, null where there is none.
        libraries_32, links_32: the same of the 32-bit ones.
        by_linker: whether the host's linker finds them; else they lie where only a search has found them.
        other_libraries: NVML or libcuda, as the linker finds it, where it is of another version.
        installed: the kernel modules' version on disk, loaded or not, by where that was read.
    """

    version: str | None
    libraries: tuple[str, ...]
    links: tuple[str, ...]
    programs: tuple[str, ...]
    capabilities: tuple[str, ...] | None
    libraries_32: tuple[str, ...] = ()
    links_32: tuple[str, ...] = ()
    by_linker: bool = True
    other_libraries: tuple[str, ...] = ()
    installed: Mapping[str, str] = {}


class Program(_Part):
    """A program of the host: where links lead to, and its text where it is a script."""

    path: str
    script: str | None


class Engine(_Part):
    """Docker, as its own daemon answers.

    `runtimes` are the ones that are really loaded (name to path, or to type); `binaries` what those start
    that are given by type and say so (name to `BinaryName`); `programs` the scripts and links that all these
    lead to, by the words that name them; `containers` the names of the running ones by runtime, or null where
    that cannot be told; `security_options` as `docker info` lists them.
    """

    client: str | None
    daemon: str | None
    version: str | None
    running: bool
    error: str | None
    can_validate: bool
    runtimes: Mapping[str, str]
    binaries: Mapping[str, str] = {}
    programs: Mapping[str, Program] = {}
    default_runtime: str | None
    containers: Mapping[str, tuple[str, ...]] | None
    security_options: tuple[str, ...] = ()


class RunningDockerd(_Part):
    """A dockerd that runs: its program's real path, its user's id, and what its `--config-file` says."""

    program: str
    owner: int
    config_file: str | None


class CdiSpec(_Part):
    """A CDI specification of NVIDIA's: its kind, and the versions of the driver's libraries that it names."""

    path: str
    kind: str
    versions: tuple[str, ...]


class PackagedRunsc(_Part):
    """A runsc that a package of the distribution has brought."""

    path: str
    package: str
    version: str


class InstalledRelease(_Part):
    """A release of gVisor on the host: the drivers that its runsc lists, and whether a sandbox of it runs."""

    name: str
    drivers: tuple[str, ...]
    in_use: bool


class Surroundings(_Part):
    """What else is on a host, as far as it decides whether and for whom our chain works there.

    Attributes:
        wsl: whether there is WSL's way to a GPU, /dev/dxg.
        tegra: the file by which the host is a Jetson or another Tegra system.
        selinux_enforcing: whether the kernel enforces SELinux's policy.
        user_namespaces: the kernel's limit for a user; None where it has none.
        dockerds: those that run on the host itself.
        sharing: files by which an engine besides Docker starts containers through NVIDIA's shim, by engine.
        kubelet: whether one runs.
        cdi_specs: those of NVIDIA's GPUs.
        csv_files: the names of what lies in the shim's directory for mode csv.
        runsc: one that is not ours.
        releases: of gVisor, those of ours.
    """

    wsl: bool = False
    tegra: str | None = None
    selinux_enforcing: bool = False
    user_namespaces: int | None = None
    dockerds: tuple[RunningDockerd, ...] = ()
    sharing: Mapping[str, tuple[str, ...]] = {}
    kubelet: bool = False
    cdi_specs: tuple[CdiSpec, ...] = ()
    csv_files: tuple[str, ...] = ()
    runsc: PackagedRunsc | None = None
    releases: tuple[InstalledRelease, ...] = ()


class ManagedFile(_Part):
    """A file that this project writes, as it is now.

    `text` is null where it is too large or no text. A byte order mark is its first character, and decides the
    `encoding`: `utf-8` where it is none of UTF-16's.
    """

    sha256: str
    mode: int
    owner: int
    group: int
    is_link: bool
    text: str | None
    encoding: str = "utf-8"


class HostSnapshot(_Part):
    """Everything that a plan for a host is made from.

    Attributes:
        python: version of `/usr/bin/python3` as (major, minor, micro).
        uid: whom the probe ran as; 0 is needed.
        disk_free: bytes free for root, by path.
        packages: installed version by name, of the packages that this project cares for.
        files: by path; a path that is not there is not in it.
        links: target by path, for the links `current`.
        directories: of those that were asked for, the ones that are there.
        trees: of the versioned directories that were asked for and are there, the hash of their content.
        excluded_gpus: PCI addresses of GPUs that the driver leaves alone, and NVML does not count.
        mig_gpus: PCI addresses of those of `gpus` that are in MIG mode.
    """

    python: tuple[int, int, int]
    uid: int
    os: OperatingSystem
    disk_free: Mapping[str, int]
    driver: Driver
    gpus: tuple[Gpu, ...]
    nodes: tuple[DeviceNode, ...]
    packages: Mapping[str, str]
    engine: Engine
    files: Mapping[str, ManagedFile]
    links: Mapping[str, str]
    directories: tuple[str, ...]
    trees: Mapping[str, str]
    excluded_gpus: tuple[str, ...] = ()
    mig_gpus: tuple[str, ...] = ()
    surroundings: Surroundings = Surroundings()

    def text_of(self, path: str) -> str:
        """The text of a file of `files`; empty where it is not there, or is no text."""
        there = self.files.get(path)
        return "" if there is None or there.text is None else there.text
