"""Messages that two parties could read in two ways: what was found to split servers, proxies and
caches from each other in published work on request smuggling and response splitting, one row for
each way. Rows are bytes on the wire; the tests that send them say what must come of it.

A row of REQUESTS: what it is, the client's bytes, the status of the answer. A row of RESPONSES:
what it is, the server's bytes. CHUNKS are bodies in the chunked coding, for either direction. A row
of DOWNGRADES: what it is, the fields of a request in HTTP/2, its body, and the status of the
answer, where there is one: resetting the stream is fine, too (RFC 9113 section 8.1.1). What HTTP/1
would read in them must not come out of them.
"""

BODY = b'{"model":"m"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
HOST = b"Host: a.example\r\n"
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def post(fields, body=BODY, line=b"POST /v1/chat/completions HTTP/1.1\r\n", host=HOST):
    return line + host + b"Content-Type: application/json\r\n" + fields + b"\r\n" + body


def get(fields=b"", line=b"GET /v1/x HTTP/1.1\r\n", host=HOST):
    return line + host + fields + b"\r\n"


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\n", body)


CHUNK = b"d\r\n" + BODY + b"\r\n"


def names_with(forbidden):
    """A field name with each of these bytes in it."""
    return [("byte 0x%02x in a name" % byte, get(b"X%cY: z\r\n" % byte), 400)
            for byte in forbidden]


NOT_TOKENS = b"\x00\x01\x08\x0b\x0c\x1b\x1f\"(),;<=>?@[]{}\x7f\x80\x85\xa0\xef\xff"

REQUESTS = [
    # (what, bytes, status)
    ("length and chunked", post(LENGTH + b"Transfer-Encoding: chunked\r\n", CHUNK + b"0\r\n\r\n"),
     400),
    ("chunked and length, with a request behind",
     post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    ("two different lengths", post(LENGTH + b"Content-Length: 5\r\n"), 400),
    ("the same length twice", post(LENGTH + LENGTH), 400),
    ("a list of lengths", post(b"Content-Length: 13, 13\r\n"), 400),
    ("length +13", post(b"Content-Length: +13\r\n"), 400),
    ("length -1", post(b"Content-Length: -1\r\n"), 400),
    ("empty length", post(b"Content-Length:\r\n"), 400),
    ("hexadecimal length", post(b"Content-Length: 0xd\r\n"), 400),
    ("length over 64 bits", post(b"Content-Length: 18446744073709551629\r\n"), 400),
    ("transfer-encoding twice", post(b"Transfer-Encoding: chunked\r\n" * 2, CHUNK), 400),
    ("transfer-encoding in two lines",
     post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", CHUNK), 400),
    ("transfer-encoding ,chunked", post(b"Transfer-Encoding: ,chunked\r\n", CHUNK), 400),
    ("transfer-encoding chunked,", post(b"Transfer-Encoding: chunked,\r\n", CHUNK), 400),
    ("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNK), 400),
    ("vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked\r\n", CHUNK), 400),
    ("identity", post(b"Transfer-Encoding: identity\r\n"), 501),
    ("unknown coding", post(b"Transfer-Encoding: xchunked\r\n", CHUNK), 501),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNK), 501),
    ("transfer-encoding in HTTP/1.0",
     post(b"Transfer-Encoding: chunked\r\n", CHUNK, b"POST /v1/chat/completions HTTP/1.0\r\n"),
     400),
    ("space before the colon", post(b"Content-Length : 13\r\n"), 400),
    ("tab before the colon", get(b"X\t: y\r\n"), 400),
    ("folded line", get(b"X: y\r\n z\r\n"), 400),
    ("space before the first header", get(host=b" Host: a\r\n"), 400),
    ("bare LF lines", get().replace(b"\r\n", b"\n"), 400),
    ("bare LF after one header", get(b"X: y\nZ: 1\r\n"), 400),
    ("NUL in a value", get(b"X: a\x00b\r\n"), 400),
    ("CR in a value", get(b"X: a\rb\r\n"), 400),
    ("DEL in a value", get(b"X: a\x7fb\r\n"), 400),
    ("empty name", get(b": y\r\n"), 400),
    ("no colon", get(b"X\r\n"), 400),
    ("slash in a name", get(b"X/Y: z\r\n"), 400),
    ("no Host", get(host=b""), 400),
    ("two Hosts", get(b"Host: b.example\r\n"), 400),
    ("the same Host twice", get(HOST), 400),
    ("empty Host", get(host=b"Host:\r\n"), 400),
    ("list of Hosts", get(host=b"Host: a, b\r\n"), 400),
    ("Host with user", get(host=b"Host: u@a.example\r\n"), 400),
    ("absolute form against Host", get(line=b"GET http://b.example/v1/x HTTP/1.1\r\n"), 400),
    ("HTTP/1.10", get(line=b"GET /v1/x HTTP/1.10\r\n"), 400),
    ("HTTP/1.2", get(line=b"GET /v1/x HTTP/1.2\r\n"), 505),
    ("HTTP/3.0", get(line=b"GET /v1/x HTTP/3.0\r\n"), 505),
    ("no version", b"GET /v1/x\r\n\r\n", 400),
    ("control character in the target", get(line=b"GET /v1/\x01x HTTP/1.1\r\n"), 400),
    ("space in the target", get(line=b"GET /v1/a b HTTP/1.1\r\n"), 400),
    ("backslash in the target", get(line=b"GET /v1\\x HTTP/1.1\r\n"), 400),
    ("high byte in the target", get(line=b"GET /v1/\xc3\xa4 HTTP/1.1\r\n"), 400),
    ("fragment", get(line=b"GET /v1/x#y HTTP/1.1\r\n"), 400),
    ("encoded NUL", get(line=b"GET /v1/%00 HTTP/1.1\r\n"), 400),
    ("over the root", get(line=b"GET /v1/../../x HTTP/1.1\r\n"), 400),
    ("asterisk for GET", get(line=b"GET * HTTP/1.1\r\n"), 400),
    ("TRACE", get(line=b"TRACE /v1/x HTTP/1.1\r\n"), 501),
    ("HEAD in another case", get(line=b"head /v1/x HTTP/1.1\r\n"), 400),
    ("CONNECT", get(line=b"CONNECT a.example:443 HTTP/1.1\r\n"), 400),
    ("space before the method", get(line=b" GET /v1/x HTTP/1.1\r\n"), 400),
    ("two empty lines before", b"\r\n\r\n" + get(), 400),
    ("unknown expectation", post(LENGTH + b"Expect: miracles\r\n"), 417),
    ("too many headers", get(b"".join(b"X-%d: y\r\n" % i for i in range(200))), 431),
    ("head too large", get(b"X: %s\r\n" % (b"y" * 100000)), 431),
    ("target too long", get(line=b"GET /v1/%s HTTP/1.1\r\n" % (b"x" * 20000)), 414),
    ("length 1_3", post(b"Content-Length: 1_3\r\n"), 400),
    ("length +1_3", post(b"Content-Length: +1_3\r\n"), 400),
    ("length 13Z", post(b"Content-Length: 13Z\r\n"), 400),
    ("length 13 and more", post(b"Content-Length: 13 13\r\n"), 400),
    ("length 13.0", post(b"Content-Length: 13.0\r\n"), 400),
    ("large negative length", post(b"Content-Length: -48\r\n"), 400),
    ("length between no-break spaces", post(b"Content-Length: \xa013\xa0\r\n"), 400),
    ("length behind a form feed", post(b"Content-Length: \x0c13\r\n"), 400),
    ("empty length before another", post(b"Content-Length:\r\n" + LENGTH), 400),
    ("empty length behind another", post(LENGTH + b"Content-Length:\r\n"), 400),
    ("length 0 before another", post(b"Content-Length: 0\r\n" + LENGTH), 400),
    ("the same length in other letters", post(LENGTH + LENGTH.lower()), 400),
    ("length without a colon", post(b"Content-Length 13\r\n"), 400),
    ("0x85 behind the name of the length", post(b"Content-Length\x85: 13\r\n"), 400),
    ("tab before the first header", get(host=b"\tHost: a\r\n"), 400),
    ("length on a folded line", get(b"X: y\r\n Content-Length: 13\r\n"), 400),
    ("name over two lines",
     post(b"Transfer-\r\nEncoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("name over two lines by LF", get(b"Te\nst: test\r\n"), 400),
    ("length and ,chunked",
     post(b"Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("length and unknown coding",
     post(b"Transfer-Encoding: x\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    ("space before the colon of transfer-encoding",
     post(b"Transfer-Encoding : chunked\r\n", CHUNK), 400),
    ("empty transfer-encoding", post(b"Transfer-Encoding:\r\n", CHUNK), 400),
    ("chunked between no-break spaces",
     post(b"Transfer-Encoding: \xa0chunked\xa0\r\n", CHUNK), 400),
    ("chunked between 0x85", post(b"Transfer-Encoding: \x85chunked\x85\r\n", CHUNK), 400),
    ("chunked between 0xff", post(b"Transfer-Encoding: \xffchunked\xff\r\n", CHUNK), 400),
    ("vertical tab behind chunked", post(b"Transfer-Encoding: chunked\x0b\r\n", CHUNK), 400),
    ("NUL behind chunked", post(b"Transfer-Encoding: chunked\x00\r\n", CHUNK), 400),
    ("chunked with a parameter", post(b"Transfer-Encoding: chunked;q=1\r\n", CHUNK), 400),
    ("chunked in quotes", post(b"Transfer-Encoding: \"chunked\"\r\n", CHUNK), 400),
    ("chunked, identity", post(b"Transfer-Encoding: chunked, identity\r\n", CHUNK), 400),
    ("CR between two headers", get(b"Visible: y\rHidden: z\r\n"), 400),
    ("LF LF in a value", get(b"X:\n\nGET / HTTP/1.1\r\n"), 400),
    ("CR and another byte at the end of the head",
     b"GET /v1/x HTTP/1.1\r\n" + HOST + b"\rZ" + SMUGGLED, 400),
    ("CR CR LF at the end of a line", get(b"X: y\r\r\n"), 400),
    ("NUL at the end of a value", get(b"X: y\x00\r\n"), 400),
    ("line of NUL", get(b"X: y\r\nc\x00\r\n"), 400),
    ("nothing but a colon", get(b":\r\nX: y\r\n"), 400),
    ("NUL in Host", get(host=b"Host: a.example\x00.b\r\n"), 400),
    ("0xff around Host", get(host=b"Host: \xffa.example\xff\r\n"), 400),
    ("space in Host", get(host=b"Host: a.example b\r\n"), 400),
    ("path in Host", get(host=b"Host: a.example/x\r\n"), 400),
    ("bad port in Host", get(host=b"Host: a.example:8o\r\n"), 400),
    ("Host and another behind a folded line", get(b"X: y\r\n Host: b.example\r\n"), 400),
    ("method of separators", get(line=b'G=":<>(e),[T];?" /v1/x HTTP/1.1\r\n'), 400),
    ("method of a NUL", get(line=b"\x00 /v1/x HTTP/1.1\r\n"), 400),
    ("method only", b"GET\r\n\r\n", 400),
    ("target !", get(line=b"GET ! HTTP/1.1\r\n"), 400),
    ("target without a slash", get(line=b"GET v1/x HTTP/1.1\r\n"), 400),
    ("absolute form with a user", get(line=b"GET http://u@a.example/v1/x HTTP/1.1\r\n"), 400),
    ("absolute form of another scheme", get(line=b"GET ftp://a.example/v1/x HTTP/1.1\r\n"), 400),
    ("two spaces before the target", get(line=b"GET  /v1/x HTTP/1.1\r\n"), 400),
    ("two spaces before the version", get(line=b"GET /v1/x  HTTP/1.1\r\n"), 400),
    ("tab for a space", get(line=b"GET\t/v1/x HTTP/1.1\r\n"), 400),
    ("space behind the version", get(line=b"GET /v1/x HTTP/1.1 \r\n"), 400),
    ("LF before the version", get(line=b"GET /v1/x\nHTTP/1.1\r\n"), 400),
    ("HTTP/1.32", get(line=b"GET /v1/x HTTP/1.32\r\n"), 505),
    ("HTTP/01.1", get(line=b"GET /v1/x HTTP/01.1\r\n"), 400),
    ("HTTP/4294967297.1", get(line=b"GET /v1/x HTTP/4294967297.1\r\n"), 400),
    ("CRs in the version", get(line=b"GET /v1/x HTTP/\r\r1.1\r\n"), 400),
    ("version of dots and digits", get(line=b"GET /v1/x HTTP/............0596.7407.\r\n"), 400),
    ("http/1.1", get(line=b"GET /v1/x http/1.1\r\n"), 400),
    ("HTTP/0.9", b"GET /v1/x HTTP/0.9\r\n\r\n", 505),
    ("two expectations", post(LENGTH + b"Expect: 100-continue, x\r\n"), 417),
] + names_with(NOT_TOKENS)

# (what, body). A message with such a body is refused: nothing of it may be taken for the next one.
CHUNKS = [
    ("chunk 0x3", b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size of 65 bits", b"1000000000000000d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("negative chunk size", b"-d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("empty chunk size", b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("space after the chunk size", b"d \r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("bare LF after the chunk size", b"d\n" + BODY + b"\r\n0\r\n\r\n"),
    ("bare LF after the chunk data", b"d\r\n" + BODY + b"\n0\r\n\r\n"),
    ("bare LF in a chunk extension", b"d;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("bare CR in a chunk extension", b"d;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk data without its end", b"d\r\n" + BODY + b"0\r\n\r\n"),
    ("bare LF at the end of the chunks", CHUNK + b"0\r\n\n"),
    ("trailer without a colon", CHUNK + b"0\r\nX\r\n\r\n"),
    ("folded trailer", CHUNK + b"0\r\nX: y\r\n z\r\n\r\n"),
    ("NUL in a trailer", CHUNK + b"0\r\nX: \x00\r\n\r\n"),
    ("chunk size 0_d", b"0_d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size +d", b"+d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size -0x0", b"-0x0\r\n\r\n"),
    ("chunk size Z", b"Z\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size and letters", b"dthese-bytes\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size and another", b"d d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("chunk size of many zeros", b"0" * 40 + b"d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("space before the chunk size", b" d\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("spaces before the last chunk size", CHUNK + b"        0\r\n\r\n"),
    ("CR and another byte behind the chunk size", b"d\rX" + BODY + b"\r\n0\r\n\r\n"),
    ("CR CR before an extension", b"d\r\r;a\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("CR CR behind an extension", b"d;a=b\r\r" + BODY + b"\r\n0\r\n\r\n"),
    ("CR in the space of an extension", b"d; \ra\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("LF in a quoted extension", b'd;a="\n"\r\n' + BODY + b"\r\n0\r\n\r\n"),
    ("space before an extension", b"d ;a\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("extension without a name", b"d;\r\n" + BODY + b"\r\n0\r\n\r\n"),
    ("endless extension", b"d;a=" + b"b" * 100000),
    ("two other bytes for the end of the data", b"d\r\n" + BODY + b"XX0\r\n\r\n"),
    ("CR and another byte for the end of the data", b"d\r\n" + BODY + b"\rX0\r\n\r\n"),
    ("empty line before the last chunk", CHUNK + b"\r\n0\r\n\r\n"),
    ("two other bytes for the end of the body", CHUNK + b"0\r\nX:"
     b"POST / HTTP/1.1\r\n"),
    ("CR and another byte for the end of the body", CHUNK + b"0\r\n\rX"),
    ("trailer without a name", CHUNK + b"0\r\n: y\r\n\r\n"),
    ("space before the colon of a trailer", CHUNK + b"0\r\nX : y\r\n\r\n"),
    ("bare LF behind a trailer", CHUNK + b"0\r\nX: y\n\r\n"),
    ("endless trailers", CHUNK + b"0\r\n" + b"X: y\r\n" * 10000),
]
REQUESTS += [(what, chunked(body), 400) for what, body in CHUNKS]

RESPONSES = [
    # (what, the server's bytes)
    ("length and chunked",
     b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n"
     b"0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nxyzx"),
    ("length +3", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nxyz"),
    ("empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nxyz"),
    ("transfer-encoding twice",
     b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("transfer-encoding ,chunked",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nxyz"),
    ("transfer-encoding in HTTP/1.0",
     b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nxyz"),
    ("folded line", b"HTTP/1.1 200 OK\r\nX: y\r\n xyz\r\nContent-Length: 3\r\n\r\nxyz"),
    ("bare LF lines", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nxyz"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 3\r\n\r\nxyz"),
    ("CR in a value", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nxyz"),
    ("empty name", b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 3\r\n\r\nxyz"),
    ("no colon", b"HTTP/1.1 200 OK\r\nxyz\r\nContent-Length: 3\r\n\r\nxyz"),
    ("HTTP/1.10", b"HTTP/1.10 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("unasked 101",
     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz"),
    ("no HTTP at all", b"xyz\r\n\r\n"),
    ("too many headers", b"HTTP/1.1 200 OK\r\n" + b"X: xyz\r\n" * 1000 + b"\r\n"),
    ("a head without end", b"HTTP/1.1 200 OK\r\nX: " + b"xyz" * 100000),
    ("the same length twice",
     b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nxyz"),
    ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nxyz"),
    ("length -3", b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nxyz"),
    ("length 0x3", b"HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nxyz"),
    ("length 3_0", b"HTTP/1.1 200 OK\r\nContent-Length: 3_0\r\n\r\nxyz"),
    ("length 3Z", b"HTTP/1.1 200 OK\r\nContent-Length: 3Z\r\n\r\nxyz"),
    ("length over 64 bits",
     b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nxyz"),
    ("length without a colon", b"HTTP/1.1 200 OK\r\nContent-Length 3\r\n\r\nxyz"),
    ("0x85 in a name", b"HTTP/1.1 200 OK\r\nContent-Length\x85: 3\r\n\r\nxyz"),
    ("chunked, and chunked again",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz"),
    ("gzip, chunked",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("chunked between no-break spaces",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \xa0chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("chunked and a vertical tab",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\x0b\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
    ("length and unknown coding",
     b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: x\r\n\r\nxyz"),
    ("space before the first header",
     b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 3\r\n\r\nxyz"),
    ("bare LF behind one header", b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 3\r\n\r\nxyz"),
    ("CR and another byte at the end of the head", b"HTTP/1.1 200 OK\r\nX: y\r\n\rZxyz"),
    ("CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("NUL in the reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 3\r\n\r\nxyz"),
    ("two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("signed status", b"HTTP/1.1 +20 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("status 099", b"HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("two spaces before the status", b"HTTP/1.1  200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("no status", b"HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz"),
    ("lower-case version", b"http/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("empty line before", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("another answer inside an interim one",
     b"HTTP/1.1 103 Early Hints\r\nX: y\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz"),
    ("endless interim answers", b"HTTP/1.1 102 Processing\r\n\r\n" * 5000),
    ("a header line without end behind others", b"HTTP/1.1 200 OK\r\n" + b"X: xyz\r\n" * 50
     + b"Y" * 100000),
] + [("byte 0x%02x in a name" % byte,
      b"HTTP/1.1 200 OK\r\nX%cY: z\r\nContent-Length: 3\r\n\r\nxyz" % byte)
     for byte in NOT_TOKENS] + [
    ("first chunk: " + what, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    for what, body in CHUNKS if not body.startswith(CHUNK)]

PSEUDO = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1/chat/completions"),
          (b":authority", b"a.example")]


def section(*fields, **changed):
    """The fields of a sound request, some of its pseudo-header fields changed (None: left out)."""
    pseudo = [(name, changed.get(name[1:].decode(), value)) for name, value in PSEUDO]
    return [(name, value) for name, value in pseudo if value is not None] + list(fields)


def with_value(name, value):
    return section((name, value))


LENGTH_FIELD = (b"content-length", b"%d" % len(BODY))
END_OF_HEAD = b"\r\n\r\n" + SMUGGLED
DOWNGRADES = [
    ("line end in a value", with_value(b"x", b"y\r\nz: a"), BODY, 400),
    ("head end in a value", with_value(b"x", b"y" + END_OF_HEAD), BODY, 400),
    ("LF in a value", with_value(b"x", b"y\nz: a"), BODY, 400),
    ("CR in a value", with_value(b"x", b"y\rz: a"), BODY, 400),
    ("NUL in a value", with_value(b"x", b"y\x00"), BODY, 400),
    ("space before a value", with_value(b"x", b" y"), BODY, 400),
    ("tab behind a value", with_value(b"x", b"y\t"), BODY, 400),
    ("tab before a length", with_value(b"content-length", b"\t13"), BODY, 400),
    ("empty name", with_value(b"", b"y"), BODY, 400),
    ("upper-case name", with_value(b"X", b"y"), BODY, 400),
    ("line end in a name", with_value(b"x: y\r\nz", b"a"), BODY, 400),
    ("colon in a name", with_value(b"x: y", b"a"), BODY, 400),
    ("name that begins with a colon", with_value(b":x", b"y"), BODY, 400),
    ("pseudo-header field behind a field",
     section((b"x", b"y"), (b":path", b"/v1/smuggled"), path=None), BODY, 400),
    ("two paths", section() + [(b":path", b"/v1/smuggled")], BODY, 400),
    ("two methods", section() + [(b":method", b"GET")], BODY, 400),
    ("two authorities", section() + [(b":authority", b"b.example")], BODY, 400),
    ("a status", section() + [(b":status", b"200")], BODY, 400),
    ("no path", section(path=None), BODY, 400),
    ("no method", section(method=None), BODY, 400),
    ("no scheme", section(scheme=None), BODY, 400),
    ("no authority and no host", section(authority=None), BODY, 400),
    ("empty path", section(path=b""), BODY, 400),
    ("absolute path", section(path=b"http://b.example/v1/x"), BODY, 400),
    ("request line in the path", section(path=b"/v1/x HTTP/1.1"), BODY, 400),
    ("request in the path", section(path=b"/v1/x HTTP/1.1\r\nhost: b\r\n\r\n" + SMUGGLED), BODY,
     400),
    ("space in the path", section(path=b"/v1/a b"), BODY, 400),
    ("fragment in the path", section(path=b"/v1/x#y"), BODY, 400),
    ("over the root", section(path=b"/v1/../../x"), BODY, 400),
    ("asterisk", section(path=b"*"), BODY, 400),
    ("empty method", section(method=b""), BODY, 400),
    ("request line in the method", section(method=b"GET /v1/smuggled HTTP/1.1\r\nx:"), BODY, 400),
    ("space in the method", section(method=b"PO ST"), BODY, 400),
    ("TRACE", section(method=b"TRACE"), BODY, 501),
    ("target in the scheme", section(scheme=b"http://b.example/v1/smuggled?"), BODY, 400),
    ("another scheme", section(scheme=b"ftp"), BODY, 400),
    ("line end in the authority", section(authority=b"a.example\r\nx: y"), BODY, 400),
    ("path in the authority", section(authority=b"a.example/x"), BODY, 400),
    ("user in the authority", section(authority=b"u@a.example"), BODY, 400),
    ("list of authorities", section(authority=b"a.example,b.example"), BODY, 400),
    ("empty authority", section(authority=b""), BODY, 400),
    ("another host", with_value(b"host", b"b.example"), BODY, 400),
    ("two hosts", section((b"host", b"a.example"), (b"host", b"b.example"), authority=None), BODY,
     400),
    ("connection", with_value(b"connection", b"close"), BODY, 400),
    ("connection, with a name", section((b"connection", b"x-y"), (b"x-y", b"z")), BODY, 400),
    ("keep-alive", with_value(b"keep-alive", b"5"), BODY, 400),
    ("proxy-connection", with_value(b"proxy-connection", b"keep-alive"), BODY, 400),
    ("upgrade", with_value(b"upgrade", b"websocket"), BODY, 400),
    ("transfer-encoding", with_value(b"transfer-encoding", b"chunked"), CHUNK + b"0\r\n\r\n", 400),
    ("transfer-encoding, with a request behind", with_value(b"transfer-encoding", b"chunked"),
     b"0\r\n\r\n" + SMUGGLED, 400),
    ("te: gzip", with_value(b"te", b"gzip"), BODY, 400),
    ("te: trailers, chunked", with_value(b"te", b"trailers, chunked"), BODY, 400),
    ("length that is too small", with_value(b"content-length", b"1"), BODY, 400),
    ("length 0, with a request behind", with_value(b"content-length", b"0"), SMUGGLED, 400),
    ("length that is too large", with_value(b"content-length", b"100"), BODY, 400),
    ("two lengths", section(LENGTH_FIELD, (b"content-length", b"14")), BODY, 400),
    ("the same length twice", section(LENGTH_FIELD, LENGTH_FIELD), BODY, 400),
    ("a list of lengths", with_value(b"content-length", b"13, 13"), BODY, 400),
    ("length +13", with_value(b"content-length", b"+13"), BODY, 400),
    ("length 0xd", with_value(b"content-length", b"0xd"), BODY, 400),
    ("empty length", with_value(b"content-length", b""), BODY, 400),
    ("too many fields", section(*[(b"x-%d" % i, b"y") for i in range(200)]), BODY, 431),
    ("one large field", with_value(b"x", b"y" * 60000), BODY, 431),
] + [("byte 0x%02x in a name" % byte, with_value(b"x%cy" % byte, b"z"), BODY, 400)
     for byte in NOT_TOKENS]
