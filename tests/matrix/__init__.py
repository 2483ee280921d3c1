"""The matrix: every mode of the toolkit, every toolkit, every runsc, through the real shim, in lab hosts.

    python -m tests.matrix            all of it; writes docs/compatibility.md and reports/matrix.json
    python -m tests.matrix --help     parts of it

A cell is one container. It is started by `create` and `start` on a bundle: once by the entry with the wrapper
behind the shim, as the deploys install both, and once by the shim with the one line that gVisor's
documentation suggests in the wrapper's place. With the newest runsc once more by the shim and the wrapper,
without the entry.
"""
