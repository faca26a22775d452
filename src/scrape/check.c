#include "scrape/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "scrape/engine_table.h"
#include "scrape/fetch_tls.h"

enum { REQUEST_MAX = 1024 };

// A backend whose endpoints are checked.
struct check_group {
    struct list_node node;
    struct list_node checks;
    struct check_context *context;
    struct backend_state *backend; // watched
    struct health_config config;
    bool is_tls;            // the backend's servers speak TLS
    struct server_tls *tls; // one reference; see backend_state
    bool seen;
};

struct check {
    struct list_node node; // of the group
    struct check_group *group;
    struct endpoint *endpoint; // one reference
    struct fetch *fetch;
    struct strbuf request;
    struct timer timer;
    bool in_flight;
    bool unhealthy;
    uint32_t passed_in_row;
    uint32_t failed_in_row;
    size_t bytes;
};

static void check_due(struct timer *timer, void *arg);

static void check_schedule(struct check *check, uint64_t delay_ms)
{
    loop_timer_set(check->group->context->loop, &check->timer, MAX_OF(delay_ms, (uint64_t)1),
                   check_due, check);
}

// Within 10 % around the interval, so that the checks of many pods and replicas do not meet.
static void check_schedule_next(struct check *check)
{
    uint64_t interval = check->group->config.check_interval_ms;
    check_schedule(check, interval - interval / 10 +
                              rand_below(check->group->context->rng, interval / 5 + 1));
}

// ---- verdicts ----

static void check_judge(struct check *check, bool passed)
{
    const struct health_config *config = &check->group->config;
    struct endpoint_health *health = &check->endpoint->health;
    atomic_fetch_add_explicit(passed ? &health->checks_passed : &health->checks_failed, 1,
                              memory_order_relaxed);
    check->passed_in_row = passed ? check->passed_in_row + 1 : 0;
    check->failed_in_row = passed ? 0 : check->failed_in_row + 1;
    bool turns = check->unhealthy ? check->passed_in_row >= config->healthy_threshold
                                  : check->failed_in_row >= config->unhealthy_threshold;
    if (turns) {
        check->unhealthy = !check->unhealthy;
        health_set_checked(check->endpoint, !check->unhealthy,
                           check->unhealthy ? 0 : config->slow_start_ms,
                           loop_now_ms(check->group->context->loop));
    }
}

// Why the check failed, for people; "" when it passed.
static void check_explain(const struct check *check, int rc, unsigned status, char *buf,
                          size_t size)
{
    bool asked = !check->group->config.check_connects;
    if (rc != 0) {
        snprintf(buf, size, "%s", fetch_why(check->fetch, rc));
    } else if (asked && (status < 200 || status >= 400)) {
        snprintf(buf, size, "status %u", status);
    } else {
        buf[0] = '\0';
    }
}

static void check_done(void *arg, int rc, unsigned status)
{
    struct check *check = arg;
    char problem[ENDPOINT_PROBLEM_MAX];
    check->in_flight = false;
    check->group->context->in_flight--;
    check_explain(check, rc, status, problem, sizeof(problem));
    endpoint_problem_set(check->group->backend->table, check->endpoint->check_problem, problem);
    check_judge(check, problem[0] == '\0');
    check_schedule_next(check);
}

static bool check_body(void *arg, struct slice piece)
{
    struct check *check = arg;
    check->bytes += piece.len;
    return check->bytes <= CHECK_BYTES_MAX;
}

// ---- asking ----

static uint16_t check_port(const struct check *check)
{
    uint16_t port = check->group->config.check_port;
    return port != 0 ? port : endpoint_port(check->endpoint);
}

static bool check_is_tls(const struct check *check)
{
    const struct check_group *group = check->group;
    return fetch_speaks_tls((enum endpoint_scheme)group->config.check_scheme, group->is_tls,
                            check->endpoint, check_port(check));
}

static enum engine engine_of(const struct backend_state *backend)
{
    // Relaxed: a hint; set to what is configured, or to what was detected.
    return (enum engine)atomic_load_explicit(&backend->detected_engine, memory_order_relaxed);
}

// A connection of its own each time: whether new ones are accepted is what matters.
static int check_write_request(struct check *check)
{
    const struct check_group *group = check->group;
    const char *path = group->config.check_path;
    strbuf_reset(&check->request);
    strbuf_printf(&check->request, "GET %s HTTP/1.1\r\nHost: ",
                  path[0] != '\0' ? path : engine_health_path(engine_of(group->backend)));
    fetch_add_host(&check->request, check->endpoint, check_port(check),
                   check_is_tls(check) ? group->tls : NULL);
    strbuf_add_str(&check->request,
                   "\r\nUser-Agent: headrace\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    return check->request.failed ? -ENOMEM : 0;
}

static struct fetch *check_fetch(struct check *check)
{
    bool is_tls = check_is_tls(check);
    struct fetch_server server = {.address = check->endpoint->address,
                                  .address_len = check->endpoint->address_len,
                                  .is_once = true,
                                  .is_tls = is_tls,
                                  .tls = is_tls ? check->group->tls : NULL};
    *endpoint_address_port(&server.address) = htons(check_port(check));
    return fetch_new(check->group->context->fetch, &server, check_body, check_done, check);
}

static int check_start(struct check *check)
{
    const struct health_config *config = &check->group->config;
    if (check->fetch == NULL) {
        check->fetch = check_fetch(check);
    }
    if (check->fetch == NULL) {
        return -ENOMEM;
    }
    if (config->check_connects) {
        return fetch_connect(check->fetch, config->check_timeout_ms);
    }
    if (check_write_request(check) != 0) {
        return -ENOMEM;
    }
    check->bytes = 0;
    return fetch_get(check->fetch, strbuf_slice(&check->request), config->check_timeout_ms);
}

static void check_due(struct timer *timer, void *arg)
{
    (void)timer;
    struct check *check = arg;
    struct check_context *context = check->group->context;
    if (context->in_flight >= CHECKS_IN_FLIGHT_MAX) {
        check_schedule(check, CHECK_BUSY_MS + rand_below(context->rng, CHECK_BUSY_MS));
        return;
    }
    if (check_start(check) != 0) {
        check_schedule_next(check); // our own want of memory says nothing of the pod
        return;
    }
    check->in_flight = true;
    context->in_flight++;
}

// ---- following the table ----

static void check_free(struct check *check)
{
    struct check_group *group = check->group;
    loop_timer_cancel(group->context->loop, &check->timer);
    group->context->in_flight -= check->in_flight;
    list_remove(&check->node);
    fetch_free(check->fetch);
    strbuf_fini(&check->request);
    if (check->unhealthy) {
        health_set_checked(check->endpoint, true, 0, 0);
    }
    endpoint_unref(group->backend->table, check->endpoint);
    free(check);
}

// With the table's lock.
static struct check *check_new(struct check_group *group, struct endpoint *endpoint)
{
    struct check *check = calloc(1, sizeof(*check));
    if (check != NULL) {
        check->group = group;
        check->endpoint = endpoint;
        strbuf_init(&check->request, REQUEST_MAX);
        endpoint_ref(endpoint);
        endpoint->check_problem[0] = '\0';
        list_push_back(&group->checks, &check->node);
        check_schedule(check, rand_below(group->context->rng,
                                         group->config.check_interval_ms + 1u));
    }
    return check;
}

static void group_free(struct check_group *group)
{
    list_for_each(&group->checks, node) {
        check_free(container_of(node, struct check, node));
    }
    list_remove(&group->node);
    server_tls_unref(group->tls);
    backend_state_unwatch(group->backend);
    free(group);
}

static struct check_group *group_new(struct check_context *context, struct backend_state *backend)
{
    struct check_group *group = calloc(1, sizeof(*group));
    if (group != NULL) {
        group->context = context;
        group->backend = backend;
        group->config = *backend_state_health(backend);
        list_init(&group->checks);
        backend_state_watch(backend);
        list_push_back(&context->groups, &group->node);
    }
    return group;
}

static struct check_group *group_find(struct check_context *context,
                                      const struct backend_state *backend)
{
    list_for_each(&context->groups, node) {
        struct check_group *group = container_of(node, struct check_group, node);
        if (group->backend == backend) {
            return group;
        }
    }
    return NULL;
}

static struct check *check_find(struct check_group *group, const struct endpoint *endpoint)
{
    list_for_each(&group->checks, node) {
        struct check *check = container_of(node, struct check, node);
        if (check->endpoint == endpoint) {
            return check;
        }
    }
    return NULL;
}

// Both lists keep the order of the set where nothing changed, so this is one walk along both.
static bool group_follow(struct check_group *group)
{
    const struct endpoint_set *set = backend_state_endpoints(group->backend);
    struct list_node kept;
    bool complete = true;
    list_init(&kept);
    for (size_t i = 0; i < set->count; i++) {
        struct check *check = check_find(group, set->items[i]);
        if (check == NULL) {
            check = check_new(group, set->items[i]);
        }
        complete = complete && check != NULL;
        if (check != NULL) {
            list_remove(&check->node);
            list_push_back(&kept, &check->node);
        }
    }
    list_for_each(&group->checks, gone) {
        check_free(container_of(gone, struct check, node));
    }
    list_for_each(&kept, node) {
        list_remove(node);
        list_push_back(&group->checks, node);
    }
    return complete;
}

// The next connection is another one; the verdict so far stays.
static void check_reconnect(struct check *check)
{
    fetch_free(check->fetch);
    check->fetch = NULL;
    if (check->in_flight) {
        check->in_flight = false;
        check->group->context->in_flight--;
        check_schedule(check, 1);
    }
}

// The next answers are judged by the new configuration. Somebody else who is asked has another
// verdict; with another certificate it is the same one still. With the table's lock.
static void group_reconfigure(struct check_group *group, const struct health_config *config)
{
    struct backend_state *backend = group->backend;
    bool others = config->check_port != group->config.check_port ||
                  config->check_scheme != group->config.check_scheme;
    bool reconnect = group->is_tls != backend->scrape.is_tls ||
                     !server_tls_same(group->tls, backend->tls);
    list_for_each(&group->checks, node) {
        struct check *check = container_of(node, struct check, node);
        if (others) {
            check_free(check);
        } else if (reconnect) {
            check_reconnect(check);
        }
    }
    if (reconnect) {
        server_tls_unref(group->tls);
        group->tls = server_tls_ref(backend->tls);
        group->is_tls = backend->scrape.is_tls;
    }
    group->config = *config;
}

bool check_follow(struct check_context *context, struct endpoint_table *table)
{
    bool complete = true;
    list_for_each(&context->groups, unseen) {
        container_of(unseen, struct check_group, node)->seen = false;
    }
    list_for_each(&table->backend_list, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        const struct health_config *config = backend_state_health(backend);
        if (!config->active) {
            continue;
        }
        struct check_group *group = group_find(context, backend);
        if (group == NULL) {
            group = group_new(context, backend);
        }
        if (group == NULL) {
            complete = false;
            continue;
        }
        group->seen = true;
        group_reconfigure(group, config);
        complete = group_follow(group) && complete;
    }
    return complete;
}

void check_sweep(struct check_context *context)
{
    list_for_each(&context->groups, node) {
        struct check_group *group = container_of(node, struct check_group, node);
        if (!group->seen) {
            group_free(group);
        }
    }
}

void check_init(struct check_context *context)
{
    list_init(&context->groups);
}

void check_fini(struct check_context *context)
{
    list_for_each(&context->groups, node) {
        group_free(container_of(node, struct check_group, node));
    }
}
