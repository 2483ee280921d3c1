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
        modules: of each, behind those that it imports and the package itself first, the name without the
            package's, the size and the modification time in seconds of its source, and its code.
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
    for name, size, modified, _ in modules:
        status = posix.stat(f"{folder}/{name}.py")
        if (status.st_size, int(status.st_mtime)) != (size, modified):
            raise ImportError(name)
    make_module, make_spec = type(sys), type(sys.__spec__)
    package = None
    for name, _, _, code in modules:
        full_name = f"{PACKAGE}.{name}" if package else PACKAGE
        module = make_module(full_name)
        # `from . import x` goes by the spec; by __package__ alone it is deprecated.
        module.__spec__ = make_spec(full_name, None)
        module.__package__ = PACKAGE
        sys.modules[full_name] = module
        if package:
            setattr(package, name, module)
        else:
            package = module
            # For the modules that are not in here, and imported when they are needed.
            module.__path__ = module.__spec__.submodule_search_locations = [folder]
        exec(code, module.__dict__)  # noqa: S102 - as an import does
    main: Callable[..., int] = module.main
    return main
