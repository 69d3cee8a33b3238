"""Limits on the peers and the time of a download: an internet address must not redirect into the local network."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import Any

import httpcore2

_INTERNET = ip_network("2000::/3")
_NOT_INTERNET = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo (2001::/32) and other protocols
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_LOCAL = tuple(IPv6Network(text) for text in ("::/127", "fc00::/7", "fe80::/10", "fec0::/10"))
_RELAYS = ip_network("192.88.99.0/24")  # of 6to4
_NAT64 = IPv6Network("64:ff9b::/96")


class RedirectedInside(ConnectionError):
    """A redirect or a host name led from the internet into the local network."""


class Peers:
    """The hosts of one download, in order of connection.

    Two kinds of address are certain: internet and local. Others can be either: addresses that contain another one
    (NAT64, 6to4, Teredo and IPv4 forms of IPv6), multicast and reserved addresses. They count as internet where a
    download begins, and as local where a redirect leads.
    """

    def __init__(self) -> None:
        self._outside = False
        self._translated: bool | None = None  # whether the first connection went through NAT64

    def check(self, peer: str) -> None:
        """Raises LedInside where an address that is not of the internet would come after one that may be."""
        if self._outside and not _of_internet(self._judged(peer)):
            raise RedirectedInside

    def connected(self, peer: str) -> None:
        """Note that a connection to this address was made."""
        if self._translated is None:
            self._translated = ip_address(peer.partition("%")[0]) in _NAT64
        self._outside |= not _of_local_network(self._judged(peer))

    def _judged(self, peer: str) -> IPv4Address | IPv6Address:
        """The address that counts: on a network that translates, every IPv4 host is reached through NAT64."""
        address = ip_address(peer.partition("%")[0])
        if self._translated and address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address

    def proxied(self) -> None:
        """Note that a proxy was asked, which may have led anywhere."""
        self._outside = True


def _of_internet(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and address not in _RELAYS
    return address in _INTERNET and not any(address in network for network in _NOT_INTERNET)


def _of_local_network(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not address.is_global
    return any(address in network for network in _LOCAL)


class Network(httpcore2.NetworkBackend):
    """TCP connections to checked peers, none of which outlasts the deadline.

    A name is resolved once for each connection, and the checked address is the one that is connected to: no other gets
    even a first packet. peers: None for connections to a proxy, which may be anywhere. deadline: in time.monotonic.
    """

    def __init__(self, peers: Peers | None, deadline: float) -> None:
        self._peers, self._deadline = peers, deadline
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of `host` that answers. Raises LedInside before anything is sent."""
        failure: Exception = socket.gaierror("no address")
        for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            address = str(place[0])
            if self._peers:
                self._peers.check(address)
            try:
                left = _left(timeout, self._deadline)
                stream = self._backend.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
                continue
            if self._peers:
                self._peers.connected(address)
            return _Timed(stream, self._deadline)
        raise failure


class _Timed(httpcore2.NetworkStream):
    """A connection on which no wait outlasts the deadline, for any part of a response."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, self._deadline)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, deadline: float) -> float:
    """Seconds that one wait may take. Raises TimeoutError after the deadline."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left if timeout is None else min(timeout, left)
