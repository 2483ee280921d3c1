"""The installed settings file, read as a file that decides what root runs."""

from __future__ import annotations

import posix

from nvproxy_wrapper.host import trusted_file
from nvproxy_wrapper.judge.settings import SETTINGS_PATH, Settings, SettingsError, parse_settings

MAX_BYTES = 1 << 20


def load_settings(path: str = SETTINGS_PATH) -> Settings:
    """The settings in the file `path`.

    Raises:
        FileNotFoundError: there is none. For the admin command that means defaults; as a runtime it is a
            broken installation, where defaults would guess at what this host's runsc can do.
        SettingsError: others may write it or its directory, or it says what settings may not say.
    """
    parent, _, name = path.rpartition("/")
    try:
        directory = trusted_file.open_directory(parent or "/")
        try:
            data, _ = trusted_file.read(directory, name, path, MAX_BYTES)
        finally:
            posix.close(directory)
    except trusted_file.UntrustedFileError as error:
        raise SettingsError(f"{error}. {error.remedy}") from None
    return parse_settings(data, path)
