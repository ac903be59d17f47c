"""Where destinations may be reached: public addresses, and networks that a setting allows (F5).

The name is resolved once, every address that it has is looked at, and the connection is made to one of those very
addresses: a name that points elsewhere a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from django.conf import settings
from django.utils.translation import gettext as _

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Reach of a name's addresses that carry an IPv4 address inside (RFC 6052, RFC 3056, RFC 4291): judged by that one.
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """Nothing is sent there; the text is a sentence for the owner of the destination."""


def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of the host, all of them allowed. Raises AddressRefused, or OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[tuple[socket.AddressFamily, str]] = list(
        dict.fromkeys((family, str(place[0])) for family, _kind, _protocol, _name, place in found)
    )
    for _family, address in addresses:
        if not allowed(address):
            text = (
                _("%(address)s is inside a private network: nothing is sent there.")
                if address == host
                else _("%(host)s is at %(address)s, inside a private network: nothing is sent there.")
            )
            raise AddressRefused(text % {"host": host, "address": address})
    return addresses


def allowed(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    address = _inner(address)
    if any(address in ipaddress.ip_network(network) for network in settings.DELIVERY_NETWORKS):
        return True
    return address.is_global and not address.is_multicast


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to the first address that answers. Raises AddressRefused or OSError."""
    last: OSError = OSError(f"{host} has no address")
    for family, address in resolve(host, port):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout)
                sock.connect((address, port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            last = error
        else:
            return sock
    raise last
