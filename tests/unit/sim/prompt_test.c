#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sim/fault.h"
#include "sim/prompt.h"

static int text_of(const char *json, enum sim_api api, struct strbuf *text, uint32_t *tokens)
{
    struct json_object *body = NULL;
    size_t offset;
    const char *field;
    strbuf_init(text, 1 << 16);
    assert_int_equal(sim_prompt_parse(slice_of_str(json), &body, &offset), 0);
    int rc = sim_prompt_text(body, api, text, tokens, &field);
    json_object_put(body);
    return rc;
}

static void prompts_come_in_many_forms(void **state)
{
    (void)state;
    static const struct {
        enum sim_api api;
        const char *json;
        int rc;
        const char *text;
        uint32_t tokens;
    } rows[] = {
        {SIM_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", 0,
         "<|user|>\nhi\n<|assistant|>\n", 0},
        {SIM_API_CHAT,
         "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
         "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}},{\"type\":\"text\",\"text\":\"b\"}"
         "]}]}",
         0, "<|user|>\nab\n<|assistant|>\n", 0},
        {SIM_API_CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}", 0,
         "<|assistant|>\n\n<|assistant|>\n", 0},
        {SIM_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":5}]}", -EINVAL, NULL, 0},
        {SIM_API_CHAT, "{\"messages\":[5]}", -EINVAL, NULL, 0},
        {SIM_API_CHAT, "{\"messages\":\"x\"}", -EINVAL, NULL, 0},
        {SIM_API_CHAT, "{\"messages\":null}", -ENOENT, NULL, 0},
        {SIM_API_TEXT, "{\"prompt\":\"once\"}", 0, "once", 0},
        {SIM_API_TEXT, "{\"prompt\":[\"one\",\"two\"]}", 0, "onetwo", 0},
        {SIM_API_TEXT, "{}", -ENOENT, NULL, 0},
        {SIM_API_EMBEDDINGS, "{\"input\":\"word\"}", 0, "word", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct strbuf text;
        uint32_t tokens;
        assert_int_equal(text_of(rows[i].json, rows[i].api, &text, &tokens), rows[i].rc);
        if (rows[i].text != NULL) {
            assert_string_equal(strbuf_cstr(&text), rows[i].text);
        }
        strbuf_fini(&text);
    }
    struct strbuf text;
    uint32_t tokens;
    assert_int_equal(text_of("{\"prompt\":[1,2,3]}", SIM_API_TEXT, &text, &tokens), 0);
    assert_int_equal(tokens, 3);
    strbuf_fini(&text);
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const texts[] = {"{", "{\"a\":}", "{}x", "nul", "{\"a\":1,}", "\xff", "[1"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct json_object *object = NULL;
        size_t offset = 99;
        assert_int_equal(sim_prompt_parse(slice_of_str(texts[i]), &object, &offset), -EINVAL);
        assert_null(object);
        assert_true(offset <= strlen(texts[i]));
    }
}

static void numbers_are_checked(void **state)
{
    (void)state;
    struct json_object *body = NULL;
    size_t offset;
    uint32_t value = 77;
    assert_int_equal(sim_prompt_parse(SLICE("{\"a\":5,\"b\":null,\"c\":-1,\"d\":\"5\",\"e\":1.5,"
                                            "\"f\":99999999999,\"g\":true}"),
                                      &body, &offset),
                     0);
    assert_int_equal(sim_prompt_u32(body, "b", &value), 0);
    assert_int_equal(sim_prompt_u32(body, "missing", &value), 0);
    assert_int_equal(value, 77);
    assert_int_equal(sim_prompt_u32(body, "c", &value), -EINVAL);
    assert_int_equal(sim_prompt_u32(body, "d", &value), -EINVAL);
    assert_int_equal(sim_prompt_u32(body, "e", &value), -EINVAL);
    assert_int_equal(sim_prompt_u32(body, "a", &value), 0);
    assert_int_equal(value, 5);
    assert_int_equal(sim_prompt_u32(body, "f", &value), 0);
    assert_int_equal(value, UINT32_MAX);
    assert_true(sim_prompt_bool(body, "g"));
    assert_false(sim_prompt_bool(body, "a"));
    json_object_put(body);
}

static void equal_prefixes_have_equal_hashes(void **state)
{
    (void)state;
    char a[400];
    char b[400];
    memset(a, 'a', sizeof(a));
    memset(b, 'a', sizeof(b));
    b[200] = 'b'; // in block 3 of 16 tokens = 64 bytes
    uint64_t *ha;
    uint64_t *hb;
    uint64_t *hc;
    uint32_t na;
    uint32_t nb;
    uint32_t nc;
    assert_int_equal(sim_prompt_hashes(slice_of(a, 400), 100, 16, 0, &ha, &na), 0);
    assert_int_equal(sim_prompt_hashes(slice_of(b, 400), 100, 16, 0, &hb, &nb), 0);
    assert_int_equal(sim_prompt_hashes(slice_of(a, 400), 100, 16, 5, &hc, &nc), 0);
    assert_int_equal(na, 6);
    for (uint32_t i = 0; i < na; i++) {
        assert_int_equal(ha[i] == hb[i], i < 3);
        assert_true(ha[i] != hc[i]);
        assert_true(i == 0 || ha[i] != ha[i - 1]); // equal bytes at other places differ
    }
    free(ha);
    free(hb);
    free(hc);
    assert_int_equal(sim_prompt_hashes(slice_of(a, 40), 10, 16, 0, &ha, &na), 0);
    assert_null(ha);
}

static void faults_are_read(void **state)
{
    (void)state;
    struct sim_fault fault;
    assert_int_equal(sim_fault_parse(SLICE(""), &fault), 0);
    assert_int_equal(fault.action, SIM_FAULT_NONE);
    assert_int_equal(fault.reset_after, SIM_FAULT_NEVER);
    assert_int_equal(sim_fault_parse(SLICE("delay=1.5s, stall-after=3:250ms,slow-head=20"), &fault),
                     0);
    assert_int_equal(fault.delay_ms, 1500);
    assert_int_equal(fault.stall_after, 3);
    assert_int_equal(fault.stall_ms, 250);
    assert_int_equal(fault.slow_head_ms, 20);
    assert_int_equal(sim_fault_parse(SLICE("error-event=503:7"), &fault), 0);
    assert_int_equal(fault.action, SIM_FAULT_ERROR_EVENT);
    assert_int_equal(fault.status, 503);
    assert_int_equal(fault.error_after, 7);
    assert_int_equal(sim_fault_parse(SLICE("Reset"), &fault), 0);
    assert_int_equal(fault.action, SIM_FAULT_RESET);
    static const char *const bad[] = {"x", "delay", "delay=", "delay=x", "status=200", "status=600",
                                      "reset=1", "reset-after=x", "stall-after=1:", "=",
                                      "error-event=503:", "delay=-1s", "delay=1e99s"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fault.delay_ms = 42;
        assert_int_equal(sim_fault_parse(slice_of_str(bad[i]), &fault), -EINVAL);
        assert_int_equal(fault.delay_ms, 42); // untouched
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_come_in_many_forms),
        cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
        cmocka_unit_test(numbers_are_checked),
        cmocka_unit_test(equal_prefixes_have_equal_hashes),
        cmocka_unit_test(faults_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
