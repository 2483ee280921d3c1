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


@pytest.mark.parametrize("word", [b"/dev/nvidia0", b"nvidia"], ids=["a node", "a word"])
@pytest.mark.parametrize(
    "spec",
    [b"%s", b'{"%s":', b'{"%s":1,}', b'{"%s":"\xff"}', b'{"%s":' + b"[" * 10_000, b'{"a":"%s","a":"b"}'],
    ids=["no JSON", "half a pair", "a comma too many", "no UTF-8", "deep", "twice"],
)
def test_a_broken_spec_is_refused_with_a_sentence_or_left_to_runsc(wrapper, spec, word):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", spec % word)), "abc")
    assert "Traceback" not in call.stderr
    if call.runsc is None:
        assert call.status == 1
        assert "config.json" in call.errors[-1]
        assert "wrapper.fault" not in call.errors[-1]
    else:
        assert (call.status, call.errors, call.runsc.spec) == (0, [], spec % word)
    if b"[[" not in spec:
        # How deep Python reads is another in each version; too deep is refused.
        is_json = b":" in spec and spec.endswith(b'"}')
        assert (call.runsc is None) == (word != b"nvidia" and not is_json)


def test_a_refusal_says_the_same(wrapper):
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", nodes=False)
    assert call.status == 1
    assert "devices.exist" in call.errors[-1]


def test_host_preparation_runs(wrapper):
    wrapper.write_settings(host_prep=[["/bin/sh", "-c", "echo no driver >&2; exit 3"]])
    call = wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", nodes=False)
    assert "exit status 3, no driver" in call.errors[-1]
