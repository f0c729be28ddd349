"""Host and Origin checks."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def host_allowed(host: str | None, names: Collection[str]) -> bool:
    """Whether a request's Host is one this server goes by.

    An address always is; a name must be ``localhost`` or one of ``names``, else a stranger's
    name that resolves here (DNS rebinding) would make a stranger's page our own.
    """
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        return name in ("localhost", *names) or bool(ipaddress.ip_address(name))
    except ValueError:  # neither a name nor an address
        return False


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a WebSocket is opened by a page of this very host; browsers always say."""
    pages = [f"{scheme}://{host}".lower() for scheme in ("http", "https")]
    return bool(host) and (origin or "").lower() in pages
