"""A TLS connection that one thread may read while others write. (Python's own TLS sockets are not
made for that: both calls use one state without a lock.)

    sock = tls_socket.wrap(sock, context, server_hostname="a.example.com")

looks like a socket as far as tests need one. Ending it, like a socket, is abrupt: close() says no
close_notify, unwrap() does, and goes no further.
"""

import ssl
import threading

RECORDS = 65536


def wrap(sock, context, server_side=False, server_hostname=None):
    """Shakes hands, and raises what that raises."""
    made = TlsSocket(sock, context, server_side, server_hostname)
    made.handshake()
    return made


class TlsSocket:
    def __init__(self, sock, context, server_side, server_hostname):
        self.sock = sock
        self.state = threading.Lock()    # of what follows; never held while the socket waits
        self.sending = threading.Lock()  # around it: records go out in the order they were made
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, server_hostname)

    def handshake(self):
        self._receive(self.tls.do_handshake)
        self._flush()

    def _flush(self):
        with self.sending:
            with self.state:
                records = self.outgoing.read()
            self.sock.sendall(records)

    def _receive(self, act):
        """act(), with as many records as it asks for; None at the end of the connection."""
        while True:
            try:
                with self.state:
                    return act()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush()  # an alert
                raise
            if self.outgoing.pending:
                self._flush()
            records = self.sock.recv(RECORDS)
            with self.state:
                if records:
                    self.incoming.write(records)
                else:
                    self.incoming.write_eof()

    def recv(self, size):
        """b"" at the end, whether the peer said it or just left."""
        try:
            return self._receive(lambda: self.tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def sendall(self, data):
        with self.sending:
            with self.state:
                self.tls.write(data)
                records = self.outgoing.read()
            self.sock.sendall(records)

    def unwrap(self):
        try:
            with self.state:
                self.tls.unwrap()
        except ssl.SSLError:
            pass  # the peer has not said it yet
        self._flush()

    @property
    def alpn(self):
        return self.tls.selected_alpn_protocol()

    def __getattr__(self, name):
        return getattr(self.__dict__["sock"], name)
