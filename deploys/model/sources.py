"""What the controller brings along: the wrapper's package and the repository's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploys.model import paths

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of each of the wrapper's modules; it is a part of what `WrapperPackage.tree` is made from.
FILE_MODE = 0o644


@dataclass(frozen=True)
class WrapperPackage:
    """The wrapper as it lies beside these deploys.

    Attributes:
        version: the package's own version.
        files: text by path below the versioned directory, as in `nvproxy_wrapper/runtime.py`.
        tree: the digest that the snapshot finds for this package once it is installed.
    """

    version: str
    files: Mapping[str, str]
    tree: str

    @property
    def directory_name(self) -> str:
        """The version and a part of the digest: two states of one version never share a directory."""
        return f"{self.version}-{self.tree[:12]}"

    @property
    def directory(self) -> str:
        """Where it lies on a host."""
        return f"{paths.WRAPPER_DIR}/{self.directory_name}"


@dataclass(frozen=True)
class Sources:
    """Everything that a plan needs besides settings and snapshot."""

    wrapper: WrapperPackage
    toolkit_key: str
