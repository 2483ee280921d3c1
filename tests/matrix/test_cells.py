"""The pure half of the matrix: which cells there are, what each must show, what becomes of the answers."""

from __future__ import annotations

import itertools

import pytest

from deploys.model.applied import RuntimeProbe
from deploys.model.sight import END_LINE, Printed, Sight
from tests.lab.versions import GVISOR_RELEASES, TOOLKIT_VERSIONS, ToolkitVersion
from tests.matrix.cells import ALL, IMAGE_ALL, LATER, ONE, Behind, Cell, Mode, cells, short
from tests.matrix.judgement import Measured, Measurement, Seen, faults
from tests.matrix.report import Circumstances, as_json, markdown

NEWEST = {"toolkit": TOOLKIT_VERSIONS[-1], "release": GVISOR_RELEASES[-1]}
OLDEST = {"toolkit": TOOLKIT_VERSIONS[0], "release": GVISOR_RELEASES[0]}
WHOLE = list(cells(TOOLKIT_VERSIONS, GVISOR_RELEASES))
ONE_GPU = ("/dev/nvidia-uvm", "/dev/nvidia6", "/dev/nvidiactl")


def seen(devices=ONE_GPU, *, gvisor=True, libraries=("libcuda.so.1",), error="", cli=()):
    sight = Sight(gvisor, tuple(devices), (), tuple(libraries))
    return Seen(error, Printed(not error, sight, ()), tuple(cli), 0.5)


def cell(mode=Mode.CSV, request=ONE, **versions):
    return Cell(mode, request=request, **(versions or NEWEST))


def test_every_mode_meets_every_toolkit_every_runsc_and_every_request():
    whole = {(one.mode, one.toolkit, one.release, one.request) for one in WHOLE}
    wanted = set(itertools.product(Mode, TOOLKIT_VERSIONS, GVISOR_RELEASES, (ALL, ONE, IMAGE_ALL)))
    assert len(TOOLKIT_VERSIONS) == 6
    assert len(GVISOR_RELEASES) == 8
    assert wanted <= whole
    assert {mode for mode, *_ in whole - wanted} == {Mode.CSV}


def test_jit_cdi_exists_from_1_18_on():
    jit = [one for one in WHOLE if one.mode is Mode.JIT_CDI]
    assert {one.toolkit for one in jit if one.absence is None} == set(TOOLKIT_VERSIONS[1:])
    assert TOOLKIT_VERSIONS[1].version == "1.18.2"


def test_ids_above_one_exist_in_csv_before_1_19_only():
    later = [one for one in WHOLE if one.request is LATER]
    assert {one.toolkit.version for one in later if one.absence is None} == {"1.17.8", "1.18.2"}


def test_the_short_form_has_the_default_versions_and_those_that_are_newer():
    known = [ToolkitVersion("1.1.0", by_default=True), ToolkitVersion("1.2.0")]
    default = ToolkitVersion("1.3.0", by_default=True)
    newer = [ToolkitVersion("1.3.1"), ToolkitVersion("1.4.0")]
    assert short([*known, default]) == [known[0], default]
    assert short([*known, default, *newer]) == [known[0], default, *newer]


def test_the_node_of_a_gpu_is_that_of_its_minor():
    assert cell(request=ONE).devices == ONE_GPU


def test_the_oldest_runsc_is_on_a_host_of_its_own():
    assert cell(**OLDEST).machine.driver_version != cell().machine.driver_version


@pytest.mark.parametrize("mode", [Mode.CSV, Mode.CDI, Mode.JIT_CDI])
def test_a_container_as_asked_for_is_without_fault(mode):
    assert faults(cell(mode), seen()) == ()


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        (seen([*ONE_GPU, "/dev/nvidia1"]), "sees GPUs that were not asked for"),
        (seen([*ONE_GPU, "/dev/nvidia-modeset"]), "sees nodes that gVisor cannot serve"),
        (seen(["/dev/nvidia-uvm", "/dev/nvidia1", "/dev/nvidiactl"]), "does not see /dev/nvidia6"),
        (seen(()), "does not see /dev/nvidia-uvm /dev/nvidia6 /dev/nvidiactl"),
        (seen(gvisor=False), "is not in gVisor"),
        (seen(gvisor=None), "is not in gVisor"),
        (seen(libraries=("libnvidia-ml.so.1",)), "libcuda.so.1 does not load"),
        (seen(error="EOF\nmore"), "does not start: EOF"),
        (
            seen(cli=("T configure --device=all /x",)),
            "nvidia-container-cli is called as well, with --device=all",
        ),
    ],
)
def test_what_is_not_as_asked_for_is_said(shown, fault):
    assert faults(cell(Mode.CDI), shown) == (fault,)


def test_legacy_counts_what_nvidia_container_cli_was_told():
    good = "T --load-kmods configure --no-cgroups --pid=7 --device=1 --compute /x"
    for request in (ONE, IMAGE_ALL):
        assert faults(cell(Mode.LEGACY, request), seen((), libraries=(), cli=[good])) == ()
    for calls in ([], [good, good], [good.replace("=1", "=all")], [good.replace("--device=1", "")]):
        assert faults(cell(Mode.LEGACY), seen((), libraries=(), cli=calls)) != ()


def test_a_cell_that_does_not_exist_is_refused_by_the_shim_itself():
    missing = cell(Mode.CSV, LATER)
    assert faults(missing, seen(error="…: unsupported device id: 5")) == ()
    assert faults(missing, seen(error="another fault")) != ()
    assert faults(missing, seen()) != ()


def test_a_container_that_never_ended_is_one_that_did_not_start():
    answer = {"out": "kernel gvisor\n", "error": "", "cli": [], "seconds": 40.0}
    assert Seen.of_answer(answer, "6.1").error
    assert not Seen.of_answer({**answer, "out": f"kernel gvisor\n{END_LINE}\n"}, "6.1").error


def test_messages_that_differ_in_names_only_are_one_outcome():
    errors = [f"container nvproxy-matrix-{pid}-3: EOF" for pid in (12, 345)]
    assert len({faults(cell(), seen(error=error)) for error in errors}) == 1


def measurement(wanted, outcomes):
    """Every existing cell in each of its ways; `outcomes` are faults by (cell, behind), if there are any."""
    results = [
        Measured(one, behind, seen(), outcomes.get((one, behind), ()))
        for one in wanted
        if one.absence is None
        for behind in one.ways
    ]
    probe = RuntimeProbe(hooks_run=True, flags=(), supported_drivers=(), version=None)
    return Measurement(tuple(results), {one.release: probe for one in wanted}, "6.18.1")


def test_the_document_has_the_wrapper_first_and_the_same_letter_for_the_same_fault():
    wanted = list(cells(TOOLKIT_VERSIONS[-1:], GVISOR_RELEASES[-2:]))
    old, new = (Cell(Mode.CSV, TOOLKIT_VERSIONS[-1], release, ONE) for release in GVISOR_RELEASES[-2:])
    outcomes = {
        (old, Behind.ONE_LINE): ("no links",),
        (new, Behind.ONE_LINE): ("no links",),
        (new, Behind.WRAPPER): ("broken",),
    }
    text = markdown(wanted, measurement(wanted, outcomes), Circumstances("2026-01-02", 2, 3.0))
    assert f"| {TOOLKIT_VERSIONS[-1].version} | one | ✔ a | b a ✔ |" in text
    assert f"| {TOOLKIT_VERSIONS[-1].version} | later | · | · |" in text
    assert "- **a**: no links\n- **b**: broken" in text
    assert "| the wrapper | 11 of 12 | 6 of 6 | 6 of 6 | 6 of 6 |" in text
    assert "| the one line | 10 of 12 | 6 of 6 | 6 of 6 | 6 of 6 |" in text
    assert "| the wrapper, by hand | 6 of 6 | 3 of 3 | 3 of 3 | 3 of 3 |" in text
    assert max(map(len, text.splitlines())) < 200


def test_a_message_whose_cause_is_known_is_explained():
    wanted = list(cells(TOOLKIT_VERSIONS[-1:], GVISOR_RELEASES[-1:]))
    message = 'does not start: failure executing hook "/usr/bin/nvidia-ctk", err: exit status 1'
    outcomes = {(cell(Mode.JIT_CDI), Behind.ONE_LINE): (message,)}
    text = markdown(wanted, measurement(wanted, outcomes), Circumstances("2026-01-02", 2, 3.0))
    assert f"- **a**: {message} (the hook is disable-device-node-modification" in text


def test_the_report_has_every_container():
    wanted = list(cells(TOOLKIT_VERSIONS[-1:], GVISOR_RELEASES[-1:]))
    report = as_json(measurement(wanted, {}), Circumstances("2026-01-02", 2, 3.0))
    assert len(report["cells"]) == 3 * sum(one.absence is None for one in wanted)
    assert report["runsc"]["20260905"]["hooks_run"] is True


def test_jit_cdi_is_configured_as_auto_where_it_exists():
    assert cell(Mode.JIT_CDI).configured_mode == "auto"
    assert cell(Mode.JIT_CDI, **OLDEST).configured_mode == "jit-cdi"
    assert cell(Mode.CSV).configured_mode == "csv"
