"""`hooks.emulate`, second half: the names that hooks would have made, as read-only binds.

A symbolic link cannot be put into a spec; a second bind of the same file under the link's name does for a
loader.
"""

from __future__ import annotations

from nvproxy_wrapper.judge.oci_spec import cleaned, is_bind
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nvproxy_wrapper.judge.draft import Draft

RULE = "hooks.emulate"

_SONAME_VERSIONS = {
    "libGLESv1_CM_nvidia": "1",
    "libGLESv2_nvidia": "2",
    "libGLX_nvidia": "0",
    "libEGL_nvidia": "0",
    "libcuda": "1",
    "libcudadebugger": "1",
    "libnvcuvid": "1",
    "libnvidia-allocator": "1",
    "libnvidia-cfg": "1",
    "libnvidia-encode": "1",
    "libnvidia-fbc": "1",
    "libnvidia-ml": "1",
    "libnvidia-ngx": "1",
    "libnvidia-nvvm": "4",
    "libnvidia-opencl": "1",
    "libnvidia-opticalflow": "1",
    "libnvidia-ptxjitcompiler": "1",
    "libnvidia-sandboxutils": "1",
    "libnvoptix": "1",
    "libvdpau_nvidia": "1",
}
"""The number in the SONAME of the driver's libraries, 535 to 580; the others carry their whole version."""


def emulate(
    draft: Draft, links: list[tuple[str, str]], *, sonames: bool, but: frozenset[str] = frozenset()
) -> None:
    """Add a bind for each of `links`, (target, link), and where `sonames` for each mounted library's SONAME.

    A name that is a mount's destination already stays what it is. A target that leads to no mounted file is
    said and left
    out: nothing becomes a source that was none. `but` are names that something else makes.
    """
    wanted = [(_resolve(link, target), link) for target, link in links]
    if sonames:
        wanted += _sonames(draft)
    files = {mount["destination"]: mount for mount in draft.mounts if is_bind(mount)}
    taken = {mount["destination"] for mount in draft.mounts} | but
    folders = {folder for name in taken for folder in _folders(name)}
    # A chain (libcuda.so to libcuda.so.1 to libcuda.so.570.124.06) may be given in any order.
    progress = True
    while progress:
        progress = False
        for target, link in wanted:
            if link in taken or target not in files or link in folders:
                continue
            mount = _read_only(files[target], link)
            files[link] = mount
            taken.add(link)
            folders.update(_folders(link))
            draft.mounts.append(mount)
            draft.act(
                RULE, link, f"bind of {mount['source']}", f"the link to {target} that no hook will make"
            )
            progress = True
    for target, link in dict.fromkeys(wanted):
        if link not in taken:
            draft.act(RULE, link, "left out", f"no mounted file is at its target {target}")


def soname_by_name(path: str) -> str | None:
    """The SONAME of a driver library from its file name, `libNAME.so.A.B...`; None where it says nothing."""
    name, separator, version = path.rpartition("/")[2].partition(".so.")
    if not separator or not _is_full_version(version) or name not in _SONAME_VERSIONS:
        return None
    return f"{name}.so.{_SONAME_VERSIONS[name]}"


def _sonames(draft: Draft) -> list[tuple[str, str]]:
    found = []
    for mount in draft.mounts:
        path, source = mount["destination"], mount.get("source") or ""
        folder, _, name = path.rpartition("/")
        if not is_bind(mount) or not _is_full_version(name.partition(".so.")[2]):
            continue
        soname = _soname_on_host(draft, source) or soname_by_name(path)
        if soname is not None and soname != name and is_absolute_path(f"{folder}/{soname}"):
            found.append((path, f"{folder}/{soname}"))
    return found


def _soname_on_host(draft: Draft, source: str) -> str | None:
    """From the ELF header of a mount's source; nothing in the container's root filesystem is opened."""
    if not is_absolute_path(source) or (draft.rootfs and source.startswith(f"{draft.rootfs}/")):
        return None
    soname = draft.host.soname(source)
    is_name = soname is not None and soname.startswith("lib") and ".so" in soname and "/" not in soname
    return soname if is_name else None


def _folders(path: str) -> list[str]:
    """Every directory above a path."""
    return [path[:end] for end, letter in enumerate(path) if letter == "/" and end > 0]


def _is_full_version(text: str) -> bool:
    parts = text.split(".")
    return len(parts) > 1 and all(part.isascii() and part.isdigit() for part in parts)


def _read_only(mount: dict[str, Any], destination: str) -> dict[str, Any]:
    options = [option for option in mount.get("options") or [] if option not in ("rw", "ro")]
    return {**mount, "destination": destination, "options": ["ro", *options]}


def _resolve(link: str, target: str) -> str:
    """Where a link leads inside the container, by its text alone."""
    return cleaned(target if target.startswith("/") else f"{link.rpartition('/')[0]}/{target}")
