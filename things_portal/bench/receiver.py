"""A receiver of destinations in a process of its own: takes every message and says 200. ``python -m`` it with the file
of its certificate and key; it prints its port."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from typing import Final

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def serve(plain: socket.socket, context: ssl.SSLContext) -> None:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as line:
        held = b""
        while piece := line.recv(65536):
            held += piece
            while (end := held.find(b"\r\n\r\n")) >= 0:
                head = held[:end].lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                if len(held) < end + 4 + length:
                    break
                held = held[end + 4 + length :]
                line.sendall(ANSWER)


def main(pem: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        line, _address = listening.accept()
        threading.Thread(target=serve, args=(line, context), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
