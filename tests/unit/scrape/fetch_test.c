// The GET client against a scripted server on the same loop.
#include "scrape/fetch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "base/strbuf.h"

enum { CONNS_MAX = 8 };

// What the server does with its next request: sends the pieces, one a turn, then closes or not.
struct reply {
    const char *pieces[6];
    bool close;
};

struct world {
    struct loop *loop;
    struct fetch_context context;
    struct fetch *fetch;
    struct io listen_io;
    struct io conns[CONNS_MAX];
    size_t conn_count;
    const struct reply *replies;
    size_t reply_count, next_reply;
    size_t next_piece;
    struct io *sending;
    struct timer pace;
    char got[256]; // requests as they came
    // What the client saw:
    struct strbuf body;
    size_t body_max;
    int rc;
    unsigned status;
    unsigned done;
};

static void conn_close(struct world *w, struct io *io)
{
    loop_io_del(w->loop, io);
    close(io->fd);
    io->fd = -1;
}

static void send_piece(struct timer *timer, void *arg)
{
    struct world *w = arg;
    const struct reply *reply = &w->replies[w->next_reply];
    const char *piece = reply->pieces[w->next_piece++];
    // A client that has seen enough may have closed: then this turn is over.
    if (piece != NULL && w->sending->fd >= 0 &&
        send(w->sending->fd, piece, strlen(piece), MSG_NOSIGNAL) == (ssize_t)strlen(piece)) {
        loop_timer_set(w->loop, timer, 1, send_piece, w);
        return;
    }
    w->next_reply++;
    w->next_piece = 0;
    if (reply->close && w->sending->fd >= 0) {
        conn_close(w, w->sending);
    }
}

static void on_conn(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct world *w = arg;
    char buf[256];
    ssize_t n = recv(io->fd, buf, sizeof(buf) - 1, 0);
    if (n <= 0) {
        conn_close(w, io);
        return;
    }
    snprintf(w->got, sizeof(w->got), "%.*s", (int)n, buf);
    if (w->next_reply < w->reply_count) {
        w->sending = io;
        send_piece(&w->pace, w);
    }
}

static void on_listen(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct world *w = arg;
    assert_true(w->conn_count < CONNS_MAX);
    int fd = accept(io->fd, NULL, NULL);
    assert_int_equal(loop_io_add(w->loop, &w->conns[w->conn_count++], fd, EPOLLIN, on_conn, w), 0);
}

static bool on_body(void *arg, struct slice piece)
{
    struct world *w = arg;
    strbuf_add(&w->body, piece);
    return w->body.len <= w->body_max;
}

static void on_done(void *arg, int rc, unsigned status)
{
    struct world *w = arg;
    w->rc = rc;
    w->status = status;
    w->done++;
}

static int up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(loop_new(&w->loop, NULL), 0);
    w->context.loop = w->loop;
    w->context.buffer = malloc(FETCH_BUFFER_SIZE);
    strbuf_init(&w->body, 1 << 20);
    w->body_max = 1 << 19;
    struct sockaddr_storage address;
    memset(&address, 0, sizeof(address));
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address;
    socklen_t len = sizeof(*in);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)in, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)in, &len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(loop_io_add(w->loop, &w->listen_io, fd, EPOLLIN, on_listen, w), 0);
    struct fetch_server server = {.address = address, .address_len = len};
    w->fetch = fetch_new(&w->context, &server, on_body, on_done, w);
    assert_non_null(w->fetch);
    *state = w;
    return 0;
}

static int down(void **state)
{
    struct world *w = *state;
    fetch_free(w->fetch);
    for (size_t i = 0; i < w->conn_count; i++) {
        if (w->conns[i].fd >= 0) {
            conn_close(w, &w->conns[i]);
        }
    }
    loop_timer_cancel(w->loop, &w->pace);
    conn_close(w, &w->listen_io);
    loop_free(w->loop);
    free(w->context.buffer);
    strbuf_fini(&w->body);
    free(w);
    return 0;
}

static void get_within(struct world *w, uint64_t timeout_ms)
{
    unsigned before = w->done;
    strbuf_reset(&w->body);
    assert_int_equal(fetch_get(w->fetch, SLICE("GET /m HTTP/1.1\r\nHost: x\r\n\r\n"), timeout_ms),
                     0);
    assert_int_equal(fetch_get(w->fetch, SLICE("GET /n HTTP/1.1\r\n\r\n"), 1), -EBUSY);
    for (int i = 0; i < 10000 && w->done == before; i++) {
        loop_turn(w->loop, 1000);
    }
    assert_int_equal(w->done, before + 1);
}

static void get(struct world *w)
{
    get_within(w, 20000);
    // The server ends its turn (and closes, when it is told to) a moment after its last piece.
    while (timer_is_set(&w->pace)) {
        loop_turn(w->loop, 100);
    }
}

// Until the server has accepted so many connections and seen the end of each, so that it does not
// give the next reply to a request that was given up.
static void forgotten(struct world *w, size_t conns)
{
    for (int i = 0; i < 10000; i++) {
        size_t open = 0;
        for (size_t c = 0; c < w->conn_count; c++) {
            open += w->conns[c].fd >= 0;
        }
        if (w->conn_count == conns && open == 0) {
            return;
        }
        loop_turn(w->loop, 10);
    }
    fail_msg("the server still has a connection");
}

static void serve(struct world *w, const struct reply *replies, size_t count)
{
    w->replies = replies;
    w->reply_count = count;
    w->next_reply = 0;
    w->next_piece = 0;
    loop_timer_cancel(w->loop, &w->pace);
}

static void every_framing_is_read_and_the_connection_kept(void **state)
{
    struct world *w = *state;
    static const struct reply replies[] = {
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Le", "ngth: 5\r\n\r", "\nhe", "llo"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "3\r\nl",
                    "lo\r\n0\r", "\n\r\n"}},
        {.pieces = {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n",
                    "Content-Length: 5\r\n\r\nhello"}},
    };
    serve(w, replies, ARRAY_LEN(replies));
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        get(w);
        assert_int_equal(w->rc, 0);
        assert_int_equal(w->status, 200);
        assert_string_equal(strbuf_cstr(&w->body), "hello");
        assert_string_equal(w->got, "GET /m HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert_int_equal(w->conn_count, 1);

    static const struct reply last[] = {
        {.pieces = {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}},
        {.pieces = {"HTTP/1.1 204 No Content\r\n\r\n"}},
        {.pieces = {"HTTP/1.0 200 OK\r\n\r\nhel", "lo"}, .close = true},
        {.pieces = {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}},
    };
    static const unsigned statuses[] = {404, 204, 200, 200, 200, 200};
    static const size_t conns[] = {1, 1, 1, 2, 3, 4}; // kept only when that is sound
    serve(w, last, ARRAY_LEN(last));
    for (size_t i = 0; i < ARRAY_LEN(last); i++) {
        get(w);
        assert_int_equal(w->rc, 0);
        assert_int_equal(w->status, statuses[i]);
        assert_string_equal(strbuf_cstr(&w->body), statuses[i] == 200 ? "hello" : "");
        assert_int_equal(w->conn_count, conns[i]);
    }
}

static void a_kept_connection_that_was_closed_is_replaced(void **state)
{
    struct world *w = *state;
    static const struct reply replies[] = {
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"}, .close = true},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"}},
        {.close = true}, // takes the request and closes
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nc"}},
        {.close = true},
        {.close = true}, // a fresh one as well: no third attempt
    };
    serve(w, replies, ARRAY_LEN(replies));
    get(w);
    get(w);
    assert_string_equal(strbuf_cstr(&w->body), "b");
    get(w);
    assert_int_equal(w->rc, 0);
    assert_string_equal(strbuf_cstr(&w->body), "c");
    get(w);
    assert_int_equal(w->rc, -ECONNRESET);
    assert_int_equal(w->next_reply, ARRAY_LEN(replies));
}

static void what_is_wrong_is_an_error(void **state)
{
    struct world *w = *state;
    static const struct reply replies[] = {
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"}, .close = true},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Le"}, .close = true},
        {.pieces = {"SSH-2.0-OpenSSH\r\n\r\n"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}},
        {.pieces = {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"}},
        {.pieces = {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                    "Content-Length: 2\r\n\r\n\x1f\x8b"}},
    };
    static const int codes[] = {-ECONNRESET, -ECONNRESET, -EPROTO, -EPROTO,
                                -EPROTO,     -EPROTO,     -ENOTSUP};
    serve(w, replies, ARRAY_LEN(replies));
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        get(w);
        assert_int_equal(w->rc, codes[i]);
        assert_int_equal(w->status, 0);
    }
}

static void bodies_and_heads_are_bounded(void **state)
{
    struct world *w = *state;
    static char head[40000], body[200000];
    memset(head, 'x', sizeof(head) - 1);
    memcpy(head, "HTTP/1.1 200 OK\r\nA: ", 20);
    memset(body, 'y', sizeof(body) - 1);
    memcpy(body, "HTTP/1.0 200 OK\r\n\r\n", 19);
    const struct reply endless[] = {{.pieces = {head, head, head}}};
    serve(w, endless, 1);
    get(w);
    assert_int_equal(w->rc, -EPROTO);
    w->body_max = 100000;
    const struct reply large[] = {{.pieces = {body}, .close = true}};
    serve(w, large, 1);
    get(w);
    assert_int_equal(w->rc, -EFBIG);
}

static void silence_ends_in_time(void **state)
{
    struct world *w = *state;
    get_within(w, 5); // the server has no reply
    assert_int_equal(w->rc, -ETIMEDOUT);
    forgotten(w, 1);
    static const struct reply half[] =
        {{.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"}}};
    serve(w, half, 1);
    get_within(w, 50);
    assert_int_equal(w->rc, -ETIMEDOUT);
    forgotten(w, 2);
    static const struct reply good[] =
        {{.pieces = {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"}}};
    serve(w, good, 1);
    get(w);
    assert_int_equal(w->rc, 0);
}

static void nobody_there_is_an_error_that_comes_later(void **state)
{
    struct world *w = *state;
    loop_io_del(w->loop, &w->listen_io);
    close(w->listen_io.fd); // the port refuses from now on
    get(w);
    assert_int_equal(w->rc, -ECONNREFUSED);
    w->listen_io.fd = socket(AF_INET, SOCK_STREAM, 0);
}

static void where_nobody_may_connect_nothing_is_asked(void **state)
{
    struct world *w = *state;
    const struct address_guard guard = {0};
    w->context.guard = &guard;
    get(w);
    assert_int_equal(w->rc, -EACCES);
    assert_int_equal(w->conn_count, 0);
    w->context.guard = NULL;
}

static void it_can_be_freed_at_any_time(void **state)
{
    struct world *w = *state;
    static const struct reply slow[] = {{.pieces = {"HTTP/1.1 200", " OK\r\n",
                                                    "Content-Length: 2\r\n\r\n", "a", "b"}}};
    serve(w, slow, 1);
    assert_int_equal(fetch_get(w->fetch, SLICE("GET / HTTP/1.1\r\n\r\n"), 20000), 0);
    for (int i = 0; i < 100 && w->next_piece < 2; i++) {
        loop_turn(w->loop, 1000);
    }
    fetch_free(w->fetch);
    w->fetch = NULL;
    loop_turn(w->loop, 0);
    assert_int_equal(w->done, 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, up, down)
    const struct CMUnitTest tests[] = {
        CASE(every_framing_is_read_and_the_connection_kept),
        CASE(a_kept_connection_that_was_closed_is_replaced),
        CASE(what_is_wrong_is_an_error),
        CASE(bodies_and_heads_are_bounded),
        CASE(silence_ends_in_time),
        CASE(nobody_there_is_an_error_that_comes_later),
        CASE(where_nobody_may_connect_nothing_is_asked),
        CASE(it_can_be_freed_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
