// `headrace run`: wires the halves together and waits. The main thread is the control thread.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/options.h"
#include "cluster.h"
#include "commands.h"
#include "controller/controller.h"
#include "manifest/folder.h"
#include "observe/access_log.h"
#include "observe/decision.h"
#include "observe/metrics.h"
#include "proxy/fault.h"
#include "proxy/overload.h"
#include "proxy/proxy.h"
#include "run_options.h"
#include "scrape/scraper.h"
#include "state_dump.h"

enum { MEMORY_MS = 100, TRIM_MS = 1000 };
enum { COLLECT_MS = 1000, DRAIN_POLL_MS = 100, DRAIN_SAY_MS = 5000, TROUBLE_MAX = 1024 };

struct run {
    struct run_options options;
    struct epoch epoch;
    struct publisher publisher;
    struct loop *loop;
    struct endpoint_table *endpoints;
    struct metrics *metrics;
    struct decisions *decisions;
    struct controller *controller;
    struct folder *folder;
    struct cluster *cluster;
    struct scraper *scraper;
    struct proxy *proxy;
    struct admin *admin;
    struct state_dump *state_dump;
    struct io signals;
    struct timer collect;
    struct timer memory;
    struct overload overload;
    uint64_t trimmed_ms;
    struct timer drain;
    uint64_t drain_started_ms;
    uint64_t drain_said_ms;
    bool signalled;
    _Atomic bool draining; // read by the admin thread
    pthread_mutex_t trouble_lock; // of the text, between the control and the admin thread
    char trouble[TROUBLE_MAX];    // what is in the way of a first configuration
};

// ---- control ----------------------------------------------------------------------------------

static void on_publish(void *arg, struct snapshot *snapshot)
{
    struct run *run = arg;
    publisher_publish(&run->publisher, snapshot);
    log_info("configuration published", LOG_U64("generation", run->publisher.generation),
             LOG_U64("hosts", snapshot->host_count), LOG_U64("backends", snapshot->backend_count));
}

static void set_control_metrics(struct run *run)
{
    static const struct {
        enum object_kind kind;
        enum metric_control metric;
    } kinds[] = {
        {OBJECT_AIROUTE, METRIC_CONTROL_OBJECTS_AIROUTE},
        {OBJECT_MODELBACKEND, METRIC_CONTROL_OBJECTS_MODELBACKEND},
        {OBJECT_SERVICE, METRIC_CONTROL_OBJECTS_SERVICE},
        {OBJECT_ENDPOINTSLICE, METRIC_CONTROL_OBJECTS_ENDPOINTSLICE},
        {OBJECT_POD, METRIC_CONTROL_OBJECTS_POD},
        {OBJECT_SECRET, METRIC_CONTROL_OBJECTS_SECRET},
        {OBJECT_CONFIGMAP, METRIC_CONTROL_OBJECTS_CONFIGMAP},
    };
    const struct controller_counters *counters = controller_counters(run->controller);
    const struct {
        enum metric_control metric;
        double value;
    } values[] = {
        {METRIC_CONTROL_CONNECTIONS_OPEN, (double)proxy_connections(run->proxy)},
        {METRIC_CONTROL_SNAPSHOT_GENERATION, (double)run->publisher.generation},
        {METRIC_CONTROL_COMPILES, (double)counters->compiles},
        {METRIC_CONTROL_COMPILE_SECONDS, (double)counters->compile_us_sum / 1e6},
        {METRIC_CONTROL_COMPILE_LAST_SECONDS, (double)counters->compile_us_last / 1e6},
        {METRIC_CONTROL_ENDPOINT_UPDATES, (double)counters->endpoint_updates},
        {METRIC_CONTROL_STATUSES, (double)counters->statuses},
        {METRIC_CONTROL_OBJECTS_INVALID, (double)counters->objects_invalid},
        {METRIC_CONTROL_OBJECTS_REJECTED, (double)counters->upserts_rejected},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        metrics_control_set(run->metrics, values[i].metric, values[i].value);
    }
    if (run->folder != NULL) {
        const struct folder_counters *folder = folder_counters(run->folder);
        metrics_control_set(run->metrics, METRIC_CONTROL_MANIFESTS, (double)folder->files);
        metrics_control_set(run->metrics, METRIC_CONTROL_MANIFESTS_BROKEN,
                            (double)folder->files_broken);
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        metrics_control_set(run->metrics, kinds[i].metric,
                            (double)counters->objects[kinds[i].kind]);
    }
}

// The admin thread may not look into the watches itself.
static void copy_trouble(struct run *run)
{
    struct strbuf text;
    strbuf_init(&text, 64 << 10);
    cluster_trouble(run->cluster, &text);
    pthread_mutex_lock(&run->trouble_lock);
    struct slice lines = slice_trim(strbuf_slice(&text));
    snprintf(run->trouble, sizeof(run->trouble), "%.*s", SLICE_FMT(lines));
    pthread_mutex_unlock(&run->trouble_lock);
    strbuf_fini(&text);
}

// While memory is short, what the allocator keeps of freed memory is given back: it looks like
// memory in use.
static void on_memory(struct timer *timer, void *arg)
{
    struct run *run = arg;
    uint64_t now = loop_now_ms(run->loop);
    enum overload_level before = overload_now(&run->overload);
    enum overload_level level = overload_update(&run->overload, memory_resident());
    if (level != OVERLOAD_NONE && now - run->trimmed_ms >= TRIM_MS) {
        run->trimmed_ms = now;
        malloc_trim(0);
        level = overload_update(&run->overload, memory_resident());
    }
    metrics_control_set(run->metrics, METRIC_CONTROL_OVERLOAD, (double)level);
    if ((before == OVERLOAD_NONE) != (level == OVERLOAD_NONE)) {
        log_warn(level != OVERLOAD_NONE ? "memory is short: new requests are refused"
                                        : "there is memory again",
                 LOG_U64("resident_bytes", memory_resident()),
                 LOG_U64("limit_bytes", run->overload.limit));
    }
    loop_timer_set(run->loop, timer, MEMORY_MS, on_memory, run);
}

static void on_collect(struct timer *timer, void *arg)
{
    struct run *run = arg;
    publisher_collect(&run->publisher);
    endpoint_table_collect(run->endpoints);
    set_control_metrics(run);
    if (run->cluster != NULL) {
        cluster_report(run->cluster, run->metrics);
        copy_trouble(run);
    }
    loop_timer_set(run->loop, timer, COLLECT_MS, on_collect, run);
}

// ---- the end ------------------------------------------------------------------------------------

static void on_drain_poll(struct timer *timer, void *arg)
{
    struct run *run = arg;
    uint64_t open = proxy_connections(run->proxy);
    uint64_t now = loop_now_ms(run->loop);
    uint64_t passed = now - run->drain_started_ms;
    if (open == 0 || passed >= run->options.drain_timeout_ms) {
        if (open != 0) {
            log_warn("drain timeout: cutting what is left", LOG_U64("connections", open));
        }
        loop_stop(run->loop);
        return;
    }
    if (now - run->drain_said_ms >= DRAIN_SAY_MS) {
        run->drain_said_ms = now;
        log_info("draining", LOG_U64("connections", open), LOG_U64("seconds", passed / 1000));
    }
    loop_timer_set(run->loop, timer, DRAIN_POLL_MS, on_drain_poll, run);
}

static void on_grace_over(struct timer *timer, void *arg)
{
    struct run *run = arg;
    proxy_drain(run->proxy);
    run->drain_started_ms = loop_now_ms(run->loop);
    run->drain_said_ms = run->drain_started_ms;
    loop_timer_set(run->loop, timer, DRAIN_POLL_MS, on_drain_poll, run);
}

// Signals that do not end the process. SIGHUP of the kernel is not among them: the terminal is
// gone.
static bool informs(struct run *run, const struct signalfd_siginfo *info)
{
    if (info->ssi_signo == SIGUSR1) {
        if (run->state_dump != NULL) {
            state_dump_start(run->state_dump);
        }
        return true;
    }
    if (info->ssi_signo == SIGHUP && info->ssi_code != SI_KERNEL) {
        if (run->options.proxy.access_log != NULL) {
            access_log_reopen(run->options.proxy.access_log);
        }
        return true;
    }
    return false;
}

static void on_signal(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct run *run = arg;
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return;
    }
    if (informs(run, &info)) {
        return;
    }
    if (run->signalled) {
        log_warn("second signal: ending now");
        loop_stop(run->loop);
        return;
    }
    run->signalled = true;
    atomic_store_explicit(&run->draining, true, memory_order_relaxed);
    log_info("shutting down: not ready, still accepting",
             LOG_STR("signal", strsignal((int)info.ssi_signo)),
             LOG_U64("grace_ms", run->options.drain_grace_ms));
    proxy_leave(run->proxy);
    loop_timer_set(run->loop, &run->drain, run->options.drain_grace_ms, on_grace_over, run);
}

static int watch_signals(struct run *run, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // before any thread: they inherit it
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return error_set(err, -errno, "cannot watch signals: %s", strerror(errno));
    }
    return loop_io_add(run->loop, &run->signals, fd, EPOLLIN, on_signal, run);
}

// ---- start --------------------------------------------------------------------------------------

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int setup_log(const struct run_options *options, struct error *err)
{
    char where[OPTIONS_WHERE_MAX];
    enum log_level level;
    if (log_level_parse(slice_of_str(options->log_level), &level) != 0) {
        return error_set(err, -EINVAL, "%s %s: want debug, info, warn or error",
                         options_where("HEADRACE", "log-level", options->log_level, where),
                         options->log_level);
    }
    bool json = strcmp(options->log_format, "json") == 0;
    if (!json && strcmp(options->log_format, "text") != 0) {
        return error_set(err, -EINVAL, "%s %s: want text or json",
                         options_where("HEADRACE", "log-format", options->log_format, where),
                         options->log_format);
    }
    log_setup(level, json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
    return 0;
}

static void on_status(void *arg, const struct object_status *status)
{
    struct run *run = arg;
    if (run->cluster != NULL) {
        cluster_write_status(run->cluster, status);
    }
}

static void on_status_gone(void *arg, enum object_kind kind, struct slice namespace,
                           struct slice name)
{
    struct run *run = arg;
    if (run->cluster != NULL) {
        cluster_forget_status(run->cluster, kind, namespace, name);
    }
}

static void on_reference(void *arg, enum object_kind kind, struct slice namespace,
                         struct slice name, bool is_wanted)
{
    struct run *run = arg;
    if (run->cluster != NULL) { // a folder gives all that it has
        cluster_reference(run->cluster, kind, namespace, name, is_wanted);
    }
}

static void on_status_withdraw(void *arg, enum object_kind kind, struct slice namespace,
                               struct slice name)
{
    struct run *run = arg;
    if (run->cluster != NULL) {
        cluster_withdraw_status(run->cluster, kind, namespace, name);
    }
}

// Before anything of a configuration is known, so before anybody asks.
static int guard_own_addresses(struct run *run, struct error *err)
{
    struct address_guard *guard = &run->options.guard;
    const struct proxy_config *proxy = &run->options.proxy;
    struct proxy_address address;
    int rc = parse_listen_address(run->options.admin, &address, err);
    address_guard_learn_locals(guard);
    for (size_t i = 0; i < proxy->listen_count; i++) {
        address_guard_add_own(guard, &proxy->listen[i].address, proxy_port(run->proxy, i));
    }
    address_guard_add_own(guard, &address.address, admin_port(run->admin));
    return rc;
}

static int start_control(struct run *run, struct error *err)
{
    epoch_init(&run->epoch);
    publisher_init(&run->publisher, &run->epoch);
    int rc = loop_new(&run->loop, err);
    if (rc == 0) {
        rc = watch_signals(run, err);
    }
    if (rc == 0 && endpoint_table_new(&run->endpoints, &run->epoch) != 0) {
        rc = error_set(err, -ENOMEM, "out of memory");
    }
    if (rc != 0) {
        return rc;
    }
    run->endpoints->guard = &run->options.guard;
    struct controller_config config = {
        .loop = run->loop,
        .endpoints = run->endpoints,
        .ingress_class = slice_of_str(run->options.ingress_class),
        .sink = {.publish = on_publish,
                 .status = on_status,
                 .status_gone = on_status_gone,
                 .status_withdraw = on_status_withdraw,
                 .reference = on_reference,
                 .arg = run},
    };
    return controller_new(&config, &run->controller, err);
}

static int start_source(struct run *run, struct error *err)
{
    if (run->options.config_dir != NULL) {
        return folder_new(run->loop, run->controller, run->options.config_dir, &run->folder, err);
    }
    const struct cluster_config config = {
        .loop = run->loop,
        .controller = run->controller,
        .kubeconfig = run->options.kubeconfig,
        .context = run->options.context,
        .watch_namespace =
            run->options.watch_namespace[0] != '\0' ? run->options.watch_namespace : NULL,
    };
    return cluster_start(&config, &run->cluster, err);
}

// ---- data plane, scraping, admin ----------------------------------------------------------------

static bool is_ready(void *arg, char *why, size_t why_size)
{
    struct run *run = arg;
    if (atomic_load_explicit(&run->draining, memory_order_relaxed)) {
        snprintf(why, why_size, "shutting down");
        return false;
    }
    if (publisher_current(&run->publisher) == NULL) {
        pthread_mutex_lock(&run->trouble_lock);
        snprintf(why, why_size, "no configuration yet: %s",
                 run->trouble[0] != '\0' ? run->trouble : "the source is not fully read");
        pthread_mutex_unlock(&run->trouble_lock);
        return false;
    }
    return true;
}

static int start_admin(struct run *run, struct error *err)
{
    struct proxy_address address;
    int rc = parse_listen_address(run->options.admin, &address, err);
    if (rc != 0) {
        char where[OPTIONS_WHERE_MAX];
        return error_prefix(err, rc, "%s %s",
                            options_where("HEADRACE", "admin", run->options.admin, where),
                            run->options.admin);
    }
    const struct admin_config config = {
        .address = address.address,
        .address_len = address.len,
        .version = HEADRACE_VERSION,
        .epoch = &run->epoch,
        .publisher = &run->publisher,
        .endpoints = run->endpoints,
        .metrics = run->metrics,
        .decisions = run->decisions,
        .proxy = run->proxy,
        .started_ms = clock_mono_ms(),
        .ready = is_ready,
        .ready_arg = run,
    };
    rc = admin_start(&config, &run->admin, err);
    return rc != 0 ? rc : state_dump_new(&config, &run->state_dump, err);
}

static int start_access_log(struct run *run, struct error *err)
{
    const struct run_options *options = &run->options;
    char where[OPTIONS_WHERE_MAX];
    enum access_format format;
    if (access_format_parse(options->access_log_format, &format) != 0) {
        const char *text = options->access_log_format;
        return error_set(err, -EINVAL, "%s %s: want json or text",
                         options_where("HEADRACE", "access-log-format", text, where), text);
    }
    return access_log_start(options->access_log, format, options->proxy.workers,
                            &run->options.proxy.access_log, err);
}

static int start_proxy(struct run *run, struct error *err)
{
    struct proxy_config *config = &run->options.proxy;
    run->metrics = metrics_new(config->workers);
    run->decisions = decisions_new(config->workers);
    if (run->metrics == NULL || run->decisions == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    config->publisher = &run->publisher;
    config->endpoints = run->endpoints;
    config->epoch = &run->epoch;
    config->metrics = run->metrics;
    config->decisions = run->decisions;
    config->overload = &run->overload;
    run->overload.limit = run->options.memory_limit;
    metrics_control_set(run->metrics, METRIC_CONTROL_MEMORY_LIMIT, (double)run->overload.limit);
    int rc = start_access_log(run, err);
    return rc != 0 ? rc : proxy_start(config, &run->proxy, err);
}

static int start_all(struct run *run, struct error *err)
{
    int rc = start_control(run, err);
    if (rc == 0) {
        rc = start_proxy(run, err);
    }
    if (rc == 0) {
        rc = start_admin(run, err);
    }
    if (rc == 0) {
        rc = guard_own_addresses(run, err);
    }
    if (rc == 0) {
        rc = scraper_start(&run->scraper, run->endpoints, err);
    }
    if (rc == 0) {
        rc = start_source(run, err);
    }
    return rc;
}

static void say_started(const struct run *run)
{
    for (size_t i = 0; i < run->options.proxy.listen_count; i++) {
        log_info("listening", LOG_U64("port", proxy_port(run->proxy, i)),
                 LOG_BOOL("tls", run->options.proxy.listen[i].tls),
                 LOG_U64("workers", run->options.proxy.workers));
    }
    log_info("admin", LOG_U64("port", admin_port(run->admin)), LOG_STR("version", HEADRACE_VERSION),
             LOG_STR("mode", run->folder != NULL ? "config-dir" : "kubernetes"));
}

// In the order of use: who reads goes before what is read.
static void stop_all(struct run *run)
{
    admin_stop(run->admin);
    state_dump_free(run->state_dump);
    proxy_stop(run->proxy);
    access_log_stop(run->options.proxy.access_log);
    scraper_stop(run->scraper);
    cluster_stop(run->cluster);
    folder_free(run->folder);
    controller_free(run->controller);
    if (run->loop != NULL) {
        loop_timer_cancel(run->loop, &run->collect);
        loop_timer_cancel(run->loop, &run->memory);
        loop_timer_cancel(run->loop, &run->drain);
        publisher_fini(&run->publisher);
        if (run->signals.events != 0) {
            loop_io_del(run->loop, &run->signals);
            close(run->signals.fd);
        }
    }
    endpoint_table_free(run->endpoints);
    epoch_fini(&run->epoch);
    metrics_free(run->metrics);
    decisions_free(run->decisions);
    loop_free(run->loop);
    cidr_list_fini(&run->options.proxy.trusted_proxies);
}

int cmd_run(int argc, char **argv)
{
    struct run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        oom_abort("start");
    }
    struct error err = ERROR_INIT;
    pthread_mutex_init(&run->trouble_lock, NULL);
    int rc = run_options_parse(&run->options, argc, argv, &err);
    if (rc == 0) {
        rc = setup_log(&run->options, &err);
    }
    if (rc != 0) {
        if (rc != -EAGAIN) {
            fprintf(stderr, "headrace run: %s\n", err.text);
        }
        cidr_list_fini(&run->options.proxy.trusted_proxies);
        free(run);
        return rc == -EAGAIN ? 0 : 2;
    }
    raise_file_limit();
    rc = start_all(run, &err);
    if (rc == 0) {
        say_started(run);
        on_collect(&run->collect, run);
        if (run->overload.limit != 0) {
            on_memory(&run->memory, run);
        }
        loop_run(run->loop);
        log_info("stopped");
    } else {
        fprintf(stderr, "headrace run: %s\n", err.text);
    }
    stop_all(run);
    free(run);
    return rc == 0 ? 0 : 1;
}
