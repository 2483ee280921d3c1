"""Host preparation: what it makes, and what is said where it does not help."""

import json

from tests.unit.wrapper_runtime.creations import CSV, assert_refused


def host_prep(wrapper, script):
    """Host preparation that is a script, and the file in which it notes each time it ran."""
    program = wrapper.home / "prep"
    program.write_text("#!/bin/sh\necho ran >>" + str(wrapper.home / "ran") + "\n" + script)
    program.chmod(0o755)
    wrapper.write_settings(host_prep=[[str(program), "an argument"]])


def times_run(wrapper):
    ran = wrapper.home / "ran"
    return len(ran.read_text().splitlines()) if ran.exists() else 0


def test_host_preparation_is_not_run_where_all_nodes_are_there(wrapper):
    host_prep(wrapper, "")
    assert wrapper.call("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc").status == 0
    assert times_run(wrapper) == 0


def test_host_preparation_makes_the_nodes_and_the_container_starts(wrapper):
    host_prep(wrapper, "mknod /dev/nvidia0 c 195 0")
    prefix = ["/bin/sh", "-c", 'rm /dev/nvidia0; exec "$@"', "sh"]
    call = wrapper.call_exactly("create", "--bundle", str(wrapper.bundle("b", CSV)), "abc", prefix=prefix)
    assert (call.status, call.stderr) == (0, "")
    assert times_run(wrapper) == 1


def test_host_preparation_that_does_not_help_runs_once_and_its_words_are_in_the_refusal(wrapper):
    host_prep(wrapper, "env; pwd; echo module not found >&2; exit 3")
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "exit status 3", "module not found", "devices.exist")
    assert times_run(wrapper) == 1


def test_host_preparation_comes_too_late_for_a_spec_without_nodes_and_helps_the_next(wrapper):
    spec = json.loads(CSV)
    spec["linux"]["devices"] = []
    text = json.dumps(spec).encode()
    host_prep(wrapper, "true")
    bundle = wrapper.bundle("b", text)
    call = wrapper.call("create", "--bundle", str(bundle), "abc")
    assert_refused(call, bundle, text, "/dev/nvidiactl", "devices.exist", "start the container again")
    assert times_run(wrapper) == 1


def test_host_preparation_that_is_not_there_is_in_the_refusal(wrapper):
    wrapper.write_settings(host_prep=[["/nonexistent/modprobe", "nvidia"]])
    bundle = wrapper.bundle("b", CSV)
    call = wrapper.call("create", "--bundle", str(bundle), "abc", nodes=False)
    assert_refused(call, bundle, CSV, "/nonexistent/modprobe nvidia: No such file or directory")
