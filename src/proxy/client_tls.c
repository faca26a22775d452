#include "proxy/client_tls.h"

#include <stdlib.h>

#include "base/strbuf.h"
#include "proxy/forwarded_cert.h"

enum { ARENA_CHUNK = 1024, ARENA_MAX = 256 * 1024, SAN_MAX = 512 };

static struct slice alpn_text(enum tls_alpn alpn)
{
    switch (alpn) {
    case TLS_ALPN_H2:
        return SLICE("h2");
    case TLS_ALPN_HTTP1:
        return SLICE("http/1.1");
    default:
        return SLICE("");
    }
}

// Appends those that fit: "URI:a,URI:b".
static void add_names(struct strbuf *out, struct slice kind, const struct slice *names,
                      size_t count)
{
    for (size_t i = 0; i < count && out->len + 1 + kind.len + names[i].len <= SAN_MAX; i++) {
        strbuf_add(out, out->len != 0 ? SLICE(",") : SLICE(""));
        strbuf_add(out, kind);
        strbuf_add(out, names[i]);
    }
}

static bool note_names(struct client_tls *tls)
{
    const struct tls_peer *peer = &tls->peer;
    struct strbuf text;
    strbuf_init(&text, SAN_MAX);
    add_names(&text, SLICE("URI:"), peer->uris, peer->uri_count);
    add_names(&text, SLICE("DNS:"), peer->dns_names, peer->dns_count);
    tls->log.subject = peer->subject;
    tls->log.san = arena_dup(&tls->arena, strbuf_slice(&text));
    bool ok = !text.failed && tls->log.san.ptr != NULL;
    strbuf_fini(&text);
    return ok;
}

static bool note_forwarded(struct client_tls *tls)
{
    struct strbuf text;
    strbuf_init(&text, FORWARDED_CERT_MAX);
    forwarded_cert_write(&tls->peer, &text);
    tls->forwarded = arena_dup(&tls->arena, strbuf_slice(&text));
    bool ok = !text.failed && tls->forwarded.ptr != NULL;
    strbuf_fini(&text);
    return ok;
}

struct client_tls *client_tls_new(const struct tls_conn *conn)
{
    struct client_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        return NULL;
    }
    arena_init(&tls->arena, ARENA_CHUNK, ARENA_MAX);
    tls->log.version = slice_of_str(tls_conn_version(conn));
    tls->log.cipher = slice_of_str(tls_conn_cipher(conn));
    tls->log.alpn = alpn_text(tls_conn_alpn(conn));
    tls->log.server_name = tls_conn_server_name(conn);
    int rc = tls_conn_peer(conn, &tls->arena, &tls->peer);
    tls->is_verified = rc > 0;
    if (rc < 0 || (rc > 0 && (!note_names(tls) || !note_forwarded(tls)))) {
        client_tls_free(tls);
        return NULL;
    }
    return tls;
}

void client_tls_free(struct client_tls *tls)
{
    if (tls != NULL) {
        arena_fini(&tls->arena);
        free(tls);
    }
}
