"""The matrix: every mode of the toolkit, every toolkit, every runsc, through the real shim, in lab hosts.

    python -m tests.matrix            all of it; writes docs/compatibility.md and reports/matrix.json
    python -m tests.matrix --help     parts of it

A cell is one container. It is started by `nvidia-container-runtime create` and `start` on a bundle, once with
the wrapper behind the shim as the deploys install it, and once with the one line that gVisor's documentation
suggests in its place.
"""
