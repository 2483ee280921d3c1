"""The two layouts, and a change from one to the other: what is the host's own stays its own."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.applied import Applied, Before
from deploys.model.kept_from_packages import put_back
from deploys.model.layouts import Layout
from deploys.model.plan import Step
from deploys.model.removal_plan import RemovalPlan, removal_plan
from deploys.model.site_plan import site_plan
from deploys.model.toolkit_config import beside, merged, swarm_resources
from deploys.model.verification.questions import task, verification
from deploys.model.versions import TOOLKIT_PACKAGES, ToolkitVersion
from tests.deploys.example_hosts import BLANK, at, drifted, file_record, recorded, settings, snapshot, without
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES, after
from tests.unit.deploys.test_toolkit_config import KINDS, leaves

if TYPE_CHECKING:
    from deploys.model.settings import Settings
    from deploys.model.snapshot import HostSnapshot
    from tests.deploys.example_hosts import Drift

DEDICATED = settings(layout="dedicated")
SHIM_BY_NAME = "nvidia-container-runtime"
OWN_RUNTIME = json.dumps({"log-level": "info", "runtimes": {"nvidia": {"path": SHIM_BY_NAME, "args": []}}})
LEGACY = (
    '# ours since 2019\n[nvidia-container-runtime]\nmode = "legacy"\nruntimes = ["docker-runc", "runc"]\n'
)
# What somebody has written there.
THEIRS = "dev, /dev/dri/card*\n"
IN_THE_HOSTS_PLACES = set(Layout.SHARED.files)


def found(config: str | None = LEGACY, *drifts: Drift, daemon_json: str = OWN_RUNTIME) -> HostSnapshot:
    """A host on which NVIDIA's runtime has been in use."""
    runtimes = {"runc": "runc", **{n: r["path"] for n, r in json.loads(daemon_json)["runtimes"].items()}}
    files: dict[str, Any] = {paths.DAEMON_JSON: file_record(daemon_json)}
    if config is not None:
        files[paths.TOOLKIT_CONFIG] = file_record(config)
    return drifted(BLANK, at("files", value=files), at("engine", "runtimes", value=runtimes), *drifts)


def running(**containers: list[str]) -> Drift:
    return at("engine", "containers", value=containers)


def run(wanted: Settings, host: HostSnapshot) -> HostSnapshot:
    """The host after a run with these settings, after which another one finds nothing to do."""
    made = site_plan(wanted, host, SOURCES)
    assert made.refusals == ()
    there = after(made, wanted, host, SOURCES)
    assert site_plan(wanted, there, SOURCES) == NOTHING
    return there


def of_the_host(host: HostSnapshot) -> dict[str, Any]:
    """Its own configuration, and the runtimes that Docker has besides ours."""
    runtimes = {name: path for name, path in host.engine.runtimes.items() if path != paths.ENTRY}
    named = json.loads(host.text_of(paths.DAEMON_JSON) or "{}").get("runtimes", {})
    return {
        "files": {path: host.files.get(path) for path in IN_THE_HOSTS_PLACES},
        "runtimes": runtimes,
        "named": {name: runtime for name, runtime in named.items() if runtime["path"] != paths.ENTRY},
    }


def left(wanted: Settings, host: HostSnapshot) -> RemovalPlan:
    before = Before.read(host)
    assert before is not None
    made = removal_plan(wanted, host, before)
    assert isinstance(made, RemovalPlan)
    return made


class TestDedicated:
    """Only our own runtime leads to gVisor."""

    @pytest.mark.parametrize("config", [LEGACY, None, "= broken", "[features]\nnew-in-2031 = 7\n"])
    def test_nothing_is_written_in_the_places_of_the_host(self, config):
        host = found(config, running(nvidia=["train"]))
        made = site_plan(DEDICATED, host, SOURCES)
        written = {change.path for _, change in made.files} | {file.path for file in made.restored}
        assert not any(path.startswith("/etc/nvidia-container-runtime") for path in written)
        assert set(Layout.DEDICATED.files) <= written
        assert of_the_host(run(DEDICATED, host)) == of_the_host(host)

    def test_our_runtime_leads_to_a_configuration_of_ours_that_leads_to_the_wrapper(self):
        host = run(DEDICATED, found())
        named = json.loads(host.text_of(paths.DAEMON_JSON))["runtimes"]
        assert named["nvidia-gvisor"] == {"path": paths.ENTRY}
        assert f"NVIDIA_CTK_CONFIG_FILE_PATH='{paths.OWN_TOOLKIT_CONFIG}'" in host.text_of(paths.ENTRY)
        config = tomllib.loads(host.text_of(paths.OWN_TOOLKIT_CONFIG))["nvidia-container-runtime"]
        assert config["runtimes"] == [paths.LAUNCHER]
        assert config["modes"]["csv"]["mount-spec-path"] == paths.OWN_CSV_DIR
        assert host.text_of(paths.OWN_DEVICES_CSV).startswith("dev, /dev/nvidiactl\n")

    def test_what_the_hosts_configuration_says_goes_along_with_it(self):
        host = run(DEDICATED, found(f'swarm-resource = "MY_GPU"\n{LEGACY}'))
        edited = at("files", paths.TOOLKIT_CONFIG, value=file_record(f'swarm-resource = "A, B"\n{LEGACY}'))
        made = site_plan(DEDICATED, drifted(host, edited), SOURCES)
        own, asked = (change.text for _, change in made.files)
        assert tomllib.loads(own)["swarm-resource"] == "A, B"
        assert json.loads(asked)["swarm_resources"] == ["A", "B"]

    def test_the_configuration_comes_before_the_entry_that_names_it(self):
        """Without the file the shim has its defaults: runc."""
        for wanted, host in ((DEDICATED, CONVERGED), (SETTINGS, run(DEDICATED, found()))):
            order = [change.path for change in site_plan(wanted, host, SOURCES).files_of(Step.RUNTIME_CONFIG)]
            assert order == [wanted.layout.toolkit_config, paths.ENTRY]

    def test_a_runtime_of_the_hosts_own_is_not_given_another_meaning(self):
        named = settings(layout="dedicated", runtime_name="nvidia")
        (refusal,) = site_plan(named, found(), SOURCES).refusals
        assert f"a runtime nvidia of the host's own ({SHIM_BY_NAME})" in str(refusal)
        assert "as nvidia-gvisor" in refusal.remedy
        assert site_plan(named, snapshot(BLANK), SOURCES).refusals == ()
        (refusal,) = site_plan(named, run(SETTINGS, found()), SOURCES).refusals
        assert "of the host's own" in str(refusal), "also where a run has taken its place"

    def test_our_own_configuration_that_was_spoilt_is_put_right_whatever_runs(self):
        spoilt = drifted(
            run(DEDICATED, found()),
            at("files", paths.OWN_TOOLKIT_CONFIG, value=file_record("")),
            running(**{"nvidia-gvisor": ["at-work"], "nvidia": ["train"]}),
        )
        made = site_plan(DEDICATED, spoilt, SOURCES)
        assert [change.path for _, change in made.files] == [paths.OWN_TOOLKIT_CONFIG]

    def test_a_verification_goes_through_the_entry_as_the_shim_itself_has_the_hosts_configuration(self):
        host = run(DEDICATED, found())
        asked = task(verification(settings(layout="dedicated", toolkit_version="1.18.2-1"), host))
        assert asked["runtime"] == paths.ENTRY
        assert {one["runtime"] for one in asked["runs"]} == {"nvidia-gvisor"}
        assert paths.OWN_CSV_DIR in next(one["config"] for one in asked["runs"] if one["config"])


@pytest.mark.parametrize(
    "host",
    [
        found(LEGACY, running(nvidia=["train"])),
        found("accept-nvidia-visible-devices-envvar-when-unprivileged = false\n"),
        found("[features]\nnew-in-2031 = 7\n"),
        found("= broken"),
    ],
    ids=["containers", "a policy", "an unknown key", "broken"],
)
def test_what_stands_against_shared_names_dedicated_and_does_not_stand_against_that(host):
    (refusal,) = site_plan(SETTINGS, host, SOURCES).refusals
    assert 'set layout = "dedicated"' in refusal.remedy
    assert site_plan(DEDICATED, host, SOURCES).refusals == ()


class TestChange:
    """One run leads from one layout to the other."""

    CASES = (
        found(),
        found(None),
        found(LEGACY, at("files", paths.DEVICES_CSV, value=file_record(THEIRS, 0o640))),
        found(None, daemon_json='{"runtimes": {"kata": {"path": "/k"}}}'),
        found("\ufeffdisable-require = true\r\n"),
    )

    @pytest.mark.parametrize("host", CASES)
    def test_after_shared_the_host_has_in_dedicated_what_it_had_before(self, host):
        there = run(DEDICATED, run(SETTINGS, host))
        assert of_the_host(there) == of_the_host(host)
        assert there.engine.runtimes == run(DEDICATED, host).engine.runtimes

    @pytest.mark.parametrize("host", CASES)
    def test_there_and_back_is_as_if_nothing_had_been(self, host):
        once = run(SETTINGS, host)
        back = run(SETTINGS, run(DEDICATED, once))
        assert back == once
        assert left(SETTINGS, back) == left(SETTINGS, once)

    @pytest.mark.parametrize("host", CASES)
    def test_a_removal_from_dedicated_touches_nothing_in_the_hosts_places(self, host):
        made = left(DEDICATED, run(DEDICATED, run(SETTINGS, host)))
        assert not IN_THE_HOSTS_PLACES & {*made.files, *(file.path for file in made.rewritten)}
        assert made.engine.file.text == host.text_of(paths.DAEMON_JSON)

    def test_what_its_owner_has_changed_in_dedicated_is_what_comes_back_from_shared(self):
        edited = drifted(
            run(DEDICATED, found()),
            at("files", paths.TOOLKIT_CONFIG, value=file_record('[nvidia-container-cli]\nroot = "/r"\n')),
            at("files", paths.DRIVERS_CSV, value=file_record(THEIRS)),
        )
        config = json.loads(edited.text_of(paths.DAEMON_JSON))
        config["runtimes"]["nvidia"] = {"path": "/opt/nvidia-container-runtime"}
        edited = drifted(
            edited,
            at("files", paths.DAEMON_JSON, value=file_record(json.dumps(config))),
            at("engine", "runtimes", "nvidia", value="/opt/nvidia-container-runtime"),
        )
        shared = run(SETTINGS, edited)
        made = left(SETTINGS, shared)
        assert [file.text for file in made.rewritten] == ['[nvidia-container-cli]\nroot = "/r"\n']
        assert json.loads(made.engine.file.text)["runtimes"]["nvidia"]["path"].startswith("/opt/")
        assert of_the_host(run(DEDICATED, shared)) == of_the_host(edited)

    def test_a_run_that_died_before_it_recorded_anything_takes_nothing_of_ours_for_the_hosts(self):
        host = found(None)
        whole = run(SETTINGS, host)
        for gone in ([], [paths.TOOLKIT_CONFIG, paths.ENTRY]):
            died = drifted(whole, without("files", paths.APPLIED), *(without("files", path) for path in gone))
            assert of_the_host(run(DEDICATED, died)) == of_the_host(host)
            assert set(Layout.SHARED.files) - set(gone) <= set(left(SETTINGS, died).files)

    @pytest.mark.parametrize("host", CASES)
    def test_what_such_a_run_has_replaced_is_known_by_the_copy_that_it_kept(self, host):
        died = drifted(run(SETTINGS, host), without("files", paths.APPLIED))
        assert of_the_host(run(DEDICATED, died)) == of_the_host(host)

    def test_a_change_that_died_on_the_way_is_ended_by_the_next_run_in_either_direction(self):
        shared = run(SETTINGS, found())
        made = site_plan(DEDICATED, shared, SOURCES)
        whole = after(made, DEDICATED, shared, SOURCES)
        # All but the record, and Docker's part or not.
        record = at("files", paths.APPLIED, value=shared.files[paths.APPLIED].model_dump())
        docker: list[Drift] = [
            at("files", paths.DAEMON_JSON, value=shared.files[paths.DAEMON_JSON].model_dump()),
            at("engine", "runtimes", value=dict(shared.engine.runtimes)),
        ]
        for died in (drifted(whole, record), drifted(whole, record, *docker)):
            assert of_the_host(run(DEDICATED, died)) == of_the_host(found())
            assert run(SETTINGS, died).engine.runtimes == shared.engine.runtimes
            before = json.loads(left(DEDICATED, died).engine.file.text)
            assert before == json.loads(OWN_RUNTIME)

    def test_containers_that_the_change_would_pull_away_from_their_runtime_refuse_it(self):
        """In shared, a second runtime of the host that is the shim itself runs in gVisor too."""
        two = json.dumps({"runtimes": {"nvidia": {"path": "/x"}, "gpu": {"path": SHIM_BY_NAME}}})
        shared = run(SETTINGS, found(daemon_json=two))
        (refusal,) = site_plan(DEDICATED, drifted(shared, running(gpu=["train"])), SOURCES).refusals
        assert "is the host's own again: train" in str(refusal)
        (refusal,) = site_plan(DEDICATED, drifted(shared, running(nvidia=["train"])), SOURCES).refusals
        assert "would run without gVisor when they are next started: train" in str(refusal)
        assert "--runtime=nvidia-gvisor" in refusal.remedy
        assert site_plan(DEDICATED, drifted(shared, running(runc=["web"])), SOURCES).refusals == ()

    def test_a_name_that_containers_still_run_by_stays_until_they_have_stopped(self):
        shared = drifted(CONVERGED, running(nvidia=["at-work"]))
        why = site_plan(DEDICATED, shared, SOURCES).engine.why
        assert "nvidia stays there while containers run by that name" in why
        there = run(DEDICATED, shared)
        assert there.engine.runtimes["nvidia"] == there.engine.runtimes["nvidia-gvisor"] == paths.ENTRY
        assert Applied.read(there).kept_runtimes == ("nvidia",)
        assert left(DEDICATED, there).runtimes == ("nvidia-gvisor", "nvidia")
        stopped = run(DEDICATED, drifted(there, running()))
        assert "nvidia" not in stopped.engine.runtimes
        assert stopped.engine.runtimes["nvidia-gvisor"] == paths.ENTRY
        assert Applied.read(stopped).kept_runtimes == ()

    def test_a_runtime_of_dockerds_command_line_is_loaded_again(self):
        host = drifted(
            BLANK,
            at("files", paths.DAEMON_JSON, value=file_record('{"default-runtime": "nvidia"}')),
            at("engine", "runtimes", value={"runc": "runc", "nvidia": "/n"}),
            at("engine", "default_runtime", value="nvidia"),
        )
        there = run(DEDICATED, run(SETTINGS, host))
        assert there.engine.runtimes["nvidia"] == "/n"

    def test_a_default_runtime_that_would_be_lost_refuses_the_change(self):
        ours = at("engine", "default_runtime", value="nvidia")
        (refusal,) = site_plan(DEDICATED, drifted(CONVERGED, ours), SOURCES).refusals
        assert "Docker's default runtime is nvidia" in str(refusal)


def test_what_an_installation_that_was_cut_off_has_rewritten_counts_as_it_was():
    kept = {"content": LEGACY, "mode": 0o640, "owner": 0, "group": 0}
    for content, wanted in ((kept, LEGACY), ({**kept, "content": None}, "")):
        cut = drifted(
            run(DEDICATED, found(None)),
            at("files", paths.TOOLKIT_CONFIG, value=file_record("rewritten = 1")),
            at("files", paths.KEPT_FROM_PACKAGES, value=file_record(json.dumps(content))),
        )
        seen = put_back(cut)
        assert seen.text_of(paths.TOOLKIT_CONFIG) == wanted
        made = site_plan(DEDICATED, seen, SOURCES)
        assert made.installation_was_cut
        assert "packages that were being installed" in made.reasons[0]
        old = at("packages", TOOLKIT_PACKAGES[0], value="1.17.8-1")
        assert not site_plan(DEDICATED, drifted(seen, old), SOURCES).installation_was_cut
    spoilt = at("files", paths.KEPT_FROM_PACKAGES, value=file_record("{"))
    assert put_back(drifted(cut, spoilt)).text_of(paths.TOOLKIT_CONFIG) == "rewritten = 1"


VERSION = ToolkitVersion.parse("1.20.0-1")


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", ["csv", "auto"])
def test_beside_the_hosts_file_ours_says_the_same_but_for_what_leads_to_the_wrapper(text, mode):
    wanted = settings(toolkit_mode=mode).toolkit_mode
    ours = leaves(beside(text, wanted, VERSION))
    assert (
        ours.items()
        >= {
            "nvidia-container-runtime.mode": mode,
            "nvidia-container-runtime.modes.csv.mount-spec-path": paths.OWN_CSV_DIR,
        }.items()
    )
    changed = {key for key, value in leaves(text).items() if ours[key] != value}
    assert changed <= {"nvidia-container-runtime.mode", "nvidia-container-runtime.runtimes"}
    assert swarm_resources(merged(text, wanted, VERSION)) == swarm_resources(beside(text, wanted, VERSION))


def test_what_the_toolkit_does_not_read_or_keeps_gpus_from_our_containers_is_not_taken_over():
    for text in (
        "accept-nvidia-visible-devices-envvar-when-unprivileged = false",
        'accept-nvidia-visible-devices-as-volume-mounts = "true"',
        "[nvidia-ctk]\nswarm-resource = 'X'",
        "[[features]]\nx = 1",
        "= broken",
    ):
        assert beside(text, SETTINGS.toolkit_mode, VERSION) == beside("", SETTINGS.toolkit_mode, VERSION)


@given(st.text(max_size=40), st.lists(st.text(max_size=10), max_size=3))
def test_whatever_a_text_of_the_hosts_holds_ours_holds_it_too(word, words):
    spelt = json.dumps(word, ensure_ascii=True).replace("\x7f", "\\u007f")
    listed = json.dumps(words, ensure_ascii=True).replace("\x7f", "\\u007f")
    try:
        text = f"[nvidia-container-cli]\nroot = {spelt}\nenvironment = {listed}\n"
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # JSON spells letters beyond the first plane as TOML does not.
    ours = tomllib.loads(beside(text, SETTINGS.toolkit_mode, VERSION))
    assert ours["nvidia-container-cli"] == {"root": word, "environment": words}


@given(st.lists(st.sampled_from(["shared", "dedicated", "edit", "csv", "auto"]), max_size=6))
def test_whatever_way_a_host_has_gone_a_removal_gives_it_back(way):
    host, wanted = found(), SETTINGS
    own, mode = LEGACY, "csv"
    for step in way:
        if step == "edit":
            if Layout.SHARED.toolkit_config in Applied.read(host).files:
                continue
            own = f"# edited\n{own}"
            host = drifted(host, at("files", paths.TOOLKIT_CONFIG, value=file_record(own)))
            continue
        mode = step if step in ("csv", "auto") else mode
        layout = step if step in tuple(Layout) else wanted.layout
        wanted = settings(layout=layout, toolkit_mode=mode)
        host = run(wanted, host)
    if Before.read(host) is None:
        return
    made = left(wanted, host)
    assert made.engine.file.text == OWN_RUNTIME
    is_shared = paths.TOOLKIT_CONFIG in Applied.read(host).files
    assert [file.text for file in made.rewritten] == ([own] if is_shared else [])
    assert is_shared or host.text_of(paths.TOOLKIT_CONFIG) == own


def test_a_record_of_an_earlier_release_has_the_copy_of_the_hosts_configuration_alone():
    shared = run(SETTINGS, found(f'swarm-resource = "X"\n{LEGACY}'))
    old = drifted(shared, recorded(paths.BEFORE, "toolkit_config", value=None))
    there = run(DEDICATED, old)
    assert of_the_host(there) == of_the_host(found(f'swarm-resource = "X"\n{LEGACY}'))
    assert swarm_resources(there.text_of(paths.OWN_TOOLKIT_CONFIG)) == ("X",)


def test_a_removal_after_an_installation_that_was_cut_off_leaves_the_configuration_as_it_was():
    kept = at("files", paths.KEPT_FROM_PACKAGES, value=file_record("{}"))
    for config in (LEGACY, None):
        made = left(DEDICATED, drifted(run(DEDICATED, found(config)), kept))
        assert [file.text for file in made.rewritten] == ([] if config is None else [config])
        assert (paths.TOOLKIT_CONFIG in made.files) == (config is None)
