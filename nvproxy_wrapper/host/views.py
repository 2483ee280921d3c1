"""The host as the rules see it.

`ProcDriverView` reads the NVIDIA driver's own directory under /proc and nothing else: `explain` and `rewrite`
use it, so that they give the same answer anywhere. `CreateView` also looks at nodes, mount sources and
programs: for create time.
"""

from __future__ import annotations

import posix

from nvproxy_wrapper.judge.device_nodes import WSL, gpu_minor
from nvproxy_wrapper.judge.host_view import PROGRAM_PATH, Gpu, HostError, HostView

_MAX_INFORMATION_BYTES = 64 * 1024
_MAX_ELF_TABLE_BYTES = 4 * 1024 * 1024

_CAPABILITY_DEPTH = 5
"""gpuN/mig/giN/ciN/access."""

_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\"))
"""What the kernel writes in mountinfo for the letters that part its fields (fs/proc_namespace.c, mangle)."""

_MOUNTS = "/proc/self/mountinfo"

_S_IFMT = 0o170000
_S_IFIFO = 0o010000
_S_IFCHR = 0o020000
_S_IFDIR = 0o040000
_S_IFREG = 0o100000
_S_IFSOCK = 0o140000


class ProcDriverView(HostView):
    """The host as the driver describes it in `proc_driver` (default /proc/driver/nvidia)."""

    def gpus(self) -> list[Gpu]:
        """See `HostView`.

        The format is that of the kernel module (NVIDIA/open-gpu-kernel-modules,
        kernel-open/nvidia/nv-procfs.c, nv_procfs_read_gpu_info).

        Raises:
            HostError: no such directory, or a file in it cannot be read or understood.
        """
        root = f"{self.proc_driver}/gpus"
        try:
            names = posix.listdir(root)
        except OSError as error:
            raise HostError(f"{root} cannot be read ({error.strerror})") from None
        found: list[tuple[tuple[int, ...], int, str, str]] = []
        for name in names:
            path = f"{root}/{name}/information"
            fields = _fields(path)
            # NVML does not count a GPU that NVreg_ExcludedGpus (before 470: NVreg_GpuBlacklist) hides.
            if "yes" in (fields.get("GPU Excluded", "").lower(), fields.get("Blacklisted", "").lower()):
                continue
            minor = fields.get("Device Minor", "")
            if not (minor.isascii() and minor.isdigit()):
                raise HostError(f"{path} has no Device Minor")
            uuid = fields.get("GPU UUID", "")
            found.append((_pci_address(name, root), int(minor), "" if "?" in uuid else uuid, name))
        found.sort()
        return [Gpu(index, minor, uuid, pci) for index, (_, minor, uuid, pci) in enumerate(found)]

    def capabilities(self) -> dict[int, str] | None:
        """See `HostView` (open-gpu-kernel-modules 595, kernel-open/nvidia/nv-caps.c)."""
        try:
            return _capabilities(f"{self.proc_driver}/capabilities", "", _CAPABILITY_DEPTH)
        except (OSError, HostError):
            return None

    def driver_version(self) -> str | None:
        """See `HostView`. `NVRM version: NVIDIA UNIX ... Module for aarch64  35.3.1  Release Build ...`."""
        try:
            line = _fields(f"{self.proc_driver}/version").get("NVRM version", "")
        except HostError:
            return None
        numbers = [word for word in line.split() if word[:1].isdigit() and "." in word]
        return numbers[0] if numbers else None


class CreateView(ProcDriverView):
    """The host at create time. No path is looked at that the container's root filesystem holds."""

    def __init__(self, proc_driver: str, runsc_root: str = "") -> None:
        """See `HostView`; `runsc_root` is runsc's --root, where its state is."""
        super().__init__(proc_driver)
        self._runsc_root = runsc_root
        self._above_nodes: set[tuple[int, int]] | None = None

    def is_wsl(self) -> bool | None:
        """See `HostView`. Where its driver is there all the same, it is no WSL that matters."""
        return posix.access(WSL, posix.F_OK) and not posix.access(self.proc_driver, posix.F_OK)

    def node_problem(self, path: str, major: int, minor: int) -> str | None:
        """See `HostView`. runsc binds the node by its path, so it must be there with these numbers."""
        try:
            status = posix.lstat(path)
        except OSError as error:
            return f"is not there ({error.strerror})"
        if status.st_mode & _S_IFMT != _S_IFCHR:
            return "is not a character device"
        there = (posix.major(status.st_rdev), posix.minor(status.st_rdev))
        if there != (major, minor):
            return f"is {there[0]}:{there[1]} on this host and {major}:{minor} in the spec"
        return None

    def is_socket_or_fifo(self, path: str) -> bool | None:
        """See `HostView`. stat and not lstat: a bind mount follows the link as well."""
        try:
            mode = posix.stat(path).st_mode
        except OSError:
            return None
        return mode & _S_IFMT in (_S_IFSOCK, _S_IFIFO)

    def has_open_nodes_below(self, source: str) -> bool | None:
        """See `HostView`. A directory is told by its inode: a source may be a link, or another name of it."""
        try:
            status = posix.stat(source)
            if status.st_mode & _S_IFMT != _S_IFDIR:
                return False
            if self._above_nodes is None:
                self._above_nodes = _directories_above_nodes()
        except OSError:
            return super().has_open_nodes_below(source)
        return (status.st_dev, status.st_ino) in self._above_nodes

    def soname(self, path: str) -> str | None:
        """See `HostView`. Only a regular file of root's that nobody else may write is opened."""
        try:
            # Not opened before it is known to be a file: to open a device may be to do something.
            found = posix.open(path, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = posix.fstat(found)
            if status.st_mode & _S_IFMT != _S_IFREG or status.st_uid != 0 or status.st_mode & 0o022:
                return None
            descriptor = posix.open(f"/proc/self/fd/{found}", posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                return _elf_soname(descriptor)
            finally:
                posix.close(descriptor)
        except (OSError, IndexError, OverflowError):
            return None
        finally:
            posix.close(found)

    def sandbox_has_nvproxy(self, sandbox: str) -> bool | None:
        """See `HostView`."""
        from nvproxy_wrapper.host import sandbox_state  # noqa: PLC0415 - pods alone need it

        return sandbox_state.has_nvproxy(self._runsc_root, sandbox)

    def has_program(self, name: str) -> bool | None:
        """See `HostView`."""
        return any(posix.access(f"{folder}/{name}", posix.X_OK) for folder in PROGRAM_PATH)


def _capabilities(root: str, below: str, depth: int) -> dict[int, str]:
    """{minor: path below `root`} of the files below `root`/`below`."""
    found: dict[int, str] = {}
    for name in posix.listdir(f"{root}/{below}"):
        path = f"{below}/{name}" if below else name
        try:
            if depth:
                found.update(_capabilities(root, path, depth - 1))
        except NotADirectoryError:
            minor = _fields(f"{root}/{path}").get("DeviceFileMinor", "")
            if minor.isascii() and minor.isdigit():
                found[int(minor)] = path
    return found


def _directories_above_nodes() -> set[tuple[int, int]]:
    """The directories that, mounted as a container's root or /dev, bring nodes that another mount holds.

    Such a mount is one without `nodev` at DIRECTORY/dev, DIRECTORY/dev/nvidiaN or DIRECTORY/nvidiaN.

    Raises:
        OSError: the mounts of this host cannot be read.
    """
    found = set()
    for line in _read(_MOUNTS).decode("utf-8", "surrogateescape").splitlines():
        if "/dev" not in line and "/nvidia" not in line:
            continue
        # proc(5): id, parent, major:minor, root, mount point, options, ...
        point, options = line.split(" ", 6)[4:6]
        if "nodev" in options.split(","):
            continue
        for code, letter in _ESCAPES:
            point = point.replace(code, letter)
        parent, _, name = point.rpartition("/")
        above = [parent] if name == "dev" or gpu_minor(f"/dev/{name}") is not None else []
        if above and name != "dev" and parent.endswith("/dev"):
            above.append(parent[: -len("/dev")])
        for directory in above:
            try:
                status = posix.stat(directory or "/")
            except OSError:
                continue
            found.add((status.st_dev, status.st_ino))
    return found


def _read(path: str) -> bytes:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = [posix.read(descriptor, _MAX_INFORMATION_BYTES)]
        while parts[-1]:
            parts.append(posix.read(descriptor, _MAX_INFORMATION_BYTES))
    finally:
        posix.close(descriptor)
    return b"".join(parts)


def _fields(path: str) -> dict[str, str]:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
        try:
            text = posix.read(descriptor, _MAX_INFORMATION_BYTES).decode("utf-8", "replace")
        finally:
            posix.close(descriptor)
    except OSError as error:
        raise HostError(f"{path} cannot be read ({error.strerror})") from None
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _pci_address(name: str, root: str) -> tuple[int, ...]:
    try:
        domain, bus, rest = name.split(":")
        device, function = rest.split(".")
        return int(domain, 16), int(bus, 16), int(device, 16), int(function, 16)
    except ValueError:
        raise HostError(f"{root} has {name!r}, which is no PCI address") from None


def _elf_soname(descriptor: int) -> str | None:
    """DT_SONAME of a 64-bit little-endian ELF file (System V ABI, gABI 4.1); None where it has none.

    Raises:
        IndexError, OverflowError: the file says of itself what cannot be.
        OSError: it cannot be read.
    """

    def read(size: int, offset: int) -> bytes:
        if size > _MAX_ELF_TABLE_BYTES:
            raise IndexError(size)
        data = posix.pread(descriptor, size, offset)
        if len(data) != size:
            raise IndexError(offset)
        return data

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    header = read(64, 0)
    if header[:6] != b"\x7fELF\x02\x01":
        return None
    entry_size, entries = number(header, 54, 2), number(header, 56, 2)
    programs = read(entry_size * entries, number(header, 32, 8))
    segments = [programs[i : i + 56] for i in range(0, len(programs), max(entry_size, 56))]
    loads = [(number(s, 16, 8), number(s, 8, 8), number(s, 32, 8)) for s in segments if number(s, 0, 4) == 1]
    dynamic = next((s for s in segments if number(s, 0, 4) == 2), None)
    if dynamic is None:
        return None
    table = read(number(dynamic, 32, 8), number(dynamic, 8, 8))
    tags = {number(table, i, 8): number(table, i + 8, 8) for i in range(0, len(table) - 15, 16)}
    if 14 not in tags or 5 not in tags:  # DT_SONAME, DT_STRTAB
        return None
    # DT_STRTAB is an address in memory; the segment that is loaded there says where it is in the file.
    for address, offset, size in loads:
        if address <= tags[5] < address + size:
            place = offset + (tags[5] - address) + tags[14]
            name, end, _ = posix.pread(descriptor, 256, place).partition(b"\0")
            return name.decode("ascii", "replace") if end else None
    return None
