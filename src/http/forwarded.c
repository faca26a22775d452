#include "http/forwarded.h"

#include "base/strbuf.h"
#include "http/h1_scan.h"
#include "http/h1_target.h"

enum { VALUE_MAX = 16384 };

// The last nodes that a header names, in order; older ones fall out.
struct nodes {
    struct ip ips[FORWARDED_HOPS_MAX];
    bool known[FORWARDED_HOPS_MAX];
    size_t seen; // the newest is at (seen - 1) % FORWARDED_HOPS_MAX
};

struct element {
    struct slice node;
    struct slice proto;
    struct slice host;
};

// ---- reading ----------------------------------------------------------------------------------

static bool is_port(struct slice text)
{
    uint64_t port;
    return text.len > 0 && text.len <= 5 && slice_to_u64(text, &port) == 0 && port <= 65535;
}

// "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80", "[2001:db8::1]", "2001:db8::1".
static bool parse_node(struct slice text, struct ip *ret_ip)
{
    ptrdiff_t colon = slice_find_byte(text, ':');
    if (text.len > 0 && text.ptr[0] == '[') {
        ptrdiff_t close = slice_find_byte(text, ']');
        struct slice rest = close > 0 ? slice_skip(text, (size_t)close + 1) : SLICE_NULL;
        if (close <= 0 ||
            (rest.len > 0 && (rest.ptr[0] != ':' || !is_port(slice_skip(rest, 1))))) {
            return false;
        }
        struct slice inside = slice_of(text.ptr + 1, (size_t)close - 1);
        return slice_find_byte(inside, ':') >= 0 && ip_parse(inside, ret_ip) == 0;
    }
    bool has_port = colon > 0 && slice_find_byte(slice_skip(text, (size_t)colon + 1), ':') < 0;
    if (has_port && !is_port(slice_skip(text, (size_t)colon + 1))) {
        return false;
    }
    return ip_parse(has_port ? slice_first(text, (size_t)colon) : text, ret_ip) == 0;
}

static void add_node(struct nodes *nodes, struct slice text)
{
    size_t at = nodes->seen++ % FORWARDED_HOPS_MAX;
    nodes->known[at] = parse_node(text, &nodes->ips[at]);
}

static void read_list(struct slice value, struct nodes *nodes)
{
    struct slice part;
    while (slice_split(&value, ',', &part)) {
        add_node(nodes, slice_trim(part));
    }
}

// A token or a quoted string at the start of *rest. Addresses and hosts need no escapes: one ends
// the reading.
static bool take_value(struct slice *rest, struct slice *ret_value)
{
    size_t len;
    if (rest->len > 0 && rest->ptr[0] == '"') {
        struct slice inside = slice_skip(*rest, 1);
        ptrdiff_t quote = slice_find_byte(inside, '"');
        if (quote < 0 || slice_find_byte(slice_first(inside, (size_t)quote), '\\') >= 0) {
            return false;
        }
        *ret_value = slice_first(inside, (size_t)quote);
        len = (size_t)quote + 2;
    } else {
        len = h1_token_length(*rest);
        *ret_value = slice_first(*rest, len);
    }
    *rest = slice_skip(*rest, len);
    return len > 0;
}

// One "for=…;proto=…" up to its comma. False: malformed.
static bool take_element(struct slice *rest, struct element *ret_element)
{
    struct element element = {.node = SLICE_NULL};
    for (;;) {
        *rest = slice_skip_blanks(*rest);
        size_t len = h1_token_length(*rest);
        struct slice name = slice_first(*rest, len);
        struct slice value;
        if (len == 0 || len == rest->len || rest->ptr[len] != '=') {
            return false;
        }
        *rest = slice_skip(*rest, len + 1);
        if (!take_value(rest, &value)) {
            return false;
        }
        struct slice *place = slice_ieq(name, SLICE("for"))     ? &element.node
                              : slice_ieq(name, SLICE("proto")) ? &element.proto
                              : slice_ieq(name, SLICE("host"))  ? &element.host
                                                                : NULL;
        if (place != NULL && place->ptr != NULL) {
            return false; // twice
        }
        if (place != NULL) {
            *place = value;
        }
        *rest = slice_skip_blanks(*rest);
        bool more = rest->len > 0 && rest->ptr[0] == ';';
        if (!more) {
            break;
        }
        *rest = slice_skip(*rest, 1);
    }
    if (rest->len > 0 && rest->ptr[0] != ',') {
        return false;
    }
    *rest = slice_skip(*rest, 1);
    *ret_element = element;
    return true;
}

// What is malformed is one unknown node, in the place of all that comes after it.
static void read_elements(struct slice value, struct nodes *nodes, struct element *last)
{
    while (value.len > 0) {
        struct element element;
        if (!take_element(&value, &element)) {
            *last = (struct element){.node = SLICE_NULL};
            add_node(nodes, SLICE("unknown"));
            return;
        }
        add_node(nodes, element.node);
        *last = element;
    }
}

// ---- whom to believe --------------------------------------------------------------------------

// Walks from the peer towards the client; hops come out nearest first.
static size_t walk(const struct nodes *nodes, const struct ip *peer,
                   const struct cidr_list *trusted, struct ip *hops)
{
    size_t count = 0;
    size_t left = MIN_OF(nodes->seen, (size_t)FORWARDED_HOPS_MAX);
    hops[count++] = *peer;
    while (left > 0 && count < FORWARDED_HOPS_MAX &&
           cidr_list_contains(trusted, &hops[count - 1])) {
        size_t at = (nodes->seen - 1 - (count - 1)) % FORWARDED_HOPS_MAX;
        if (!nodes->known[at]) {
            break;
        }
        hops[count++] = nodes->ips[at];
        left--;
    }
    return count;
}

static void reverse(struct ip *hops, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct ip other = hops[i];
        hops[i] = hops[count - 1 - i];
        hops[count - 1 - i] = other;
    }
}

static struct slice last_part(struct slice value)
{
    struct slice part = value;
    while (slice_split(&value, ',', &part)) {
    }
    return slice_trim(part);
}

static struct slice scheme_of(struct slice text)
{
    if (slice_ieq(text, SLICE("https")) || slice_ieq(text, SLICE("wss"))) {
        return SLICE("https");
    }
    return slice_ieq(text, SLICE("http")) || slice_ieq(text, SLICE("ws")) ? SLICE("http")
                                                                         : SLICE_NULL;
}

static bool is_authority(struct slice text)
{
    struct h1_authority authority;
    return h1_authority_parse(text, &authority);
}

// What the headers of a trusted peer say.
struct said {
    struct nodes list;     // X-Forwarded-For
    struct nodes elements; // Forwarded
    struct slice scheme;
    struct slice host;
};

static void read_headers(const struct http_header *headers, size_t count, struct said *said)
{
    struct element last = {.node = SLICE_NULL};
    struct slice proto = SLICE_NULL;
    struct slice host = SLICE_NULL;
    for (size_t i = 0; i < count; i++) {
        switch ((enum http_token)headers[i].token) {
        case HTTP_TOKEN_X_FORWARDED_FOR:
            read_list(headers[i].value, &said->list);
            break;
        case HTTP_TOKEN_FORWARDED:
            read_elements(headers[i].value, &said->elements, &last);
            break;
        case HTTP_TOKEN_X_FORWARDED_PROTO:
            proto = headers[i].value;
            break;
        case HTTP_TOKEN_X_FORWARDED_HOST:
            host = headers[i].value;
            break;
        default:
            break;
        }
    }
    said->scheme = scheme_of(proto.ptr != NULL ? last_part(proto) : last.proto);
    said->host = host.ptr != NULL ? last_part(host) : last.host;
}

void forwarded_read(const struct http_header *headers, size_t count, const struct ip *peer,
                    const struct cidr_list *trusted, struct slice scheme, struct slice authority,
                    struct forwarded *ret_forwarded)
{
    ret_forwarded->hops[0] = *peer;
    ret_forwarded->count = 1;
    ret_forwarded->scheme = scheme;
    ret_forwarded->host = authority;
    if (!cidr_list_contains(trusted, peer)) {
        return;
    }
    struct said said = {.list = {.seen = 0}};
    read_headers(headers, count, &said);
    if (said.scheme.ptr != NULL) {
        ret_forwarded->scheme = said.scheme;
    }
    if (said.host.ptr != NULL && is_authority(said.host)) {
        ret_forwarded->host = said.host;
    }
    struct ip others[FORWARDED_HOPS_MAX];
    size_t by_list = walk(&said.list, peer, trusted, ret_forwarded->hops);
    size_t by_elements = walk(&said.elements, peer, trusted, others);
    if (said.list.seen == 0) {
        memcpy(ret_forwarded->hops, others, by_elements * sizeof(others[0]));
        by_list = by_elements;
    } else if (said.elements.seen > 0 &&
               !ip_eq(&ret_forwarded->hops[by_list - 1], &others[by_elements - 1])) {
        by_list = 1;
    }
    ret_forwarded->count = by_list;
    reverse(ret_forwarded->hops, by_list);
}

// ---- writing ----------------------------------------------------------------------------------

static void add_ip(struct strbuf *out, const struct ip *ip)
{
    char text[IP_TEXT_MAX];
    strbuf_add(out, slice_of(text, ip_print(ip, text)));
}

// RFC 7239 section 6: IPv6 in brackets, and quoted for them.
static void add_for(struct strbuf *out, const struct ip *ip)
{
    strbuf_add(out, SLICE("for="));
    if (ip_is_v4(ip)) {
        add_ip(out, ip);
        return;
    }
    strbuf_add(out, SLICE("\"["));
    add_ip(out, ip);
    strbuf_add(out, SLICE("]\""));
}

static struct slice finish(struct strbuf *text, struct arena *arena)
{
    struct slice copy = text->failed ? SLICE_NULL : arena_dup(arena, strbuf_slice(text));
    strbuf_reset(text);
    return copy;
}

void forwarded_write(const struct forwarded *from, struct arena *arena,
                     struct forwarded_fields *ret_fields)
{
    struct strbuf text;
    strbuf_init(&text, VALUE_MAX);
    for (size_t i = 0; i < from->count; i++) {
        strbuf_add(&text, i > 0 ? SLICE(", ") : SLICE(""));
        add_ip(&text, &from->hops[i]);
    }
    ret_fields->forwarded_for = finish(&text, arena);
    for (size_t i = 0; i < from->count; i++) {
        strbuf_add(&text, i > 0 ? SLICE(", ") : SLICE(""));
        add_for(&text, &from->hops[i]);
        if (i == 0 && from->host.len > 0) {
            strbuf_add(&text, SLICE(";host=\""));
            strbuf_add(&text, from->host);
            strbuf_add_char(&text, '"');
        }
        if (i == 0) {
            strbuf_add(&text, SLICE(";proto="));
            strbuf_add(&text, from->scheme);
        }
    }
    ret_fields->forwarded = finish(&text, arena);
    ret_fields->proto = from->scheme;
    ret_fields->host = from->host.len > 0 ? arena_dup(arena, from->host) : SLICE_NULL;
    strbuf_fini(&text);
}
