"""The kinds of values that settings have: what each must be, and why one is not it, for an operator."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from deploys.model.versions import GVISOR_RELEASE, DriverVersion, ToolkitVersion


class WrongValueError(ValueError):
    """Why a value is refused, and what was meant by it, where that can be guessed."""

    def __init__(self, reason: str, meant: Any = None) -> None:
        super().__init__(reason)
        self.meant = meant


def _text(value: Any) -> Any:
    """`pyinfra --data gvisor_release=20260905` arrives as a number, since pyinfra reads --data as JSON.

    One with a fraction stays what it is, and is refused: 550.120 has become 550.12 by then, another version.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _release(value: str) -> str:
    if value == "latest":
        raise WrongValueError("it changes under a fleet, and no sha512 can be pinned for it")
    if GVISOR_RELEASE.fullmatch(value) is None or not _is_day(value[:8]):
        # As runsc --version, tags of the repository, and people write it.
        match = re.fullmatch(r"(?:release-)?(20\d\d)-?(\d\d)-?(\d\d)(\.[1-9]\d*)?(?:\.0)?", value, re.ASCII)
        meant = "".join(part or "" for part in match.groups()) if match is not None else ""
        raise WrongValueError("it is no day, written year, month, day", meant if _is_day(meant[:8]) else None)
    return value


def _is_day(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007 - a day has no time zone
    except ValueError:
        return False
    return True


def _toolkit(value: str) -> str:
    try:
        ToolkitVersion.parse(value)
    except ValueError:
        match = re.fullmatch(r"v?(\d+\.\d+\.\d+)(-\d+)?", value, re.ASCII)
        meant = None if match is None else f"{match[1]}{match[2] or '-1'}"
        raise WrongValueError("a package's version has four numbers, the last after a dash", meant) from None
    return value


def _driver(value: str) -> str:
    try:
        return str(DriverVersion.parse(value))
    except ValueError:
        match = re.fullmatch(r"[vV]?(\d+\.\d+(?:\.\d+)?)", value, re.ASCII)
        meant = None if match is None else match[1]
        raise WrongValueError(
            "a driver's version has two or three numbers with points between", meant
        ) from None


def _url(value: str) -> str:
    if not value:
        raise WrongValueError("it is empty")
    scheme, _, rest = value.partition("://")
    if "@" in rest.partition("/")[0]:
        raise WrongValueError(
            "it has a user or password in it, and stands in files and messages that everybody on the host "
            "may read; use a mirror that needs none, or a proxy that adds them"
        )
    if scheme not in ("http", "https") or not rest:
        raise WrongValueError("it does not begin with http:// or https://", _with_scheme(value))
    if re.search(r"[^!-~]", rest):
        raise WrongValueError(
            "it has a space, a control character or a letter that addresses spell otherwise (%20, xn--)"
        )
    if re.search(r"[?#]", rest):
        raise WrongValueError("it has a ? or #, behind which nothing can be added to an address")
    if rest.startswith("/"):
        raise WrongValueError("it names no host")
    return value


def _with_scheme(value: str) -> str | None:
    if re.fullmatch(r"(?i)https?://[!-~]+", value):
        return re.sub("^[^:]+", lambda scheme: scheme[0].lower(), value)
    return f"https://{value}" if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[!-~]*)?", value) else None


def _name(value: str, letters: str, meant: str, rule: str) -> str:
    """A name, or why it is none: the rule, and the first letter that breaks it.

    Args:
        value: what is given.
        letters: an expression for the whole name.
        meant: what may have been meant.
        rule: in words.
    """
    if re.fullmatch(letters, value) is not None:
        return value
    strange = next((letter for letter in value if not letter.isascii()), None)
    which = "" if strange is None else f", and {strange!r} (U+{ord(strange):04X}) is none of them"
    raise WrongValueError(rule + which, meant if re.fullmatch(letters, meant) else None)


def _module(value: str) -> str:
    meant = re.sub(r"\.ko(\.\w+)?$", "", value.rpartition("/")[2])
    rule = "a module's name has letters, digits, - and _, and no ending"
    return _name(value, r"[A-Za-z0-9][A-Za-z0-9_-]*", meant, rule)


def _capability(value: str) -> str:
    if value == "all":
        raise WrongValueError("what all means differs from release to release; name each")
    meant = value.lower().replace("_", "-")
    rule = "a capability's name has small letters, digits and -"
    return _name(value, r"[a-z0-9-]+", "" if meant == "all" else meant, rule)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise WrongValueError("it does not begin with /")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise WrongValueError("it has a control character")
    return value


def _sha512(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{128}", value) is None:
        found = re.match(r"[0-9a-fA-F]{128}(?![0-9a-fA-F])", value)
        reason = (
            f"it has {len(value)} characters, not 128"
            if len(value) != 128
            else "not all are 0 to 9 and a to f"
        )
        raise WrongValueError(reason, None if found is None else found[0].lower())
    return value


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0].startswith("/"):
        raise WrongValueError("its first word, the program, does not begin with /")
    return value


def _runtime_name(value: str) -> str:
    if value in {"runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"}:
        raise WrongValueError("dockerd keeps that name for itself")
    rule = "a name has small letters a to z and digits, and behind the first also . _ and -"
    return _name(value, r"[a-z0-9][a-z0-9_.-]*", value.lower(), rule)


def _image(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][!-~]*", value) is None:
        raise WrongValueError("an image's name begins with a letter or digit, and has no spaces")
    return value


def _path(value: Any) -> Any:
    if isinstance(value, Path):
        return value
    if isinstance(value, str):
        if not value.strip():
            raise WrongValueError("it is empty")
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise WrongValueError("it has a control character")
        return value.strip()
    return value


def _day(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        # pydantic would take it for seconds since 1970.
        raise WrongValueError("it is a number", _other_day(str(value)))
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value.strip(), re.ASCII) is None:
        raise WrongValueError("a day is written year-month-day", _other_day(value.strip()))
    return value


def _other_day(text: str) -> str | None:
    for form in ("%Y%m%d", "%d.%m.%Y", "%Y/%m/%d", "%Y-%m-%dT%H:%M:%S"):
        try:
            return f"{datetime.strptime(text, form):%Y-%m-%d}"  # noqa: DTZ007 - a day has no time zone
        except ValueError:
            continue
    return None


Text = Annotated[str, BeforeValidator(_text)]
Release = Annotated[str, AfterValidator(_release), BeforeValidator(_text)]
Toolkit = Annotated[str, AfterValidator(_toolkit), BeforeValidator(_text)]
Driver = Annotated[str, AfterValidator(_driver), BeforeValidator(_text)]
Url = Annotated[str, AfterValidator(_url)]
Module = Annotated[str, AfterValidator(_module)]
Capability = Annotated[str, AfterValidator(_capability)]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Sha512 = Annotated[str, AfterValidator(_sha512)]
Command = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_command)]
RuntimeName = Annotated[str, AfterValidator(_runtime_name)]
Image = Annotated[str, AfterValidator(_image)]
LocalPath = Annotated[Path, BeforeValidator(_path)]
Day = Annotated[date, BeforeValidator(_day)]
