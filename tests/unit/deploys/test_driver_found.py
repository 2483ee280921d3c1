"""The driver as it is found: what stops a host, with a sentence of its own, and what is only said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from deploys.model import paths
from deploys.model.device_specs import devices_csv, drivers_csv
from deploys.model.plan import Plan
from deploys.model.site_plan import site_plan
from tests.deploys.example_hosts import BLANK, DRIVER, at, drifted, file_record, settings, snapshot
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES

if TYPE_CHECKING:
    from tests.deploys.example_hosts import Drift

LIB = "/usr/lib/x86_64-linux-gnu"
FIRST, SECOND = (gpu["pci"] for gpu in BLANK["gpus"])


def driver(**changes: Any) -> Drift:
    return lambda record: record["driver"].update(changes)


def around(**facts: Any) -> Drift:
    return lambda record: record.setdefault("surroundings", {}).update(facts)


def together(*drifts: Drift) -> Drift:
    def drift(record: dict[str, Any]) -> None:
        for one in drifts:
            one(record)

    return drift


def only_at(folder: str) -> Drift:
    return driver(libraries=[f"{folder}/libcuda.so.{DRIVER}"], links=[], by_linker=False)


NOTHING_LOADED = driver(version=None, libraries=[], links=[])
OTHERS = driver(libraries=[], links=[], by_linker=False, other_libraries=[f"{LIB}/libnvidia-ml.so.575.57.08"])
JETSONS = "dev, /dev/nvhost-ctrl\nlib, /usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1.1\n"

REFUSALS: dict[str, tuple[Drift, tuple[str, ...]]] = {
    "installed, and not loaded": (
        together(NOTHING_LOADED, driver(installed={"modinfo -F version nvidia": "575.57.08"})),
        (
            "no NVIDIA driver is loaded",
            "installed is 575.57.08 (modinfo -F version nvidia)",
            "modprobe nvidia",
        ),
    ),
    "upgraded, and not rebooted": (
        OTHERS,
        (f"runs the NVIDIA driver {DRIVER}", "those of 575.57.08", "not rebooted", "Reboot the host"),
    ),
    "upgraded by half": (
        together(OTHERS, driver(installed={"modinfo -F version nvidia": DRIVER})),
        ("those of 575.57.08", "only a part", f"Install its libraries of {DRIVER}"),
    ),
    "in a container of NVIDIA's operator": (
        only_at("/run/nvidia/driver/usr/lib/x86_64-linux-gnu"),
        ("where neither the linker nor", 'root = "/run/nvidia/driver"', paths.TOOLKIT_CONFIG),
    ),
    "where no linker looks": (
        only_at("/opt/nvidia/lib64"),
        ("are in /opt/nvidia/lib64", "Write /opt/nvidia/lib64 into /etc/ld.so.conf.d/nvidia.conf"),
    ),
    "every gpu excluded": (
        together(at("gpus", value=[]), at("excluded_gpus", value=[FIRST, SECOND])),
        (f"leaves every GPU of this host alone: {FIRST}, {SECOND}", "NVreg_ExcludedGpus"),
    ),
    "no gpu with a minor": (
        lambda record: [gpu.update(minor=None) for gpu in record["gpus"]],
        ("tells of no GPU which device node", "no Device Minor", "newer driver"),
    ),
    "mig": (
        at("mig_gpus", value=[SECOND]),
        (f"GPU {SECOND} of this host is in MIG mode", "whole GPUs only", "-mig 0"),
    ),
    "wsl": (
        together(NOTHING_LOADED, around(wsl=True)),
        ("Windows Subsystem for Linux", "/dev/dxg", "leave this one out"),
    ),
    "jetson": (
        around(tegra="/etc/nv_tegra_release"),
        ("a Jetson", "/etc/nv_tegra_release", "Leave this host"),
    ),
    "jetson by its libcuda": (
        driver(libraries=[], other_libraries=["/opt/nvidia/l4t-gpu-libs/nvgpu/libcuda.so.1.1"]),
        ("a Jetson", "libcuda.so.1.1"),
    ),
    "a jetson's csv": (
        around(csv_files=["devices.csv", "l4t.csv"]),
        ("l4t.csv: that is of NVIDIA's packages for Jetson", 'layout = "dedicated"'),
    ),
    "a jetson's csv by what it says": (
        at("files", paths.DEVICES_CSV, value=file_record(JETSONS)),
        (paths.DEVICES_CSV, "packages for Jetson", 'layout = "dedicated"'),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_driver_that_cannot_be_used_is_one_refusal_with_its_own_sentence(case):
    drift, words = REFUSALS[case]
    made = site_plan(SETTINGS, drifted(BLANK, drift), SOURCES)
    assert not made.reasons, "a refused host gets no change"
    (refusal,) = made.refusals
    for word in words:
        assert word in str(refusal)
    assert re.fullmatch(r"[^.].*[^.]\. [A-Z].*\.", str(refusal), re.DOTALL), "what is wrong, and what to do"


@pytest.mark.parametrize("path", [paths.DEVICES_CSV, paths.DRIVERS_CSV])
def test_csv_files_of_ours_are_not_taken_for_a_jetsons(path):
    assert path in CONVERGED.files
    assert site_plan(SETTINGS, CONVERGED, SOURCES) == NOTHING


def test_a_jetsons_csv_stops_nothing_where_ours_lies_elsewhere():
    host = drifted(BLANK, at("files", paths.DEVICES_CSV, value=file_record(JETSONS)))
    made = site_plan(settings(layout="dedicated"), host, SOURCES)
    assert made.refusals == ()
    assert paths.DEVICES_CSV not in {change.path for _, change in made.files}


NOTES: dict[str, tuple[Drift, tuple[str, ...]]] = {
    "one excluded": (
        lambda record: record.update(gpus=record["gpus"][1:], excluded_gpus=[FIRST]),
        (f"GPU {FIRST} alone", "NVreg_ExcludedGpus"),
    ),
    "uuid not known yet": (
        lambda record: record["gpus"][1].update(uuid=None),
        (f"UUID of GPU {SECOND} yet", "by its index only", "nvidia-persistenced"),
    ),
    "one without a minor": (
        lambda record: record["gpus"][0].update(minor=None),
        (f"minor of GPU {FIRST}", "no container gets it"),
    ),
    "nvml twice": (
        driver(other_libraries=["/usr/local/lib/libnvidia-ml.so.575.57.08"]),
        ("/usr/local/lib/libnvidia-ml.so.575.57.08", "Remove the packages"),
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_only_limits_what_containers_get_is_said_and_stops_nothing(case):
    drift, words = NOTES[case]
    made = site_plan(SETTINGS, drifted(BLANK, drift), SOURCES)
    assert made.refusals == ()
    (note,) = made.notes
    for word in words:
        assert word in note


def test_a_note_alone_leaves_a_converged_host_without_changes():
    host = drifted(CONVERGED, lambda record: record["gpus"][1].update(uuid=None))
    made = site_plan(SETTINGS, host, SOURCES)
    assert made.empty
    assert made.notes


def test_a_refused_host_is_told_its_notes_too():
    host = drifted(BLANK, at("mig_gpus", value=[FIRST]), at("excluded_gpus", value=["0000:03:00.0"]))
    made = site_plan(SETTINGS, host, SOURCES)
    assert made == Plan(refusals=made.refusals, notes=made.notes)
    assert (len(made.refusals), len(made.notes)) == (1, 1)


def test_an_excluded_gpu_has_no_line():
    drift, _ = NOTES["one excluded"]
    assert "/dev/nvidia1" not in devices_csv(drifted(BLANK, drift))


def below(root: str) -> Drift:
    text = f'[nvidia-container-cli]\nroot = "{root}"\n'
    return together(
        at("files", paths.TOOLKIT_CONFIG, value=file_record(text)),
        only_at("/run/nvidia/driver/usr/lib/x86_64-linux-gnu"),
    )


@pytest.mark.parametrize("root", ["/run/nvidia/driver", "/run/nvidia/driver/"])
def test_files_below_the_root_that_the_runtime_has_are_named_as_it_looks_for_them(root):
    host = drifted(BLANK, below(root))
    assert site_plan(SETTINGS, host, SOURCES).refusals == ()
    assert drivers_csv(host).splitlines()[0] == f"lib, {LIB}/libcuda.so.{DRIVER}"


@pytest.mark.parametrize("root", ["", "/", "/run/nvidia", "/run/nvidia/driver2", "/mnt"])
def test_another_root_does_not_help(root):
    made = site_plan(SETTINGS, drifted(BLANK, below(root)), SOURCES)
    assert bool(made.refusals) == (root != "/run/nvidia")


@pytest.mark.parametrize("allowed", [["compute", "utility"], ["compute", "utility", "compat32"]])
def test_32_bit_libraries_are_given_only_where_they_are_asked_for(allowed):
    host = drifted(
        BLANK,
        driver(
            libraries_32=[f"/usr/lib/i386-linux-gnu/libcuda.so.{DRIVER}"],
            links_32=["/usr/lib/i386-linux-gnu/libcuda.so.1"],
        ),
    )
    made = site_plan(settings(allowed_capabilities=allowed), host, SOURCES)
    (text,) = (change.text for _, change in made.files if change.path == paths.DRIVERS_CSV)
    assert ("i386" in text) == ("compat32" in allowed)
    assert text.count("i386") in {0, 2}


def test_a_config_that_cannot_be_read_names_no_root():
    broken = at("files", paths.TOOLKIT_CONFIG, value=file_record("nvidia-container-cli = 7\n"))
    assert drivers_csv(drifted(BLANK, broken)) == drivers_csv(snapshot(BLANK))
