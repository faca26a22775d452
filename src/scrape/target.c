#include "scrape/target.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "scrape/fetch_tls.h"

enum { REQUEST_MAX = 8192 };

struct pooled_reader {
    struct list_node node;
    struct metric_reader reader;
};

// Asking for the wanted names only, with the parameter name[] of Prometheus' Python client (its
// exposition.py; vLLM serves its metrics with it): the engine then collects and writes no more than
// these. Servers that do not know it send everything; in multi-process mode it sends nothing.
enum narrow_state {
    NARROW_UNTRIED = 0,
    NARROW_TRYING, // to be compared with the whole exposition before
    NARROW_ON,
    NARROW_OFF,
};

struct scrape_target {
    struct list_node node; // of the source
    struct scrape_source *source;
    struct endpoint *endpoint; // one reference
    struct fetch *fetch;
    struct strbuf request; // the head that is sent; empty = to be written anew
    struct timer timer;
    enum engine engine; // ENGINE_AUTO: not detected yet
    unsigned path;      // number of the path in use
    bool path_works;
    uint32_t failures_in_row;
    enum narrow_state narrow;
    size_t whole_bytes;                  // of the whole exposition, and
    char whole_found[METRICS_FOUND_MAX]; // what was found in it
    // Of the scrape in flight:
    struct pooled_reader *reader; // NULL: none
    size_t bytes;
    uint64_t started_ms;
    uint32_t ours; // outstanding requests when it was sent
    uint64_t tokens_reserved;
};

// ---- readers ----

static struct pooled_reader *reader_get(struct scrape_context *context)
{
    if (list_empty(&context->idle_readers)) {
        return malloc(sizeof(struct pooled_reader));
    }
    struct pooled_reader *reader = list_first(&context->idle_readers, struct pooled_reader, node);
    list_remove(&reader->node);
    return reader;
}

static void reader_put(struct scrape_context *context, struct pooled_reader *reader)
{
    if (reader != NULL) {
        list_push_front(&context->idle_readers, &reader->node); // the warm one first
    }
}

void scrape_readers_free(struct scrape_context *context)
{
    list_for_each(&context->idle_readers, node) {
        list_remove(node);
        free(container_of(node, struct pooled_reader, node));
    }
}

// ---- when ----

static void target_due(struct timer *timer, void *arg);

// Within 10 % around it, so that the scrapes of many pods and replicas do not fall together.
static uint64_t jittered(struct scrape_context *context, uint64_t ms)
{
    return ms - ms / 10 + rand_below(&context->rng, ms / 5 + 1);
}

static void target_schedule(struct scrape_target *target, uint64_t delay_ms)
{
    struct scrape_context *context = target->source->context;
    loop_timer_set(context->loop, &target->timer, MAX_OF(delay_ms, (uint64_t)1), target_due,
                   target);
}

static uint64_t target_interval(const struct scrape_target *target)
{
    const struct scrape_source *source = target->source;
    uint64_t interval = source->config.interval_ms;
    struct endpoint_sample sample;
    endpoint_sample_read(target->endpoint, &sample);
    bool busy = loop_now_ms(source->context->loop) < source->busy_until_ms ||
                atomic_load_explicit(&target->endpoint->load, memory_order_relaxed) != 0 ||
                sample.waiting > 0 || sample.running > 0;
    if (busy) {
        return interval;
    }
    // Not so slow that the first request after a pause would find stale data.
    uint64_t slow = MIN_OF(interval * SCRAPE_IDLE_FACTOR,
                           (uint64_t)source->config.stale_after_ms / 2);
    return MAX_OF(slow, interval);
}

void scrape_target_hurry(struct scrape_target *target)
{
    struct scrape_context *context = target->source->context;
    uint64_t soon = loop_now_ms(context->loop) + target->source->config.interval_ms;
    if (target->reader == NULL && target->failures_in_row == 0 && timer_is_set(&target->timer) &&
        target->timer.deadline_ms > soon) {
        target_schedule(target, rand_below(&context->rng, target->source->config.interval_ms + 1u));
    }
}

// ---- results ----

static void reason_format(const struct scrape_target *target, char *buf, size_t size, int rc,
                          unsigned status)
{
    if (rc == -ENOMEM || target->fetch == NULL) {
        snprintf(buf, size, "out of memory");
    } else if (rc != 0) {
        snprintf(buf, size, "%s", fetch_why(target->fetch, rc));
    } else if (status == 200) {
        snprintf(buf, size, "no metric of a known engine");
    } else {
        snprintf(buf, size, "status %u", status);
    }
}

static void target_failed(struct scrape_target *target, int rc, unsigned status)
{
    struct scrape_source *source = target->source;
    const struct scrape_config *config = &source->config;
    char reason[ENDPOINT_PROBLEM_MAX];
    reason_format(target, reason, sizeof(reason), rc, status);
    endpoint_problem_set(source->backend->table, target->endpoint->scrape_problem, reason);
    atomic_fetch_add_explicit(&target->endpoint->scrape_failures, 1, memory_order_relaxed);
    target->failures_in_row++;
    // It answered, but not there: perhaps under another path.
    if (rc == 0 && (!target->path_works || target->failures_in_row >= SCRAPE_WARN_AFTER)) {
        target->path_works = false;
        strbuf_reset(&target->request);
        target->engine = config->engine;
        target->path++;
        if (engine_scrape_path(config, config->engine, target->path) != NULL) {
            target_schedule(target, jittered(source->context, config->interval_ms));
            return;
        }
        target->path = 0;
    }
    if (target->failures_in_row == SCRAPE_WARN_AFTER) {
        log_warn("metrics cannot be scraped, balancing by own counts only",
                 LOG_STR("backend", source->backend->key),
                 LOG_STR("endpoint", target->endpoint->text),
                 LOG_STR("reason", reason));
    }
    uint32_t shift = MIN_OF(target->failures_in_row, 16u);
    uint64_t delay = (uint64_t)config->interval_ms << shift;
    uint64_t most = MAX_OF((uint64_t)SCRAPE_BACKOFF_MAX_MS, (uint64_t)config->interval_ms);
    target_schedule(target, jittered(source->context, MIN_OF(delay, most)));
}

// Tells the backend which engine this is and by which names it was read.
static void source_learn(struct scrape_source *source, const struct metric_result *result)
{
    struct backend_state *backend = source->backend;
    uint32_t before = atomic_exchange_explicit(&backend->detected_engine, (uint32_t)result->engine,
                                               memory_order_relaxed);
    if (before != (uint32_t)result->engine) {
        log_info("inference engine detected", LOG_STR("backend", backend->key),
                 LOG_STR("engine", engine_name(result->engine)), LOG_STR("metrics", result->found));
    }
    // Only this thread writes the text, so it may compare without the lock.
    if (strcmp(backend->metrics_found, result->found) != 0) {
        pthread_mutex_lock(&backend->table->lock);
        snprintf(backend->metrics_found, sizeof(backend->metrics_found), "%s", result->found);
        pthread_mutex_unlock(&backend->table->lock);
        source->warned_missing = false;
    }
    if (result->missing[0] != '\0' && !source->warned_missing) {
        source->warned_missing = true;
        log_warn("the engine's exposition lacks metrics that it should have; renamed?",
                 LOG_STR("backend", backend->key), LOG_STR("engine", engine_name(result->engine)),
                 LOG_STR("missing", result->missing), LOG_STR("found", result->found));
    }
}

static bool target_is_narrow(const struct scrape_target *target)
{
    return target->narrow == NARROW_TRYING || target->narrow == NARROW_ON;
}

static void narrow_set(struct scrape_target *target, enum narrow_state state)
{
    strbuf_reset(&target->request);
    target->narrow = state;
}

// After a scrape that was read: decides whether the next ones ask for less. False when this one
// asked for less and did not get all that there is.
static bool narrow_judge(struct scrape_target *target, const struct metric_result *result)
{
    bool same = strcmp(target->whole_found, result->found) == 0;
    if (target_is_narrow(target) && !same) {
        narrow_set(target, NARROW_OFF);
        return false;
    }
    if (target->narrow == NARROW_UNTRIED && target->bytes >= SCRAPE_NARROW_MIN) {
        target->whole_bytes = target->bytes;
        snprintf(target->whole_found, sizeof(target->whole_found), "%s", result->found);
        narrow_set(target, NARROW_TRYING);
    } else if (target->narrow == NARROW_TRYING) {
        narrow_set(target, target->bytes < target->whole_bytes / 2 ? NARROW_ON : NARROW_OFF);
    }
    return true;
}

static void target_succeeded(struct scrape_target *target, const struct metric_result *result)
{
    struct endpoint *endpoint = target->endpoint;
    if (target->failures_in_row >= SCRAPE_WARN_AFTER) {
        log_info("metrics are scraped again", LOG_STR("backend", target->source->backend->key),
                 LOG_STR("endpoint", endpoint->text));
    }
    target->failures_in_row = 0;
    target->path_works = true;
    endpoint_problem_set(target->source->backend->table, endpoint->scrape_problem, "");
    uint32_t ours = load_requests(atomic_load_explicit(&endpoint->load, memory_order_relaxed));
    // As old as its beginning: the engine may have read its gauges any time since.
    endpoint_sample_write(endpoint, result->waiting, result->running, result->kv_utilisation,
                          result->kv_capacity_tokens, MAX_OF(ours, target->ours),
                          target->tokens_reserved, target->started_ms);
    atomic_fetch_add_explicit(&endpoint->scrapes, 1, memory_order_relaxed);
    source_learn(target->source, result);
    uint64_t took = loop_now_ms(target->source->context->loop) - target->started_ms;
    uint64_t interval = jittered(target->source->context, target_interval(target));
    target_schedule(target, interval > took ? interval - took : 1);
}

static void target_done(void *arg, int rc, unsigned status)
{
    struct scrape_target *target = arg;
    struct pooled_reader *reader = target->reader;
    struct metric_result result;
    target->reader = NULL;
    bool read = rc == 0 && status == 200 && metric_reader_finish(&reader->reader, &result);
    reader_put(target->source->context, reader);
    bool narrow = target_is_narrow(target);
    if (read) {
        target->engine = result.engine;
    }
    if (narrow && rc == 0 && (!read || !narrow_judge(target, &result))) {
        narrow_set(target, NARROW_OFF);
        target_schedule(target, 1); // the whole of it, then
    } else if (read) {
        if (!narrow) {
            narrow_judge(target, &result);
        }
        target_succeeded(target, &result);
    } else {
        target_failed(target, rc, status);
    }
}

// ---- scraping ----

static bool target_body(void *arg, struct slice piece)
{
    struct scrape_target *target = arg;
    target->bytes += piece.len;
    if (target->bytes > SCRAPE_BYTES_MAX) {
        return false;
    }
    metric_reader_feed(&target->reader->reader, piece);
    return true;
}

static const struct metric_plan *target_plan(const struct scrape_target *target)
{
    const struct scrape_source *source = target->source;
    return source->generic != NULL ? source->generic : &source->context->plans[target->engine];
}

static uint16_t target_port(const struct scrape_target *target)
{
    if (target->source->config.port != 0) {
        return target->source->config.port;
    }
    const struct engine_row *row = engine_row(target->source->config.engine);
    if (row != NULL && row->port != 0) {
        return row->port;
    }
    return endpoint_port(target->endpoint);
}

static bool target_is_tls(const struct scrape_target *target)
{
    const struct scrape_config *config = &target->source->config;
    return fetch_speaks_tls(config->scheme, config->is_tls, target->endpoint, target_port(target));
}

static struct server_tls *target_tls(const struct scrape_target *target)
{
    return target_is_tls(target) ? target->source->tls : NULL;
}

// "?name[]=…" for every name of the plan, once.
static void request_add_names(struct scrape_target *target, const char *path)
{
    const struct exposition_names *names = &target_plan(target)->names;
    for (size_t i = 0; i < names->count; i++) {
        bool first = i == 0 && strchr(path, '?') == NULL;
        strbuf_printf(&target->request, "%sname%%5B%%5D=%.*s", first ? "?" : "&",
                      SLICE_FMT(names->names[i]));
    }
}

static bool path_is_sound(const char *path)
{
    for (; *path != '\0'; path++) {
        if ((unsigned char)*path <= ' ' || *path == 0x7f) {
            return false; // would end the request line
        }
    }
    return true;
}

static int target_write_request(struct scrape_target *target)
{
    const struct scrape_config *config = &target->source->config;
    const char *path = engine_scrape_path(config, config->engine, target->path);
    if (path == NULL || !path_is_sound(path)) {
        return -EINVAL;
    }
    struct strbuf *request = &target->request;
    strbuf_reset(request);
    strbuf_printf(request, "GET %s%s", path[0] == '/' ? "" : "/", path);
    if (target_is_narrow(target)) {
        request_add_names(target, path);
    }
    strbuf_add_str(request, " HTTP/1.1\r\nHost: ");
    fetch_add_host(request, target->endpoint, target_port(target), target_tls(target));
    strbuf_add_str(request, "\r\n");
    // The classic text format: clients of Prometheus are slower at the other ones, and so are we.
    strbuf_add_str(request, "User-Agent: headrace\r\nAccept: text/plain;version=0.0.4\r\n\r\n");
    if (request->failed) {
        strbuf_reset(request);
        return -ENOMEM;
    }
    return 0;
}

static int target_prepare(struct scrape_target *target)
{
    if (target->fetch == NULL) {
        const struct scrape_source *source = target->source;
        struct fetch_server server = {.address = target->endpoint->address,
                                      .address_len = target->endpoint->address_len,
                                      .is_tls = target_is_tls(target),
                                      .tls = target_tls(target)};
        *endpoint_address_port(&server.address) = htons(target_port(target));
        target->fetch = fetch_new(&source->context->fetch, &server, target_body, target_done,
                                  target);
        if (target->fetch == NULL) {
            return -ENOMEM;
        }
    }
    return target->request.len > 0 ? 0 : target_write_request(target);
}

static uint64_t target_timeout(const struct scrape_target *target)
{
    uint32_t timeout = MAX_OF(target->source->config.stale_after_ms,
                              (uint32_t)SCRAPE_TIMEOUT_MIN_MS);
    return MIN_OF(timeout, (uint32_t)SCRAPE_TIMEOUT_MAX_MS);
}

static void target_due(struct timer *timer, void *arg)
{
    (void)timer;
    struct scrape_target *target = arg;
    struct scrape_context *context = target->source->context;
    struct endpoint *endpoint = target->endpoint;
    target->reader = reader_get(context);
    int rc = target->reader == NULL ? -ENOMEM : target_prepare(target);
    if (rc == 0) {
        metric_reader_init(&target->reader->reader, target_plan(target));
        target->bytes = 0;
        target->started_ms = loop_now_ms(context->loop);
        target->ours = load_requests(atomic_load_explicit(&endpoint->load, memory_order_relaxed));
        target->tokens_reserved =
            atomic_load_explicit(&endpoint->tokens_reserved, memory_order_relaxed);
        rc = fetch_get(target->fetch, strbuf_slice(&target->request), target_timeout(target));
    }
    if (rc != 0) {
        reader_put(context, target->reader);
        target->reader = NULL;
        target_failed(target, rc, 0);
    }
}

// ---- lifetime ----

struct scrape_target *scrape_target_new(struct scrape_source *source, struct endpoint *endpoint)
{
    struct scrape_target *target = calloc(1, sizeof(*target));
    if (target != NULL) {
        target->source = source;
        target->endpoint = endpoint;
        target->engine = source->config.engine;
        strbuf_init(&target->request, REQUEST_MAX);
        endpoint_ref(endpoint);
        endpoint->scrape_problem[0] = '\0';
        list_push_back(&source->targets, &target->node);
        target_schedule(target,
                        rand_below(&source->context->rng, source->config.interval_ms + 1u));
    }
    return target;
}

void scrape_target_reconnect(struct scrape_target *target)
{
    fetch_free(target->fetch);
    target->fetch = NULL;
    strbuf_reset(&target->request);
    if (target->reader != NULL || target->failures_in_row > 0) {
        reader_put(target->source->context, target->reader);
        target->reader = NULL;
        target_schedule(target, 1);
    }
}

void scrape_target_free(struct scrape_target *target)
{
    struct scrape_context *context = target->source->context;
    loop_timer_cancel(context->loop, &target->timer);
    list_remove(&target->node);
    fetch_free(target->fetch);
    strbuf_fini(&target->request);
    reader_put(context, target->reader);
    endpoint_unref(target->source->backend->table, target->endpoint);
    free(target);
}

struct endpoint *scrape_target_endpoint(const struct scrape_target *target)
{
    return target->endpoint;
}

struct scrape_target *scrape_target_of_node(struct list_node *node)
{
    return container_of(node, struct scrape_target, node);
}

struct list_node *scrape_target_node(struct scrape_target *target)
{
    return &target->node;
}
