// Objects that are watched by name: only what is wanted, each for itself.
#include "kube/named.h"

#include <errno.h>

#include "base/clock.h"
#include "kube/fake_api.h"

struct fixture {
    struct loop *loop;
    struct fake_api fake;
    struct kube_named *named;
    uint64_t now_ms;
    char log[4096]; // "+1:d/name -1:d/name settled "
};

static void tell(struct fixture *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void tell(struct fixture *f, const char *fmt, ...)
{
    size_t at = strlen(f->log);
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->log + at, sizeof(f->log) - at, fmt, args);
    va_end(args);
}

static void on_upsert(void *arg, int tag, struct json_object *object)
{
    struct kube_meta m;
    assert_true(kube_meta_read(object, &m));
    tell(arg, "+%d:%.*s/%.*s ", tag, SLICE_FMT(m.namespace_name), SLICE_FMT(m.name));
}

static void on_remove(void *arg, int tag, struct slice namespace_name, struct slice name)
{
    tell(arg, "-%d:%.*s/%.*s ", tag, SLICE_FMT(namespace_name), SLICE_FMT(name));
}

static void on_settled(void *arg)
{
    tell(arg, "settled ");
}

static void advance(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    clock_fake_set_ns(f->now_ms * 1000000);
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
}

static int setup(void **state)
{
    static const struct kube_named_kind kinds[] = {
        {.resource = {.api_version = "v1", .kind = "Secret", .plural = "secrets"}, .tag = 1},
        {.resource = {.api_version = "v1", .kind = "ConfigMap", .plural = "configmaps"}, .tag = 2},
    };
    static const struct kube_source_events events = {on_upsert, on_remove, on_settled};
    struct fixture *f = calloc(1, sizeof(*f));
    f->now_ms = 1000000;
    clock_fake_set_ns(f->now_ms * 1000000);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    fake_api_init(&f->fake);
    assert_int_equal(kube_named_new(f->loop, &f->fake.api, kinds, ARRAY_LEN(kinds), &events, f,
                                    &f->named), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    kube_named_free(f->named);
    assert_int_equal(f->fake.n_open, 0);
    loop_free(f->loop);
    clock_fake_set_ns(0);
    free(f);
    return 0;
}

static void expect_log(struct fixture *f, const char *text)
{
    assert_string_equal(f->log, text);
    f->log[0] = '\0';
}

static void want(struct fixture *f, int tag, const char *name)
{
    assert_int_equal(kube_named_want(f->named, tag, SLICE("d"), slice_of_str(name)), 0);
    advance(f, 1);
}

// The call that runs on an object of that name.
static struct kube_call *call_on(struct fixture *f, const char *plural, const char *name)
{
    char list[128], watch[128];
    snprintf(list, sizeof(list), "/api/v1/namespaces/d/%s?", plural);
    snprintf(watch, sizeof(watch), "&fieldSelector=metadata.name%%3D%s", name);
    for (size_t i = 0; i < f->fake.n_open; i++) {
        const char *path = f->fake.calls[i]->path;
        if (slice_has_prefix(slice_of_str(path), slice_of_str(list)) && strstr(path, watch)) {
            return f->fake.calls[i];
        }
    }
    fail_msg("no call on %s %s", plural, name);
    return NULL;
}

static void answer(struct fixture *f, struct kube_call *call, const char *kind, const char *name)
{
    char body[512];
    struct kube_response ok = {.status = 200, .reason = "", .text = ""};
    char item[256] = "";
    if (name != NULL) {
        snprintf(item, sizeof(item), "{\"metadata\":{\"namespace\":\"d\",\"name\":\"%s\","
                                     "\"uid\":\"u\",\"resourceVersion\":\"5\"}}", name);
    }
    snprintf(body, sizeof(body),
             "{\"kind\":\"%sList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"},"
             "\"items\":[%s]}", kind, item);
    ok.rc = fake_send(call, body);
    fake_end(&f->fake, call, &ok);
}

static void nothing_is_asked_for_before_somebody_wants_it(void **state)
{
    struct fixture *f = *state;
    struct kube_reflector_counters counters;
    struct kube_source_state look;
    advance(f, 1000);
    assert_int_equal(f->fake.n_started, 0);
    assert_true(kube_named_is_settled(f->named));
    assert_false(kube_named_look(f->named, 1, &counters, &look));
}

static void each_object_is_listed_and_watched_for_itself(void **state)
{
    struct fixture *f = *state;
    struct kube_reflector_counters counters;
    struct kube_source_state look;
    want(f, 1, "a");
    want(f, 1, "a");
    want(f, 2, "a");
    assert_int_equal(f->fake.n_open, 2);
    assert_false(kube_named_is_settled(f->named));
    answer(f, call_on(f, "secrets", "a"), "Secret", "a");
    expect_log(f, "+1:d/a ");
    answer(f, call_on(f, "configmaps", "a"), "ConfigMap", NULL); // not there is an answer too
    expect_log(f, "settled ");
    assert_true(kube_named_is_settled(f->named));
    assert_non_null(strstr(call_on(f, "secrets", "a")->path, "watch=1"));
    assert_int_equal(fake_send(call_on(f, "configmaps", "a"),
                               "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"namespace\":\"d\","
                               "\"name\":\"a\",\"uid\":\"w\",\"resourceVersion\":\"10\"}}}\n"), 0);
    expect_log(f, "+2:d/a ");
    assert_true(kube_named_look(f->named, 1, &counters, &look));
    assert_true(look.is_in_touch);
    assert_int_equal(counters.lists, 1);
}

static void what_is_no_longer_wanted_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct kube_reflector_counters counters;
    struct kube_source_state look;
    want(f, 1, "a");
    want(f, 1, "b");
    answer(f, call_on(f, "secrets", "a"), "Secret", "a");
    f->log[0] = '\0';
    kube_named_unwant(f->named, 1, SLICE("d"), SLICE("b")); // all that was missing
    kube_named_unwant(f->named, 1, SLICE("d"), SLICE("never"));
    expect_log(f, "settled ");
    kube_named_unwant(f->named, 1, SLICE("d"), SLICE("a"));
    expect_log(f, "-1:d/a ");
    assert_int_equal(f->fake.n_open, 0);
    assert_false(kube_named_look(f->named, 1, &counters, &look));
    assert_int_equal(counters.lists, 2); // counters never fall
}

static void a_refusal_holds_nothing_up_and_is_asked_again(void **state)
{
    struct fixture *f = *state;
    struct kube_response no = {
        .status = 403, .reason = "Forbidden", .text = "secrets is forbidden"};
    struct strbuf trouble;
    strbuf_init(&trouble, 4096);
    want(f, 1, "a");
    fake_end(&f->fake, call_on(f, "secrets", "a"), &no);
    expect_log(f, "settled ");
    assert_true(kube_named_is_settled(f->named));
    kube_named_trouble(f->named, &trouble);
    assert_non_null(strstr(strbuf_cstr(&trouble), "secrets d/a: not allowed to list and watch"));
    strbuf_fini(&trouble);
    advance(f, 11000);
    answer(f, call_on(f, "secrets", "a"), "Secret", "a");
    expect_log(f, "+1:d/a ");
}

static void an_outage_is_no_answer(void **state)
{
    struct fixture *f = *state;
    want(f, 1, "a");
    fake_fail(&f->fake, -ECONNREFUSED);
    expect_log(f, "");
    assert_false(kube_named_is_settled(f->named));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_asked_for_before_somebody_wants_it),
        CASE(each_object_is_listed_and_watched_for_itself),
        CASE(what_is_no_longer_wanted_is_forgotten),
        CASE(a_refusal_holds_nothing_up_and_is_asked_again),
        CASE(an_outage_is_no_answer),
    };
    return cmocka_run_group_tests_name("named", tests, NULL, NULL);
}
