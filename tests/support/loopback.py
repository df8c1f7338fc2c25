"""What is on its way between two TCP sockets of this process, counted at both ends.

The kernel mostly hands loopback packets over within the sender's own call, but not always: on some kernels a busy
machine leaves it to a thread of the kernel's. So that the order of events depends on nothing but the program, a
virtual-time loop waits for what it knows to be on its way, and for nothing else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Container
from typing import Any

Key = tuple[Any, Any]


class Loopback:
    """The connections whose two ends are both in this process."""

    def __init__(self) -> None:
        self._ends: dict[Key, _End] = {}
        self._expecting: set[_End] = set()
        """Ends that something was sent to which they have not read yet."""
        self._connecting: set[int] = set()
        self._unaccepted: dict[Key, int] = {}
        """By (client's address, server's): the listener's file descriptor."""
        self._listeners: dict[int, int] = {}
        """File descriptors by port."""
        self.may_send: Callable[[], bool] = lambda: True
        """Whether what runs now may still send: a process that is no more may not, and does not know it."""

    def listener(self, sock: Any) -> Any:
        """The same socket, whose connections are awaited, if it is a TCP one."""
        if not _is_tcp(sock):
            return sock
        self._listeners[sock.getsockname()[1]] = sock.fileno()
        return _Listener(self, sock)

    def deaf(self, sock: socket.socket) -> None:
        """It accepts no more."""
        gone = sock.fileno()
        self._listeners = {port: fd for port, fd in self._listeners.items() if fd != gone}
        self._unaccepted = {key: fd for key, fd in self._unaccepted.items() if fd != gone}

    def connecting(self, sock: socket.socket, address: Any, done: Any) -> None:
        """A connection has been asked for; ``done`` is the future of its outcome."""
        if not _is_tcp(sock):
            return
        fd, listener = sock.fileno(), self._listeners.get(address[1])
        if listener is None:
            return  # nobody of this loop listens there: it may never come to anything
        self._connecting.add(fd)
        key = (sock.getsockname(), address)
        self._unaccepted[key] = listener

        def over(future: Any) -> None:
            self._connecting.discard(fd)
            if future.cancelled() or future.exception() is not None:
                self._unaccepted.pop(key, None)

        done.add_done_callback(over)

    def end(self, sock: Any) -> Any:
        """The same socket, counted, if it is a TCP one."""
        if not _is_tcp(sock):
            return sock
        key = (sock.getsockname(), sock.getpeername())
        end = self._ends[key] = _End(self, sock, key)
        other = self._ends.get(key[::-1])
        if other is not None:
            end.peer, other.peer = other, end
            if other.sent or other.finished:
                self._expecting.add(end)
        return end

    def accepted(self, client: Any, server: Any) -> None:
        """A connection has reached its listener."""
        self._unaccepted.pop((client, server), None)

    @property
    def still(self) -> bool:
        """Nothing at all is on its way."""
        return not (self._expecting or self._connecting or self._unaccepted)

    def missing(self, ready: Container[int], reading: Callable[[int], bool]) -> bool:
        """Whether something is on its way that the descriptors that are ready do not account for."""
        if self._expecting and any(e.fd not in ready and reading(e.fd) for e in self._expecting):
            return True
        if self._connecting and any(fd not in ready for fd in self._connecting):
            return True
        return bool(self._unaccepted) and any(fd not in ready and reading(fd) for fd in self._unaccepted.values())

    def sent(self, end: _End) -> None:
        """Something went out there."""
        if end.peer is not None and not end.peer.closed:
            self._expecting.add(end.peer)

    def caught_up(self, end: _End) -> None:
        """It has read all that there is to read."""
        self._expecting.discard(end)

    def closed(self, end: _End) -> None:
        """It reads no more; the other end will be told."""
        self._expecting.discard(end)
        if end.peer is None or end.peer.closed:
            for gone in (end, end.peer):
                if gone is not None and self._ends.get(gone.key) is gone:
                    del self._ends[gone.key]
        else:
            self._expecting.add(end.peer)


class _Listener:
    def __init__(self, loopback: Loopback, sock: socket.socket) -> None:
        self._loopback = loopback
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> tuple[socket.socket, Any]:
        sock, client = self._sock.accept()
        self._loopback.accepted(client, sock.getsockname())
        return sock, client


class _End:
    """A socket, as a transport of asyncio uses it."""

    def __init__(self, loopback: Loopback, sock: socket.socket, key: Key) -> None:
        self._loopback = loopback
        self._sock = sock
        self.key = key
        self.fd = sock.fileno()
        self.peer: _End | None = None
        self.sent = 0
        self.received = 0
        self.finished = self.ended = self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def send(self, data: Any) -> int:
        if not self._loopback.may_send():
            return len(data)
        return self._went(self._sock.send(data))

    def sendmsg(self, buffers: Any) -> int:
        if not self._loopback.may_send():
            return sum(len(buffer) for buffer in buffers)
        return self._went(self._sock.sendmsg(buffers))

    def recv(self, size: int) -> bytes:
        data = self._came(lambda: self._sock.recv(size))
        self._count(len(data))
        return data

    def recv_into(self, buffer: Any) -> int:
        size = self._came(lambda: self._sock.recv_into(buffer))
        self._count(size)
        return size

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)
        self.finished = True
        self._loopback.sent(self)

    def close(self) -> None:
        if not self.closed:
            self.finished = self.closed = True
            self._loopback.closed(self)
        self._sock.close()

    def _went(self, size: int) -> int:
        self.sent += size
        self._loopback.sent(self)
        return size

    def _came(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:
            self.ended = True
            self._loopback.caught_up(self)
            raise

    def _count(self, size: int) -> None:
        self.received += size
        self.ended = self.ended or size == 0
        peer = self.peer
        if peer is None or self.ended or (self.received >= peer.sent and not peer.finished):
            self._loopback.caught_up(self)


def _is_tcp(sock: Any) -> bool:
    return sock.family in {socket.AF_INET, socket.AF_INET6} and sock.type == socket.SOCK_STREAM
