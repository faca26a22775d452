#include "load/trace.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void mooncake_lines_are_read(void **state)
{
    (void)state;
    struct load_trace trace;
    assert_int_equal(
        load_trace_parse(
            SLICE("{\"timestamp\": 100, \"input_length\": 1100, \"output_length\": 5, "
                  "\"hash_ids\": [0, 46, 47]}\r\n\n"
                  "{\"timestamp\": 400, \"input_length\": 7, \"output_length\": 0, "
                  "\"hash_ids\": []}\n{\"timestamp\": 350.5, \"input_length\": 9, "
                  "\"output_length\": 2}"),
            "t", &trace, NULL),
        0);
    assert_int_equal(trace.len, 3);
    assert_int_equal(trace.items[0].at_ns, 0);
    assert_int_equal(trace.items[0].prompt_tokens, 1100);
    assert_int_equal(trace.items[0].block_count, 3);
    assert_int_equal(trace.blocks[trace.items[0].first_block + 2], 47);
    assert_int_equal(trace.items[1].at_ns, 250500000); // sorted by time
    assert_int_equal(trace.items[2].at_ns, 300000000);
    assert_int_equal(trace.items[2].block_count, 0);
    load_trace_fini(&trace);
}

static void azure_lines_are_read(void **state)
{
    (void)state;
    struct load_trace trace;
    assert_int_equal(load_trace_parse(SLICE("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                                            "2023-12-31 23:59:59.9799600,4808,10\r\n"
                                            "2024-01-01 00:00:00.0319600,3180,8\r\n"
                                            "2024-01-01T00:00:01+00:00,1,2"),
                                      "t", &trace, NULL),
                     0);
    assert_int_equal(trace.len, 3);
    assert_int_equal(trace.items[0].at_ns, 0);
    assert_in_range(trace.items[1].at_ns, 51999000, 52001000); // doubles hold microseconds
    assert_in_range(trace.items[2].at_ns, 1020039000, 1020041000);
    assert_int_equal(trace.items[2].prompt_tokens, 1);
    load_trace_fini(&trace);
}

static void broken_traces_name_the_line(void **state)
{
    (void)state;
    static const struct {
        struct slice text;
        const char *part;
    } cases[] = {
        {SLICE(""), "no request"},
        {SLICE("hello\n"), "t:1: neither"},
        {SLICE("TIMESTAMP,ContextTokens,GeneratedTokens\n"), "no request"},
        {SLICE("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n"), "t:2: "},
        {SLICE("TIMESTAMP,C,G\n2023-11-16 18:17:03,1\n"), "t:2: "},
        {SLICE("TIMESTAMP,C,G\n2023-11-16 18:17:03.5x,1,2\n"), "t:2: "},
        {SLICE("{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n{\"timestamp\":"),
         "t:2: "},
        {SLICE("{\"timestamp\":0,\"input_length\":-1,\"output_length\":1}"), "t:1: "},
        {SLICE("{\"timestamp\":0,\"input_length\":2000000,\"output_length\":1}"), "t:1: "},
        {SLICE("{\"timestamp\":0,\"output_length\":1}"), "t:1: "},
        {SLICE("{\"timestamp\":\"0\",\"input_length\":1,\"output_length\":1}"), "t:1: "},
        {SLICE("{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1,-2]}"),
         "hash_ids"},
        {SLICE("{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":\"1\"}"),
         "t:1: "},
        {SLICE("{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n"
               "{\"timestamp\":1e300,\"input_length\":1,\"output_length\":1}"),
         "t:2: "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct load_trace trace = {.len = 77};
        struct error err = ERROR_INIT;
        assert_int_equal(load_trace_parse(cases[i].text, "t", &trace, &err), -EINVAL);
        assert_int_equal(trace.len, 77);
        if (strstr(err.text, cases[i].part) == NULL) {
            print_message("%zu: %s\n", i, err.text);
        }
        assert_non_null(strstr(err.text, cases[i].part));
    }
}

static void a_missing_file_says_where_traces_are(void **state)
{
    (void)state;
    struct load_trace trace;
    struct error err = ERROR_INIT;
    assert_int_equal(load_trace_read("/nonexistent/trace", &trace, &err), -ENOENT);
    assert_non_null(strstr(err.text, "https://github.com/kvcache-ai/Mooncake"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mooncake_lines_are_read),
        cmocka_unit_test(azure_lines_are_read),
        cmocka_unit_test(broken_traces_name_the_line),
        cmocka_unit_test(a_missing_file_says_where_traces_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
