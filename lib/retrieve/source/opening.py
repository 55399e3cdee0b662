"""Opening: settings name containers of VOSpace or local directories, and each is opened as what it is."""

from __future__ import annotations

import re
from pathlib import Path

from retrieve.errors import SettingError
from retrieve.settings import Settings
from retrieve.source.container import Container
from retrieve.source.credentials import require_given
from retrieve.source.directory import Directory
from retrieve.source.vospace import VOSpace


def open_containers(settings: Settings) -> list[Container]:
    """Open the containers that the products are in, in the order of `Settings.sources`; see `open_container`."""
    return [open_container(uri, settings) for uri in settings.sources()]


def open_container(input_path: str, settings: Settings) -> Container:
    """Open a VOSpace container by its URI, or a local directory.

    Parameters
    ----------
    input_path
        Such as ``INPUT_PATH``.
    settings
        For `certfile` and `token` (see `credentials`), `insecure`, `timeout` (seconds without a byte after which a
        request is given up) and `retries` (how often a request of a listing is made again).

    Raises
    ------
    SettingError
        If it is neither.
    AccessError
        If the certificate cannot be used.
    """
    if re.match("(vos|vault|arc):", input_path):
        require_given(settings)
        return VOSpace(input_path.rstrip("/"), settings)
    if re.match("[a-z][a-z0-9+.-]*:", input_path) and not Path(input_path).exists():
        raise SettingError(
            f"unknown kind of container '{input_path}'; give INPUT_PATH vos:, vault:, arc: or a directory"
        )
    if not Path(input_path).is_dir():
        raise SettingError(f"no directory '{input_path}'; give INPUT_PATH vos:…, arc:… or a directory that exists")
    return Directory(Path(input_path))
