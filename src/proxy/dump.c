#include "proxy/dump.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "json/member.h"
#include "proxy/downstream_h2_stream.h"
#include "proxy/request.h"
#include "proxy/upstream_h1.h"
#include "proxy/upstream_h2_session.h"
#include "proxy/worker.h"

enum {
    PART_MAX = 4 * 1024 * 1024,
    WALK_MAX = 20000,   // connections whose states are counted
    POOLS_MAX = 200,    // endpoints whose idle connections are shown, and HTTP/2 ones
    SNAPSHOTS_MAX = 20, // configurations that requests still hold
};

static const char *const phase_names[] = {
    [REQUEST_BODY] = "body",   [REQUEST_CONNECT] = "connect", [REQUEST_WAIT] = "wait",
    [REQUEST_RELAY] = "relay", [REQUEST_REPLY] = "reply",
};
static const char *const state_names[] = {
    [DOWNSTREAM_IDLE] = "idle",
    [DOWNSTREAM_HEAD] = "head",
    [DOWNSTREAM_REQUEST] = "request",
    [DOWNSTREAM_LINGER] = "linger",
};

_Static_assert(ARRAY_LEN(phase_names) == REQUEST_REPLY + 1, "the last phase has a name");
_Static_assert(ARRAY_LEN(state_names) == DOWNSTREAM_LINGER + 1, "the last state has a name");

// ---- a worker's part, on its thread -------------------------------------------------------------

static void write_route(const struct request *request, struct strbuf *out)
{
    if (request->rule != NULL) {
        member_str(out, "route", request->rule->route_key);
        member_str(out, "rule", request->rule->name);
    }
    if (request->target != NULL && request->target->backend != NULL) {
        member_str(out, "backend", request->target->backend->key);
    }
    if (request->endpoint_text.len != 0) {
        member_str(out, "endpoint", request->endpoint_text);
    }
}

static const char *protocol_of(const struct stream *stream)
{
    return stream->version == STREAM_HTTP2 ? "HTTP/2" : "HTTP/1.1";
}

static void write_request(const struct request *request, uint64_t now_ns, struct strbuf *out)
{
    uint64_t age = now_ns > request->started_ns ? now_ns - request->started_ns : 0;
    member_open(out, "", '{');
    member_str(out, "id", request->id);
    member_str(out, "phase", slice_of_str(phase_names[request->phase]));
    member_num(out, "age_ms", (double)(age / 1000000));
    member_str(out, "client", slice_of_str(request->client->peer));
    member_str(out, "protocol", slice_of_str(protocol_of(request->client)));
    write_route(request, out);
    member_num(out, "attempts", request->attempts);
    member_bool(out, "committed", request->committed);
    member_bool(out, "stream", request->sse);
    member_bool(out, "mirror", request->role == REQUEST_MIRROR);
    member_bool(out, "hedge", request->role == REQUEST_HEDGE);
    member_bool(out, "first_token", request->first_token_ns != 0);
    member_bool(out, "body_complete", request->body_complete);
    member_num(out, "bytes_in", (double)request->client->bytes_in);
    member_num(out, "bytes_out", (double)request->client->bytes_out);
    member_num(out, "buffered_bytes", (double)request->charged);
    member_close(out, '}');
}

static void write_connection(const struct downstream *down, uint64_t now_ms, struct strbuf *out)
{
    const struct request *request = down->stream.request;
    member_open(out, "", '{');
    member_str(out, "client", slice_of_str(down->peer));
    member_num(out, "age_ms", (double)(now_ms - down->accepted_ms));
    if (down->h2 == NULL) {
        member_str(out, "protocol", SLICE("HTTP/1.1"));
        member_str(out, "state", slice_of_str(state_names[down->state]));
    } else {
        member_str(out, "protocol", SLICE("HTTP/2"));
        member_num(out, "streams", (double)down->h2->stream_count);
    }
    member_num(out, "requests", (double)down->requests);
    member_num(out, "unread_bytes", (double)down->in.len);
    member_num(out, "unsent_bytes", (double)down->out.len);
    if (request != NULL) {
        member_str(out, "request", request->id);
        member_str(out, "phase", slice_of_str(phase_names[request->phase]));
        write_route(request, out);
        member_num(out, "bytes_in", (double)down->stream.bytes_in);
        member_num(out, "bytes_out", (double)down->stream.bytes_out);
    }
    member_close(out, '}');
}

static void write_connections(const struct worker *worker, unsigned most, struct strbuf *out)
{
    uint64_t now_ms = worker_now_ms(worker);
    size_t seen = 0;
    member_open(out, "oldest_connections", '[');
    list_for_each(&worker->downstreams, node) {
        if (seen++ == most) {
            break;
        }
        write_connection(container_of(node, struct downstream, node), now_ms, out);
    }
    member_close(out, ']');
}

static void count_states(const struct worker *worker, struct strbuf *out)
{
    size_t states[ARRAY_LEN(state_names)] = {0};
    size_t h2 = 0, seen = 0;
    list_for_each(&worker->downstreams, node) {
        const struct downstream *down = container_of(node, struct downstream, node);
        if (seen++ == WALK_MAX) {
            break;
        }
        if (down->h2 != NULL) {
            h2++;
        } else {
            states[down->state]++;
        }
    }
    uint64_t open = atomic_load_explicit(&worker->downstream_count, memory_order_relaxed);
    member_open(out, "connections", '{');
    member_num(out, "open", (double)open);
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        member_num(out, state_names[i], (double)states[i]);
    }
    member_num(out, "http2", (double)h2);
    member_close(out, '}');
}

static void write_requests(const struct worker *worker, unsigned most, struct strbuf *out)
{
    size_t phases[ARRAY_LEN(phase_names)] = {0};
    uint64_t now_ns = clock_mono_ns();
    size_t seen = 0;
    list_for_each(&worker->requests, node) {
        phases[container_of(node, struct request, node)->phase]++;
        if (++seen == WALK_MAX) {
            break;
        }
    }
    member_open(out, "requests", '{');
    member_num(out, "open", (double)worker->request_count);
    for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
        member_num(out, phase_names[i], (double)phases[i]);
    }
    member_close(out, '}');
    member_open(out, "oldest_requests", '[');
    seen = 0;
    list_for_each(&worker->requests, running) {
        if (seen++ == most) {
            break;
        }
        write_request(container_of(running, struct request, node), now_ns, out);
    }
    member_close(out, ']');
}

// HTTP/1: how many idle ones each endpoint has.
static void write_pool(const struct upstream_pool *pool, struct strbuf *out)
{
    size_t shown = 0, idle = 0;
    member_open(out, "idle_upstreams", '[');
    for (size_t id = 0; id < pool->count_cap && id < pool->by_endpoint.cap; id++) {
        idle += pool->counts[id];
        if (pool->counts[id] == 0 || shown == POOLS_MAX) {
            continue;
        }
        const struct upstream *first =
            list_first(&pool->by_endpoint.heads[id], struct upstream, pool_node);
        member_open(out, "", '{');
        member_str(out, "endpoint", slice_of_str(first->endpoint->text));
        member_num(out, "connections", pool->counts[id]);
        member_close(out, '}');
        shown++;
    }
    member_close(out, ']');
    member_num(out, "idle_upstream_connections", (double)idle);
}

static void write_h2_upstreams(const struct worker *worker, struct strbuf *out)
{
    static const char *const names[] = {[H2_CLIENT_CONNECTING] = "connecting",
                                        [H2_CLIENT_OPEN] = "open",
                                        [H2_CLIENT_CLOSED] = "closed"};
    size_t shown = 0;
    member_open(out, "http2_upstreams", '[');
    list_for_each(&worker->h2_all, node) {
        const struct h2_client *client = container_of(node, struct h2_client, all_node);
        if (shown++ == POOLS_MAX) {
            break;
        }
        member_open(out, "", '{');
        member_str(out, "endpoint", slice_of_str(client->endpoint->text));
        member_str(out, "state", slice_of_str(names[client->state]));
        member_num(out, "exchanges", (double)client->exchange_count);
        member_num(out, "served", (double)client->served);
        member_num(out, "unsent_bytes", (double)client->out.len);
        member_bool(out, "leaving", client->leaving);
        member_close(out, '}');
    }
    member_close(out, ']');
}

static void write_holds(const struct worker *worker, struct strbuf *out)
{
    size_t shown = 0;
    member_open(out, "configurations", '[');
    for (const struct snapshot_hold *hold = worker->holder.holds;
         hold != NULL && shown < SNAPSHOTS_MAX; hold = hold->next, shown++) {
        member_open(out, "", '{');
        member_num(out, "generation", (double)hold->snapshot->generation);
        member_num(out, "requests", hold->users);
        member_close(out, '}');
    }
    member_close(out, ']');
}

static void write_worker(const struct worker *worker, unsigned most, struct strbuf *out)
{
    member_open(out, "", '{');
    member_num(out, "worker", worker->index);
    member_bool(out, "answered", true);
    member_bool(out, "accepting", worker->listeners[0].accepting && !worker->draining);
    member_bool(out, "leaving", worker->leaving);
    member_bool(out, "draining", worker->draining);
    member_num(out, "loop_turns", (double)loop_turns(worker->loop));
    member_num(out, "buffered_bytes", (double)worker->buffered_bytes);
    count_states(worker, out);
    write_requests(worker, most, out);
    write_connections(worker, most, out);
    write_pool(&worker->pool, out);
    write_h2_upstreams(worker, out);
    write_holds(worker, out);
    member_close(out, '}');
}

// ---- asking and waiting -------------------------------------------------------------------------

// Shared by who asks and the workers that were asked: the last one frees it, since a worker may
// answer after nobody waits any more.
struct dump_part {
    struct dump *dump;
    struct worker *worker;
    struct strbuf text;
    bool done;
};

struct dump {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    unsigned refs;
    unsigned missing;
    unsigned most;
    unsigned count;
    struct dump_part parts[];
};

// With the lock, which it lets go.
static void dump_unref(struct dump *dump)
{
    bool last = --dump->refs == 0;
    pthread_mutex_unlock(&dump->lock);
    if (!last) {
        return;
    }
    for (unsigned i = 0; i < dump->count; i++) {
        strbuf_fini(&dump->parts[i].text);
    }
    pthread_cond_destroy(&dump->answered);
    pthread_mutex_destroy(&dump->lock);
    free(dump);
}

static void answer(void *arg)
{
    struct dump_part *part = arg;
    struct dump *dump = part->dump;
    write_worker(part->worker, dump->most, &part->text);
    pthread_mutex_lock(&dump->lock);
    part->done = !part->text.failed;
    dump->missing--;
    pthread_cond_signal(&dump->answered);
    dump_unref(dump);
}

static struct dump *dump_new(struct proxy *proxy, unsigned most)
{
    unsigned count = proxy_worker_count(proxy);
    struct dump *dump = calloc(1, sizeof(*dump) + count * sizeof(struct dump_part));
    pthread_condattr_t attr;
    if (dump == NULL) {
        return NULL;
    }
    pthread_mutex_init(&dump->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dump->answered, &attr);
    pthread_condattr_destroy(&attr);
    dump->refs = 1;
    dump->most = most;
    dump->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct dump_part *part = &dump->parts[i];
        part->dump = dump;
        part->worker = proxy_worker(proxy, i);
        strbuf_init(&part->text, PART_MAX);
    }
    return dump;
}

static void ask_all(struct dump *dump)
{
    pthread_mutex_lock(&dump->lock);
    for (unsigned i = 0; i < dump->count; i++) {
        if (loop_post(dump->parts[i].worker->loop, answer, &dump->parts[i]) == 0) {
            dump->refs++;
            dump->missing++;
        }
    }
    pthread_mutex_unlock(&dump->lock);
}

// Returns with the lock.
static void wait_for_answers(struct dump *dump)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += DUMP_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&dump->lock);
    while (dump->missing != 0 &&
           pthread_cond_timedwait(&dump->answered, &dump->lock, &until) == 0) {
    }
}

void dump_workers(struct proxy *proxy, unsigned most, struct strbuf *out)
{
    struct dump *dump = dump_new(proxy, most);
    member_open(out, "workers", '[');
    if (dump != NULL) {
        ask_all(dump);
        wait_for_answers(dump);
        for (unsigned i = 0; i < dump->count; i++) {
            if (dump->parts[i].done) {
                member_raw(out, "", strbuf_slice(&dump->parts[i].text));
                continue;
            }
            member_open(out, "", '{');
            member_num(out, "worker", i);
            member_bool(out, "answered", false);
            member_close(out, '}');
        }
        dump_unref(dump);
    }
    member_close(out, ']');
}

void dump_limits(const struct proxy *proxy, struct strbuf *out)
{
    const struct proxy_config *config = proxy_config_of(proxy);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"workers", config->workers},
        {"connections_per_worker", config->max_connections},
        {"buffered_bytes_per_worker", config->max_buffered_bytes},
        {"body_bytes", config->max_body_bytes},
        {"header_bytes", config->limits.max_head_bytes},
        {"headers", config->limits.max_headers},
        {"http2_streams_per_connection", config->http2 ? config->http2_max_streams : 0},
        {"http2_streams_per_upstream", config->http2_upstream_streams},
        {"idle_upstreams_per_endpoint_and_worker", config->max_idle_per_endpoint},
        {"header_timeout_ms", config->header_timeout_ms},
        {"body_timeout_ms", config->body_timeout_ms},
        {"idle_timeout_ms", config->idle_timeout_ms},
        {"write_timeout_ms", config->write_timeout_ms},
        {"upstream_idle_timeout_ms", config->upstream_idle_timeout_ms},
        {"tunnel_idle_timeout_ms", config->tunnel_idle_timeout_ms},
        {"unary_timeout_ms", config->unary_timeout_ms},
    };
    member_open(out, "limits", '{');
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        member_num(out, rows[i].name, (double)rows[i].value);
    }
    member_close(out, '}');
}
