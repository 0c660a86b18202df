"""Held ports: nobody else is given them, and the server that they are for can listen on them."""

from __future__ import annotations

import errno
import socket

import pytest

from predictors.core.ports import held_ports


def test_a_held_port_is_given_to_nobody_and_listened_on_by_its_server() -> None:
    with held_ports(3) as ports:
        assert len(set(ports)) == 3
        with socket.socket() as other, pytest.raises(OSError, match="in use") as taken:
            other.bind(("127.0.0.1", ports[0]))  # as a connection out of the machine would
        assert taken.value.errno == errno.EADDRINUSE
        with (
            socket.create_server(("127.0.0.1", ports[0])) as server,
            socket.create_connection(("127.0.0.1", ports[0])) as client,
        ):
            connection, address = server.accept()
            connection.close()
            assert address == client.getsockname()


def test_a_held_port_without_a_server_refuses_connections() -> None:
    with held_ports(1) as (port,), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
