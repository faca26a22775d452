#include "proxy/forwarded_cert.h"

static bool fits(const struct strbuf *out, size_t start, size_t more)
{
    return out->len - start + more <= FORWARDED_CERT_MAX;
}

// An escaped byte stays escaped, but in another way where it is a quote or a backslash.
static void add_subject(struct strbuf *out, struct slice subject)
{
    for (size_t i = 0; i < subject.len; i++) {
        char c = subject.ptr[i];
        bool pair = c == '\\' && i + 1 < subject.len;
        char next = pair ? subject.ptr[++i] : c;
        if (next == '"') {
            strbuf_add(out, SLICE("\\22"));
        } else if (next == '\\') {
            strbuf_add(out, SLICE("\\5C"));
        } else {
            if (pair) {
                strbuf_add_char(out, c);
            }
            strbuf_add_char(out, next);
        }
    }
}

static bool is_host(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_' || c == '*';
        if (!ok) {
            return false;
        }
    }
    return name.len != 0;
}

static bool has_any(struct slice text, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (slice_find_byte(text, bytes.ptr[i]) >= 0) {
            return true;
        }
    }
    return false;
}

static void add_uri(struct strbuf *out, struct slice uri)
{
    bool quotes = has_any(uri, SLICE(",;="));
    strbuf_add(out, quotes ? SLICE(";URI=\"") : SLICE(";URI="));
    strbuf_add(out, uri);
    strbuf_add(out, quotes ? SLICE("\"") : SLICE(""));
}

void forwarded_cert_write(const struct tls_peer *peer, struct strbuf *out)
{
    enum { AROUND = 16 }; // key, quotes, semicolon
    // Three bytes of a subject for one, at worst.
    _Static_assert(3 * TLS_PEER_SUBJECT_MAX + 2 * sizeof(peer->fingerprint) < FORWARDED_CERT_MAX,
                   "a subject fits");
    size_t start = out->len;
    strbuf_add(out, SLICE("Hash="));
    strbuf_add_str(out, peer->fingerprint);
    if (peer->subject.len != 0 && peer->subject.len < TLS_PEER_SUBJECT_MAX) {
        strbuf_add(out, SLICE(";Subject=\""));
        add_subject(out, peer->subject);
        strbuf_add_char(out, '"');
    }
    for (size_t i = 0; i < peer->uri_count; i++) {
        struct slice uri = peer->uris[i];
        if (!has_any(uri, SLICE("\"\\")) && fits(out, start, uri.len + AROUND)) {
            add_uri(out, uri);
        }
    }
    for (size_t i = 0; i < peer->dns_count; i++) {
        struct slice name = peer->dns_names[i];
        if (is_host(name) && fits(out, start, name.len + AROUND)) {
            strbuf_add(out, SLICE(";DNS="));
            strbuf_add(out, name);
        }
    }
}
