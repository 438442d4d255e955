"""What an `https://` address is, which host it names, and which IP addresses lie on the open internet."""

import ipaddress
import urllib.parse

_UNICAST = ipaddress.ip_network("2000::/3")
_TUNNEL = ipaddress.ip_network("2002::/16")
_SCHEME = "https://"


def is_address(key: str) -> bool:
    """Whether a key is an address on the web."""
    return key[: len(_SCHEME)].lower() == _SCHEME


def host_of(address: str) -> str:
    """`host`, or `host:port` where the port is not 443, in lower case and ASCII. Raises ValueError for what is no plain
    address: with another scheme, a user name, or an IPv6 address for a host."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or ":" in parts.hostname:
        raise ValueError(f"{address!r:.200}: not a plain https:// address")
    host = parts.hostname.rstrip(".").encode("idna").decode()
    return host if parts.port in (None, 443) else f"{host}:{parts.port}"


def is_public(address: str) -> bool:
    """Whether an IP address is of a machine on the open internet.

    Of IPv6 only global unicast (RFC 4291) without 6to4: NAT64's 64:ff9b::/96 (RFC 6052), mapped and compatible
    addresses hold an IPv4 address that could be any. Python's `is_global` lets some of them pass, and multicast."""
    found = ipaddress.ip_address(address)
    if not found.is_global or found.is_multicast:
        return False
    return found.version == 4 or (found in _UNICAST and found not in _TUNNEL)
