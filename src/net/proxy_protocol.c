#include "net/proxy_protocol.h"

enum {
    V1_MAX = 107, // with CR LF
    V2_HEAD = 16,
    V2_IPV4 = 12,
    V2_IPV6 = 36,
    V2_UNIX = 216,
    TLV_HEAD = 3,
    TLV_CRC32C = 0x03,
};

static const char v1_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const char v2_signature[PROXY_PROTOCOL_SIGNATURE_MAX] = {
    '\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n',
};

static inline ptrdiff_t refuse(enum proxy_protocol_error error)
{
    return -(ptrdiff_t)error;
}

static bool agrees(const char *buf, size_t len, const char *signature, size_t size)
{
    return memcmp(buf, signature, len < size ? len : size) == 0;
}

bool proxy_protocol_may_start(const char *buf, size_t len)
{
    return len == 0 || agrees(buf, len, v1_signature, sizeof(v1_signature)) ||
           agrees(buf, len, v2_signature, sizeof(v2_signature));
}

// ---- version 1 --------------------------------------------------------------------------------

static bool parse_port(struct slice text, uint16_t *ret_port)
{
    uint64_t port;
    if ((text.len > 1 && text.ptr[0] == '0') || slice_to_u64(text, &port) != 0 || port > 65535) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

static bool parse_address(struct slice text, bool v4, struct ip *ret_ip)
{
    return (slice_find_byte(text, ':') < 0) == v4 && ip_parse(text, ret_ip) == 0;
}

// "TCP4 192.0.2.1 198.51.100.1 1234 80", without the signature and the line's end.
static enum proxy_protocol_error parse_line(struct slice line, struct proxy_protocol *header)
{
    struct slice parts[5];
    size_t count = 0;
    while (count < ARRAY_LEN(parts) && slice_split(&line, ' ', &parts[count])) {
        count++;
    }
    // What follows UNKNOWN is to be ignored.
    if (slice_eq(parts[0], SLICE("UNKNOWN"))) {
        return PROXY_PROTOCOL_NONE;
    }
    bool v4 = slice_eq(parts[0], SLICE("TCP4"));
    if ((!v4 && !slice_eq(parts[0], SLICE("TCP6"))) || count != ARRAY_LEN(parts) ||
        line.ptr != NULL) {
        return PROXY_PROTOCOL_SYNTAX;
    }
    header->has_addresses = parse_address(parts[1], v4, &header->source) &&
                            parse_address(parts[2], v4, &header->destination) &&
                            parse_port(parts[3], &header->source_port) &&
                            parse_port(parts[4], &header->destination_port);
    return header->has_addresses ? PROXY_PROTOCOL_NONE : PROXY_PROTOCOL_ADDRESS;
}

static ptrdiff_t parse_v1(const char *buf, size_t len, struct proxy_protocol *header)
{
    size_t limit = len < V1_MAX ? len : V1_MAX;
    const char *lf = memchr(buf, '\n', limit);
    const char *cr = memchr(buf, '\r', limit);
    if (lf == NULL && (cr == NULL || cr + 1 == buf + limit)) {
        return len < V1_MAX ? 0 : refuse(PROXY_PROTOCOL_SYNTAX);
    }
    if (lf == NULL || cr != lf - 1) {
        return refuse(PROXY_PROTOCOL_SYNTAX);
    }
    struct slice line = slice_of(buf + sizeof(v1_signature),
                                 (size_t)(cr - buf) - sizeof(v1_signature));
    enum proxy_protocol_error error = parse_line(line, header);
    return error == PROXY_PROTOCOL_NONE ? lf + 1 - buf : refuse(error);
}

// ---- version 2 --------------------------------------------------------------------------------

static uint32_t read_be(const char *p, size_t size)
{
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | (unsigned char)p[i];
    }
    return value;
}

// CRC-32C (RFC 3720 appendix B.4) of the header, the four bytes at `hole` taken as zero. Bit by
// bit: it is once a connection at most, and rare.
static uint32_t crc32c(const char *p, size_t len, size_t hole)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0U : (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0U - (crc & 1)));
        }
    }
    return ~crc;
}

// The extensions at buf[at..end), the end of the whole header.
static enum proxy_protocol_error check_tlvs(const char *buf, size_t at, size_t end)
{
    bool summed = false;
    while (at < end) {
        if (end - at < TLV_HEAD) {
            return PROXY_PROTOCOL_TLV;
        }
        size_t size = read_be(buf + at + 1, 2);
        int type = buf[at];
        at += TLV_HEAD;
        if (size > end - at) {
            return PROXY_PROTOCOL_TLV;
        }
        if (type == TLV_CRC32C) {
            if (size != 4 || summed) {
                return PROXY_PROTOCOL_TLV;
            }
            summed = true;
            if (crc32c(buf, end, at) != read_be(buf + at, 4)) {
                return PROXY_PROTOCOL_CHECKSUM;
            }
        }
        at += size;
    }
    return PROXY_PROTOCOL_NONE;
}

static void read_addresses(const char *p, bool v4, struct proxy_protocol *header)
{
    size_t size = v4 ? 4 : 16;
    uint8_t bytes[2][16];
    memcpy(bytes[0], p, size);
    memcpy(bytes[1], p + size, size);
    if (v4) {
        header->source = ip_of_v4(bytes[0]);
        header->destination = ip_of_v4(bytes[1]);
    } else {
        memcpy(header->source.bytes, bytes[0], size);
        memcpy(header->destination.bytes, bytes[1], size);
    }
    header->source_port = (uint16_t)read_be(p + 2 * size, 2);
    header->destination_port = (uint16_t)read_be(p + 2 * size + 2, 2);
    header->has_addresses = true;
}

// How many bytes of addresses a family and transport has; < 0: none that a stream can have. UNSPEC
// has none that could be read.
static ptrdiff_t addresses_size(unsigned family)
{
    switch (family) {
    case 0x00:
        return 0;
    case 0x11:
        return V2_IPV4;
    case 0x21:
        return V2_IPV6;
    case 0x31:
        return V2_UNIX;
    default:
        return refuse(PROXY_PROTOCOL_FAMILY);
    }
}

static ptrdiff_t parse_v2(const char *buf, size_t len, struct proxy_protocol *header)
{
    if (len < V2_HEAD) {
        return 0;
    }
    unsigned command = (unsigned char)buf[12];
    unsigned family = (unsigned char)buf[13];
    size_t rest = read_be(buf + 14, 2);
    if (command != 0x20 && command != 0x21) {
        return refuse(PROXY_PROTOCOL_VERSION);
    }
    if (rest > PROXY_PROTOCOL_MAX - V2_HEAD) {
        return refuse(PROXY_PROTOCOL_LENGTH);
    }
    bool local = command == 0x20;
    ptrdiff_t size = addresses_size(family);
    if (!local && size < 0) {
        return size;
    }
    if (!local && (size_t)size > rest) {
        return refuse(PROXY_PROTOCOL_LENGTH);
    }
    if (len < V2_HEAD + rest) {
        return 0;
    }
    // LOCAL and UNSPEC: whatever follows is skipped, as the specification asks.
    if (!local && size > 0) {
        enum proxy_protocol_error error =
            check_tlvs(buf, V2_HEAD + (size_t)size, V2_HEAD + rest);
        if (error != PROXY_PROTOCOL_NONE) {
            return refuse(error);
        }
        if (size != V2_UNIX) {
            read_addresses(buf + V2_HEAD, size == V2_IPV4, header);
        }
    }
    return (ptrdiff_t)(V2_HEAD + rest);
}

ptrdiff_t proxy_protocol_parse(const char *buf, size_t len, struct proxy_protocol *ret_header)
{
    struct proxy_protocol header = {.has_addresses = false};
    ptrdiff_t used = 0;
    if (!proxy_protocol_may_start(buf, len)) {
        return refuse(PROXY_PROTOCOL_SIGNATURE);
    }
    if (len >= sizeof(v1_signature) && buf[0] == v1_signature[0]) {
        used = parse_v1(buf, len, &header);
    } else if (len >= sizeof(v2_signature)) {
        used = parse_v2(buf, len, &header);
    }
    if (used > 0) {
        *ret_header = header;
    }
    return used;
}

const char *proxy_protocol_text(enum proxy_protocol_error error)
{
    static const char *const texts[PROXY_PROTOCOL_ERROR_COUNT] = {
#define X(name, text) text,
        PROXY_PROTOCOL_ERROR_TABLE(X)
#undef X
    };
    BUG_ON((unsigned)error >= PROXY_PROTOCOL_ERROR_COUNT);
    return texts[error];
}
