"""Is the lab true? The two failures that made this project necessary happen in it as on real machines.

With a one-line wrapper, as gVisor's guide shows one, and the newest of everything, jit-cdi dies in a hook,
and cdi asks for a program that a cdi host does not need.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploys.model.versions import TOOLKIT_DEFAULT, TOOLKIT_FLOOR
from tests.lab import Engine, HostDefinition, Lab, LabError, machine
from tests.lab.cache import Cache, Part
from tests.lab.driver import nvml_stubs
from tests.lab.network import Network
from tests.lab.progress import Progress
from tests.lab.trees import mount_points_below
from tests.lab.versions import DRIVER_VERSION

CHECKOUT = Path(__file__).parents[2]
TOOLKIT = str(TOOLKIT_DEFAULT)
GVISOR = "20260905"
LIBNVIDIA_PACKAGES = ("libnvidia-container1", "libnvidia-container-tools")

INSTALL = """
set -eu
curl -fsS "$MIRROR_KEY" | gpg --batch --yes --dearmor -o /usr/share/keyrings/nvidia.gpg
echo "deb [signed-by=/usr/share/keyrings/nvidia.gpg] $MIRROR_DEBS /" > /etc/apt/sources.list.d/nvidia.list
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $PACKAGES
cd /tmp
curl -fsSO "$TARBALL" -O "$TARBALL.sha512"
sha512sum --check --quiet gvisor.tar.bz2.sha512
mkdir /opt/gvisor
tar -C /opt/gvisor -xjf gvisor.tar.bz2
cat > /usr/local/bin/one-line-wrapper <<'WRAPPER'
#!/bin/sh
exec /opt/gvisor/runsc --nvproxy --nvproxy-driver-version=@DRIVER@ --debug --debug-log=/var/log/runsc/ "$@"
WRAPPER
chmod +x /usr/local/bin/one-line-wrapper
nvidia-ctk config --in-place --set nvidia-container-runtime.mode=$MODE \
    --set nvidia-container-runtime.runtimes=/usr/local/bin/one-line-wrapper
mkdir -p /etc/docker
echo '{"runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}}' > /etc/docker/daemon.json
systemctl reload docker
# An image without a registry: two programs and what they load.
mkdir /tmp/image
for program in /bin/sh /bin/ls; do
    for file in $program $(ldd $program | grep -o '/[^ ]*'); do
        mkdir -p "/tmp/image$(dirname $file)"
        cp -L $file /tmp/image$file
    done
done
tar -C /tmp/image -c . | docker import - smoke:1
"""


@pytest.fixture(scope="module")
def lab():
    return Lab.open()


@contextmanager
def fresh_host(lab, definition):
    """A host that nobody has used, gone at the end."""
    lab.down([definition.name])
    (host,) = lab.up([definition])
    try:
        yield host
    finally:
        lab.down([definition.name])


def install_one_line_wrapper(lab, host, packages, mode, toolkit=TOOLKIT):
    """The chain as a user of gVisor's guide has it."""
    mirror = json.loads(lab.inventory_file.read_text())["mirror"]
    environment = {
        "MIRROR_KEY": mirror["toolkit_repository_url"].replace("/stable", "/gpgkey"),
        "MIRROR_DEBS": mirror["toolkit_repository_url"] + "/deb/$(ARCH)",
        "TARBALL": f"{mirror['gvisor_url']}/{GVISOR}/x86_64/gvisor.tar.bz2",
        "PACKAGES": " ".join(f"{package}={toolkit}" for package in packages),
        "MODE": mode,
    }
    script = "".join(f"export {key}='{value}'\n" for key, value in environment.items())
    host.run(script + INSTALL.replace("@DRIVER@", DRIVER_VERSION), timeout=300)


@pytest.mark.lab
class TestTheRealFailures:
    def test_a_one_line_wrapper_dies_in_the_hook_disable_device_node_modification_under_jit_cdi(self, lab):
        packages = (*LIBNVIDIA_PACKAGES, "nvidia-container-toolkit-base", "nvidia-container-toolkit")
        with fresh_host(lab, HostDefinition("truth-1", gpus=8, engine=Engine.CURRENT)) as host:
            install_one_line_wrapper(lab, host, packages, "auto")
            assert "bin" in host.run("docker run --rm smoke:1 ls /").stdout
            ran = host.run(
                "docker run --rm --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=1 smoke:1 ls /dev", check=False
            )
            assert ran.returncode != 0
            assert "cannot read client sync file: waiting for sandbox to start: EOF" in ran.stderr
            gofer = host.run("cat /var/log/runsc/*gofer*").stdout
            failed = [line for line in gofer.splitlines() if "error executing CreateContainer hooks" in line]
            assert failed
            assert 'failure executing hook "/usr/bin/nvidia-ctk"' in failed[0]
            assert "disable-device-node-modification" in gofer

    @pytest.mark.parametrize(
        ("toolkit", "dies"),
        # Up to 1.20.0 `void` comes behind the request, which runsc then takes for one of legacy mode.
        [(f"{TOOLKIT_FLOOR}", True), (TOOLKIT, False)],
    )
    def test_cdi_without_nvidia_container_cli_dies_for_want_of_it(self, lab, toolkit, dies):
        with fresh_host(lab, HostDefinition("truth-2", gpus=8, engine=Engine.CURRENT)) as host:
            packages = ("nvidia-container-toolkit-base",)
            install_one_line_wrapper(lab, host, packages, "cdi", toolkit)
            assert host.run("command -v nvidia-container-cli", check=False).returncode != 0
            host.run("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")
            ran = host.run(
                "docker run --rm --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all smoke:1 ls /dev", check=False
            )
            assert bool(ran.returncode) is dies, ran.stderr
            assert ("failed to locate nvidia-container-cli in PATH" in ran.stderr) is dies


def up_in_background(name):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "up", name],
        cwd=CHECKOUT, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.lab
@pytest.mark.parametrize("moment", ["its directory is there", "its root is mounted", "its process 1 runs"])
def test_a_lab_that_was_killed_comes_up_the_next_time(lab, moment):
    definition = HostDefinition("killed-1")
    lab.up([definition])  # so that everything is built, and its place in the network known
    lab.down([definition.name])
    host = lab.host(definition.name)
    reached = {
        "its directory is there": host.directory.exists,
        "its root is mounted": lambda: bool(mount_points_below(host.directory)),
        "its process 1 runs": lambda: bool(host.processes()),
    }[moment]
    process = up_in_background(definition.name)
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not host.record.exists()

    lab.up([definition])
    assert host.run("docker version --format '{{.Server.Version}}'").stdout.startswith("20.10")
    lab.down([definition.name])
    assert not mount_points_below(host.directory)
    assert not host.directory.exists()
    assert not host.processes()


@pytest.mark.lab
def test_a_host_that_is_up_stays_as_it_is(lab):
    definition = HostDefinition("stays-1", gpus=1, engine=Engine.NONE, user="fleet")
    with fresh_host(lab, definition) as host:
        boot = "cat /etc/machine-id && stat -c %Y /proc/1"
        before = host.run(boot).stdout
        lab.up([definition])
        assert host.run(boot).stdout == before
        assert host.run("command -v dockerd docker containerd runc", check=False).stdout == ""
        login = lab.ssh_command(definition.name, ["sudo", "--non-interactive", "whoami"])
        assert subprocess.run(login, capture_output=True, text=True, check=True).stdout == "root\n"


@pytest.mark.lab
def test_a_program_that_outlives_its_time_limit_is_killed_in_the_host(lab):
    with fresh_host(lab, HostDefinition("limit-1", engine=Engine.NONE, gpu=False)) as host:
        with pytest.raises(LabError, match="took more than 1 s"):
            host.run(["sleep", "4711"], timeout=1)
        assert "4711" not in host.run("ps -ef").stdout


class TestTheCache:
    def build(self, directory, *parts):
        cache = Cache(directory)
        with Progress() as progress, cache.lock(progress):
            cache.build(parts, progress)
        return cache

    def test_a_part_that_failed_is_not_there_and_is_built_anew(self, tmp_path):
        tries = []

        def build(_cache, into):
            (into / "half").touch()
            tries.append(into)
            if len(tries) == 1:
                raise LabError("no")

        part = Part("part", "1", build)
        with pytest.raises(LabError, match="no"):
            self.build(tmp_path, part)
        cache = self.build(tmp_path, part)
        assert [path.name for path in cache.path(part).iterdir()] == ["half"]
        assert not list(cache.tmp.iterdir())

    def test_a_part_is_built_once_and_again_when_its_definition_or_what_it_needs_changes(self, tmp_path):
        built = []
        first = Part("first", "1", lambda *_: built.append("first"))
        second = Part("second", "1", lambda *_: built.append("second"), (first,))
        self.build(tmp_path, second)
        self.build(tmp_path, second)
        assert built == ["first", "second"]
        changed = Part("first", "2", lambda *_: built.append("first again"))
        self.build(tmp_path, Part("second", "1", lambda *_: built.append("second again"), (changed,)))
        assert built == ["first", "second", "first again", "second again"]


class TestWhatStopsTheLabBeforeItBegins:
    def test_not_root(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(LabError, match="needs root"):
            machine.check(tmp_path)

    def test_another_system(self, monkeypatch, tmp_path):
        monkeypatch.setattr(machine, "os_release", lambda: {"ID": "fedora"})
        with pytest.raises(LabError, match=r"this system is fedora .*Debian or Ubuntu"):
            machine.check(tmp_path)

    def test_no_go(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LabError, match=r"no go in PATH.*https://go\.dev/dl/"):
            machine.check(tmp_path)

    @pytest.mark.parametrize("said", ["go version go1.25.9 linux/amd64", "go version devel"])
    def test_an_old_go(self, monkeypatch, tmp_path, said):
        (tmp_path / "go").write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / "go").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(LabError, match=r"too old .*https://go\.dev/dl/"):
            machine.check(tmp_path)

    def test_no_namespaces(self, monkeypatch, tmp_path):
        (tmp_path / "unshare").write_text(
            "#!/bin/sh\necho unshare failed: Operation not permitted >&2\nexit 1\n"
        )
        (tmp_path / "unshare").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(LabError, match=r"namespaces cannot be made here .*not permitted"):
            machine.check(tmp_path)

    def test_a_full_disk(self, monkeypatch, tmp_path):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
        with pytest.raises(LabError, match=r"0 GiB free .*NVPROXY_LAB_CACHE"):
            machine.check(tmp_path / "not" / "there")

    @pytest.mark.parametrize("name", ["", "a", "Gpu", "gpu_a", "-gpu", "gpu/../../etc"])
    def test_a_name_that_is_no_host_name(self, name):
        with pytest.raises(LabError, match="cannot name a host"):
            HostDefinition(name)


def test_the_archive_is_found_also_on_a_machine_whose_apt_has_fetched_no_lists_yet(tmp_path, monkeypatch):
    # Who stands behind a source, apt knows from the lists.
    (tmp_path / "apt-get").write_text(f"""#!/bin/sh
case "$*" in
*update) touch {tmp_path}/lists ;;
*) [ -e {tmp_path}/lists ] && who="Debian Debian bookworm"; echo "http://debian.example.org/debian $who" ;;
esac
""")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "os_release", lambda: {"ID": "debian"})
    assert machine.debian_mirror() == "http://debian.example.org/debian"


def test_every_function_of_the_header_gets_a_stub():
    header = (
        "nvmlReturn_t DECLDIR nvmlInit_v2(void);\n"
        "DEPRECATED(13.0) nvmlReturn_t DECLDIR nvmlDeviceGetX(nvmlDevice_t d);\n"
    )
    assert nvml_stubs(header).count("weak") == 2


def test_exchanged_minors_keep_every_uuid_once():
    gpus = HostDefinition("gpu-x", gpus=8, exchanged_minors=(4, 5)).pretend_gpus
    assert [gpu.minor for gpu in gpus] == [0, 1, 2, 3, 5, 4, 6, 7]
    assert len({gpu.uuid for gpu in gpus}) == 8


def test_a_host_that_was_never_up_has_no_other_hosts_place(tmp_path):
    """Taking it down, as a test does first, must not take the cable of one that is up."""
    lab = Lab(Cache(tmp_path), Network.of_cache(tmp_path))
    lab._give_slot("gpu-a")
    lab._give_slot("gpu-b")
    assert lab.host("unknown").slot not in {lab.host("gpu-a").slot, lab.host("gpu-b").slot}
    lab._give_slot("unknown")
    assert [lab.host(name).slot for name in ("gpu-a", "gpu-b", "unknown")] == [0, 1, 2]
