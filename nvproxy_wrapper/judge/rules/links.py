"""`hooks.emulate`, second half: the names that hooks would have made, as read-only binds.

A symbolic link cannot be put into a spec; a second bind of the same file under the link's name does for a
loader.
"""

from __future__ import annotations

from nvproxy_wrapper.judge import nvidia_hooks
from nvproxy_wrapper.judge.decision import Refusal
from nvproxy_wrapper.judge.environment import values
from nvproxy_wrapper.judge.nvidia_hooks import UPDATE_LDCACHE, cached_folders, links_of
from nvproxy_wrapper.judge.oci_spec import cleaned, is_bind
from nvproxy_wrapper.judge.settings import is_absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, NoReturn

    from nvproxy_wrapper.judge.draft import Draft
    from nvproxy_wrapper.judge.nvidia_hooks import NvidiaHook

RULE = "hooks.emulate"

_LIBCUDA = "libcuda.so."

_FOUND = frozenset(
    root + folder
    for root in ("", "/usr")
    for folder in ("/lib", "/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu")
)
"""Where glibc's loader looks without a cache, Fedora's and Debian's (glibc, elf/dl-load.c, system_dirs)."""

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


def replace(draft: Draft) -> None:
    """Bind what the dropped hooks would have made and no hook makes that stays.

    The links of a hook that may not run are data, which its program's path says nothing about. What only an
    update-ldcache would have made are the SONAMEs.

    Raises:
        Refusal: by these removals nothing would be found under the name libcuda.so.1.
    """
    kept = nvidia_hooks.find(draft.hooks)
    dropped = [hook for hook, _ in draft.dropped_hooks if hook.makes_names]
    is_cached = any(hook.after(UPDATE_LDCACHE) is not None for hook in kept)
    emulate(draft, links_of(dropped), sonames=not is_cached, made=links_of(kept))
    if dropped and draft.facts.spec_class != "legacy":
        _check_libcuda(draft, kept, dropped)


def emulate(
    draft: Draft, links: list[tuple[str, str]], *, sonames: bool, made: Iterable[tuple[str, str]] = ()
) -> None:
    """Add a bind for each of `links`, (target, link), and where `sonames` for each mounted library's SONAME.

    A name that is a mount's destination already stays what it is. A target that leads to no mounted file is
    said and left out: nothing becomes a source that was none. So is a name inside of another mount: to make
    it, the gofer would write into what is mounted, often the host's. `made` are links that a hook makes: a
    bind on such a name would make that hook fail, as it cannot remove a mount point.
    """
    wanted = [(_resolve(link, target), link) for target, link in links if is_absolute_path(link)]
    if sonames:
        wanted += _sonames(draft, draft.mounts)
    by_hooks = [(_resolve(link, target), link) for target, link in made]
    names = {link for _, link in made}
    files = {mount["destination"]: mount for mount in draft.mounts if is_bind(mount)}
    taken = {mount["destination"] for mount in draft.mounts} | names
    mounted = {cleaned(mount["destination"]) for mount in draft.mounts}
    folders = {folder for name in taken for folder in _folders(name)}
    # A chain (libcuda.so to libcuda.so.1 to libcuda.so.570.124.06) may be given in any order.
    progress = True
    while progress:
        progress = False
        for target, link in (*wanted, *by_hooks):
            if link in files or target not in files:
                continue
            if link in names:
                files[link] = files[target]
                progress = True
                continue
            if link in taken or link in folders or not mounted.isdisjoint(_folders(link)):
                continue
            mount = _read_only(files[target], link)
            files[link] = mount
            taken.add(link)
            mounted.add(link)
            folders.update(_folders(link))
            draft.mounts.append(mount)
            if sonames:
                wanted += _sonames(draft, [mount])
            draft.act(
                RULE, link, f"bind of {mount['source']}", f"the link to {target} that no hook will make"
            )
            progress = True
    _say_what_is_left_out(draft, [pair for pair in dict.fromkeys(wanted) if pair[1] not in taken], files)


def _say_what_is_left_out(draft: Draft, left: list[tuple[str, str]], files: dict[str, Any]) -> None:
    for target, link in left:
        why = f"no mounted file is at its target {target}"
        if target in files:
            why = "it is inside of another mount, or above one"
        draft.act(RULE, link, "left out", why)


def _check_libcuda(draft: Draft, kept: list[NvidiaHook], dropped: list[NvidiaHook]) -> None:
    """Whether a program's loader still comes by libcuda.so.1, where what was dropped would have seen to it.

    A loader looks by itself in the folders of its distribution and in those of LD_LIBRARY_PATH, elsewhere
    only by what update-ldcache wrote. Which distribution the image is of cannot be told from here, so that
    each one's folders count. Where nothing was dropped it is nobody's business: a device plugin mounts a
    folder without a hook, and its images have a way of their own there.
    """
    folders = set(map(cleaned, cached_folders(dropped)))
    found = _FOUND.union(":".join(values(draft.env, "LD_LIBRARY_PATH")).split(":"), cached_folders(kept))
    is_cached = any(hook.after(UPDATE_LDCACHE) is not None for hook in kept)
    mounted = {cleaned(mount["destination"]) for mount in draft.mounts if is_bind(mount)}
    paths = [*mounted, *(link for _, link in links_of(kept))]
    # Each of these has libcuda.so.1 beside it once ldconfig has run.
    libraries = [path for path in paths if path.rpartition("/")[2].startswith(_LIBCUDA)]
    named = {path.rpartition("/")[0] for path in libraries if is_cached or path.endswith(f"/{_LIBCUDA}1")}
    if named:
        lost = named & folders if found.isdisjoint(named) else set()
    elif libraries:
        lost = {path.rpartition("/")[0] for path in libraries}
    else:
        # What is in directories that are mounted whole cannot be told, but for the way to it.
        lost = {one for one in folders if not mounted.isdisjoint([one, *_folders(one)])}
        lost = lost if found.isdisjoint(lost) else set()
        lost |= {link.rpartition("/")[0] for _, link in links_of(dropped) if link.endswith(f"/{_LIBCUDA}1")}
    if lost:
        _refuse(draft, ", ".join(sorted(lost)))


def _refuse(draft: Draft, where: str) -> NoReturn:
    hook, why = next((hook, why) for hook, why in draft.dropped_hooks if hook.makes_names)
    path, settings = hook.hook["path"], draft.settings
    remedies = []
    if path not in settings.trusted_hooks:
        remedies.append(
            f"where {path} is NVIDIA's own program and none but root can write it, add it to trusted_hooks"
        )
    if not settings.hooks_run:
        remedies.append("install a runsc from 20260520 on, which runs hooks")
    if settings.drop_update_ldcache:
        remedies.append("set drop_update_ldcache to false, where this host's /proc is not masked")
    remedies = remedies or ["look at what wrote the hook, and at trusted_hooks and trusted_ldconfig"]
    raise Refusal(
        RULE,
        f"no program in the container would find libcuda.so.1: the hook {hook} was dropped ({why}), and no"
        f" mount can do what it would have done for {where}",
        f"In the inventory of this host: {'; '.join(remedies)}.",
    )


def soname_by_name(path: str) -> str | None:
    """The SONAME of a driver library from its file name, `libNAME.so.A.B...`; None where it says nothing."""
    name, separator, version = path.rpartition("/")[2].partition(".so.")
    if not separator or not _is_full_version(version) or name not in _SONAME_VERSIONS:
        return None
    return f"{name}.so.{_SONAME_VERSIONS[name]}"


def _sonames(draft: Draft, mounts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = []
    for mount in mounts:
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
