"""Ports that are no mail server: they refuse, hang up, say nothing, or pass on a byte a second."""

import contextlib
import socket
import threading
import time


class Trickle:
    """Passes a connection on to a mail server: the first bytes (handshake, login) at once, then a byte a second."""

    def __init__(self, port, at_once=4000):
        self.target, self.at_once = port, at_once
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._pass_on, args=(client, server, self.at_once), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, None), daemon=True).start()

    def _pass_on(self, source, target, at_once):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 if at_once is not None and passed > at_once else 1000):
                target.sendall(data)
                passed += len(data)
                if at_once is not None and passed > at_once:
                    time.sleep(1)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.close()

    def close(self):
        self.listener.close()


def open_bad_port(kind, stack):
    """A port that refuses, hangs up at once, or never answers. Returns its number."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    if kind == "closed":
        sock.close()
        return port
    stack.callback(sock.close)
    if kind == "silent":
        # Linux drops what comes when the queue is full
        sock.listen(0)
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))
            stack.callback(client.close)
        return port

    def hang_up():
        with contextlib.suppress(OSError):
            while True:
                sock.accept()[0].close()

    sock.listen()
    threading.Thread(target=hang_up, daemon=True).start()
    return port
