#include "load/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { RECEIVE_SIZE = 65536, HEADERS_MAX = 100, REQUEST_MAX = 64 << 20 };

struct load_call {
    struct load_env *env;
    struct list_node node;
    struct load_conn *conn; // NULL: none
    struct load_pool *pool;
    bool counted;
    bool resent;
    uint64_t due_ns;
    uint64_t sent_ns; // when it was begun
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t last_byte_ns;
    struct timer timer;
    struct strbuf out; // the whole request, until an answer begins
    size_t out_at;
    struct strbuf head; // an incomplete head of the answer
    size_t head_seen;
    bool answered; // a byte of the answer has come
    bool in_body;
    bool keep_alive;
    enum http_framing framing;
    uint64_t left;
    struct h1_chunked chunked;
    struct load_reply reply;
    char share[LOAD_NAME_MAX];
};

static void call_connect(struct load_call *call, bool fresh);

// ---- the end --------------------------------------------------------------------------------

static void call_free(struct load_call *call, bool keep_conn)
{
    loop_timer_cancel(call->env->loop, &call->timer);
    if (call->conn != NULL && keep_conn) {
        load_pool_give(call->conn);
    } else if (call->conn != NULL) {
        load_conn_close(call->conn);
    }
    list_remove(&call->node);
    load_reply_fini(&call->reply);
    strbuf_fini(&call->out);
    strbuf_fini(&call->head);
    free(call);
}

static void call_end(struct load_call *call, bool keep_conn)
{
    struct load_env *env = call->env;
    enum load_failure failure = call->reply.failure;
    if (call->counted) {
        load_tally_add(env->tally, &(struct load_outcome){.due_ns = call->due_ns,
                                                          .sent_ns = call->sent_ns,
                                                          .first_ns = call->first_ns,
                                                          .last_ns = call->last_ns,
                                                          .end_ns = clock_mono_ns(),
                                                          .reply = &call->reply,
                                                          .share = call->share});
        env->tally->resent += call->resent;
    }
    call_free(call, keep_conn);
    env->on_end(env, failure);
}

static void call_fail(struct load_call *call, enum load_failure failure, const char *sample)
{
    load_reply_fail(&call->reply, failure, slice_of_str(sample));
    call_end(call, false);
}

void load_call_abort_all(struct load_env *env)
{
    while (!list_empty(&env->calls)) {
        call_fail(container_of(env->calls.next, struct load_call, node), LOAD_FAILURE_UNFINISHED,
                  "");
    }
}

// ---- time limits ----------------------------------------------------------------------------

struct deadline {
    uint64_t at_ns;
    enum load_failure failure;
};

static struct deadline call_deadline(const struct load_call *call)
{
    const struct load_config *config = call->env->config;
    struct deadline deadline;
    if (call->conn != NULL && call->conn->connecting) {
        deadline = (struct deadline){call->sent_ns + config->connect_timeout_ms * 1000000u,
                                     LOAD_FAILURE_TIMEOUT_CONNECT};
    } else if (call->first_ns == 0) {
        deadline = (struct deadline){call->sent_ns + config->first_timeout_ms * 1000000u,
                                     LOAD_FAILURE_TIMEOUT_FIRST};
    } else {
        deadline = (struct deadline){call->last_byte_ns + config->between_timeout_ms * 1000000u,
                                     LOAD_FAILURE_TIMEOUT_BETWEEN};
    }
    uint64_t total = call->sent_ns + config->total_timeout_ms * 1000000u;
    if (config->total_timeout_ms != 0 && total < deadline.at_ns) {
        deadline = (struct deadline){total, LOAD_FAILURE_TIMEOUT_TOTAL};
    }
    return deadline;
}

static void call_timer(UNUSED struct timer *timer, void *arg)
{
    struct load_call *call = arg;
    struct deadline deadline = call_deadline(call);
    uint64_t now = clock_mono_ns();
    if (now >= deadline.at_ns) {
        call_fail(call, deadline.failure, "");
        return;
    }
    loop_timer_set(call->env->loop, &call->timer, (deadline.at_ns - now) / 1000000u + 1,
                   call_timer, call);
}

static void call_arm(struct load_call *call)
{
    struct deadline deadline = call_deadline(call);
    uint64_t now = clock_mono_ns();
    loop_timer_set(call->env->loop, &call->timer,
                   deadline.at_ns > now ? (deadline.at_ns - now) / 1000000u + 1 : 0, call_timer,
                   call);
}

// ---- the answer -----------------------------------------------------------------------------

static void call_on_text(void *arg)
{
    struct load_call *call = arg;
    uint64_t now = call->env->now_ns;
    if (call->first_ns == 0) {
        call->first_ns = now;
        call->last_byte_ns = now;
        call_arm(call); // the limit between tokens is shorter
    } else if (call->counted) {
        histogram_record(&call->env->tally->gap, now - call->last_ns);
    }
    call->last_ns = now;
}

static void call_note_share(struct load_call *call, const struct http_response *response)
{
    const struct http_header *header = http_header_find_name(
        response->headers, response->header_count, call->env->config->share_header);
    if (header == NULL) {
        return;
    }
    struct slice name = slice_first(header->value, sizeof(call->share) - 1);
    for (size_t i = 0; i < name.len; i++) { // it may go to a terminal
        char c = name.ptr[i];
        call->share[i] = c > ' ' && c <= '~' ? c : '?';
    }
    call->share[name.len] = '\0';
}

static void call_begin_body(struct load_call *call, const struct http_response *response)
{
    const struct http_header *type = http_header_find(response->headers, response->header_count,
                                                      HTTP_TOKEN_CONTENT_TYPE);
    bool is_stream = response->status >= 200 && response->status <= 299 && type != NULL &&
                     http_content_type_is(type->value, SLICE("text/event-stream"));
    load_reply_init(&call->reply, response->status, is_stream, call_on_text, call);
    call_note_share(call, response);
    call->framing = response->framing;
    call->left = response->content_length;
    call->keep_alive = response->keep_alive && call->out_at == call->out.len;
    call->in_body = true;
    strbuf_fini(&call->out); // it cannot be sent again from here on
    call->out_at = 0;
}

// The body is whole; `extra` bytes came after it.
static void call_body_end(struct load_call *call, size_t extra)
{
    load_reply_end(&call->reply, call->env->config->api != LOAD_API_EMBEDDINGS);
    call_end(call, call->keep_alive && extra == 0);
}

// True when the call is over (and gone).
static bool call_feed_chunked(struct load_call *call, struct slice data)
{
    while (data.len > 0) {
        struct slice piece = SLICE_NULL;
        ptrdiff_t n = h1_chunked_decode(&call->chunked, data.ptr, data.len, &piece);
        if (n < 0) {
            call_fail(call, LOAD_FAILURE_BAD_HTTP, http_reject_text((enum http_reject)-n));
            return true;
        }
        load_reply_feed(&call->reply, piece);
        data = slice_skip(data, (size_t)n);
        if (call->chunked.done) {
            call_body_end(call, data.len);
            return true;
        }
        BUG_ON(n == 0);
    }
    return false;
}

static bool call_feed_body(struct load_call *call, struct slice data)
{
    switch (call->framing) {
    case HTTP_FRAMING_CHUNKED:
        return call_feed_chunked(call, data);
    case HTTP_FRAMING_CLOSE:
        load_reply_feed(&call->reply, data);
        return false;
    case HTTP_FRAMING_LENGTH:
    case HTTP_FRAMING_NONE:
        break;
    }
    uint64_t left = call->framing == HTTP_FRAMING_LENGTH ? call->left : 0;
    struct slice mine = slice_first(data, left < data.len ? (size_t)left : data.len);
    load_reply_feed(&call->reply, mine);
    call->left = left - mine.len;
    if (call->left == 0) {
        call_body_end(call, data.len - mine.len);
        return true;
    }
    return false;
}

// Collects the head; interim answers (1xx) are skipped. True when the call is over.
static bool call_feed_head(struct load_call *call, struct slice data)
{
    struct http_header headers[HEADERS_MAX];
    struct http_response response;
    struct h1_limits limits = H1_LIMITS_DEFAULT;
    limits.max_headers = HEADERS_MAX;
    strbuf_add(&call->head, data);
    if (call->head.failed) {
        call_fail(call, LOAD_FAILURE_TOO_LARGE, "the head of the answer");
        return true;
    }
    while (!call->in_body) {
        ptrdiff_t n = h1_parse_response(call->head.ptr, call->head.len, call->head_seen, &limits,
                                        HTTP_METHOD_POST, headers, &response);
        if (n < 0) {
            call_fail(call, LOAD_FAILURE_BAD_HTTP, http_reject_text((enum http_reject)-n));
            return true;
        }
        if (n == 0) {
            call->head_seen = call->head.len;
            return false;
        }
        if (response.status >= 200) {
            call_begin_body(call, &response);
        }
        strbuf_consume(&call->head, (size_t)n);
        call->head_seen = 0;
    }
    bool empty = call->framing == HTTP_FRAMING_NONE ||
                 (call->framing == HTTP_FRAMING_LENGTH && call->left == 0);
    bool over = (call->head.len > 0 || empty) && call_feed_body(call, strbuf_slice(&call->head));
    if (!over) {
        strbuf_fini(&call->head);
    }
    return over;
}

// The connection ended, cleanly (error 0) or not.
static void call_cut(struct load_call *call, int error)
{
    if (!call->answered && call->conn->reused && !call->resent) {
        // The server closed a kept connection while the request was under way: that is a race which
        // every client has to expect (RFC 9112 section 9.3.1), no failure.
        call->resent = true;
        load_conn_close(call->conn);
        call->conn = NULL;
        call_connect(call, true);
        return;
    }
    if (call->in_body && call->framing == HTTP_FRAMING_CLOSE && error == 0) {
        call->keep_alive = false;
        call_body_end(call, 0);
        return;
    }
    const char *how = error != 0 ? strerror(error) : "the connection was closed";
    call_fail(call, call->answered ? LOAD_FAILURE_TRUNCATED : LOAD_FAILURE_RESET, how);
}

static void call_receive(struct load_call *call)
{
    static _Thread_local char buf[RECEIVE_SIZE];
    ssize_t n = recv(call->conn->io.fd, buf, sizeof(buf), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        call_cut(call, n < 0 ? errno : 0);
        return;
    }
    call->env->now_ns = clock_mono_ns();
    call->last_byte_ns = call->env->now_ns;
    call->answered = true;
    struct slice data = slice_of(buf, (size_t)n);
    (void)(call->in_body ? call_feed_body(call, data) : call_feed_head(call, data));
}

// ---- the request ----------------------------------------------------------------------------

static void call_send(struct load_call *call)
{
    struct slice rest = slice_skip(strbuf_slice(&call->out), call->out_at);
    if (rest.len == 0) {
        return;
    }
    ssize_t n = load_conn_send(call->conn, rest);
    if (n >= 0) {
        call->out_at += (size_t)n;
    } else if (n != -EPIPE && n != -ECONNRESET) {
        call_fail(call, LOAD_FAILURE_LOCAL, strerror((int)-n));
    }
    // A server that refuses early closes before it has read everything; what it said is still to
    // be read, and reading tells the end.
}

static void call_ready(struct load_conn *conn, uint32_t events, void *arg)
{
    struct load_call *call = arg;
    if (conn->connecting) {
        bool try_next;
        int rc = load_conn_connected(conn, &try_next);
        if (rc != 0 && try_next) {
            load_conn_close(conn);
            call->conn = NULL;
            call_connect(call, true);
        } else if (rc != 0) {
            call_fail(call, LOAD_FAILURE_CONNECT, strerror(-rc));
        } else {
            call_arm(call);
            call_send(call);
        }
        return;
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        call_receive(call); // may end the call
    } else {
        call_send(call);
    }
}

static void call_connect(struct load_call *call, bool fresh)
{
    int error = 0;
    call->out_at = 0;
    call->conn = fresh ? NULL : load_pool_take(call->pool);
    if (call->conn == NULL) {
        call->conn = load_pool_open(call->pool, &error);
    }
    if (call->conn == NULL) {
        bool ours = error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
        call_fail(call, ours ? LOAD_FAILURE_LOCAL : LOAD_FAILURE_CONNECT, strerror(error));
        return;
    }
    load_conn_use(call->conn, call_ready, call);
    call_arm(call);
    if (!call->conn->connecting) {
        call_send(call);
    }
}

static void write_request(struct load_call *call, const struct load_url *url,
                          const struct load_spec *spec)
{
    struct load_env *env = call->env;
    strbuf_reset(&env->body);
    load_plan_body(env->plan, spec, &env->body);
    strbuf_printf(&call->out,
                  "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                  "Accept: %s\r\nUser-Agent: headrace-bench\r\nContent-Length: %zu\r\n",
                  url->path, url->authority,
                  env->config->stream ? "text/event-stream, application/json" : "application/json",
                  env->body.len);
    strbuf_add(&call->out, env->config->headers);
    strbuf_add_str(&call->out, "\r\n");
    strbuf_add(&call->out, strbuf_slice(&env->body));
    call->out.failed |= env->body.failed;
}

void load_call_start(struct load_env *env, const struct load_spec *spec, uint64_t due_ns,
                     bool counted)
{
    struct load_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        oom_abort("a request");
    }
    size_t target = spec->index % env->config->target_count;
    call->env = env;
    call->pool = &env->pools[target];
    call->due_ns = due_ns;
    call->counted = counted;
    call->sent_ns = clock_mono_ns();
    strbuf_init(&call->out, REQUEST_MAX);
    struct h1_limits limits = H1_LIMITS_DEFAULT;
    strbuf_init(&call->head, limits.max_head_bytes + RECEIVE_SIZE);
    load_reply_init(&call->reply, 0, false, call_on_text, call);
    list_push_back(&env->calls, &call->node);
    write_request(call, &env->config->targets[target].url, spec);
    if (call->out.failed) {
        call_fail(call, LOAD_FAILURE_LOCAL, "the request is too large");
        return;
    }
    call_connect(call, false);
}
