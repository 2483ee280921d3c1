"""The wrapper between nvidia-container-runtime and runsc.

Standard library only, Python 3.8 and later. It runs as root for every GPU container of a host, on input that
a stranger shaped, so its modules keep their imports few: `sys`, `posix`, `_json`, `fcntl` and one another.
"""

__version__ = "0.1.0"
