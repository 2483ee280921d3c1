"""Read what the controller brings along: the wrapper's package and the repository's key."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import nvproxy_wrapper
from deploys.host.remote.prelude import tree_digest_of, tree_line
from deploys.model.settings import SettingsError
from deploys.model.sources import FILE_MODE, Sources, WrapperPackage

if TYPE_CHECKING:
    from deploys.model.settings import Settings


@cache
def wrapper_package() -> WrapperPackage:
    """The wrapper's modules beside these deploys, read once a run."""
    root = Path(nvproxy_wrapper.__file__).parent
    files = {
        path.relative_to(root.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in root.rglob("*.py")
    }
    lines = [
        tree_line(name, FILE_MODE, hashlib.sha256(text.encode()).hexdigest()) for name, text in files.items()
    ]
    return WrapperPackage(nvproxy_wrapper.__version__, files, tree_digest_of(lines))


@cache
def _key(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if "BEGIN PGP PUBLIC KEY BLOCK" not in text:
        raise ValueError("it is not an ASCII-armoured public key")
    return text


def load(settings: Settings) -> Sources:
    """Everything that a plan needs from this machine.

    Raises:
        SettingsError: the repository's key cannot be read.
    """
    try:
        return Sources(wrapper_package(), _key(settings.toolkit_key))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"setting toolkit_key = '{settings.toolkit_key}' is not allowed: {reason}. It must be a file on "
            "this machine with the repository's ASCII-armoured public key."
        ) from None
