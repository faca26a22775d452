#include "status/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// 2026-01-02T03:04:05Z
static const int64_t NOW = 1767323045;

static void make(struct object_status *wanted, enum object_kind kind)
{
    *wanted = (struct object_status){.kind = kind, .generation = 3, .namespace = strdup("ml"),
                                     .name = strdup("chat"), .uid = strdup("u-1")};
    object_status_set(wanted, CONDITION_ACCEPTED, CONDITION_TRUE, REASON_ACCEPTED, "fine");
    object_status_set(wanted, CONDITION_READY, CONDITION_FALSE, REASON_NO_READY_ENDPOINTS, "none");
}

static const char *text_of(struct json_object *node)
{
    return json_object_to_json_string_ext(node, JSON_C_TO_STRING_PLAIN);
}

#define CONDITION(type, status, time, reason, message)                                             \
    "{\"type\":\"" type "\",\"status\":\"" status "\",\"observedGeneration\":3,"                   \
    "\"lastTransitionTime\":\"" time "\",\"reason\":\"" reason "\",\"message\":\"" message "\"}"

static void a_first_status_has_todays_times(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    struct json_object *document = status_document(&wanted, NULL, NOW);
    assert_string_equal(
        text_of(document),
        "{\"observedGeneration\":3,\"conditions\":["
        CONDITION("Accepted", "True", "2026-01-02T03:04:05Z", "Accepted", "fine") ","
        CONDITION("Ready", "False", "2026-01-02T03:04:05Z", "NoReadyEndpoints", "none") "]}");
    assert_false(status_document_is_current(document, NULL));
    assert_true(status_document_is_current(document, document));
    json_object_put(document);
    object_status_fini(&wanted);
}

static void a_time_moves_only_when_the_status_flips(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    struct json_object *current = json_tokener_parse(
        "{\"observedGeneration\":2,\"conditions\":["
        CONDITION("Ready", "False", "2025-05-05T05:05:05Z", "Pending", "old") ","
        CONDITION("Accepted", "False", "2025-06-06T06:06:06Z", "Invalid", "old") "]}");
    struct json_object *document = status_document(&wanted, current, NOW);
    assert_string_equal(
        text_of(json_object_object_get(document, "conditions")),
        "[" CONDITION("Accepted", "True", "2026-01-02T03:04:05Z", "Accepted", "fine") ","
        CONDITION("Ready", "False", "2025-05-05T05:05:05Z", "NoReadyEndpoints", "none") "]");
    json_object_put(document);
    json_object_put(current);
    object_status_fini(&wanted);
}

static bool is_current(const struct object_status *wanted, const char *current_text)
{
    struct json_object *current = json_tokener_parse(current_text);
    assert_non_null(current);
    struct json_object *document = status_document(wanted, current, NOW);
    bool same = status_document_is_current(document, current);
    json_object_put(document);
    json_object_put(current);
    return same;
}

#define ACCEPTED CONDITION("Accepted", "True", "2025-05-05T05:05:05Z", "Accepted", "fine")
#define READY CONDITION("Ready", "False", "2025-05-05T05:05:05Z", "NoReadyEndpoints", "none")

static void nothing_is_written_without_a_difference(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    // Another order, and a condition of somebody else.
    assert_true(is_current(&wanted,
                           "{\"conditions\":[{\"type\":\"Theirs\",\"status\":\"True\"}," READY
                                    "," ACCEPTED "],\"observedGeneration\":3}"));
    static const char *const different[] = {
        "{}",
        "{\"observedGeneration\":2,\"conditions\":[" READY "," ACCEPTED "]}",
        "{\"observedGeneration\":3,\"conditions\":[" READY "]}",
        "{\"observedGeneration\":3,\"conditions\":" READY "}",
        "{\"observedGeneration\":3,\"conditions\":[" READY "," ACCEPTED ","
        CONDITION("Stalled", "True", "2025-05-05T05:05:05Z", "Invalid", "x") "]}",
        "{\"observedGeneration\":3,\"engine\":\"VLLM\",\"conditions\":[" READY "," ACCEPTED "]}",
        "{\"observedGeneration\":3,\"conditions\":[" ACCEPTED ","
        CONDITION("Ready", "False", "2025-05-05T05:05:05Z", "NoReadyEndpoints", "other") "]}",
        "{\"observedGeneration\":3,\"conditions\":[" ACCEPTED ","
        CONDITION("Ready", "True", "2025-05-05T05:05:05Z", "NoReadyEndpoints", "none") "]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(different); i++) {
        if (is_current(&wanted, different[i])) {
            fail_msg("taken for current: %s", different[i]);
        }
    }
    object_status_fini(&wanted);
}

static void a_backend_has_engine_endpoints_and_metrics(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_MODELBACKEND);
    wanted.engine = strdup("VLLM");
    wanted.endpoints_total = 5;
    wanted.endpoints_ready = 3;
    wanted.metrics_found = strdup("waiting, running,,");
    struct json_object *document = status_document(&wanted, NULL, NOW);
    assert_string_equal(text_of(json_object_object_get(document, "endpoints")),
                        "{\"total\":5,\"ready\":3,\"summary\":\"3\\/5\"}");
    assert_string_equal(text_of(json_object_object_get(document, "metricsFound")),
                        "[\"waiting\",\"running\"]");
    assert_true(status_document_is_current(document, document));
    wanted.endpoints_ready = 4;
    struct json_object *next = status_document(&wanted, document, NOW + 100);
    assert_false(status_document_is_current(next, document));
    json_object_put(next);
    json_object_put(document);
    object_status_fini(&wanted);
}

static void what_is_not_learnt_yet_stays(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_MODELBACKEND);
    wanted.engine = strdup("VLLM");
    wanted.metrics_found = strdup("waiting");
    struct json_object *before = status_document(&wanted, NULL, NOW);

    // As after a restart: neither is known, then the engine alone.
    free(wanted.engine);
    free(wanted.metrics_found);
    wanted.engine = wanted.metrics_found = NULL;
    struct json_object *after = status_document(&wanted, before, NOW + 1);
    assert_true(status_document_is_current(after, before));
    json_object_put(after);
    wanted.engine = strdup("VLLM");
    after = status_document(&wanted, before, NOW + 1);
    assert_true(status_document_is_current(after, before));
    json_object_put(after);

    // The metrics of another engine do not stay.
    free(wanted.engine);
    wanted.engine = strdup("SGLang");
    after = status_document(&wanted, before, NOW + 1);
    assert_string_equal(text_of(json_object_object_get(after, "engine")), "\"SGLang\"");
    assert_null(json_object_object_get(after, "metricsFound"));
    json_object_put(after);
    json_object_put(before);
    object_status_fini(&wanted);
}

static void an_apply_names_the_object_and_the_version_looked_at(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    struct json_object *body =
        status_document_apply(&wanted, SLICE("41"), json_object_new_object());
    assert_string_equal(text_of(body),
                        "{\"apiVersion\":\"headrace.dev\\/v1alpha1\",\"kind\":\"AIRoute\","
                        "\"metadata\":{\"name\":\"chat\",\"namespace\":\"ml\","
                        "\"resourceVersion\":\"41\"},\"status\":{}}");
    json_object_put(body);
    object_status_fini(&wanted);
}

static void an_apply_of_nothing_has_no_status(void **state)
{
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    struct json_object *body = status_document_withdraw(&wanted, SLICE("41"));
    assert_string_equal(text_of(body),
                        "{\"apiVersion\":\"headrace.dev\\/v1alpha1\",\"kind\":\"AIRoute\","
                        "\"metadata\":{\"name\":\"chat\",\"namespace\":\"ml\","
                        "\"resourceVersion\":\"41\"}}");
    json_object_put(body);
    assert_null(status_document_apply(&wanted, SLICE("41"), NULL)); // no withdrawal by mistake
    object_status_fini(&wanted);
}

static void a_status_is_ours_up_to_our_generation(void **state)
{
    static const struct {
        const char *status;
        bool is_ours;
    } cases[] = {
        {"{\"observedGeneration\":2}", true},  {"{\"observedGeneration\":3}", true},
        {"{\"observedGeneration\":4}", false}, {"{\"observedGeneration\":\"3\"}", false},
        {"{\"conditions\":[]}", false},        {"null", false},
    };
    (void)state;
    struct object_status wanted;
    make(&wanted, OBJECT_AIROUTE);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_object *status = json_tokener_parse(cases[i].status);
        assert_int_equal(status_document_is_ours(&wanted, status), cases[i].is_ours);
        json_object_put(status);
    }
    object_status_fini(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_status_has_todays_times),
        cmocka_unit_test(a_time_moves_only_when_the_status_flips),
        cmocka_unit_test(nothing_is_written_without_a_difference),
        cmocka_unit_test(a_backend_has_engine_endpoints_and_metrics),
        cmocka_unit_test(what_is_not_learnt_yet_stays),
        cmocka_unit_test(an_apply_of_nothing_has_no_status),
        cmocka_unit_test(a_status_is_ours_up_to_our_generation),
        cmocka_unit_test(an_apply_names_the_object_and_the_version_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
