"""The lab's own network: a bridge on this machine, an address for each host, no way out.

Addresses are of 198.18.0.0/15, which RFC 2544 sets apart for benchmarks: no real network has them. Hosts get
no default route. A lab in another cache directory is another lab: it has another bridge and another /24, and
names of its own.
"""

import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

FIRST_HOST = 10


@dataclass(frozen=True)
class Network:
    """Names and addresses of one lab."""

    number: int  # third octet

    @classmethod
    def of_cache(cls, directory: Path) -> "Network":
        return cls(zlib.crc32(str(directory).encode()) % 256)

    @property
    def name(self) -> str:
        """The bridge's name; also the prefix of everything of this lab that has a name on the machine."""
        return f"nvlab{self.number}"

    @property
    def mirror_address(self) -> str:
        """This machine's end of the bridge."""
        return f"198.18.{self.number}.1"

    def host_address(self, slot: int) -> str:
        return f"198.18.{self.number}.{FIRST_HOST + slot}"

    def interface(self, slot: int) -> str:
        """This machine's end of a host's cable; the kernel allows 15 characters."""
        return f"{self.name}h{slot}"

    def up(self) -> None:
        """Make the bridge if it is not there."""
        if not Path("/sys/class/net", self.name).exists():
            _ip("link", "add", self.name, "type", "bridge")
        _ip("address", "replace", f"{self.mirror_address}/24", "dev", self.name)
        _ip("link", "set", self.name, "up")

    def plug_in(self, slot: int) -> None:
        _ip("link", "set", self.interface(slot), "master", self.name, "up")

    def unplug(self, slot: int) -> None:
        """Remove a host's cable.

        The kernel removes it too, when the host's namespace ends: between a look and the removal it may go by
        itself. So a removal that failed is only a fault where the cable is still there.
        """
        name = self.interface(slot)
        if not Path("/sys/class/net", name).exists():
            return
        done = subprocess.run(["ip", "link", "delete", name], capture_output=True, text=True, check=False)
        if done.returncode and Path("/sys/class/net", name).exists():
            raise LabError(f"{name} cannot be removed: {done.stderr.strip()}; look at it with 'ip link'")

    def down(self) -> None:
        if Path("/sys/class/net", self.name).exists():
            _ip("link", "delete", self.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
