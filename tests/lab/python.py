"""A Python that is newer than this machine's, for the wrapper's tests: out of Debian's next suite.

Its libc is newer than this machine's too, so it brings its own loader and libraries. Both are written into
the program by patchelf, and it stays an ordinary program: behind a script, or behind the loader as a command,
sys.executable and /proc/self/exe would be something else, and LD_LIBRARY_PATH would reach runsc as well.
"""

from pathlib import Path

from .cache import Cache, Part
from .commands import run_logged
from .debian import download_packages, unpack_package
from .versions import PYTHON_SUITE, PYTHON_VERSION

PROGRAM = f"usr/bin/python{PYTHON_VERSION}"
_PACKAGES = (
    f"python{PYTHON_VERSION}-minimal",
    f"libpython{PYTHON_VERSION}-minimal",
    f"libpython{PYTHON_VERSION}-stdlib",
    # What the program loads.
    "libc6",
    "libexpat1",
    "zlib1g",
    # What `shutil` and `hashlib` load. They would go on without, with this machine's or none.
    "libbz2-1.0",
    "liblzma5",
    "libssl3t64",
    "libzstd1",
)
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = f"{_LIBRARIES}/ld-linux-x86-64.so.2"
# This file is the recipe.
_RECIPE = Path(__file__).read_text()


def new_python() -> Part:
    """`PROGRAM`, and all that it needs around it. It runs only where the cache keeps it."""
    name = f"python-{PYTHON_VERSION}"

    def build(cache: Cache, into: Path) -> None:
        log = cache.log(name)
        for package in download_packages(_PACKAGES, PYTHON_SUITE, into, log):
            unpack_package(package, into, log)
        place = cache.path(part)
        argv = ["patchelf", "--set-interpreter", str(place / _LOADER)]
        # RPATH and not RUNPATH, which would hold for the program alone and not for its extension modules.
        argv += ["--force-rpath", "--set-rpath", str(place / _LIBRARIES), str(into / PROGRAM)]
        run_logged(argv, log=log, what=f"giving Python {PYTHON_VERSION} its own libraries")

    part = Part(name, f"{PYTHON_SUITE} {PYTHON_VERSION} {_RECIPE}", build)
    return part
