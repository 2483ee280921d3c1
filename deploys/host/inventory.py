"""What the inventory says, checked for all hosts before any of them is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import inventory, state
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.exceptions import DeployError

from deploys.host import sources
from deploys.model.settings import Settings, SettingsError

if TYPE_CHECKING:
    from deploys.model.sources import Sources

_NAMES = 8
_CHECKED: dict[str, tuple[Settings, Sources]] = {}


def _connector_keys() -> frozenset[str]:
    return frozenset(
        key for connector in get_all_connectors().values() for key in connector.data_cls.__annotations__
    )


def _hosts(names: list[str]) -> str:
    more = len(names) - _NAMES
    return f"host{'s' if names[1:] else ''} {', '.join(names[:_NAMES])}" + (
        f" and {more} more" if more > 0 else ""
    )


def checked(name: str) -> tuple[Settings, Sources]:
    """The settings of a host and what they bring along.

    The first call checks those of every host of the run, so that one wrong key stops the run while nothing
    has happened anywhere.

    Raises:
        DeployError: settings of one or more hosts are wrong; pyinfra prints it and exits with 1.
    """
    if not _CHECKED:
        keys = _connector_keys()
        wrong: dict[str, list[str]] = {}
        for host in (host for host in inventory if state.is_host_in_limit(host)):
            try:
                settings = Settings.from_data(host.name, host.data.dict(), keys)
                _CHECKED[host.name] = (settings, sources.load(settings))
            except SettingsError as error:
                for line in str(error).splitlines():
                    wrong.setdefault(line.removeprefix(f"host {host.name}: "), []).append(host.name)
        if wrong:
            _CHECKED.clear()
            # What a group's data say is wrong for each of its hosts, and is said once.
            lines = [f"{_hosts(names)}: {line}" for line, names in wrong.items()]
            raise DeployError(
                "\n".join(["no host was touched, the inventory must be corrected first:", *lines])
            )
    return _CHECKED[name]
