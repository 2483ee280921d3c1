"""What holds for every host of every inventory here; an inventory's own values win."""

import socket

import paramiko

_sudo = True


def _nodelay(sock, **arguments):  # noqa: ANN001, ANN003, ANN202 - paramiko's hook
    # paramiko leaves Nagle's algorithm on, which costs some 40 ms per command on a local network.
    if hasattr(sock, "setsockopt"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return paramiko.Transport(sock, **arguments)


ssh_paramiko_connect_kwargs = {"transport_factory": _nodelay}
