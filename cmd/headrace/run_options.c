#include "run_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/options.h"

// "::" takes IPv4 too, where the kernel has IPv6 at all.
static struct slice any_address(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool usable = fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return usable ? SLICE("::") : SLICE("0.0.0.0");
}

int parse_listen_address(const char *text, struct proxy_address *ret, struct error *err)
{
    struct slice all = slice_of_str(text);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || slice_to_u64(slice_of_str(colon + 1), &port) != 0 || port > 65535) {
        return error_set(err, -EINVAL, "want ADDRESS:PORT, say 127.0.0.1:8080 or :8080");
    }
    struct slice host = slice_first(all, (size_t)(colon - text));
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        host = slice_of(host.ptr + 1, host.len - 2);
    }
    if (host.len == 0) {
        host = any_address();
    }
    struct endpoint_spec spec;
    // An endpoint cannot have port 0; a listener can: any free one.
    if (endpoint_address_parse(host, port != 0 ? (uint16_t)port : 1, &spec) != 0) {
        return error_set(err, -EINVAL, "\"%.*s\" is not an IP address", SLICE_FMT(host));
    }
    // The port lies at the same place in both families.
    ((struct sockaddr_in *)&spec.address)->sin_port = htons((uint16_t)port);
    *ret = (struct proxy_address){.address = spec.address, .len = spec.address_len};
    return 0;
}

enum { MEMORY_LIMIT_MIN = 16 << 20, MEMORY_LIMIT_SHARE = 85 };

static int add_listener(const char *value, struct proxy_config *proxy, bool tls, struct error *err)
{
    if (proxy->listen_count == PROXY_MAX_LISTENERS) {
        return error_set(err, -EINVAL, "at most %d listeners", PROXY_MAX_LISTENERS);
    }
    struct proxy_address *address = &proxy->listen[proxy->listen_count];
    int rc = parse_listen_address(value, address, err);
    if (rc == 0) {
        address->tls = tls;
        proxy->listen_count++;
    }
    return rc;
}

static int add_listen(const char *value, void *target, struct error *err)
{
    return add_listener(value, target, false, err);
}

static int add_listen_tls(const char *value, void *target, struct error *err)
{
    return add_listener(value, target, true, err);
}

static int add_trusted(const char *value, void *target, struct error *err)
{
    return cidr_list_add(target, slice_of_str(value), err);
}

static int apply_proxy_protocol(struct run_options *o, struct error *err)
{
    static const char *const modes[] = {
        [PROXY_PROTOCOL_OFF] = "off",
        [PROXY_PROTOCOL_OPTIONAL] = "optional",
        [PROXY_PROTOCOL_REQUIRED] = "required",
    };
    char where[OPTIONS_WHERE_MAX];
    size_t mode = 0;
    while (mode < ARRAY_LEN(modes) && strcmp(modes[mode], o->proxy_protocol) != 0) {
        mode++;
    }
    options_where("HEADRACE", "proxy-protocol", o->proxy_protocol, where);
    if (mode == ARRAY_LEN(modes)) {
        return error_set(err, -EINVAL, "%s %s: want off, optional or required", where,
                         o->proxy_protocol);
    }
    // Whoever may send a header or leave it out may say that he is anybody.
    if (mode == PROXY_PROTOCOL_OPTIONAL && o->proxy.trusted_proxies.count == 0) {
        return error_set(err, -EINVAL, "%s optional: name the proxies with --trusted-proxies",
                         where);
    }
    o->proxy.proxy_protocol = (enum proxy_protocol_use)mode;
    return 0;
}

static int set_switch(const char *value, void *target, struct error *err)
{
    bool *is_on = target;
    *is_on = strcmp(value, "on") == 0;
    return *is_on || strcmp(value, "off") == 0 ? 0 : error_set(err, -EINVAL, "want on or off");
}

// "auto", "off" or a number.
static int set_memory_limit(const char *value, void *target, struct error *err)
{
    struct run_options *o = target;
    uint64_t bytes = 0;
    o->memory_limit_auto = strcmp(value, "auto") == 0;
    if (!o->memory_limit_auto && strcmp(value, "off") != 0 &&
        (slice_to_u64(slice_of_str(value), &bytes) != 0 || bytes < MEMORY_LIMIT_MIN ||
         bytes > UINT64_C(1) << 50)) {
        return error_set(err, -EINVAL, "want auto, off, or at least %d bytes", MEMORY_LIMIT_MIN);
    }
    o->memory_limit = bytes;
    return 0;
}

// The rest of a control group's limit is for what the kernel counts to it beside our own memory:
// socket buffers and the like.
static void find_memory_limit(struct run_options *o)
{
    if (o->memory_limit_auto) {
        o->memory_limit = memory_cgroup_limit("") / 100 * MEMORY_LIMIT_SHARE;
    }
    if (o->max_buffered_bytes == 0) {
        o->max_buffered_bytes = o->proxy.max_buffered_bytes;
        if (o->memory_limit != 0) {
            o->max_buffered_bytes = MIN_OF(o->max_buffered_bytes, o->memory_limit / 2);
        }
    }
}

static int add_allowed(const char *value, void *target, struct error *err)
{
    struct run_options *o = target;
    o->guard_set = true;
    return address_guard_allow(&o->guard, slice_of_str(value), err);
}

static unsigned available_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : MIN_OF((unsigned)count, (unsigned)PROXY_MAX_WORKERS);
}

enum { DAY_MS = 86400000, DRAIN_WINDOW_MS = 10000, DRAIN_WINDOW_AUTO = DAY_MS + 1 };

static void set_defaults(struct run_options *o)
{
    *o = (struct run_options){
        .admin = "127.0.0.1:9090",
        .watch_namespace = "",
        .ingress_class = "headrace",
        .access_log = "stdout",
        .access_log_format = "json",
        .log_level = "info",
        .log_format = "text",
        .proxy_protocol = "off",
        .drain_grace_ms = 5000,
        .drain_timeout_ms = 300000,
        .drain_window_ms = DRAIN_WINDOW_AUTO,
        .memory_limit_auto = true,
    };
    proxy_config_init(&o->proxy);
    o->proxy.workers = available_cpus();
}

// Of what is held by all workers each gets its share, which must hold one largest body, whose
// buffer grows by doubling.
static void share_buffers(struct run_options *o)
{
    struct proxy_config *proxy = &o->proxy;
    uint64_t least = MIN_OF(o->max_buffered_bytes, 2 * proxy->max_body_bytes);
    proxy->max_buffered_bytes = MAX_OF(o->max_buffered_bytes / proxy->workers, least);
}

static int apply_drain_window(struct run_options *o, struct error *err)
{
    uint64_t most = o->drain_timeout_ms;
    if (o->drain_window_ms == DRAIN_WINDOW_AUTO) {
        o->drain_window_ms = MIN_OF((uint64_t)DRAIN_WINDOW_MS, most / 2);
    }
    o->proxy.drain_window_ms = (uint32_t)o->drain_window_ms;
    return o->drain_window_ms <= most
               ? 0
               : error_set(err, -EINVAL, "--drain-window is longer than --drain-timeout, when all "
                                         "that is left is cut");
}

// What is more than the value of one option.
static int finish(struct run_options *o, int words, char **argv, struct error *err)
{
    int rc = 0;
    if (words != 0) {
        return error_set(err, -EINVAL, "unexpected argument \"%s\" (see --help)", argv[0]);
    }
    if (o->config_dir != NULL && o->kubeconfig != NULL) {
        return error_set(err, -EINVAL, "--config-dir and --kubeconfig exclude each other");
    }
    if (o->proxy.listen_count == 0) {
        rc = add_listen(":8080", &o->proxy, err);
    }
    if (rc == 0 && o->config_dir != NULL && !o->guard_set) {
        rc = add_allowed("loopback", o, err);
    }
    find_memory_limit(o);
    share_buffers(o);
    if (rc == 0) {
        rc = apply_drain_window(o, err);
    }
    return rc == 0 ? apply_proxy_protocol(o, err) : rc;
}


#define FIELD(member) OPTION_FIELD(struct run_options, member)
#define WHOLE         OPTION_WHOLE(struct run_options)
static const struct option_row rows[] = {
    {"listen", "ADDR:PORT", "serve HTTP here; may be given several times (default :8080)",
     OPTION_CALL, FIELD(proxy), 0, 0, add_listen},
    {"listen-tls", "ADDR:PORT", "serve HTTPS here, with the certificates of routes; likewise",
     OPTION_CALL, FIELD(proxy), 0, 0, add_listen_tls},
    {"admin", "ADDR:PORT", "probes, metrics and explanations (default 127.0.0.1:9090)",
     OPTION_STRING, FIELD(admin), 0, 0, NULL},
    {"workers", "N", "worker threads (default: the CPUs that this process may use)", OPTION_NUMBER,
     FIELD(proxy.workers), 1, PROXY_MAX_WORKERS, NULL},
    {"busy-poll-us", "N", "where waits are short, look so long before sleeping (default 0)",
     OPTION_NUMBER, FIELD(proxy.busy_poll_us), 0, 1000, NULL},
    {"config-dir", "DIR", "standalone: manifests from this folder, watched; no Kubernetes",
     OPTION_STRING, FIELD(config_dir), 0, 0, NULL},
    {"kubeconfig", "FILE",
     "how to reach the API server (default: in-cluster, else $KUBECONFIG, ~/.kube/config)",
     OPTION_STRING, FIELD(kubeconfig), 0, 0, NULL},
    {"context", "NAME", "context of the kubeconfig (default: its current-context)", OPTION_STRING,
     FIELD(context), 0, 0, NULL},
    {"watch-namespace", "NAME", "watch only this namespace (default: all)", OPTION_STRING,
     FIELD(watch_namespace), 0, 0, NULL},
    {"ingress-class", "NAME", "serve AIRoutes of this ingressClassName (default headrace)",
     OPTION_STRING, FIELD(ingress_class), 0, 0, NULL},
    {"allow-endpoint-addresses", "LIST",
     "endpoints may be there, too: loopback, link-local, ranges (default loopback or none)",
     OPTION_CALL, WHOLE, 0, 0, add_allowed},
    {"access-log", "WHERE", "one line a request: stdout, off, or a file (default stdout)",
     OPTION_STRING, FIELD(access_log), 0, 0, NULL},
    {"access-log-format", "FORMAT", "json or text (default json)", OPTION_STRING,
     FIELD(access_log_format), 0, 0, NULL},
    {"log-level", "LEVEL", "debug, info, warn or error (default info)", OPTION_STRING,
     FIELD(log_level), 0, 0, NULL},
    {"log-format", "FORMAT", "text or json (default text)", OPTION_STRING, FIELD(log_format), 0, 0,
     NULL},
    {"drain-grace", "TIME", "after SIGTERM: not ready, but still accepting (default 5s)",
     OPTION_DURATION, FIELD(drain_grace_ms), 0, DAY_MS, NULL},
    {"drain-timeout", "TIME", "then wait so long for running streams (default 300s)",
     OPTION_DURATION, FIELD(drain_timeout_ms), 0, DAY_MS, NULL},
    {"drain-window", "TIME",
     "within that, connections are closed or told to end one by one (default 10s)",
     OPTION_DURATION, FIELD(drain_window_ms), 0, DAY_MS, NULL},
    {"max-body-bytes", "N", "largest request body that is read first (default 33554432)",
     OPTION_NUMBER, FIELD(proxy.max_body_bytes), 1024, UINT64_C(1) << 31, NULL},
    {"max-streamed-body-bytes", "N",
     "largest request body that streams through (default 1073741824)", OPTION_NUMBER,
     FIELD(proxy.max_streamed_body_bytes), 1024, UINT64_C(1) << 50, NULL},
    {"max-buffered-bytes", "N", "held by requests and connections (default 536870912)",
     OPTION_NUMBER, FIELD(max_buffered_bytes), 65536, UINT64_C(1) << 40, NULL},
    {"max-header-bytes", "N", "largest message head (default 32768)", OPTION_NUMBER,
     FIELD(proxy.limits.max_head_bytes), 1024, 65536, NULL},
    {"max-headers", "N", "most header fields of a message (default 100)", OPTION_NUMBER,
     FIELD(proxy.limits.max_headers), 8, 1000, NULL},
    {"max-connections", "N", "client connections of one worker (default 20000)", OPTION_NUMBER,
     FIELD(proxy.max_connections), 1, 1000000, NULL},
    {"http2", "SWITCH", "HTTP/2 for clients: on or off (default on)", OPTION_CALL,
     FIELD(proxy.http2), 0, 0, set_switch},
    {"http2-max-streams", "N", "requests at a time of one HTTP/2 connection (default 128)",
     OPTION_NUMBER, FIELD(proxy.http2_max_streams), 1, 10000, NULL},
    {"http2-upstream-streams", "N", "the same of one to a server (default 100)", OPTION_NUMBER,
     FIELD(proxy.http2_upstream_streams), 1, 10000, NULL},
    {"max-connections-per-address", "N", "or of each /64; 0: no limit (default 0)", OPTION_NUMBER,
     FIELD(proxy.max_connections_per_address), 0, 1000000, NULL},
    {"memory-limit", "N",
     "refuse new work near so many bytes; off, auto: the control group's (default auto)",
     OPTION_CALL, WHOLE, 0, 0, set_memory_limit},
    {"header-timeout", "TIME", "for the head of a request (default 10s)", OPTION_DURATION,
     FIELD(proxy.header_timeout_ms), 10, DAY_MS, NULL},
    {"body-timeout", "TIME", "between two pieces of a request body (default 60s)", OPTION_DURATION,
     FIELD(proxy.body_timeout_ms), 10, DAY_MS, NULL},
    {"idle-timeout", "TIME", "keep-alive of clients (default 75s)", OPTION_DURATION,
     FIELD(proxy.idle_timeout_ms), 10, DAY_MS, NULL},
    {"write-timeout", "TIME", "drop a client that reads nothing for so long (default 60s)",
     OPTION_DURATION, FIELD(proxy.write_timeout_ms), 10, DAY_MS, NULL},
    {"upstream-idle-timeout", "TIME", "keep-alive to inference servers (default 4s)",
     OPTION_DURATION, FIELD(proxy.upstream_idle_timeout_ms), 0, DAY_MS, NULL},
    {"unary-timeout", "TIME", "longest wait for an answer that is not streamed (default 1h)",
     OPTION_DURATION, FIELD(proxy.unary_timeout_ms), 10, DAY_MS, NULL},
    {"trusted-proxies", "CIDR,…", "load balancers that are believed what they say of clients",
     OPTION_CALL, FIELD(proxy.trusted_proxies), 0, 0, add_trusted},
    {"proxy-protocol", "MODE",
     "PROXY protocol from trusted proxies: off, optional or required (default off)", OPTION_STRING,
     FIELD(proxy_protocol), 0, 0, NULL},
    {"tunnel-idle-timeout", "TIME",
     "end a WebSocket or gRPC stream on which nothing moves so long (default 10m)", OPTION_DURATION,
     FIELD(proxy.tunnel_idle_timeout_ms), 10, DAY_MS, NULL},
};

int run_options_parse(struct run_options *o, int argc, char **argv, struct error *err)
{
    set_defaults(o);
    int words = 0;
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", o, argc, argv, &words, err);
    if (rc == -EAGAIN) {
        printf("Usage: headrace run [--config-dir DIR | --kubeconfig FILE] [OPTIONS]\n\n");
        options_help(rows, ARRAY_LEN(rows), "HEADRACE");
        return rc;
    }
    return rc == 0 ? finish(o, words, argv, err) : rc;
}
