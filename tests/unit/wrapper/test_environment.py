"""The container's environment, and the one that runsc gets."""

from hypothesis import given
from hypothesis import strategies as st

from nvproxy_wrapper.judge.environment import values, with_one
from nvproxy_wrapper.judge.process_environment import for_runsc

ENTRIES = st.lists(st.sampled_from(["A=1", "B=1", "B=2", "B", "BB=1", "C=B=3", ""]))
FOR_SYSTEMD_AND_CONSOLES = [
    b"XDG_RUNTIME_DIR",
    b"NOTIFY_SOCKET",
    b"LISTEN_FDS",
    b"LISTEN_PID",
    b"LISTEN_FDNAMES",
]


@given(ENTRIES)
def test_a_variable_is_there_once_in_its_first_place_and_nothing_else_moves(env):
    made = with_one(env, "B", "new=1")
    assert values(made, "B") == ["new=1"]
    others = [entry for entry in env if entry != "B" and not entry.startswith("B=")]
    assert [entry for entry in made if entry != "B=new=1"] == others
    place = next((place for place, entry in enumerate(env) if entry not in others), len(others))
    assert made.index("B=new=1") == place


def test_runsc_gets_what_systemd_and_a_console_need_and_a_path_of_the_wrappers_own():
    needed = {name: b"x=" + name for name in FOR_SYSTEMD_AND_CONSOLES}
    others = [b"LD_PRELOAD", b"PYTHONPATH", b"PATH", b"GVISOR_SIDECAR_BINARIES_DIR", b"notify_socket"]
    path = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert for_runsc({**needed, **dict.fromkeys(others, b"/x")}) == {**needed, b"PATH": path}
    assert for_runsc({}) == {b"PATH": path}
