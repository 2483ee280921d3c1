"""Specs that the wrapper is tried with, and what a refusal leaves behind."""

from tests.installed_wrapper import CAPTURED

CSV = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()
PLAIN = b'{"process":{"args":["true"]}}'
# Looks like a GPU container to the launcher, and is none.
NAMES_NVIDIA = b'{"ociVersion":"1.0.2","process":{"args":["echo","nvidia"]},"root":{"path":"rootfs"}}'


def assert_refused(call, bundle, spec, *words):
    assert call.status == 1
    assert call.runsc is None
    assert call.stdout == ""
    assert call.stderr == call.errors[-1] + "\n"
    for word in words:
        assert word in call.errors[-1]
    assert (bundle / "config.json").read_bytes() == spec
    assert [path.name for path in bundle.iterdir()] == ["config.json"]
