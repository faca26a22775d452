// GET over one kept connection: what scraping needs of HTTP, and no more. It costs about half of
// what libcurl's general machinery does, which matters at thousands of scrapes a second. In the
// clear or over TLS; HTTP/1.1 in any case.
//
// Everything on the loop's thread. Callbacks must not free the fetch, but the done callback may
// start the next request.
#pragma once

#include <sys/socket.h>

#include "base/slice.h"
#include "event/loop.h"
#include "net/address_guard.h"

struct fetch;
struct fetch_tls;
struct server_tls;

enum { FETCH_BUFFER_SIZE = 128 << 10, FETCH_HEAD_MAX = 16 << 10, FETCH_WHY_MAX = 224 };

// What many fetches of one loop share.
struct fetch_context {
    struct loop *loop;
    const struct address_guard *guard; // what may be connected to; NULL: all
    char *buffer; // FETCH_BUFFER_SIZE bytes: holds a piece only during its callback
    struct fetch_tls *tls; // NULL: nothing over TLS
};

// Who is asked. Over TLS each connection is verified by `tls` alone, so a fetch with another one is
// another fetch.
struct fetch_server {
    struct sockaddr_storage address;
    socklen_t address_len;
    bool is_once; // a connection for each fetch, whatever the server says
    bool is_tls;
    struct server_tls *tls; // the fetch takes a reference. NULL with is_tls: every fetch fails
};

// A piece of the body, valid during the call. False: enough of it, the fetch ends with -EFBIG.
typedef bool fetch_body_fn(void *arg, struct slice piece);

// Comes once per fetch_get. rc: 0 = the whole response was read, with any status; else -errno:
// -ETIMEDOUT, -ECONNREFUSED, -ECONNRESET (cut short), -EPROTO (not HTTP as we accept it), -EFBIG,
// -ENOTSUP (encoded, which nobody asked for), -EACCES (the guard says no), -EKEYREJECTED (TLS;
// fetch_why says why) …
typedef void fetch_done_fn(void *arg, int rc, unsigned status);

// Connects when first used. NULL: out of memory.
struct fetch *fetch_new(const struct fetch_context *context, const struct fetch_server *server,
                        fetch_body_fn *body, fetch_done_fn *done, void *arg);
// Also while a request is on its way (done does not come then). NULL is fine.
void fetch_free(struct fetch *fetch);

// Sends the request head, which must stay until done came, and reads one response. A kept
// connection that turns out to be closed is replaced once. Never calls back from inside. 0 or
// -EBUSY.
MUST_CHECK int fetch_get(struct fetch *fetch, struct slice request, uint64_t timeout_ms);

// Only makes the connection, hands shaken where it has TLS, and closes it: done comes with status
// 0. Otherwise as fetch_get.
MUST_CHECK int fetch_connect(struct fetch *fetch, uint64_t timeout_ms);

// For people: why the fetch failed whose done came last with this rc. Lives as long as the fetch
// and changes with the next one.
const char *fetch_why(const struct fetch *fetch, int rc);
