#include "admin/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "admin/crowd.h"
#include "admin/page.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/rand.h"
#include "proxy/fault.h"

enum {
    CONNECTIONS_MAX = 128,
    CONNECTIONS_CROWD = 64, // from here on each new one ends the one that was quiet the longest
    CONNECTION_MEMORY = 32 * 1024,
    IDLE_SECONDS = 30,
    BODY_MAX = 64 * 1024 * 1024,
    REQUESTS_MAX = 1000, // of one connection: then it closes, so that nobody sits here for ever
    WHY_MAX = 1200,
    DECISIONS_DEFAULT = 20,
    DECISIONS_MAX = 256,
};

struct admin {
    struct admin_config config;
    struct MHD_Daemon *daemon;
    struct epoch_reader *reader;
    struct rand_state rng;
    uint16_t port;
    struct list_node visitors; // connections, those that asked last at the end; daemon's thread
    unsigned visitor_count;
    struct crowd crowd;
};

// ---- pages --------------------------------------------------------------------------------------

static unsigned page_index(struct page_context *context, struct strbuf *out);

static unsigned page_healthz(struct page_context *context, struct strbuf *out)
{
    (void)context;
    strbuf_add(out, SLICE("ok\n"));
    return 200;
}

static unsigned page_readyz(struct page_context *context, struct strbuf *out)
{
    char why[WHY_MAX] = "";
    const struct admin_config *config = context->config;
    bool ready = config->ready == NULL || config->ready(config->ready_arg, why, sizeof(why));
    strbuf_printf(out, "%s\n", ready ? "ok" : why);
    return ready ? 200 : 503;
}

static const char *label_of_fault(unsigned n)
{
    return n < FAULT_COUNT ? fault_label((enum fault)n) : NULL;
}

static unsigned page_metrics(struct page_context *context, struct strbuf *out)
{
    const struct admin_config *config = context->config;
    char why[WHY_MAX];
    bool ready = config->ready == NULL || config->ready(config->ready_arg, why, sizeof(why));
    metrics_write(config->metrics, out, label_of_fault);
    metrics_write_endpoints(config->endpoints, clock_mono_ms(), out);
    metrics_write_process(config->version, ready, out);
    return 200;
}

unsigned page_decisions(struct page_context *context, struct strbuf *out)
{
    struct slice id = page_argument(context, "request_id", NULL);
    struct slice n = page_argument(context, "n", NULL);
    uint64_t max = id.ptr != NULL ? DECISIONS_MAX : DECISIONS_DEFAULT;
    if (n.ptr != NULL && (slice_to_u64(n, &max) != 0 || max == 0 || max > DECISIONS_MAX)) {
        return page_error(out, 400, "n must be a number from 1 to 256");
    }
    struct decision *found = calloc((size_t)max, sizeof(*found));
    if (found == NULL) {
        return page_error(out, 500, "out of memory");
    }
    size_t count = decisions_read(context->config->decisions, id, found, (size_t)max);
    page_open(out, "", '{');
    page_open(out, "decisions", '[');
    for (size_t i = 0; i < count; i++) {
        if (i != 0) {
            strbuf_add_char(out, ',');
        }
        decision_write_json(&found[i], out);
    }
    page_close(out, ']');
    page_close(out, '}');
    free(found);
    return 200;
}

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"

static const struct page {
    const char *path;
    unsigned (*write)(struct page_context *context, struct strbuf *out);
    const char *type;
    enum { CHEAP, KEPT, REFUSED } in_a_crowd; // see admin/crowd.h; probes are always answered
    const char *help;
    unsigned (*put)(struct page_context *context, struct strbuf *out); // NULL: it only reads
} pages[] = {
    {"/", page_index, TEXT, CHEAP, "this list", NULL},
    {"/healthz", page_healthz, TEXT, CHEAP, "the process lives", NULL},
    {"/readyz", page_readyz, TEXT, CHEAP, "200 when it may get traffic, else 503 and why not",
     NULL},
    {"/metrics", page_metrics, "text/plain; version=0.0.4; charset=utf-8", KEPT,
     "Prometheus metrics", NULL},
    {"/endpoints", page_endpoints, JSON, KEPT, "backends and endpoints: books, samples, failures",
     NULL},
    {"/routes", page_routes, JSON, KEPT, "the configuration that is served", NULL},
    {"/decisions", page_decisions, JSON, REFUSED,
     "last picks, with reasons: ?n=20 or ?request_id=ID", NULL},
    {"/explain", page_explain, JSON, REFUSED,
     "what a request would take now: ?host=&path=&method=&model=&header=&prompt_bytes=", NULL},
    {"/debug/state", page_state, JSON, REFUSED,
     "live state: connections, requests, pools, limits: ?n=20 of each worker", NULL},
    {"/log-level", page_log_level, JSON, CHEAP, "the level of the log; PUT ?level= changes it",
     put_log_level},
};
_Static_assert(ARRAY_LEN(pages) <= CROWD_PAGES_MAX, "a crowd has room for each page");

static unsigned page_index(struct page_context *context, struct strbuf *out)
{
    strbuf_printf(out, "headrace %s\n\n", context->config->version);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        strbuf_printf(out, "%-12s %s\n", pages[i].path, pages[i].help);
    }
    return 200;
}

// ---- HTTP ---------------------------------------------------------------------------------------

static const struct page *find_page(const char *url)
{
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (strcmp(pages[i].path, url) == 0) {
            return &pages[i];
        }
    }
    return NULL;
}

// Takes over the buffer's memory.
static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *type,
                               const char *allow, bool last, struct strbuf *body)
{
    if (body->failed) {
        strbuf_fini(body);
        return MHD_NO; // out of memory: the connection closes
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->ptr, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        strbuf_fini(body);
        return MHD_NO;
    }
    if (last) {
        MHD_add_response_header(response, "Connection", "close");
    }
    if (status == 405) {
        MHD_add_response_header(response, "Allow", allow);
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

// ---- connections --------------------------------------------------------------------------------

// Who connects and says nothing, or asks slowly, must not keep the probes out: a kubelet that gets
// no answer restarts the pod.
struct visitor {
    struct list_node node;
    int fd;
    unsigned asked;
};

static void visitors_make_room(struct admin *admin)
{
    if (admin->visitor_count >= CONNECTIONS_CROWD && !list_empty(&admin->visitors)) {
        struct visitor *oldest = list_first(&admin->visitors, struct visitor, node);
        list_remove(&oldest->node); // the daemon closes it when it sees the end
        shutdown(oldest->fd, SHUT_RDWR);
    }
}

static void visitor_came(struct admin *admin, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct visitor *visitor = info != NULL ? calloc(1, sizeof(*visitor)) : NULL;
    visitors_make_room(admin);
    admin->visitor_count++;
    if (visitor != NULL) {
        visitor->fd = info->connect_fd;
        list_push_back(&admin->visitors, &visitor->node);
    }
    *context = visitor;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct admin *admin = arg;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        visitor_came(admin, connection, context);
        return;
    }
    struct visitor *visitor = *context;
    admin->visitor_count--;
    if (visitor != NULL) {
        list_remove(&visitor->node);
        free(visitor);
    }
}

static struct visitor *visitor_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static bool visitor_must_leave(struct MHD_Connection *connection)
{
    const struct visitor *visitor = visitor_of(connection);
    return visitor != NULL && visitor->asked >= REQUESTS_MAX;
}

static void visitor_asked(struct admin *admin, struct MHD_Connection *connection)
{
    struct visitor *visitor = visitor_of(connection);
    if (visitor != NULL) {
        visitor->asked++;
    }
    if (visitor != NULL && !list_empty(&visitor->node)) {
        list_remove(&visitor->node);
        list_push_back(&admin->visitors, &visitor->node);
    }
}

// ---- requests -----------------------------------------------------------------------------------

static unsigned write_page(struct admin *admin, const struct page *page,
                           struct page_context *context, struct strbuf *body)
{
    uint64_t now = clock_mono_ms();
    unsigned index = (unsigned)(page - pages);
    bool crowded = page->in_a_crowd != CHEAP && crowd_note(&admin->crowd, now);
    if (crowded && page->in_a_crowd == REFUSED) {
        return page_error(body, 429, "asked for too often; try again in a second");
    }
    if (crowded && crowd_kept(&admin->crowd, index, now, body)) {
        return 200;
    }
    // Snapshots, backends and endpoints that a page finds stay valid until the end of it.
    epoch_enter(admin->config.epoch, admin->reader);
    unsigned status = page->write(context, body);
    epoch_leave(admin->reader);
    if (crowded && status == 200 && !body->failed) {
        crowd_keep(&admin->crowd, index, now, strbuf_slice(body));
    }
    return status;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    (void)version;
    (void)upload;
    static int seen;
    struct admin *admin = arg;
    if (*state == NULL) {
        *state = &seen; // the headers only; the answer comes with the next call
        visitor_asked(admin, connection);
        return MHD_YES;
    }
    if (*upload_size != 0) {
        *upload_size = 0; // a body is read and dropped
        return MHD_YES;
    }
    struct strbuf body;
    strbuf_init(&body, BODY_MAX);
    struct page_context context = {
        .config = &admin->config, .connection = connection, .rng = &admin->rng};
    const struct page *page = find_page(url);
    bool puts = page != NULL && page->put != NULL;
    const char *type = page != NULL ? page->type : JSON;
    unsigned status;
    if (page == NULL) {
        status = page_error(&body, 404, "no such page; / lists them");
    } else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        status = write_page(admin, page, &context, &body);
    } else if (puts && strcmp(method, "PUT") == 0) {
        status = page->put(&context, &body);
    } else {
        type = JSON;
        status = page_error(&body, 405, puts ? "only GET, HEAD and PUT" : "only GET and HEAD");
    }
    return respond(connection, status, type, puts ? "GET, HEAD, PUT" : "GET, HEAD",
                   visitor_must_leave(connection), &body);
}

// libmicrohttpd's own complaints are about what clients did; nobody must be able to fill a log.
static void on_log(void *arg, const char *format, va_list args)
{
    (void)arg;
    (void)format;
    (void)args;
}

static int find_port(struct admin *admin)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_BIND_PORT);
    if (info == NULL) {
        return -EIO;
    }
    admin->port = info->port;
    return 0;
}

int admin_start(const struct admin_config *config, struct admin **ret_admin, struct error *err)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    admin->config = *config;
    list_init(&admin->visitors);
    rand_seed_random(&admin->rng);
    int rc = epoch_add_reader(config->epoch, &admin->reader);
    if (rc != 0) {
        free(admin);
        return error_set(err, rc, "too many threads");
    }
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG;
    if (config->address.ss_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)&config->address)->sin6_addr;
        flags |= IN6_IS_ADDR_UNSPECIFIED(ip) ? MHD_USE_DUAL_STACK : MHD_USE_IPv6;
    }
    errno = 0;
    admin->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, admin, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, admin,
        MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&admin->config.address,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_END);
    if (admin->daemon == NULL) {
        rc = errno != 0 ? -errno : -EIO;
        free(admin);
        return error_set(err, rc, "cannot serve the admin address: %s%s", strerror(-rc),
                         rc == -EADDRINUSE ? " (another program has this port; see --admin)" : "");
    }
    rc = find_port(admin);
    if (rc != 0) {
        admin_stop(admin);
        return error_set(err, rc, "cannot find the admin port");
    }
    *ret_admin = admin;
    return 0;
}

uint16_t admin_port(const struct admin *admin)
{
    return admin->port;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    MHD_stop_daemon(admin->daemon);
    crowd_fini(&admin->crowd);
    free(admin);
}
