#include "sim/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sim/exchange.h"
#include "sim/words.h"

enum {
    ACCEPT_BATCH = 64,
    ACCEPT_PAUSE_MS = 20, // when descriptors ran out
    BACKLOG = 4096,
    DRAINED_MS = 5000, // vLLM refuses so long after its last stream, as seen, before it ends
};

// ---- pods ---------------------------------------------------------------------------------------

double sim_pod_running(const struct sim_pod *pod)
{
    return pod->engine.running_count + pod->fake.running;
}

double sim_pod_waiting(const struct sim_pod *pod)
{
    return pod->engine.waiting_count + pod->fake.waiting;
}

double sim_pod_kv_usage(const struct sim_pod *pod)
{
    return MIN_OF(1.0, sim_kv_usage(&pod->engine.kv) + pod->fake.kv_usage);
}

static void run_engine(struct sim_pod *pod);

static void on_step(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_pod *pod = arg;
    pod->step_timer_ns = 0;
    run_engine(pod);
}

static void run_engine(struct sim_pod *pod)
{
    struct sim_engine *engine = &pod->engine;
    struct loop *loop = pod->server->loop;
    sim_engine_run(engine, clock_mono_ns());
    if (engine->running_count > 0) {
        pod->last_kv_usage = sim_kv_usage(&engine->kv);
    }
    uint64_t next_ns = sim_engine_next_ns(engine);
    if (next_ns == UINT64_MAX) {
        loop_timer_cancel(loop, &pod->step_timer);
        pod->step_timer_ns = 0;
    } else if (next_ns != pod->step_timer_ns) {
        pod->step_timer_ns = next_ns;
        uint64_t due_ms = next_ns / 1000000u + 1;
        uint64_t now_ms = loop_now_ms(loop);
        loop_timer_set(loop, &pod->step_timer, due_ms > now_ms ? due_ms - now_ms : 1, on_step, pod);
    }
}

static void on_kick(struct task *task, void *arg)
{
    (void)task;
    run_engine(arg);
}

void sim_pod_kick(struct sim_pod *pod)
{
    loop_task_set(pod->server->loop, &pod->run_task, on_kick, pod);
}

void sim_pod_kill(struct sim_pod *pod)
{
    while (!list_empty(&pod->conns)) {
        sim_conn_reset(list_first(&pod->conns, struct sim_conn, node));
    }
    // What runs on without its client ends too.
    list_for_each(&pod->exchanges, at) {
        struct sim_exchange *exchange = container_of(at, struct sim_exchange, node);
        if (exchange->conn == NULL) {
            sim_exchange_end(exchange);
        }
    }
    sim_kv_forget(&pod->engine.kv);
}

struct sim_pod *sim_server_find_pod(struct sim_server *server, struct slice name)
{
    for (size_t i = 0; i < server->pod_count; i++) {
        if (slice_eq_str(name, server->pods[i].name)) {
            return &server->pods[i];
        }
    }
    return NULL;
}

// ---- listeners ----------------------------------------------------------------------------------

static void on_accept(struct io *io, uint32_t events, void *arg);

static void on_accept_again(struct timer *timer, void *arg)
{
    (void)timer;
    struct sim_pod *pod = arg;
    if (pod->listen_fd >= 0 && pod->listen_io.events == 0 &&
        loop_io_add(pod->server->loop, &pod->listen_io, pod->listen_fd, EPOLLIN, on_accept, pod) !=
            0) {
        loop_timer_set(pod->server->loop, &pod->accept_timer, ACCEPT_PAUSE_MS, on_accept_again, pod);
    }
}

static void on_accept(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct sim_pod *pod = arg;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(pod->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            loop_io_del(pod->server->loop, io);
            loop_timer_set(pod->server->loop, &pod->accept_timer, ACCEPT_PAUSE_MS, on_accept_again,
                           pod);
            return;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0) {
            return;
        }
        sim_conn_accept(pod, fd);
        if (pod->listen_fd < 0) {
            return;
        }
    }
}

void sim_pod_close_listener(struct sim_pod *pod)
{
    pod->refusing = true;
    if (pod->listen_fd >= 0) {
        loop_io_del(pod->server->loop, &pod->listen_io);
        loop_timer_cancel(pod->server->loop, &pod->accept_timer);
        close(pod->listen_fd);
        pod->listen_fd = -1;
    }
}

int sim_pod_open_listener(struct sim_pod *pod)
{
    if (pod->listen_fd >= 0) {
        return 0;
    }
    int one = 1;
    int rc = 0;
    int fd = socket(pod->bind_address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr *address = (struct sockaddr *)&pod->bind_address;
    if (bind(fd, address, pod->bind_length) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, address, &pod->bind_length) != 0) {
        rc = -errno;
    }
    rc = rc != 0 ? rc : loop_io_add(pod->server->loop, &pod->listen_io, fd, EPOLLIN, on_accept, pod);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    pod->listen_fd = fd;
    pod->refusing = false;
    return 0;
}

static void set_port(struct sockaddr_storage *address, unsigned port)
{
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
    }
}

// "127.0.0.1:8000", "[::1]:8000", ":8000".
static int parse_listen(const char *text, struct sockaddr_storage *ret_address,
                        socklen_t *ret_length, unsigned *ret_port, struct error *err)
{
    struct slice all = slice_of_str(text);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL ||
        slice_to_u64(slice_skip(all, (size_t)(colon - text) + 1), &port) != 0 || port > 65535) {
        return error_set(err, -EINVAL, "--listen: \"%s\" is not ADDRESS:PORT", text);
    }
    char host[64];
    struct slice name = slice_first(all, (size_t)(colon - text));
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = slice_of(name.ptr + 1, name.len - 2);
    }
    if (name.len >= sizeof(host)) {
        return error_set(err, -EINVAL, "--listen: \"%s\" is not an address", text);
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(name.len > 0 ? host : NULL, "0", &hints, &found);
    if (rc != 0) {
        return error_set(err, -EINVAL, "--listen: \"%s\": %s", text, gai_strerror(rc));
    }
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    *ret_length = found->ai_addrlen;
    *ret_port = (unsigned)port;
    freeaddrinfo(found);
    return 0;
}

static void name_address(struct sim_pod *pod)
{
    char host[64];
    char port[8];
    if (getnameinfo((struct sockaddr *)&pod->bind_address, pod->bind_length, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        bool is_v6 = pod->bind_address.ss_family == AF_INET6;
        snprintf(pod->address, sizeof(pod->address), is_v6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}

static int init_pod(struct sim_server *server, size_t index, struct error *err)
{
    const struct sim_options *options = server->options;
    struct sim_pod *pod = &server->pods[index];
    struct sim_engine_config config = options->config;
    const char *name = options->name != NULL ? options->name : "sim";
    size_t nth = index % options->pods;
    unsigned port = 0;
    pod->server = server;
    pod->listen_fd = -1;
    pod->fault = SIM_FAULT_INIT;
    pod->metrics_fault = SIM_FAULT_INIT;
    pod->fault_share = 1;
    list_init(&pod->conns);
    list_init(&pod->exchanges);
    if (server->pod_count == 1 && options->name != NULL) {
        snprintf(pod->name, sizeof(pod->name), "%s", name);
    } else {
        snprintf(pod->name, sizeof(pod->name), "%.40s-%u", name, (unsigned)index);
    }
    if (options->fault != NULL && sim_fault_parse(slice_of_str(options->fault), &pod->fault) == 0) {
        pod->fault_count = UINT32_MAX;
    }
    config.seed = sim_mix(config.seed, index);
    int rc = sim_engine_init(&pod->engine, &config, sim_exchange_on_progress, pod);
    if (rc != 0) {
        return error_set(err, rc, rc == -ENOMEM ? "out of memory" : "cannot set up the engine");
    }
    rc = parse_listen(options->listen.items[index / options->pods], &pod->bind_address,
                      &pod->bind_length, &port, err);
    if (rc != 0) {
        return rc;
    }
    if (port != 0 && port + nth > 65535) {
        return error_set(err, -EINVAL, "--pods: no port for pod %zu", nth);
    }
    set_port(&pod->bind_address, port == 0 ? 0 : port + (unsigned)nth);
    rc = sim_pod_open_listener(pod);
    name_address(pod);
    return rc == 0 ? 0 : error_set(err, rc, "cannot listen on %s: %s", pod->address, strerror(-rc));
}

// ---- ending -------------------------------------------------------------------------------------

static void on_exit_task(struct task *task, void *arg)
{
    (void)task;
    struct sim_server *server = arg;
    loop_stop(server->loop);
}

static bool is_idle(const struct sim_server *server)
{
    for (size_t i = 0; i < server->pod_count; i++) {
        const struct sim_pod *pod = &server->pods[i];
        if (pod->exchange_count > 0) {
            return false;
        }
        // What was answered but not read yet.
        for (struct list_node *at = pod->conns.next; at != &pod->conns; at = at->next) {
            if (container_of(at, struct sim_conn, node)->out.len > 0) {
                return false;
            }
        }
    }
    return true;
}

static bool lingers(struct sim_server *server)
{
    uint64_t now_ms = loop_now_ms(server->loop);
    server->drained_ms = server->drained_ms != 0 ? server->drained_ms : now_ms;
    return server->options->shutdown_manner == SIM_SHUTDOWN_DRAIN &&
           now_ms < server->drained_ms + DRAINED_MS;
}

void sim_server_maybe_exit(struct sim_server *server)
{
    if (server->terminating && is_idle(server) && !lingers(server)) {
        loop_task_set(server->loop, &server->exit_task, on_exit_task, server);
    }
}

// Streams stay open without a byte; for RAGGED some are cut instead.
static void silence_pod(struct sim_pod *pod, bool ragged)
{
    sim_engine_freeze(&pod->engine, true, clock_mono_ns());
    list_for_each(&pod->exchanges, at) {
        struct sim_exchange *exchange = container_of(at, struct sim_exchange, node);
        exchange->held = true;
        loop_timer_cancel(pod->server->loop, &exchange->timer);
        if (ragged && exchange->conn != NULL && rand_below(&pod->server->rng, 3) == 0) {
            sim_conn_close(exchange->conn);
        } else if (exchange->conn == NULL) {
            sim_exchange_end(exchange);
        }
    }
}

static void terminate_pod(struct sim_pod *pod, enum sim_term_manner manner, bool keeps_listening)
{
    if (!keeps_listening) {
        sim_pod_close_listener(pod);
    }
    if (manner == SIM_TERM_SILENT || manner == SIM_TERM_RAGGED) {
        silence_pod(pod, manner == SIM_TERM_RAGGED);
    }
    if (keeps_listening) {
        return;
    }
    list_for_each(&pod->conns, at) {
        struct sim_conn *conn = container_of(at, struct sim_conn, node);
        if (conn->exchange == NULL && conn->out.len == 0) {
            sim_conn_close(conn);
        }
    }
}

static void on_exit_check(struct timer *timer, void *arg)
{
    struct sim_server *server = arg;
    sim_server_maybe_exit(server);
    loop_timer_set(server->loop, timer, 50, on_exit_check, server);
}

static void terminate(struct sim_server *server)
{
    enum sim_shutdown shutdown = server->options->shutdown_manner;
    bool again = server->terminating;
    server->terminating = true;
    if (again || shutdown == SIM_SHUTDOWN_ABRUPT) {
        loop_stop(server->loop);
        return;
    }
    bool as_engine = shutdown == SIM_SHUTDOWN_ENGINE;
    enum sim_term_manner manner = as_engine ? server->dialect->term : SIM_TERM_FINISH;
    bool keeps_listening = shutdown == SIM_SHUTDOWN_DRAIN || manner == SIM_TERM_SERVE;
    for (size_t i = 0; i < server->pod_count; i++) {
        terminate_pod(&server->pods[i], manner, keeps_listening);
    }
    on_exit_check(&server->exit_timer, server);
}

static void on_signal(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        terminate(arg);
    }
}

static int watch_signals(struct sim_server *server)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    server->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (server->signal_fd < 0) {
        return -errno;
    }
    return loop_io_add(server->loop, &server->signal_io, server->signal_fd, EPOLLIN, on_signal,
                       server);
}

// ---- the server ---------------------------------------------------------------------------------

struct slice sim_server_date(struct sim_server *server)
{
    uint64_t now_ms = loop_now_ms(server->loop);
    if (server->date[0] == '\0' || now_ms >= server->date_at_ms + 1000) {
        time_t now = (time_t)(clock_wall_ns() / 1000000000u);
        struct tm parts;
        gmtime_r(&now, &parts);
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &parts);
        server->date_at_ms = now_ms;
    }
    return slice_of_str(server->date);
}

static void join_names(struct sim_server *server)
{
    const struct sim_list *models = &server->options->models;
    for (size_t i = 0; i < models->len; i++) {
        strbuf_add_str(&server->names_text, i > 0 ? ", " : "");
        strbuf_add_str(&server->names_text, models->items[i]);
    }
    server->model_names = strbuf_slice(&server->names_text);
}

static int init_server(struct sim_server *server, struct error *err)
{
    const struct sim_options *options = server->options;
    int rc = loop_new(&server->loop, err);
    if (rc != 0) {
        return rc;
    }
    server->in = malloc(SIM_IN_SIZE);
    server->pod_count = (size_t)options->pods * options->listen.len;
    server->pods = calloc(server->pod_count, sizeof(server->pods[0]));
    if (server->in == NULL || server->pods == NULL) {
        server->pod_count = 0;
        return error_set(err, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < server->pod_count; i++) {
        server->pods[i].listen_fd = -1;
        list_init(&server->pods[i].conns);
        list_init(&server->pods[i].exchanges);
    }
    join_names(server);
    rc = options->instant ? sim_pace_init(server) : 0;
    rc = rc != 0 ? rc : watch_signals(server);
    if (rc != 0) {
        return error_set(err, rc, "%s", strerror(-rc));
    }
    for (size_t i = 0; i < server->pod_count && rc == 0; i++) {
        rc = init_pod(server, i, err);
    }
    return rc;
}

int sim_server_new(const struct sim_options *options, struct sim_server **ret_server,
                   struct error *err)
{
    struct sim_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    server->options = options;
    server->dialect = sim_dialect_find(slice_of_str(options->engine));
    server->rng.state = options->config.seed;
    server->signal_fd = -1;
    strbuf_init(&server->out, 256u << 20);
    strbuf_init(&server->text, 64u << 20);
    strbuf_init(&server->names_text, 1 << 20);
    strbuf_init(&server->instant_body, 256u << 20);
    strbuf_init(&server->instant_event, 1 << 24);
    int rc = init_server(server, err);
    if (rc != 0) {
        sim_server_free(server);
        return rc;
    }
    *ret_server = server;
    return 0;
}

static void free_pod(struct sim_pod *pod)
{
    while (!list_empty(&pod->conns)) {
        sim_conn_close(list_first(&pod->conns, struct sim_conn, node));
    }
    while (!list_empty(&pod->exchanges)) {
        sim_exchange_end(list_first(&pod->exchanges, struct sim_exchange, node));
    }
    sim_pod_close_listener(pod);
    sim_engine_fini(&pod->engine);
}

void sim_server_free(struct sim_server *server)
{
    if (server == NULL) {
        return;
    }
    server->terminating = true;
    for (size_t i = 0; i < server->pod_count; i++) {
        if (server->pods[i].server != NULL) {
            free_pod(&server->pods[i]);
        }
    }
    if (server->loop != NULL) {
        loop_turn(server->loop, 0); // lets the tasks free what was just closed
        sim_pace_fini(server);
        loop_io_del(server->loop, &server->signal_io);
    }
    if (server->signal_fd >= 0) {
        close(server->signal_fd);
    }
    loop_free(server->loop);
    free(server->pods);
    free(server->in);
    strbuf_fini(&server->out);
    strbuf_fini(&server->text);
    strbuf_fini(&server->names_text);
    strbuf_fini(&server->instant_body);
    strbuf_fini(&server->instant_event);
    free(server);
}

static void announce(const struct sim_server *server, FILE *file)
{
    for (size_t i = 0; i < server->pod_count; i++) {
        fprintf(file, "listening %s pod=%s\n", server->pods[i].address, server->pods[i].name);
    }
}

void sim_server_run(struct sim_server *server)
{
    const char *path = server->options->port_file;
    if (path != NULL) {
        FILE *file = fopen(path, "we");
        if (file == NULL) {
            log_error("cannot write the port file", LOG_STR("path", path));
        } else {
            announce(server, file);
            fclose(file);
        }
    }
    announce(server, stdout);
    fflush(stdout);
    loop_run(server->loop);
}
