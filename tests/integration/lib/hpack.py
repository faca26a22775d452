"""HPACK (RFC 7541) for tests: an encoder that writes literals only, and a whole decoder."""

import collections

STATIC = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
]

# How many bits the code of each byte has (RFC 7541 appendix B). The codes themselves follow: they
# are given out in the order of length and value.
HUFFMAN_BITS = [int(bits) for bits in """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
30""".split()]
END_OF_STRING = 256


def _codes():
    codes, code, before = {}, 0, 0
    for symbol in sorted(range(257), key=lambda s: (HUFFMAN_BITS[s], s)):
        code <<= HUFFMAN_BITS[symbol] - before
        before = HUFFMAN_BITS[symbol]
        codes[before, code] = symbol
        code += 1
    return codes


CODES = _codes()


class HpackError(Exception):
    """A block that cannot be decoded."""


def huffman_decode(data):
    out, code, bits = bytearray(), 0, 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, bits = code << 1 | byte >> shift & 1, bits + 1
            symbol = CODES.get((bits, code))
            if symbol == END_OF_STRING or bits > 30:
                raise HpackError("not a Huffman code")
            if symbol is not None:
                out.append(symbol)
                code, bits = 0, 0
    if bits > 7 or code != (1 << bits) - 1:
        raise HpackError("wrong padding")
    return bytes(out)


def integer(value, prefix_bits, first=0):
    """RFC 7541 section 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = bytearray([first | limit]), value - limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def _bytes(text):
    return text if isinstance(text, bytes) else str(text).encode("latin-1")


def literal(name, value, first=0):
    """One field, not indexed; first=0x40 puts it into the other side's table."""
    name, value = _bytes(name), _bytes(value)
    return (bytes([first]) + integer(len(name), 7) + name + integer(len(value), 7) + value)


def encode(fields):
    return b"".join(literal(name, value) for name, value in fields)


class Decoder:
    def __init__(self, max_size=4096):
        self.max_size = max_size
        self.size = 0
        self.table = collections.deque()

    def _entry(self, index):
        if 1 <= index <= len(STATIC):
            return STATIC[index - 1]
        if len(STATIC) < index <= len(STATIC) + len(self.table):
            return self.table[index - len(STATIC) - 1]
        raise HpackError("no entry %d" % index)

    def _resize(self, limit):
        while self.size > limit:
            name, value = self.table.pop()
            self.size -= len(name) + len(value) + 32

    def _add(self, field):
        size = len(field[0]) + len(field[1]) + 32
        self._resize(max(self.max_size - size, 0))
        if size <= self.max_size:
            self.table.appendleft(field)
            self.size += size

    def decode(self, block):
        """The fields of a block: (name, value) as text, in latin-1."""
        fields, reader = [], _Reader(block)
        while reader.at < len(block):
            first = block[reader.at]
            if first & 0x80:
                fields.append(self._entry(reader.integer(7)))
            elif first & 0xe0 == 0x20:
                self.max_size = reader.integer(5)
                self._resize(self.max_size)
            else:
                indexed = first & 0x40
                index = reader.integer(6 if indexed else 4)
                name = self._entry(index)[0] if index else reader.string()
                fields.append((name, reader.string()))
                if indexed:
                    self._add(fields[-1])
        return fields


class _Reader:
    def __init__(self, block):
        self.block = block
        self.at = 0

    def integer(self, prefix_bits):
        limit = (1 << prefix_bits) - 1
        value = self.block[self.at] & limit
        self.at += 1
        shift = 0
        while value >= limit and (shift == 0 or self.block[self.at - 1] & 128):
            value += (self.block[self.at] & 127) << shift
            self.at += 1
            shift += 7
        return value

    def string(self):
        coded = self.block[self.at] & 0x80
        length = self.integer(7)
        raw = self.block[self.at:self.at + length]
        if len(raw) < length:
            raise HpackError("cut short")
        self.at += length
        return (huffman_decode(raw) if coded else raw).decode("latin-1")
