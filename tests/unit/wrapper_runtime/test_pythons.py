"""The create path under every CPython from 3.8 on."""

import pytest

from tests.installed_wrapper import CAPTURED, InstalledWrapper
from tests.pythons import PYTHONS

CSV = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()


@pytest.fixture(params=PYTHONS)
def wrapper(request, tmp_path):
    return InstalledWrapper(tmp_path, python=request.param())


def test_a_gpu_container_starts_and_its_line_is_in_the_decision_log(wrapper):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc")
    assert (call.status, call.stderr) == (0, "")
    assert b'"NVIDIA_VISIBLE_DEVICES=void"' in call.runsc.spec
    assert wrapper.decisions()[0]["given"] == ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl"]


@pytest.mark.parametrize(
    "spec",
    [b"nvidia", b"{", b'{"nvidia":', b'{"nvidia":1,}', b'{"nvidia":"\xff"}', b'{"nvidia":' + b"[" * 10_000],
    ids=["no JSON", "a brace", "half a pair", "a comma too many", "no UTF-8", "deep"],
)
def test_a_broken_spec_with_a_trace_is_refused_with_a_sentence(wrapper, spec):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", spec)), "abc")
    if b"nvidia" in spec:
        assert call.status == 1
        assert "config.json" in call.errors[-1]
        assert "wrapper.fault" not in call.errors[-1]
        assert "Traceback" not in call.stderr
    else:
        assert call.status == 0


def test_a_refusal_says_the_same(wrapper):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", nodes=False)
    assert call.status == 1
    assert "devices.exist" in call.errors[-1]


def test_host_preparation_runs(wrapper):
    wrapper.write_settings(host_prep=[["/bin/sh", "-c", "echo no driver >&2; exit 3"]])
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", nodes=False)
    assert "exit status 3, no driver" in call.errors[-1]
