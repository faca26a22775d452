// The dump of the workers: each answers for itself, and one that hangs holds nobody up.
#include "proxy/dump.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "observe/decision.h"
#include "observe/metrics.h"
#include "proxy/worker.h"

enum { WORKERS = 3 };

struct fixture {
    struct epoch epoch;
    struct publisher publisher;
    struct endpoint_table *endpoints;
    struct proxy_config config;
    struct proxy *proxy;
};

static int up(void **state)
{
    struct fixture *f;
    struct error err = ERROR_INIT;
    if (posix_memalign((void **)&f, CACHE_LINE, sizeof(*f)) != 0) {
        return -1;
    }
    memset(f, 0, sizeof(*f));
    epoch_init(&f->epoch);
    publisher_init(&f->publisher, &f->epoch);
    proxy_config_init(&f->config);
    struct proxy_config *config = &f->config;
    struct sockaddr_in *address = (struct sockaddr_in *)&config->listen[0].address;
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    config->listen[0].len = sizeof(*address);
    config->listen_count = 1;
    config->workers = WORKERS;
    config->publisher = &f->publisher;
    config->epoch = &f->epoch;
    config->metrics = metrics_new(WORKERS);
    config->decisions = decisions_new(WORKERS);
    if (endpoint_table_new(&f->endpoints, &f->epoch) != 0) {
        return -1;
    }
    config->endpoints = f->endpoints;
    *state = f;
    return proxy_start(config, &f->proxy, &err);
}

static int down(void **state)
{
    struct fixture *f = *state;
    proxy_stop(f->proxy);
    publisher_fini(&f->publisher);
    endpoint_table_free(f->endpoints);
    epoch_fini(&f->epoch);
    metrics_free(f->config.metrics);
    decisions_free(f->config.decisions);
    free(f);
    return 0;
}

// {"workers":[…]} as it was dumped.
static struct json_object *dump(struct fixture *f)
{
    struct strbuf text;
    strbuf_init(&text, 1 << 20);
    strbuf_add_char(&text, '{');
    dump_limits(f->proxy, &text);
    dump_workers(f->proxy, 10, &text);
    strbuf_add_char(&text, '}');
    struct json_object *json = json_tokener_parse(strbuf_cstr(&text));
    assert_non_null(json);
    strbuf_fini(&text);
    return json;
}

static bool has_answered(struct json_object *json, size_t worker)
{
    struct json_object *workers = json_object_object_get(json, "workers");
    assert_int_equal(json_object_array_length(workers), WORKERS);
    struct json_object *part = json_object_array_get_idx(workers, worker);
    assert_int_equal(json_object_get_int(json_object_object_get(part, "worker")), worker);
    return json_object_get_boolean(json_object_object_get(part, "answered"));
}

static void every_worker_answers(void **state)
{
    struct json_object *json = dump(*state);
    for (size_t i = 0; i < WORKERS; i++) {
        assert_true(has_answered(json, i));
    }
    struct json_object *limits = json_object_object_get(json, "limits");
    assert_int_equal(json_object_get_int(json_object_object_get(limits, "workers")), WORKERS);
    json_object_put(json);
}

static sem_t gate;
static sem_t gone;

static void hang(void *arg)
{
    (void)arg;
    sem_wait(&gate);
}

static void say_gone(void *arg)
{
    (void)arg;
    sem_post(&gone);
}

// It answers after nobody waits any more, into memory that is still there.
static void a_worker_that_hangs_is_named(void **state)
{
    struct fixture *f = *state;
    struct loop *loop = proxy_worker(f->proxy, 1)->loop;
    sem_init(&gate, 0, 0);
    sem_init(&gone, 0, 0);
    assert_int_equal(loop_post(loop, hang, NULL), 0);
    struct json_object *json = dump(f);
    assert_true(has_answered(json, 0));
    assert_false(has_answered(json, 1));
    assert_true(has_answered(json, 2));
    json_object_put(json);
    sem_post(&gate);
    assert_int_equal(loop_post(loop, say_gone, NULL), 0); // behind the late answer
    sem_wait(&gone);
    json = dump(f);
    assert_true(has_answered(json, 1));
    json_object_put(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_worker_answers, up, down),
        cmocka_unit_test_setup_teardown(a_worker_that_hangs_is_named, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
