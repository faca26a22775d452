// The scraper against a small HTTP server on loopback. What happens in its own time is waited for,
// with a limit that is never reached when all is well.
#include "scrape/scraper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

enum { CONNS_MAX = 16, BIG = 9 << 20 };

static const char vllm[] = "vllm:num_requests_running{engine=\"0\"} 4.0\n"
                           "vllm:num_requests_waiting{engine=\"0\"} 7.0\n"
                           "vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n"
                           "vllm:cache_config_info{kv_cache_size_tokens=\"5120\"} 1.0\n";

// Answers GETs: `path` with `body`, everything else with 404.
struct server {
    pthread_t thread;
    int listener;
    int wake[2];
    uint16_t port;
    pthread_mutex_t lock;
    const char *path;
    const char *body;
    bool endless; // the body is BIG
    const char *narrow; // the body when names are asked for; NULL: the same
    _Atomic unsigned narrow_requests;
    _Atomic unsigned connections;
    _Atomic unsigned open; // of them, those whose end was not read yet
    _Atomic unsigned requests;
    _Atomic unsigned overlapping;
};

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        data += n;
        len -= (size_t)n;
    }
}

static void answer(struct server *s, int fd, const char *request)
{
    char head[200];
    pthread_mutex_lock(&s->lock);
    char line[128];
    size_t line_len = (size_t)snprintf(line, sizeof(line), "GET %s", s->path);
    bool found = strncmp(request, line, line_len) == 0 &&
                 (request[line_len] == ' ' || request[line_len] == '?');
    bool narrow = found && strstr(request, "name%5B%5D=vllm:num_requests_running&") != NULL;
    // A copy: the test may replace and free its text while this answer is still being sent.
    char *body = strdup(!found ? "no\n" : narrow && s->narrow != NULL ? s->narrow : s->body);
    atomic_fetch_add(&s->narrow_requests, narrow);
    bool endless = found && s->endless;
    pthread_mutex_unlock(&s->lock);
    size_t len = endless ? BIG : strlen(body);
    snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n",
             found ? "200 OK" : "404 Not Found", len);
    atomic_fetch_add(&s->requests, 1);
    send_all(fd, head, strlen(head));
    if (endless) {
        char *big = calloc(1, BIG);
        memset(big, 'x', BIG);
        send_all(fd, big, BIG);
        free(big);
    } else {
        send_all(fd, body, len);
    }
    free(body);
}

static bool serve(struct server *s, int fd)
{
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);
    if (n <= 0) {
        return false;
    }
    buf[n] = '\0';
    // A second request in the same read would be one sent before our answer.
    char *end = strstr(buf, "\r\n\r\n");
    if (end == NULL || end[4] != '\0') {
        atomic_fetch_add(&s->overlapping, 1);
    }
    answer(s, fd, buf);
    return true;
}

static void *server_run(void *arg)
{
    struct server *s = arg;
    struct pollfd fds[CONNS_MAX + 2] = {{.fd = s->wake[0], .events = POLLIN},
                                        {.fd = s->listener, .events = POLLIN}};
    nfds_t count = 2;
    while (poll(fds, count, -1) > 0 && fds[0].revents == 0) {
        for (nfds_t i = count - 1; i >= 2; i--) {
            if (fds[i].revents != 0 && !serve(s, fds[i].fd)) {
                close(fds[i].fd);
                fds[i] = fds[--count];
                atomic_fetch_sub(&s->open, 1);
            }
        }
        if (fds[1].revents != 0 && count < ARRAY_LEN(fds)) {
            fds[count++] = (struct pollfd){.fd = accept(s->listener, NULL, NULL), .events = POLLIN};
            atomic_fetch_add(&s->open, 1);
            atomic_fetch_add(&s->connections, 1);
        }
    }
    while (count > 2) {
        close(fds[--count].fd);
    }
    return NULL;
}

static void server_up(struct server *s, const char *path, const char *body)
{
    memset(s, 0, sizeof(*s));
    s->path = path;
    s->body = body;
    pthread_mutex_init(&s->lock, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pipe(s->wake), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
}

static void server_set(struct server *s, const char *path, const char *body, bool endless)
{
    pthread_mutex_lock(&s->lock);
    s->path = path;
    s->body = body;
    s->endless = endless;
    pthread_mutex_unlock(&s->lock);
}

static void server_set_narrow(struct server *s, const char *body)
{
    pthread_mutex_lock(&s->lock);
    s->narrow = body;
    pthread_mutex_unlock(&s->lock);
}

static void server_down(struct server *s)
{
    close(s->wake[1]);
    pthread_join(s->thread, NULL);
    close(s->wake[0]);
    close(s->listener);
    pthread_mutex_destroy(&s->lock);
}

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct scraper *scraper;
    struct server server;
};

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    assert_non_null(w->backend);
    server_up(&w->server, "/metrics", vllm);
    struct error err = ERROR_INIT;
    assert_int_equal(scraper_start(&w->scraper, w->table, &err), 0);
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    scraper_stop(w->scraper);
    server_down(&w->server);
    endpoint_table_free(w->table);
    free(w->epoch);
    free(w);
    return 0;
}

static void configure(struct world *w, enum engine engine, const char *path)
{
    struct scrape_config config = {.engine = engine, .interval_ms = 5, .stale_after_ms = 10000};
    snprintf(config.path, sizeof(config.path), "%s", path);
    backend_state_configure(w->backend, &config);
}

static struct endpoint *endpoint_at(struct world *w, const char *ip, uint16_t port)
{
    struct endpoint_spec spec = {.weight = 1};
    assert_int_equal(endpoint_address_parse(slice_of_str(ip), port, &spec), 0);
    assert_int_equal(backend_state_set_endpoints(w->backend, &spec, 1), 0);
    return backend_state_endpoints(w->backend)->items[0];
}

// Until the condition holds, at most about 40 s.
#define WAIT_FOR(condition)                                                       \
    do {                                                                          \
        struct timespec step_ = {.tv_nsec = 2000000};                             \
        for (int i_ = 0; i_ < 20000 && !(condition); i_++) {                      \
            nanosleep(&step_, NULL);                                              \
        }                                                                         \
        assert_true(condition);                                                   \
    } while (0)

// The endpoint is gone, and nothing of its last request is on its way to the server any more: what
// the server counts from now on is of the next one.
static void let_go(struct world *w)
{
    assert_int_equal(backend_state_set_endpoints(w->backend, NULL, 0), 0);
    WAIT_FOR((endpoint_table_collect(w->table), atomic_load(&w->table->endpoint_count) == 0));
    WAIT_FOR(atomic_load(&w->server.open) == 0);
}

static bool has_found(struct world *w, const char *text)
{
    pthread_mutex_lock(&w->table->lock);
    bool same = strcmp(w->backend->metrics_found, text) == 0;
    pthread_mutex_unlock(&w->table->lock);
    return same;
}

static void an_engine_is_detected_and_its_numbers_are_kept_fresh(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_AUTO, "");
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 1);
    struct endpoint_sample sample;
    endpoint_sample_read(e, &sample);
    assert_true(sample.waiting > 6.9 && sample.waiting < 7.1);
    assert_true(sample.others_requests > 10.9 && sample.others_requests < 11.1);
    assert_true(sample.kv_capacity_tokens > 5119 && sample.kv_capacity_tokens < 5121);
    assert_true(sample.taken_ms > 0);
    WAIT_FOR(atomic_load(&w->backend->detected_engine) == ENGINE_VLLM);
    WAIT_FOR(has_found(w, "vllm:num_requests_waiting,vllm:num_requests_running,"
                          "vllm:kv_cache_usage_perc,vllm:cache_config_info"));

    server_set(&w->server, "/metrics", "vllm:num_requests_waiting 90\n", false);
    uint64_t first = sample.taken_ms;
    WAIT_FOR((endpoint_sample_read(e, &sample), sample.waiting > 89));
    assert_true(sample.taken_ms > first);
    WAIT_FOR(has_found(w, "vllm:num_requests_waiting")); // the others are missed
}

static void one_connection_is_kept_and_one_request_at_a_time(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_VLLM, "");
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 20);
    assert_int_equal(atomic_load(&w->server.connections), 1);
    assert_int_equal(atomic_load(&w->server.overlapping), 0);
}

static char *padded(const char *text)
{
    size_t size = strlen(text) + 20000;
    char *body = calloc(1, size);
    assert_non_null(body);
    snprintf(body, size, "%s", text);
    while (strlen(body) < size - 100) {
        snprintf(body + strlen(body), size - strlen(body), "vllm:other_bucket{le=\"1\"} 1\n");
    }
    return body;
}

static void only_the_wanted_metrics_are_asked_for_where_that_works(void **state)
{
    struct world *w = *state;
    // Knows the parameter; does not; knows it but has nothing then.
    static const char *const narrow[] = {vllm, NULL, ""};
    char *whole = padded(vllm);
    struct endpoint_sample sample;
    for (size_t i = 0; i < ARRAY_LEN(narrow); i++) {
        server_set(&w->server, "/metrics", whole, false);
        server_set_narrow(&w->server, narrow[i]);
        atomic_store(&w->server.narrow_requests, 0);
        configure(w, ENGINE_AUTO, "");
        struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
        WAIT_FOR(atomic_load(&e->scrapes) >= 10);
        unsigned asked = atomic_load(&w->server.narrow_requests);
        assert_true(i == 0 ? asked >= 8 : asked == 1);
        assert_int_equal(atomic_load(&e->scrape_failures), 0);
        endpoint_sample_read(e, &sample);
        assert_true(sample.waiting > 6.9 && sample.kv_capacity_tokens > 5119);
        let_go(w);
    }
    // And is given up when something is missing later.
    server_set_narrow(&w->server, vllm);
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 5);
    server_set_narrow(&w->server, "vllm:num_requests_running 1\n");
    uint64_t scrapes = atomic_load(&e->scrapes);
    WAIT_FOR(atomic_load(&e->scrapes) >= scrapes + 5);
    endpoint_sample_read(e, &sample);
    assert_true(sample.running > 3.9);
    unsigned asked = atomic_load(&w->server.narrow_requests);
    scrapes = atomic_load(&e->scrapes);
    WAIT_FOR(atomic_load(&e->scrapes) >= scrapes + 5);
    assert_int_equal(atomic_load(&w->server.narrow_requests), asked);
    server_set(&w->server, "/metrics", "", false);
    server_set_narrow(&w->server, NULL);
    let_go(w);
    free(whole);
}

static void other_paths_are_tried_when_none_is_given(void **state)
{
    struct world *w = *state;
    server_set(&w->server, "/v1/metrics", "num_requests_running 3\nnum_requests_waiting 1\n",
               false);
    configure(w, ENGINE_AUTO, "");
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 2);
    WAIT_FOR(atomic_load(&w->backend->detected_engine) == ENGINE_NIM);
    assert_int_equal(atomic_load(&e->scrape_failures), 2);
    // And again, when the pod behind the address came back as something else.
    server_set(&w->server, "/metrics", "sglang:num_running_reqs 1\n", false);
    WAIT_FOR(atomic_load(&w->backend->detected_engine) == ENGINE_SGLANG);
}

static void a_given_path_is_the_only_one(void **state)
{
    struct world *w = *state;
    server_set(&w->server, "/other", vllm, false);
    configure(w, ENGINE_AUTO, "/mine");
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrape_failures) >= 4);
    assert_int_equal(atomic_load(&e->scrapes), 0);
    configure(w, ENGINE_AUTO, "/other"); // takes effect without a restart
    WAIT_FOR(atomic_load(&e->scrapes) >= 1);
}

static void what_cannot_be_scraped_is_counted_and_tried_again(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_AUTO, "");
    server_set(&w->server, "/metrics", "", true); // longer than any exposition may be
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrape_failures) >= 2);
    assert_int_equal(atomic_load(&e->scrapes), 0);
    struct endpoint_sample sample;
    endpoint_sample_read(e, &sample);
    assert_int_equal(sample.taken_ms, 0);
    server_set(&w->server, "/metrics", vllm, false);
    WAIT_FOR(atomic_load(&e->scrapes) >= 1);
}

static void nobody_listening_is_no_more_than_a_count(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_AUTO, "");
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd >= 0) {
        close(fd);
    }
    struct endpoint *e = endpoint_at(w, "127.0.0.1", 1);
    WAIT_FOR(atomic_load(&e->scrape_failures) >= 2);
    e = endpoint_at(w, "::1", 1);
    WAIT_FOR(atomic_load(&e->scrape_failures) >= 2);
}

static void an_endpoint_that_leaves_is_let_go(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_AUTO, "");
    struct endpoint *e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 2);
    assert_int_equal(backend_state_set_endpoints(w->backend, NULL, 0), 0);
    WAIT_FOR((endpoint_table_collect(w->table), atomic_load(&w->table->endpoint_count) == 0));

    e = endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&e->scrapes) >= 2);
    backend_state_unref(w->backend); // the whole backend goes
    WAIT_FOR((endpoint_table_collect(w->table), atomic_load(&w->table->endpoint_count) == 0));
    assert_int_equal(w->table->backends.len, 0);
    WAIT_FOR((endpoint_table_collect(w->table), list_empty(&w->table->left)));
    WAIT_FOR(atomic_load(&w->server.open) == 0); // nor is its connection kept
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
}

static void an_engine_without_metrics_is_left_in_peace(void **state)
{
    struct world *w = *state;
    configure(w, ENGINE_OLLAMA, "");
    endpoint_at(w, "127.0.0.1", w->server.port);
    WAIT_FOR(atomic_load(&w->backend->detected_engine) == ENGINE_OLLAMA);
    struct server other;
    server_up(&other, "/metrics", vllm);
    struct backend_state *second = endpoint_table_backend(w->table, SLICE("ml/second"));
    struct endpoint_spec spec = {.weight = 1};
    assert_int_equal(endpoint_address_parse(SLICE("127.0.0.1"), other.port, &spec), 0);
    assert_int_equal(backend_state_set_endpoints(second, &spec, 1), 0);
    struct scrape_config config = {.interval_ms = 5, .stale_after_ms = 10000};
    backend_state_configure(second, &config);
    struct endpoint *e = backend_state_endpoints(second)->items[0];
    WAIT_FOR(atomic_load(&e->scrapes) >= 5); // by then the first would have been asked as well
    assert_int_equal(atomic_load(&w->server.requests), 0);
    backend_state_unref(second);
    server_down(&other);
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
#define CASE(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)
    const struct CMUnitTest tests[] = {
        CASE(an_engine_is_detected_and_its_numbers_are_kept_fresh),
        CASE(one_connection_is_kept_and_one_request_at_a_time),
        CASE(only_the_wanted_metrics_are_asked_for_where_that_works),
        CASE(other_paths_are_tried_when_none_is_given),
        CASE(a_given_path_is_the_only_one),
        CASE(what_cannot_be_scraped_is_counted_and_tried_again),
        CASE(nobody_listening_is_no_more_than_a_count),
        CASE(an_endpoint_that_leaves_is_let_go),
        CASE(an_engine_without_metrics_is_left_in_peace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
