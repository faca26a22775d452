// Many endpoints that never answer: so many checks are on their way at once, and no more, and all
// have their turn.
#include "scrape/check.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PODS = 150, ENOUGH_MS = 30000 };

struct world {
    struct epoch *epoch;
    struct endpoint_table *table;
    struct backend_state *backend;
    struct check_context checks;
    struct fetch_context fetch;
    struct rand_state rng;
    struct timer timer;
    uint64_t began_ms;
    unsigned most;
    int listener;
};

// Takes connections of any loopback address into its backlog and leaves them there.
static uint16_t listen_anywhere(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    *ret_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*ret_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(*ret_fd, 1024), 0);
    assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void configure(struct world *w, bool active)
{
    struct health_config config;
    health_config_default(&config);
    config.active = active;
    config.check_interval_ms = 50;
    config.check_timeout_ms = 50;
    config.healthy_threshold = 1;
    config.unhealthy_threshold = 2;
    assert_int_equal(backend_state_judge_by(w->backend, &config), 0);
}

static void follow(struct world *w)
{
    pthread_mutex_lock(&w->table->lock);
    assert_true(check_follow(&w->checks, w->table));
    pthread_mutex_unlock(&w->table->lock);
    check_sweep(&w->checks);
}

static unsigned unhealthy(struct world *w)
{
    const struct endpoint_set *set = backend_state_endpoints(w->backend);
    unsigned count = 0;
    for (size_t i = 0; i < set->count; i++) {
        count += strcmp(health_state_name(set->items[i], loop_now_ms(w->checks.loop)),
                        "unhealthy") == 0;
    }
    return count;
}

static void look(struct timer *timer, void *arg)
{
    struct world *w = arg;
    w->most = MAX_OF(w->most, w->checks.in_flight);
    bool late = loop_now_ms(w->checks.loop) - w->began_ms > ENOUGH_MS;
    if (late || unhealthy(w) == PODS) {
        loop_stop(w->checks.loop);
        return;
    }
    loop_timer_set(w->checks.loop, timer, 5, look, w);
}

static void world_up(struct world *w)
{
    struct endpoint_spec specs[PODS] = {0};
    struct error err = ERROR_INIT;
    memset(w, 0, sizeof(*w));
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    w->backend = endpoint_table_backend(w->table, SLICE("ml/llama"));
    uint16_t port = listen_anywhere(&w->listener);
    for (size_t i = 0; i < PODS; i++) {
        char ip[32];
        snprintf(ip, sizeof(ip), "127.0.1.%zu", i + 1);
        assert_int_equal(endpoint_address_parse(slice_of_str(ip), port, &specs[i]), 0);
    }
    assert_int_equal(backend_state_set_endpoints(w->backend, specs, PODS), 0);
    assert_int_equal(loop_new(&w->checks.loop, &err), 0);
    w->rng.state = 7;
    w->fetch = (struct fetch_context){.loop = w->checks.loop, .buffer = malloc(FETCH_BUFFER_SIZE)};
    w->checks.fetch = &w->fetch;
    w->checks.rng = &w->rng;
    check_init(&w->checks);
}

static void world_down(struct world *w)
{
    check_fini(&w->checks);
    assert_int_equal(w->checks.in_flight, 0);
    loop_free(w->checks.loop);
    free(w->fetch.buffer);
    endpoint_table_free(w->table);
    free(w->epoch);
    close(w->listener);
}

static void checks_are_bounded_and_all_have_their_turn(void **state)
{
    (void)state;
    struct world w;
    world_up(&w);
    configure(&w, true);
    follow(&w);
    w.began_ms = loop_now_ms(w.checks.loop);
    loop_timer_set(w.checks.loop, &w.timer, 1, look, &w);
    loop_run(w.checks.loop);
    assert_int_equal(unhealthy(&w), PODS);
    assert_in_range(w.most, 2, CHECKS_IN_FLIGHT_MAX);
    configure(&w, false); // nobody asks any more
    follow(&w);
    assert_int_equal(unhealthy(&w), 0);
    assert_int_equal(w.checks.in_flight, 0);
    loop_timer_cancel(w.checks.loop, &w.timer);
    world_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_are_bounded_and_all_have_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
