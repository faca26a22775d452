#include "proxy/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "observe/access_log.h"
#include "observe/decision.h"
#include "observe/metrics.h"
#include "proxy/admit.h"
#include "proxy/downstream.h"
#include "proxy/mirror.h"
#include "proxy/request.h"
#include "proxy/upstream.h"
#include "proxy/warn.h"
#include "snapshot/regex.h"

enum { ACCEPT_BATCH = 32, HOUSEKEEPING_MS = 500 };

static void peer_text(const struct sockaddr_storage *address, char *text, size_t size)
{
    const void *ip;
    if (address->ss_family == AF_INET) {
        ip = &((const struct sockaddr_in *)address)->sin_addr;
    } else {
        ip = &((const struct sockaddr_in6 *)address)->sin6_addr;
    }
    if (inet_ntop(address->ss_family, ip, text, (socklen_t)size) == NULL) {
        text[0] = '\0';
    }
    // An IPv4 client of a dual-stack listener is an IPv4 client.
    if (strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.') != NULL) {
        memmove(text, text + 7, strlen(text + 7) + 1);
    }
}

static void set_accepting(struct worker *worker, bool accepting)
{
    for (size_t i = 0; i < worker->config->listen_count; i++) {
        struct listener *listener = &worker->listeners[i];
        if (listener->io.events == 0 && listener->accepting == accepting) {
            continue;
        }
        // A failed change only means an idle wake-up, or a late accept at the next housekeeping.
        if (listener->io.fd >= 0 && listener->accepting != accepting &&
            loop_io_mod(worker->loop, &listener->io, accepting ? EPOLLIN : EPOLLET) == 0) {
            listener->accepting = accepting;
        }
    }
}

static bool at_connection_limit(const struct worker *worker)
{
    return atomic_load_explicit(&worker->downstream_count, memory_order_relaxed) >=
           worker->config->max_connections;
}

// True: look for the next one.
static bool accept_failed(struct listener *listener, int error)
{
    struct worker *worker = listener->worker;
    bool no_files = error == EMFILE || error == ENFILE;
    if (!no_files && error != ENOBUFS && error != ENOMEM) {
        return false;
    }
    metrics_add(worker->metrics, METRIC_ACCEPT_FAILURES, 1);
    warn_accept(worker, error);
    if (no_files && admit_without_files(worker, listener->io.fd, listener->tls)) {
        return true;
    }
    set_accepting(worker, false); // until a connection closes, or the housekeeping
    return false;
}

static void on_accept(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct listener *listener = arg;
    struct worker *worker = listener->worker;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (at_connection_limit(worker)) {
            set_accepting(worker, false);
            return;
        }
        struct sockaddr_storage address;
        socklen_t len = sizeof(address);
        int fd = accept4(io->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (!accept_failed(listener, errno)) {
                return;
            }
            continue;
        }
        char peer[46];
        peer_text(&address, peer, sizeof(peer));
        uint32_t slot;
        if (!admit_connection(worker, fd, peer, listener->tls, &slot)) {
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        downstream_accept(worker, fd, peer, slot, listener->tls);
    }
}

void worker_connection_closed(struct worker *worker)
{
    atomic_fetch_sub_explicit(&worker->downstream_count, 1, memory_order_relaxed);
    if (!worker->draining && !at_connection_limit(worker)) {
        set_accepting(worker, true);
    }
}

static void update_date(struct worker *worker)
{
    time_t now = (time_t)(clock_wall_ns() / UINT64_C(1000000000));
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

// What is shown of the worker by itself.
static void tell_own_figures(struct worker *worker)
{
    struct timespec cpu = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    uint64_t requests = worker->request_count - worker->mirror_count - worker->hedge_count;
    const struct {
        enum metric_worker metric;
        double value;
    } values[] = {
        {METRIC_WORKER_CONNECTIONS_OPEN,
         (double)atomic_load_explicit(&worker->downstream_count, memory_order_relaxed)},
        {METRIC_WORKER_REQUESTS, (double)requests},
        {METRIC_WORKER_BUFFERED, (double)worker->buffered_bytes},
        {METRIC_WORKER_TURNS, (double)loop_turns(worker->loop)},
        {METRIC_WORKER_CPU_SECONDS, (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9},
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        metrics_worker_set(worker->metrics, values[i].metric, values[i].value);
    }
}

static void on_housekeeping(struct timer *timer, void *arg)
{
    struct worker *worker = arg;
    update_date(worker);
    tell_own_figures(worker);
    log_limit_sweep(&worker->warnings, worker_now_ms(worker));
    admit_look(worker);
    upstream_sweep_idle(worker, false);
    snapshot_holder_refresh(&worker->holder);
    worker_tls_refresh(worker);
    if (worker->access_log != NULL) {
        access_log_flush(worker->access_log);
        struct access_log_lost lost = access_log_take_lost(worker->access_log);
        metrics_add(worker->metrics, METRIC_ACCESS_LOG_SLOW, lost.slow);
        metrics_add(worker->metrics, METRIC_ACCESS_LOG_FAILED, lost.failed);
    }
    if (!worker->draining && !at_connection_limit(worker)) {
        set_accepting(worker, true);
    }
    loop_timer_set(worker->loop, timer, HOUSEKEEPING_MS, on_housekeeping, worker);
}

// Between two turns the worker holds nothing of the shared state without a reference.
static void on_sleep(void *arg, bool sleeping)
{
    struct worker *worker = arg;
    if (sleeping) {
        epoch_leave(worker->reader);
    } else {
        epoch_enter(worker->config->epoch, worker->reader);
    }
}

static void close_listeners(struct worker *worker)
{
    for (size_t i = 0; i < worker->config->listen_count; i++) {
        struct listener *listener = &worker->listeners[i];
        if (listener->io.fd >= 0) {
            loop_io_del(worker->loop, &listener->io);
            close(listener->io.fd);
            listener->io.fd = -1;
        }
    }
}

static void leave_now(void *arg)
{
    struct worker *worker = arg;
    worker->leaving = true;
}

void worker_leave(struct worker *worker)
{
    if (loop_post(worker->loop, leave_now, worker) != 0) {
        oom_abort("leave");
    }
}

static void drain_now(void *arg)
{
    struct worker *worker = arg;
    // Who is in the queue already was let in by the kernel: serve it rather than reset it.
    for (size_t i = 0; i < worker->config->listen_count; i++) {
        if (worker->listeners[i].io.fd >= 0) {
            on_accept(&worker->listeners[i].io, EPOLLIN, &worker->listeners[i]);
        }
    }
    worker->leaving = true;
    worker->draining = true;
    close_listeners(worker);
    drain_start(worker);
}

void worker_drain(struct worker *worker)
{
    if (loop_post(worker->loop, drain_now, worker) != 0) {
        oom_abort("drain");
    }
}

static void cut_everything(struct worker *worker)
{
    drain_stop(worker);
    while (!list_empty(&worker->downstreams)) {
        struct downstream *down = list_first(&worker->downstreams, struct downstream, node);
        down->protocol->cut(down);
    }
    mirror_cut_all(worker);
    upstream_sweep_idle(worker, true);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    epoch_enter(worker->config->epoch, worker->reader);
    loop_run(worker->loop);
    close_listeners(worker);
    cut_everything(worker);
    loop_timer_cancel(worker->loop, &worker->housekeeping);
    if (worker->access_log != NULL) {
        access_log_flush(worker->access_log);
    }
    snapshot_holder_fini(&worker->holder);
    snap_regex_thread_fini();
    epoch_leave(worker->reader);
    return NULL;
}

static int listen_on(struct worker *worker, const int *fds, struct error *err)
{
    for (size_t i = 0; i < worker->config->listen_count; i++) {
        struct listener *listener = &worker->listeners[i];
        listener->worker = worker;
        listener->accepting = true;
        listener->tls = worker->config->listen[i].tls;
        int rc = listener->tls ? worker_tls_start_server(worker, err) : 0;
        if (rc != 0) {
            return rc;
        }
        rc = loop_io_add(worker->loop, &listener->io, fds[i], EPOLLIN, on_accept, listener);
        if (rc != 0) {
            return error_set(err, rc, "cannot watch a listener: %s", strerror(-rc));
        }
    }
    return 0;
}

static void worker_free_parts(struct worker *worker)
{
    downstream_reap(worker);
    mirror_reap(worker);
    list_for_each(&worker->free_downstreams, down_node) {
        free(container_of(down_node, struct downstream, node));
    }
    list_for_each(&worker->free_requests, request_node) {
        struct request *request = container_of(request_node, struct request, node);
        arena_fini(&request->arena);
        free(request);
    }
    upstream_pool_fini(&worker->pool);
    endpoint_lists_fini(&worker->h2_clients);
    if (worker->kept_fd >= 0) {
        close(worker->kept_fd);
    }
    worker_tls_fini(worker);
    strbuf_fini(&worker->head);
    strbuf_fini(&worker->h2_batch);
    free(worker->headers);
    free(worker->scratch);
    loop_free(worker->loop);
}

static int worker_init(struct worker *worker, const struct proxy_config *config, unsigned index,
                       struct error *err)
{
    *worker = (struct worker){.config = config, .index = index, .kept_fd = -1};
    list_init(&worker->downstreams);
    list_init(&worker->closed_downstreams);
    list_init(&worker->closed_streams);
    list_init(&worker->h2_all);
    list_init(&worker->free_downstreams);
    list_init(&worker->free_requests);
    list_init(&worker->requests);
    list_init(&worker->mirrors);
    list_init(&worker->closed_mirrors);
    upstream_pool_init(&worker->pool);
    strbuf_init(&worker->head, WORKER_HEAD_MAX);
    strbuf_init(&worker->h2_batch, WORKER_BATCH_MAX);
    rand_seed_random(&worker->rng);
    worker->request_id_seed[0] = rand_u64(&worker->rng);
    worker->request_id_seed[1] = rand_u64(&worker->rng);
    update_date(worker);
    worker->holder.publisher = config->publisher;
    for (size_t i = 0; i < PROXY_MAX_LISTENERS; i++) {
        worker->listeners[i].io.fd = -1;
    }
    int rc = loop_new(&worker->loop, err);
    if (rc != 0) {
        return rc;
    }
    loop_set_busy_poll(worker->loop, config->busy_poll_us);
    rc = epoch_add_reader(config->epoch, &worker->reader);
    if (rc != 0) {
        return error_set(err, rc, "too many workers");
    }
    worker->scratch = malloc(SCRATCH_FRONT + SCRATCH_SIZE + SCRATCH_BACK);
    worker->headers = calloc(config->limits.max_headers, sizeof(*worker->headers));
    if (worker->scratch == NULL || worker->headers == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    worker->metrics = metrics_worker(config->metrics, index);
    admit_look(worker);
    worker->decisions = decisions_ring(config->decisions, index);
    worker->access_log = access_log_lane(config->access_log, index);
    return 0;
}

int worker_start(struct worker *worker, const struct proxy_config *config, unsigned index,
                 const int *fds, struct error *err)
{
    int rc = worker_init(worker, config, index, err);
    if (rc == 0) {
        rc = listen_on(worker, fds, err);
    }
    if (rc == 0) {
        loop_set_sleep_hook(worker->loop, on_sleep, worker);
        loop_timer_set(worker->loop, &worker->housekeeping, HOUSEKEEPING_MS, on_housekeeping,
                       worker);
        int code = pthread_create(&worker->thread, NULL, worker_main, worker);
        rc = code != 0 ? error_set(err, -code, "cannot start a worker: %s", strerror(code)) : 0;
    }
    if (rc != 0) {
        for (size_t i = 0; i < config->listen_count; i++) {
            worker->listeners[i].io.fd = -1;
            close(fds[i]);
        }
        worker_free_parts(worker);
        return rc;
    }
    worker->started = true;
    return 0;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started) {
        return;
    }
    loop_stop(worker->loop);
    pthread_join(worker->thread, NULL);
    worker->started = false;
    worker_free_parts(worker);
}
