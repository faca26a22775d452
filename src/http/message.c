#include "http/message.h"

#include "base/macros.h"

struct token_row {
    struct slice name;
    bool hop_by_hop;
};

// Hop-by-hop: RFC 9110 section 7.6.1, and the ones that RFC 2616 section 13.5.1 listed.
static const struct token_row tokens[HTTP_TOKEN_COUNT] = {
    [HTTP_TOKEN_UNKNOWN] = {.name = SLICE("")},
    [HTTP_TOKEN_ACCEPT] = {.name = SLICE("accept")},
    [HTTP_TOKEN_ACCEPT_ENCODING] = {.name = SLICE("accept-encoding")},
    [HTTP_TOKEN_AUTHORIZATION] = {.name = SLICE("authorization")},
    [HTTP_TOKEN_CONNECTION] = {.name = SLICE("connection"), .hop_by_hop = true},
    [HTTP_TOKEN_CONTENT_ENCODING] = {.name = SLICE("content-encoding")},
    [HTTP_TOKEN_CONTENT_LENGTH] = {.name = SLICE("content-length")},
    [HTTP_TOKEN_CONTENT_TYPE] = {.name = SLICE("content-type")},
    [HTTP_TOKEN_DATE] = {.name = SLICE("date")},
    [HTTP_TOKEN_ENDPOINT_LOAD_METRICS] = {.name = SLICE("endpoint-load-metrics")},
    [HTTP_TOKEN_EXPECT] = {.name = SLICE("expect")},
    [HTTP_TOKEN_FORWARDED] = {.name = SLICE("forwarded")},
    [HTTP_TOKEN_HOST] = {.name = SLICE("host")},
    [HTTP_TOKEN_KEEP_ALIVE] = {.name = SLICE("keep-alive"), .hop_by_hop = true},
    [HTTP_TOKEN_PROXY_AUTHENTICATE] = {.name = SLICE("proxy-authenticate"), .hop_by_hop = true},
    [HTTP_TOKEN_PROXY_AUTHORIZATION] = {.name = SLICE("proxy-authorization"), .hop_by_hop = true},
    [HTTP_TOKEN_PROXY_CONNECTION] = {.name = SLICE("proxy-connection"), .hop_by_hop = true},
    [HTTP_TOKEN_RETRY_AFTER] = {.name = SLICE("retry-after")},
    [HTTP_TOKEN_SERVER] = {.name = SLICE("server")},
    [HTTP_TOKEN_TE] = {.name = SLICE("te"), .hop_by_hop = true},
    [HTTP_TOKEN_TRACEPARENT] = {.name = SLICE("traceparent")},
    [HTTP_TOKEN_TRACESTATE] = {.name = SLICE("tracestate")},
    [HTTP_TOKEN_TRAILER] = {.name = SLICE("trailer"), .hop_by_hop = true},
    [HTTP_TOKEN_TRANSFER_ENCODING] = {.name = SLICE("transfer-encoding"), .hop_by_hop = true},
    [HTTP_TOKEN_UPGRADE] = {.name = SLICE("upgrade"), .hop_by_hop = true},
    [HTTP_TOKEN_USER_AGENT] = {.name = SLICE("user-agent")},
    [HTTP_TOKEN_VIA] = {.name = SLICE("via")},
    [HTTP_TOKEN_X_FORWARDED_CLIENT_CERT] = {.name = SLICE("x-forwarded-client-cert")},
    [HTTP_TOKEN_X_FORWARDED_FOR] = {.name = SLICE("x-forwarded-for")},
    [HTTP_TOKEN_X_FORWARDED_HOST] = {.name = SLICE("x-forwarded-host")},
    [HTTP_TOKEN_X_FORWARDED_PORT] = {.name = SLICE("x-forwarded-port")},
    [HTTP_TOKEN_X_FORWARDED_PREFIX] = {.name = SLICE("x-forwarded-prefix")},
    [HTTP_TOKEN_X_FORWARDED_PROTO] = {.name = SLICE("x-forwarded-proto")},
    [HTTP_TOKEN_X_FORWARDED_SERVER] = {.name = SLICE("x-forwarded-server")},
    [HTTP_TOKEN_X_REAL_IP] = {.name = SLICE("x-real-ip")},
    [HTTP_TOKEN_X_REQUEST_ID] = {.name = SLICE("x-request-id")},
};

bool http_token_is_hop_by_hop(enum http_token token)
{
    return (unsigned)token < HTTP_TOKEN_COUNT && tokens[token].hop_by_hop;
}

static uint64_t load64(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint32_t load32(const char *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

// `name` equals `lower` (same length), which has only a-z and '-': setting bit 5 where the known
// byte is a letter folds exactly the upper case of that letter onto it.
static bool name_matches(const char *name, const char *lower, size_t len)
{
    const uint64_t letter = UINT64_C(0x4040404040404040);
    if (len >= 8) {
        size_t i = 0;
        for (;;) {
            uint64_t want = load64(lower + i);
            if ((load64(name + i) | ((want & letter) >> 1)) != want) {
                return false;
            }
            if (i + 8 == len) {
                return true;
            }
            // The last word overlaps the one before it.
            i = i + 16 <= len ? i + 8 : len - 8;
        }
    }
    if (len >= 4) {
        uint32_t first = load32(lower);
        uint32_t last = load32(lower + len - 4);
        return (load32(name) | ((first & (uint32_t)letter) >> 1)) == first &&
               (load32(name + len - 4) | ((last & (uint32_t)letter) >> 1)) == last;
    }
    for (size_t i = 0; i < len; i++) {
        char want = lower[i];
        if ((char)(name[i] | ((want & 0x40) >> 1)) != want) {
            return false;
        }
    }
    return true;
}

// Length and one to three bytes leave at most one candidate. The unit test walks the whole table,
// so a token that is missing here is noticed.
static enum http_token candidate_of(const char *name, size_t len)
{
    char first = (char)(name[0] | 0x20);
    char last = (char)(name[len - 1] | 0x20);
    switch (len) {
    case 2:
        return HTTP_TOKEN_TE;
    case 3:
        return HTTP_TOKEN_VIA;
    case 4:
        return first == 'h' ? HTTP_TOKEN_HOST : HTTP_TOKEN_DATE;
    case 6:
        return first == 'a'   ? HTTP_TOKEN_ACCEPT
               : first == 'e' ? HTTP_TOKEN_EXPECT
                              : HTTP_TOKEN_SERVER;
    case 7:
        return first == 't' ? HTTP_TOKEN_TRAILER : HTTP_TOKEN_UPGRADE;
    case 9:
        return first == 'f' ? HTTP_TOKEN_FORWARDED : HTTP_TOKEN_X_REAL_IP;
    case 10:
        return first == 'c'   ? HTTP_TOKEN_CONNECTION
               : first == 'u' ? HTTP_TOKEN_USER_AGENT
               : first == 't' ? HTTP_TOKEN_TRACESTATE
                              : HTTP_TOKEN_KEEP_ALIVE;
    case 11:
        return first == 'r' ? HTTP_TOKEN_RETRY_AFTER : HTTP_TOKEN_TRACEPARENT;
    case 12:
        return first == 'c' ? HTTP_TOKEN_CONTENT_TYPE : HTTP_TOKEN_X_REQUEST_ID;
    case 13:
        return HTTP_TOKEN_AUTHORIZATION;
    case 14:
        return HTTP_TOKEN_CONTENT_LENGTH;
    case 15:
        return first == 'a' ? HTTP_TOKEN_ACCEPT_ENCODING : HTTP_TOKEN_X_FORWARDED_FOR;
    case 16:
        return first == 'c'   ? HTTP_TOKEN_CONTENT_ENCODING
               : first == 'p' ? HTTP_TOKEN_PROXY_CONNECTION
               : (name[12] | 0x20) == 'h' ? HTTP_TOKEN_X_FORWARDED_HOST
                                          : HTTP_TOKEN_X_FORWARDED_PORT;
    case 17:
        return first == 't' ? HTTP_TOKEN_TRANSFER_ENCODING : HTTP_TOKEN_X_FORWARDED_PROTO;
    case 18:
        return first == 'p'  ? HTTP_TOKEN_PROXY_AUTHENTICATE
               : last == 'x' ? HTTP_TOKEN_X_FORWARDED_PREFIX
                             : HTTP_TOKEN_X_FORWARDED_SERVER;
    case 19:
        return HTTP_TOKEN_PROXY_AUTHORIZATION;
    case 21:
        return last == 's' ? HTTP_TOKEN_ENDPOINT_LOAD_METRICS : HTTP_TOKEN_UNKNOWN;
    case 23:
        return HTTP_TOKEN_X_FORWARDED_CLIENT_CERT;
    default:
        return HTTP_TOKEN_UNKNOWN;
    }
}

enum http_token http_token_find(struct slice name)
{
    if (name.len < 2) {
        return HTTP_TOKEN_UNKNOWN;
    }
    enum http_token token = candidate_of(name.ptr, name.len);
    if (token == HTTP_TOKEN_UNKNOWN || !name_matches(name.ptr, tokens[token].name.ptr, name.len)) {
        return HTTP_TOKEN_UNKNOWN;
    }
    return token;
}

const struct http_header *http_header_find(const struct http_header *headers, size_t count,
                                           enum http_token token)
{
    for (size_t i = 0; i < count; i++) {
        if (headers[i].token == token) {
            return &headers[i];
        }
    }
    return NULL;
}

const struct http_header *http_header_find_name(const struct http_header *headers, size_t count,
                                                struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(headers[i].name, name)) {
            return &headers[i];
        }
    }
    return NULL;
}

bool http_content_type_is(struct slice value, struct slice type)
{
    ptrdiff_t semicolon = slice_find_byte(value, ';');
    if (semicolon >= 0) {
        value = slice_first(value, (size_t)semicolon);
    }
    return slice_ieq(slice_trim(value), type);
}

// RFC 9110 section 15, and 429, 431 (RFC 6585), 103 (RFC 8297), 425 (RFC 8470).
static const struct {
    unsigned status;
    struct slice phrase;
} phrases[] = {
    {100, SLICE("Continue")},
    {101, SLICE("Switching Protocols")},
    {102, SLICE("Processing")},
    {103, SLICE("Early Hints")},
    {200, SLICE("OK")},
    {201, SLICE("Created")},
    {202, SLICE("Accepted")},
    {203, SLICE("Non-Authoritative Information")},
    {204, SLICE("No Content")},
    {205, SLICE("Reset Content")},
    {206, SLICE("Partial Content")},
    {300, SLICE("Multiple Choices")},
    {301, SLICE("Moved Permanently")},
    {302, SLICE("Found")},
    {303, SLICE("See Other")},
    {304, SLICE("Not Modified")},
    {307, SLICE("Temporary Redirect")},
    {308, SLICE("Permanent Redirect")},
    {400, SLICE("Bad Request")},
    {401, SLICE("Unauthorized")},
    {402, SLICE("Payment Required")},
    {403, SLICE("Forbidden")},
    {404, SLICE("Not Found")},
    {405, SLICE("Method Not Allowed")},
    {406, SLICE("Not Acceptable")},
    {407, SLICE("Proxy Authentication Required")},
    {408, SLICE("Request Timeout")},
    {409, SLICE("Conflict")},
    {410, SLICE("Gone")},
    {411, SLICE("Length Required")},
    {412, SLICE("Precondition Failed")},
    {413, SLICE("Content Too Large")},
    {414, SLICE("URI Too Long")},
    {415, SLICE("Unsupported Media Type")},
    {416, SLICE("Range Not Satisfiable")},
    {417, SLICE("Expectation Failed")},
    {421, SLICE("Misdirected Request")},
    {422, SLICE("Unprocessable Content")},
    {425, SLICE("Too Early")},
    {426, SLICE("Upgrade Required")},
    {428, SLICE("Precondition Required")},
    {429, SLICE("Too Many Requests")},
    {431, SLICE("Request Header Fields Too Large")},
    {499, SLICE("Client Closed Request")},
    {500, SLICE("Internal Server Error")},
    {501, SLICE("Not Implemented")},
    {502, SLICE("Bad Gateway")},
    {503, SLICE("Service Unavailable")},
    {504, SLICE("Gateway Timeout")},
    {505, SLICE("HTTP Version Not Supported")},
    {507, SLICE("Insufficient Storage")},
    {529, SLICE("Overloaded")},
};

struct slice http_reason_phrase(unsigned status)
{
    if (status == 200) {
        return SLICE("OK");
    }
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }
    return SLICE("");
}
