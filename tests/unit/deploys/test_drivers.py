"""Driver and runsc are one pair: which releases of those that were asked list a host's driver."""

from __future__ import annotations

import pytest

from deploys.model.drivers import pair, unsupported
from deploys.model.site_plan import site_plan
from deploys.model.snapshot import InstalledRelease
from deploys.model.versions import DriverVersion
from tests.deploys.example_hosts import BLANK, DRIVER, RELEASE, at, drifted, settings, snapshot
from tests.deploys.simulated_host import SETTINGS, SOURCES

OLD = {"name": "20250812", "drivers": ["550.90.07", DRIVER], "in_use": False}
NOT_LOADED = at("driver", "version", value=None)
INSTALLED = at("driver", "installed", value={"/usr/src/nvidia-575.57.08": "575.57.08"})


def host(*drifts, releases=()):
    return drifted(BLANK, at("surroundings", value={"releases": list(releases)}), *drifts)


def test_a_release_that_was_fetched_lists_the_loaded_driver():
    found = pair(SETTINGS, host(), {RELEASE: ["550.90.12", DRIVER]})
    assert (found.listed, found.state) == (True, "loaded")
    assert str(found) == f"driver {DRIVER} (loaded), gVisor {RELEASE}: it lists this driver"


def test_one_that_does_not_has_its_nearest_named_and_another_that_does():
    found = pair(
        SETTINGS, host(releases=[OLD]), {RELEASE: ["535.129.03", "570.86.15", "570.133.20", "620.06"]}
    )
    assert found.listed is False
    assert DriverVersion.parse("570.133.20") in found.near
    assert found.others == ("20250812",)
    assert "not listed, nearest are" in str(found)
    assert "also listed by gVisor 20250812" in str(found)


def test_a_driver_that_is_only_installed_has_a_pair_too():
    found = pair(SETTINGS, host(NOT_LOADED, INSTALLED), {RELEASE: ["575.57.8"]})
    assert found.listed is True
    assert "driver 575.57.08 (/usr/src/nvidia-575.57.08), gVisor" in str(found)


@pytest.mark.parametrize("asked", [{}, {RELEASE: []}])
def test_where_nobody_could_be_asked_that_is_not_taken_for_a_no(asked):
    found = pair(SETTINGS, host(), asked)
    assert found.listed is None
    assert "not known yet" in str(found)


def test_a_host_without_any_driver_says_so():
    assert str(pair(SETTINGS, host(NOT_LOADED), {})).startswith(
        "driver: none is loaded, and none is installed"
    )


def test_a_refusal_names_the_releases_on_the_host_that_list_the_driver():
    known = (InstalledRelease(name="20250812", drivers=("550.90.7", DRIVER), in_use=False),)
    assert "set gvisor_release to 20250812, which lists it" in str(
        unsupported(SETTINGS, DRIVER, ["620.06"], known)
    )
    assert "'runsc nvproxy list-supported-drivers' prints 570.124.06" in str(
        unsupported(SETTINGS, DRIVER, ["620.06"])
    )


def test_a_release_is_fetched_to_be_asked_where_only_the_driver_is_not_loaded_yet():
    made = site_plan(SETTINGS, host(NOT_LOADED, INSTALLED), SOURCES)
    assert (len(made.refusals), made.reasons) == (1, ())
    assert made.asked is not None
    assert made.asked.release == RELEASE


@pytest.mark.parametrize(
    "drifts",
    [
        (NOT_LOADED,),
        (NOT_LOADED, INSTALLED, at("uid", value=1000)),
        (at("gpus", value=[]),),
        (),
    ],
)
def test_and_nowhere_else(drifts):
    assert site_plan(SETTINGS, host(*drifts), SOURCES).asked is None


def test_and_not_where_it_lies_on_the_host():
    there = {**OLD, "name": RELEASE}
    assert site_plan(SETTINGS, host(NOT_LOADED, INSTALLED, releases=[there]), SOURCES).asked is None
    assert pair(SETTINGS, host(releases=[there]), {}).listed is True


def test_the_settings_of_another_release_ask_that_one():
    other = settings(gvisor_release="20260616")
    assert pair(other, snapshot(BLANK), {RELEASE: [DRIVER]}).listed is None
