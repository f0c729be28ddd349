"""Host and Origin checks."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def host_allowed(host: str | None, names: Collection[str]) -> bool:
    """Whether a request's Host is one this server goes by.

    An address always is; a name must be ``localhost`` or one of ``names``, else a stranger's
    name that resolves here (DNS rebinding) would make a stranger's page our own.
    """
    name = _hostname(f"//{host}") if host else None
    if name is None:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a WebSocket is opened by a page of this very host; browsers always say."""
    if not origin or not host:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
