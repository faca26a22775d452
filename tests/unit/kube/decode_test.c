#include "kube/decode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    char text[4096];
    int n;
    int stop_at; // the return of on_object is negative at that one
};

static int collect(struct json_object *object, void *arg)
{
    struct seen *seen = arg;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof(seen->text) - at, "%s;",
             json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
    return ++seen->n == seen->stop_at ? -ECANCELED : 0;
}

static const char WATCH[] = "{\"type\":\"ADDED\",\"object\":{\"a\":\"x\\\"}\\u00e9\"}}\n"
                            " \r\n{\"type\":\"BOOKMARK\",\"n\":-1.5e3}{\"b\":[]}\n";

static void a_watch_is_the_same_in_any_pieces(void **state)
{
    (void)state;
    char whole[4096] = "";
    for (size_t piece = sizeof(WATCH) - 1; piece > 0; piece--) {
        struct seen seen = {.n = 0};
        struct kube_watch_decoder d;
        kube_watch_decoder_init(&d, 1000, collect, &seen);
        for (size_t at = 0; at < sizeof(WATCH) - 1; at += piece) {
            size_t len = MIN_OF(piece, sizeof(WATCH) - 1 - at);
            assert_int_equal(kube_watch_decoder_feed(&d, slice_of(WATCH + at, len)), 0);
        }
        assert_true(kube_watch_decoder_is_between(&d));
        assert_int_equal(seen.n, 3);
        if (whole[0] == '\0') {
            memcpy(whole, seen.text, sizeof(whole));
        }
        assert_string_equal(seen.text, whole);
        kube_watch_decoder_fini(&d);
    }
}

static int feed_watch(const char *text, size_t max, struct seen *seen)
{
    struct kube_watch_decoder d;
    kube_watch_decoder_init(&d, max, collect, seen);
    int rc = kube_watch_decoder_feed(&d, slice_of_str(text));
    int again = kube_watch_decoder_feed(&d, SLICE("{}"));
    assert_int_equal(again, rc);
    kube_watch_decoder_fini(&d);
    return rc;
}

static void a_watch_of_something_else_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"<html>", "[1]\n", "null\n", "{]", "{\"a\":1,}",
                                      "{\"a\":nan}", "{} x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct seen seen = {.n = 0};
        if (feed_watch(bad[i], 1000, &seen) != -EBADMSG) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    struct seen seen = {.n = 0};
    struct kube_watch_decoder d;
    kube_watch_decoder_init(&d, 1000, collect, &seen);
    assert_int_equal(kube_watch_decoder_feed(&d, slice_of("{\"a\":\0 1}", 9)), -EBADMSG);
    kube_watch_decoder_fini(&d);
}

static void an_object_over_the_maximum_is_refused_and_one_at_it_is_not(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    assert_int_equal(feed_watch("{\"a\":1234}", 10, &seen), 0);
    assert_int_equal(seen.n, 2);
    seen.n = 0;
    assert_int_equal(feed_watch("{\"a\":12345}", 10, &seen), -EMSGSIZE);
    assert_int_equal(feed_watch("{\"a\":\"unfinished", 10, &seen), -EMSGSIZE);
    assert_int_equal(seen.n, 0);
    char deep[512] = "{\"a\":";
    memset(deep + 5, '[', 300);
    assert_int_equal(feed_watch(deep, 1000, &seen), -EBADMSG);
}

static void the_receiver_can_end_a_watch(void **state)
{
    (void)state;
    struct seen seen = {.stop_at = 2};
    assert_int_equal(feed_watch("{}{}{}", 1000, &seen), -ECANCELED);
    assert_int_equal(seen.n, 2);
}

static const char LIST[] =
    "{ \"kind\":\"ServiceList\", \"x\\\"y\": {\"items\":[{}]}, \"items\" : [ {\"a\":\"]},{\"} ,\n"
    "{\"b\":{\"items\":[1]}}], \"metadata\":{\"resourceVersion\":\"12\",\"continue\":\"t\"},"
    "\"n\":12 }\n";

static void a_list_is_the_same_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = sizeof(LIST) - 1; piece > 0; piece--) {
        struct seen seen = {.n = 0};
        struct kube_list_decoder d;
        assert_int_equal(kube_list_decoder_init(&d, 1000, collect, &seen), 0);
        for (size_t at = 0; at < sizeof(LIST) - 1; at += piece) {
            assert_false(kube_list_decoder_is_complete(&d) && at < sizeof(LIST) - 2);
            size_t len = MIN_OF(piece, sizeof(LIST) - 1 - at);
            assert_int_equal(kube_list_decoder_feed(&d, slice_of(LIST + at, len)), 0);
        }
        assert_true(kube_list_decoder_is_complete(&d));
        assert_string_equal(seen.text, "{\"a\":\"]},{\"};{\"b\":{\"items\":[1]}};");
        assert_string_equal(json_object_get_string(json_object_object_get(d.head, "kind")),
                            "ServiceList");
        assert_int_equal(json_object_get_int(json_object_object_get(d.head, "n")), 12);
        assert_non_null(json_object_object_get(d.head, "metadata"));
        kube_list_decoder_fini(&d);
    }
}

static int feed_list(const char *text, bool *complete, struct seen *seen)
{
    struct kube_list_decoder d;
    assert_int_equal(kube_list_decoder_init(&d, 1000, collect, seen), 0);
    int rc = kube_list_decoder_feed(&d, slice_of_str(text));
    *complete = kube_list_decoder_is_complete(&d);
    kube_list_decoder_fini(&d);
    return rc;
}

static void only_a_whole_list_with_items_is_complete(void **state)
{
    (void)state;
    struct seen seen = {.n = 0};
    bool complete = false;
    assert_int_equal(feed_list("{\"items\":[]}", &complete, &seen), 0);
    assert_true(complete);
    assert_int_equal(feed_list("{\"items\":null}", &complete, &seen), 0);
    assert_true(complete);
    assert_int_equal(seen.n, 0);
    static const char *const partial[] = {"", "{}", "{\"items\":[]", "{\"items\":[{}",
                                          "{\"items\":[{}]", "{\"kind\":\"Status\"}"};
    for (size_t i = 0; i < ARRAY_LEN(partial); i++) {
        assert_int_equal(feed_list(partial[i], &complete, &seen), 0);
        assert_false(complete);
    }
    static const char *const bad[] = {"[]", "{\"items\":5}", "{\"items\":[1]}", "{\"items\":[{},]}",
                                      "{\"items\":[{}}", "{\"items\":[]} x", "{\"items\":[],}",
                                      "{items:[]}", "{\"items\":[],\"items\":[]}",
                                      "{\"items\" []}", "{\"a\":1 \"b\":2}", "{,}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (feed_list(bad[i], &complete, &seen) != -EBADMSG || complete) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_is_the_same_in_any_pieces),
        cmocka_unit_test(a_watch_of_something_else_is_refused),
        cmocka_unit_test(an_object_over_the_maximum_is_refused_and_one_at_it_is_not),
        cmocka_unit_test(the_receiver_can_end_a_watch),
        cmocka_unit_test(a_list_is_the_same_in_any_pieces),
        cmocka_unit_test(only_a_whole_list_with_items_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
