"""The modules that a container waits for, imported out of one file of byte-code instead of one by one.

Python finds, stats, opens and reads each module for itself, which costs more than all of the wrapper's work.
The launcher reads `joined.<magic number>` instead, which `byte_code` writes at installation: what a .pyc is
to one module. It holds this module first, to read the others with.
"""

from __future__ import annotations

import gc
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

PACKAGE = "nvproxy_wrapper"


def load(modules: tuple[tuple[str, int, int, CodeType], ...], descriptor: int) -> Callable[..., int]:
    """Make imported modules of joined byte-code; the `main` of the last one.

    Args:
        modules: of each, behind those that it imports and the packages that it is in, the path in the package
            without .py, the size and the modification time in seconds of its source, and its code.
        descriptor: of the file that they are from. It is closed.

    Raises:
        ImportError: a source has changed since. A .pyc that is older than its module is left alone just so.
        OSError: a source is gone.
    """
    # The process is short, and makes no garbage in circles.
    gc.disable()
    # The directory itself and not a link to it, which an upgrade may switch before the next module is needed.
    folder = posix.readlink(f"/proc/self/fd/{descriptor}").rpartition("/__pycache__/")[0]
    posix.close(descriptor)
    for path, size, modified, _ in modules:
        status = posix.stat(f"{folder}/{path}.py")
        if (status.st_size, int(status.st_mtime)) != (size, modified):
            raise ImportError(path)
    make_module, make_spec = type(sys), type(sys.__spec__)
    for path, _, _, code in modules:
        room, _, last = path.rpartition("/")
        package = f"{PACKAGE}.{room}".rstrip(".").replace("/", ".")
        is_package = last == "__init__"
        name = package if is_package else f"{package}.{last}"
        module = make_module(name)
        module.__spec__ = make_spec(name, None)
        module.__package__ = package
        if is_package:
            # For the modules that are not in here, and imported when they are needed.
            module.__path__ = module.__spec__.submodule_search_locations = [f"{folder}/{room}".rstrip("/")]
        sys.modules[name] = module
        parent, _, own_name = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own_name, module)
        exec(code, module.__dict__)  # noqa: S102 - as an import does
    main: Callable[..., int] = module.main
    return main
