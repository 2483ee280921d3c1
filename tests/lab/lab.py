"""The lab: builds what is missing, boots hosts, serves the mirror, writes down where everything is."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import machine_packages
from tests.machine_packages import Use

from . import machine
from .cache import Cache, Part
from .container import Container
from .definition import DEFAULT_HOSTS, MACHINE, DriverFiles, Engine, HostDefinition, Machine, NodeMakers
from .driver import debian_driver, driver_layer, kernel_driver, node_makers
from .errors import LabError
from .host import Host, kind_of
from .image import base_image, current_engine, machine_image, no_engine
from .mirror import MirrorContents, MirrorServer, mirror
from .network import Network
from .progress import Progress
from .python import new_python
from .versions import GVISOR_RELEASES, TOOLKIT_VERSIONS, GvisorRelease, ToolkitVersion
from .virtual_machine import VirtualMachine

_KINDS: dict[Machine, type[Host]] = {Machine.CONTAINER: Container, Machine.VM: VirtualMachine}


@dataclass(frozen=True)
class Lab:
    """A lab in a cache directory. Everything that is asked of it finds out by itself what is there."""

    cache: Cache
    network: Network

    @classmethod
    def open(cls) -> "Lab":
        """The lab of this machine, or of $NVPROXY_LAB_CACHE. Starts nothing."""
        cache = Cache.of_environment()
        return cls(cache, Network.of_cache(cache.directory))

    @property
    def inventory_file(self) -> Path:
        return self.cache.state / "inventory.json"

    @property
    def _mirror_server(self) -> MirrorServer:
        return MirrorServer(self.cache, self.network)

    @property
    def _ssh_key(self) -> Path:
        return self.cache.state / "ssh" / "key"

    @property
    def _known_hosts(self) -> Path:
        return self.cache.state / "ssh" / "known_hosts"

    def up(
        self,
        definitions: Sequence[HostDefinition] = DEFAULT_HOSTS,
        *,
        releases: Sequence[GvisorRelease] = (),
        toolkits: Sequence[ToolkitVersion] = (),
        newest_only: bool = False,
    ) -> list[Host]:
        """Bring these hosts up, and the mirror; a host that is up and as defined stays as it is.

        `releases` and `toolkits` are served besides the default ones, and besides those that were asked for
        before. Of the default ones, only the newest are where `newest_only` is set: the others take minutes
        to build, and only tests want them.
        """
        machine.check(self.cache.directory)
        with Progress() as progress, self.cache.lock(progress):
            contents = self._contents(releases, toolkits, newest_only=newest_only)
            has_machines = any(definition.machine is Machine.VM for definition in definitions)
            uses = (Use.LAB, Use.VM) if has_machines else (Use.LAB,)
            self._build(self._wanted(definitions, contents), progress, uses)
            self.network.up()
            self._mirror_server.serve(self.cache.path(mirror(contents)))
            self._write_ssh_key()
            self._remove_unfinished(progress)
            hosts = [self._up_one(definition, progress) for definition in definitions]
            self._write_inventory()
        return hosts

    def build_parts(self, releases: Sequence[GvisorRelease], toolkits: Sequence[ToolkitVersion]) -> None:
        """Build all that a lab may need, these versions included; a mirror that is served gets them."""
        machine.check(self.cache.directory)
        with Progress() as progress, self.cache.lock(progress):
            contents = self._contents(releases, toolkits)
            others = (HostDefinition("no-engine", engine=Engine.NONE), MACHINE)
            hosts = [*DEFAULT_HOSTS, *others]
            self._build(self._wanted(hosts, contents), progress)
            # By itself and after the others: its suite moves, and may one day not have it any more.
            self._build([new_python()], progress)
            if self._mirror_server.link.exists():
                self.network.up()
                self._mirror_server.serve(self.cache.path(mirror(contents)))
                self._write_inventory()

    def path(self, part: Part) -> Path:
        """Where a part lies. It is built where it is not there; one that is being built is waited for."""
        if not self.cache.path(part).exists():
            machine.check(self.cache.directory)
            with Progress() as progress, self.cache.lock(progress):
                self._build([part], progress)
        return self.cache.path(part)

    def down(self, names: Sequence[str] | None = None) -> None:
        """Stop and remove these hosts, or the whole lab. What was built stays."""
        if os.geteuid() != 0:
            raise LabError("lab hosts are root's: run this as root (sudo)")
        with Progress() as progress, self.cache.lock(progress):
            for name in self._host_names() if names is None else names:
                self.host(name).stop()
                progress.say(f"{name} is down")
            if names is None:
                self._mirror_server.stop()
                self.network.down()
                self.inventory_file.unlink(missing_ok=True)
            elif self.inventory_file.exists():
                self._write_inventory()

    def host(self, name: str) -> Host:
        """A host by its name, whether it runs or not."""
        return self._host_of_kind(name, kind_of(self.cache.state / "hosts" / name))

    def _host_of_kind(self, name: str, machine: Machine) -> Host:
        return _KINDS[machine](name, self._slot_of(name), self.cache, self.network)

    def status(self) -> list[tuple[HostDefinition, Host, bool]]:
        """(definition, host, whether it answers) of every host that was brought up."""
        found = []
        for name in self._host_names():
            host = self.host(name)
            if definition := self._recorded(host):
                found.append((definition, host, host.is_healthy(definition, self._made_of(definition))))
        return found

    def ssh_command(self, name: str, arguments: Sequence[str] = ()) -> list[str]:
        """The command line of a login as the host's own user."""
        host = self.host(name)
        definition = self._recorded(host)
        if definition is None:
            raise LabError(f"{name} is not up: start it with `python -m tests.lab up {name}`")
        endpoint = host.endpoint
        options = [
            f"Port={endpoint.port}",
            f"UserKnownHostsFile={self._known_hosts}",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
        ]
        argv = [
            "ssh",
            "-i",
            str(self._ssh_key),
            *(f"-o{option}" for option in options),
            f"{definition.user}@{endpoint.address}",
        ]
        return [*argv, *arguments]

    def _layers(self, definition: HostDefinition) -> list[Part]:
        """The parts that a host's root is mounted from, the uppermost first."""
        image = _image(definition)
        layers = [image]
        if definition.engine is Engine.CURRENT:
            layers.insert(0, current_engine())
        if definition.engine is Engine.NONE:
            layers.insert(0, no_engine(image))
        if definition.gpu and definition.driver_files is DriverFiles.DEBIAN:
            layers.insert(0, debian_driver(image, definition.suite))
        elif definition.gpu:
            layers.insert(0, driver_layer(definition.driver_version))
        if definition.gpu and definition.machine is Machine.VM:
            layers.insert(0, kernel_driver(image, definition.driver_version))
            layers.insert(0, node_makers(definition.suite, definition.node_makers))
        return layers

    def _made_of(self, definition: HostDefinition) -> str:
        return " ".join(part.key for part in self._layers(definition))

    def _wanted(self, definitions: Sequence[HostDefinition], contents: MirrorContents) -> list[Part]:
        layers = [part for definition in definitions for part in self._layers(definition)]
        # The images first: they wait for the network while the compilers work. Layers come after their
        # programs by themselves.
        images = [_image(definition) for definition in definitions]
        return [*images, *layers, mirror(contents)]

    def _build(self, wanted: Sequence[Part], progress: Progress, uses: Sequence[Use] = (Use.LAB,)) -> None:
        # Also where all is built: what boots hosts and logs in to them may be missing beside a full cache.
        self._install_packages(uses, progress)
        if not all(self.cache.path(part).exists() for part in wanted):
            self.cache.build(wanted, progress)

    def _install_packages(self, uses: Sequence[Use], progress: Progress) -> None:
        if names := machine_packages.missing(uses):
            step = f"installing {' '.join(names)} on this machine"
            progress.start(step)
            try:
                machine_packages.install(names, self.cache.log("packages"))
            except machine_packages.PackagesError as error:
                raise LabError(str(error)) from error
            progress.done(step)

    def _contents(
        self,
        releases: Sequence[GvisorRelease],
        toolkits: Sequence[ToolkitVersion],
        *,
        newest_only: bool = False,
    ) -> MirrorContents:
        """The default versions, those of versions.py that are served so far, and these; the oldest first."""
        served = self._mirror_server.served()
        first = -1 if newest_only else 0
        default_toolkits = [one for one in TOOLKIT_VERSIONS if one.by_default][first:]
        default_releases = [one for one in GVISOR_RELEASES if one.by_default][first:]
        return MirrorContents(
            tuple(sorted({*default_toolkits, *toolkits, *served.toolkits}, key=lambda one: one.number)),
            tuple(sorted({*default_releases, *releases, *served.releases}, key=lambda one: one.date)),
            official=os.environ.get("LAB_PARTS") == "official",
        )

    def _remove_unfinished(self, progress: Progress) -> None:
        """Hosts that a killed lab was booting: they have no record."""
        for name in self._host_names():
            if not self.host(name).record.exists():
                progress.say(f"{name}: removing what an earlier lab left unfinished")
                self.host(name).stop()

    def _up_one(self, definition: HostDefinition, progress: Progress) -> Host:
        self._give_slot(definition.name)
        host = self.host(definition.name)
        made_of = self._made_of(definition)
        if host.is_healthy(definition, made_of):
            progress.say(f"{definition.name} is up at {host.endpoint}")
            return host
        host.stop()
        host = self._host_of_kind(definition.name, definition.machine)
        step = f"booting {definition.name} ({definition.machine})"
        progress.start(step)
        layers = [self.cache.path(part) for part in self._layers(definition)]
        host.boot(definition, layers, made_of, self._ssh_key)
        progress.done(step)
        return host

    def _host_names(self) -> list[str]:
        directory = self.cache.state / "hosts"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    def _recorded(self, host: Host) -> HostDefinition | None:
        """What a host was made as; None where it is not up, or another checkout wrote that another way."""
        try:
            fields = json.loads(host.record.read_text())["definition"]
            exchanged = fields.pop("exchanged_minors")
            return HostDefinition(
                **{
                    **fields,
                    "engine": Engine(fields["engine"]),
                    "machine": Machine(fields["machine"]),
                    "node_makers": NodeMakers(fields["node_makers"]),
                    "driver_files": DriverFiles(fields["driver_files"]),
                    "exchanged_minors": tuple(exchanged) if exchanged else None,
                }
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _slots(self) -> dict[str, int]:
        """Host name -> its place in the network, for ever: a host that comes back has its old address."""
        try:
            slots: dict[str, int] = json.loads((self.cache.state / "slots.json").read_text())
        except (OSError, ValueError):
            return {}
        return slots

    def _slot_of(self, name: str) -> int:
        """Its own, or the one that it would be given: never another host's, whose cable would go with it."""
        slots = self._slots()
        return slots.get(name, max(slots.values(), default=-1) + 1)

    def _give_slot(self, name: str) -> None:
        slots = self._slots()
        if name not in slots:
            _write(self.cache.state / "slots.json", json.dumps({**slots, name: self._slot_of(name)}))

    def _write_ssh_key(self) -> None:
        if not self._ssh_key.with_suffix(".pub").exists():
            self._ssh_key.parent.mkdir(parents=True, exist_ok=True)
            self._ssh_key.unlink(missing_ok=True)
            subprocess.run(
                [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    "nvproxy-fleet lab",
                    "-f",
                    self._ssh_key,
                ],
                check=True,
            )

    def _write_inventory(self) -> None:
        hosts = {}
        known = ""
        for name in self._host_names():
            host = self.host(name)
            if definition := self._recorded(host):
                endpoint = host.endpoint
                hosts[name] = {
                    "address": endpoint.address,
                    "port": endpoint.port,
                    "user": definition.user,
                    "gpus": len(definition.pretend_gpus),
                    "engine": definition.engine,
                    "machine": definition.machine,
                    "driver_version": definition.driver_version if definition.gpu else None,
                }
                known += "".join(f"{endpoint.known_host} {key}\n" for key in endpoint.host_keys)
        _write(self._known_hosts, known)
        inventory = {
            "mirror": self._mirror_server.description(),
            "ssh_key": str(self._ssh_key),
            "known_hosts": str(self._known_hosts),
            "hosts": hosts,
        }
        _write(self.inventory_file, json.dumps(inventory, indent=2) + "\n")


def _image(definition: HostDefinition) -> Part:
    if definition.machine is Machine.VM:
        return machine_image(definition.suite)
    return base_image()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
