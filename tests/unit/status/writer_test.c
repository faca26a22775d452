#include "status/writer.h"

#include <errno.h>

#include "base/clock.h"
#include "kube/fake_api.h"

struct fixture {
    struct loop *loop;
    struct fake_api fake;
    struct status_writer *w;
    uint64_t now_ms;
    struct json_object *heard; // what the watch brought last; NULL = nothing
};

static struct json_object *current(void *arg, enum object_kind kind, struct slice namespace,
                                   struct slice name)
{
    struct fixture *f = arg;
    (void)kind;
    (void)name;
    assert_true(slice_eq_str(namespace, "ml"));
    return f->heard;
}

static void advance(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    clock_fake_set_ns(f->now_ms * 1000000);
    for (int i = 0; i < 4; i++) {
        loop_turn(f->loop, 0);
    }
}

// The object as the watch brings it, with the status of the call's body (or none).
static void hear(struct fixture *f, const char *uid, const char *version, const char *body)
{
    char text[4096];
    struct json_object *sent = body != NULL ? json_tokener_parse(body) : NULL;
    struct json_object *status = sent != NULL ? json_object_object_get(sent, "status") : NULL;
    snprintf(text, sizeof(text),
             "{\"metadata\":{\"namespace\":\"ml\",\"name\":\"chat\",\"uid\":\"%s\","
             "\"resourceVersion\":\"%s\"}}", uid, version);
    json_object_put(f->heard);
    f->heard = json_tokener_parse(text);
    if (status != NULL) {
        json_object_object_add(f->heard, "status", json_object_get(status));
    }
    json_object_put(sent);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->now_ms = 1000000;
    clock_fake_set_ns(f->now_ms * 1000000);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    fake_api_init(&f->fake);
    struct status_writer_options options = {.current = current, .arg = f};
    assert_int_equal(status_writer_new(f->loop, &f->fake.api, &options, &f->w), 0);
    hear(f, "u1", "10", NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    status_writer_free(f->w);
    assert_int_equal(f->fake.n_open, 0);
    json_object_put(f->heard);
    loop_free(f->loop);
    clock_fake_set_ns(0);
    free(f);
    return 0;
}

static void want_of(struct fixture *f, const char *name, const char *uid, const char *message)
{
    struct object_status wanted = {.kind = OBJECT_AIROUTE, .generation = 1,
                                   .namespace = strdup("ml"), .name = strdup(name),
                                   .uid = strdup(uid)};
    object_status_set(&wanted, CONDITION_READY, CONDITION_TRUE, REASON_READY, "%s", message);
    assert_int_equal(status_writer_want(f->w, &wanted), 0);
    object_status_fini(&wanted);
}

static void want(struct fixture *f, const char *message)
{
    want_of(f, "chat", "u1", message);
}

// The server takes the write and gives the object that version; the watch has not brought it yet.
static void accept_write(struct fixture *f, const char *version)
{
    struct json_object *before = json_object_get(f->heard);
    hear(f, "u1", version, fake_call(&f->fake)->body);
    struct kube_response ok = {.status = 200, .reason = "", .text = "", .body = f->heard};
    fake_end(&f->fake, fake_call(&f->fake), &ok);
    json_object_put(f->heard);
    f->heard = before;
}

static struct status_writer_counters counters(struct fixture *f)
{
    struct status_writer_counters c;
    status_writer_counters(f->w, &c);
    return c;
}

static void wishes_in_a_row_become_one_write_of_the_last(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    want(f, "two");
    assert_int_equal(f->fake.n_open, 0);
    advance(f, 150);
    struct kube_call *call = fake_call(&f->fake);
    assert_string_equal(call->path,
                        "/apis/headrace.dev/v1alpha1/namespaces/ml/airoutes/chat/status"
                        "?fieldManager=headrace&force=true");
    assert_string_equal(call->options.method, "PATCH");
    assert_non_null(strstr(call->body, "\"message\":\"two\""));
    assert_non_null(strstr(call->body, "\"resourceVersion\":\"10\""));
    assert_null(strstr(call->body, "\\/")); // not YAML
    accept_write(f, "11");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 1);
    assert_int_equal(counters(f).pending, 0);
}

static void the_same_wish_again_is_not_written_even_before_the_watch_told(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    advance(f, 150);
    char *body = strdup(fake_call(&f->fake)->body);
    accept_write(f, "11");
    want(f, "one"); // the object heard of is still version 10, without a status
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 1);
    assert_int_equal(counters(f).unchanged, 1);
    hear(f, "u1", "11", body);
    want(f, "one");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 1);
    // Somebody took it away: written again.
    hear(f, "u1", "12", NULL);
    want(f, "one");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 2);
    accept_write(f, "13");
    free(body);
}

static void writes_of_one_object_keep_a_distance(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    advance(f, 150);
    want(f, "two"); // while the first is on its way
    accept_write(f, "11");
    advance(f, 900);
    assert_int_equal(f->fake.n_open, 0);
    advance(f, 150);
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"message\":\"two\""));
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"resourceVersion\":\"11\""));
    accept_write(f, "12");
}

static void a_conflict_is_tried_again_with_what_was_heard_since(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    advance(f, 150);
    hear(f, "u1", "15", NULL);
    fake_status(&f->fake, 409, "Conflict", 0);
    advance(f, 100);
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"resourceVersion\":\"15\""));
    accept_write(f, "16");
    assert_int_equal(counters(f).conflicts, 1);
}

static void failures_wait_longer_and_longer_and_as_long_as_asked(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    advance(f, 150);
    uint64_t last = 0;
    for (int i = 0; i < 6; i++) {
        fake_fail(&f->fake, -ECONNREFUSED);
        uint64_t from = f->now_ms;
        while (f->fake.n_open == 0) {
            advance(f, 10);
        }
        assert_true(f->now_ms - from > last);
        last = f->now_ms - from;
    }
    fake_status(&f->fake, 429, "TooManyRequests", 20000);
    advance(f, 19500);
    assert_int_equal(f->fake.n_open, 0);
    advance(f, 1000);
    accept_write(f, "11");
    // Refused for good: a long pause, but a new wish is tried at once.
    advance(f, 2000);
    want(f, "two");
    advance(f, 150);
    fake_status(&f->fake, 422, "Invalid", 0);
    advance(f, 50000);
    assert_int_equal(f->fake.n_open, 0);
    want(f, "three");
    advance(f, 1100);
    accept_write(f, "12");
    assert_int_equal(counters(f).refused, 1);
    assert_int_equal(counters(f).failed, 7);
}

static void a_successor_or_an_absent_object_is_left_alone(void **state)
{
    struct fixture *f = *state;
    hear(f, "u2", "20", NULL);
    want(f, "one"); // for u1
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 0);
    json_object_put(f->heard);
    f->heard = NULL;
    want(f, "two");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 0);
    assert_int_equal(counters(f).pending, 0);
}

static void nothing_is_written_of_what_is_gone(void **state)
{
    struct fixture *f = *state;
    want(f, "one");
    status_writer_gone(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 0);
    want(f, "two");
    advance(f, 150);
    status_writer_gone(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
    assert_int_equal(f->fake.n_cancelled, 1);
    status_writer_gone(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("never"));
}

// The server takes our only write and the watch brings it; then the object goes to another class.
static void write_and_withdraw(struct fixture *f)
{
    want(f, "one");
    advance(f, 150);
    char *body = strdup(fake_call(&f->fake)->body);
    accept_write(f, "11");
    hear(f, "u1", "12", body);
    free(body);
    status_writer_withdraw(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
}

static void a_status_that_is_ours_is_withdrawn_once(void **state)
{
    struct fixture *f = *state;
    write_and_withdraw(f);
    advance(f, 1100);
    struct kube_call *call = fake_call(&f->fake);
    assert_string_equal(call->options.method, "PATCH");
    assert_non_null(strstr(call->path, "/chat/status?fieldManager=headrace&force=true"));
    assert_string_equal(call->body,
                        "{\"apiVersion\":\"headrace.dev/v1alpha1\",\"kind\":\"AIRoute\","
                                    "\"metadata\":{\"name\":\"chat\",\"namespace\":\"ml\","
                                    "\"resourceVersion\":\"12\"}}");
    fake_status(&f->fake, 409, "Conflict", 0); // edited meanwhile
    advance(f, 1000);
    accept_write(f, "13");
    status_writer_withdraw(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
    advance(f, 3600 * 1000);
    assert_int_equal(f->fake.n_started, 3);
    assert_int_equal(counters(f).pending, 0);
}

static void nothing_is_withdrawn_where_nothing_of_ours_is(void **state)
{
    struct fixture *f = *state;
    status_writer_withdraw(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("never"));
    want(f, "one"); // of which nothing was written yet
    status_writer_withdraw(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 0);
    assert_int_equal(counters(f).pending, 0);
}

// Whoever has the object now, perhaps a Headrace of another class, has spoken already.
static void a_status_of_the_next_owner_is_not_withdrawn(void **state)
{
    struct fixture *f = *state;
    write_and_withdraw(f);
    hear(f, "u1", "14", "{\"status\":{\"observedGeneration\":2}}");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 1);
    assert_int_equal(counters(f).pending, 0);
}

static void an_object_that_comes_back_keeps_its_status(void **state)
{
    struct fixture *f = *state;
    write_and_withdraw(f);
    want(f, "one");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 1);
    // While the withdrawal is on its way: what is wished then is written after it.
    status_writer_withdraw(f->w, OBJECT_AIROUTE, SLICE("ml"), SLICE("chat"));
    advance(f, 1100);
    want(f, "one");
    accept_write(f, "15");
    advance(f, 1100);
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"message\":\"one\""));
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"resourceVersion\":\"15\""));
    accept_write(f, "16");
    assert_int_equal(counters(f).undone, 0);
}

static void a_withdrawal_ends_with_its_object(void **state)
{
    struct fixture *f = *state;
    write_and_withdraw(f);
    advance(f, 1100);
    fake_status(&f->fake, 404, "NotFound", 0);
    advance(f, 3600 * 1000);
    assert_int_equal(f->fake.n_started, 2);
    assert_int_equal(counters(f).pending, 0);
}

// Two replicas that see things differently would else write in turns for ever.
static void what_others_undo_is_written_ever_more_rarely(void **state)
{
    struct fixture *f = *state;
    char version[16];
    want(f, "one");
    advance(f, 150);
    accept_write(f, "11");
    uint64_t last = 0;
    for (int i = 0; i < 12; i++) {
        snprintf(version, sizeof(version), "%d", 20 + 2 * i);
        hear(f, "u1", version, NULL); // somebody undid it
        uint64_t from = f->now_ms;
        want(f, "one");
        while (f->fake.n_open == 0) {
            advance(f, 100);
        }
        uint64_t waited = f->now_ms - from;
        assert_true(waited >= last);
        last = waited;
        snprintf(version, sizeof(version), "%d", 21 + 2 * i);
        accept_write(f, version);
    }
    assert_in_range(last, 250000, 350000);
    // What is really new does not wait for that.
    hear(f, "u1", "80", NULL);
    want(f, "one");
    advance(f, 1100);
    assert_int_equal(f->fake.n_open, 0);
    want(f, "two");
    advance(f, 1100);
    accept_write(f, "90");
    // And after a while of peace the next undoing is answered at once.
    hear(f, "u1", "91", NULL);
    advance(f, 3600 * 1000);
    want(f, "two");
    advance(f, 1100);
    assert_int_equal(f->fake.n_open, 1);
    accept_write(f, "92");
}

static void a_closed_writer_keeps_the_newest_wish(void **state)
{
    struct fixture *f = *state;
    status_writer_set_open(f->w, false);
    want(f, "one");
    advance(f, 5000);
    want(f, "two");
    advance(f, 5000);
    assert_int_equal(f->fake.n_started, 0);
    assert_int_equal(counters(f).pending, 1);
    status_writer_set_open(f->w, true);
    advance(f, 1);
    assert_non_null(strstr(fake_call(&f->fake)->body, "\"message\":\"two\""));
    accept_write(f, "11");
}

static void only_so_many_are_written_at_once(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "r%d", i);
        want_of(f, name, "u1", "x");
    }
    advance(f, 150);
    assert_int_equal(f->fake.n_open, 8);
    for (int done = 0; done < 20; done++) {
        struct kube_response ok = {.status = 200, .reason = "", .text = ""};
        fake_end(&f->fake, f->fake.calls[0], &ok);
        advance(f, 1);
        assert_true(f->fake.n_open <= 8);
    }
    assert_int_equal(f->fake.n_started, 20);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(wishes_in_a_row_become_one_write_of_the_last),
        CASE(the_same_wish_again_is_not_written_even_before_the_watch_told),
        CASE(writes_of_one_object_keep_a_distance),
        CASE(a_conflict_is_tried_again_with_what_was_heard_since),
        CASE(failures_wait_longer_and_longer_and_as_long_as_asked),
        CASE(a_successor_or_an_absent_object_is_left_alone),
        CASE(nothing_is_written_of_what_is_gone),
        CASE(a_status_that_is_ours_is_withdrawn_once),
        CASE(nothing_is_withdrawn_where_nothing_of_ours_is),
        CASE(a_status_of_the_next_owner_is_not_withdrawn),
        CASE(an_object_that_comes_back_keeps_its_status),
        CASE(a_withdrawal_ends_with_its_object),
        CASE(what_others_undo_is_written_ever_more_rarely),
        CASE(a_closed_writer_keeps_the_newest_wish),
        CASE(only_so_many_are_written_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
