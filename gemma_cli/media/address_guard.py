"""Who a fetch may talk to: an address outside must not lead it to what only this machine and its network can reach."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.request
from typing import Any


class LedInside(ConnectionError):
    """A redirect, or what a name stood for the second time, led from outside into the local network."""


class Peers:
    """The hosts of one fetch, in the order they were connected to. The connected address counts, not its spelling."""

    def __init__(self) -> None:
        self._outside = False

    def check(self, peer: str) -> None:
        """Raises LedInside where a private address comes after a public one."""
        if ipaddress.ip_address(peer.partition("%")[0]).is_global:
            self._outside = True
        elif self._outside:
            raise LedInside


def handlers(peers: Peers) -> list[urllib.request.BaseHandler]:
    """urllib's handlers for http and https, directly or through the proxies of the environment.

    Behind a proxy the proxy is the only peer, and what it may reach is its own business.
    """

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            peers.check(self.sock.getpeername()[0])

    class Secure(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            peers.check(self.sock.getpeername()[0])

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Secure, req)

    return [urllib.request.ProxyHandler(), PlainHandler(), SecureHandler()]
