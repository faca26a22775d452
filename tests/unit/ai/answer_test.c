// What is read of answers, every engine's form, in whatever pieces it arrives.
#include "ai/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    struct answer_usage want;
} rows[] = {
    // vLLM, the last event of a stream
    {"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"total_tokens\":27,"
     "\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":16,"
     "\"created_cache_tokens\":0}},\"system_fingerprint\":\"v\"}\n\ndata: [DONE]\n\n",
     {21, 6, 16, true}},
    // llama.cpp: other order, more behind it
    {"{\"usage\":{\"completion_tokens\":4,\"prompt_tokens\":14,\"total_tokens\":18,"
     "\"prompt_tokens_details\":{\"cached_tokens\":13}},\"timings\":{\"cache_n\":13,"
     "\"prompt_n\":1,\"prompt_tokens\":99}}", {14, 4, 13, true}},
    // responses API: deeper, other names, arrays inside
    {"event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":16,"
     "\"input_tokens_details\":{\"cached_tokens\":9,\"input_tokens_per_turn\":[1,2]},"
     "\"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":7},"
     "\"total_tokens\":20}}}\n\n", {16, 4, 9, true}},
    // embeddings, with white space as a pretty printer puts it
    {"{ \"usage\" : {\n  \"prompt_tokens\" : 8 ,\n  \"total_tokens\" : 8\n } }", {8, 0, 0, true}},
    // usage with every event counts up
    {"{\"usage\":null}{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}"
     "{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}", {5, 2, 0, true}},
    {"{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"prompt_tokens_details\":null,"
     "\"completion_tokens_details\":null}}", {5, 1, 0, true}},
    // what only looks like it
    {"{\"content\":\"usage\",\"prompt_tokens\":4}", {0, 0, 0, false}},
    {"{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":4}\"}", {0, 0, 0, false}},
    {"{\"xusage\":{\"prompt_tokens\":4},\"usages\":{\"prompt_tokens\":4}}", {0, 0, 0, false}},
    {"{\"usage\":\"prompt_tokens\",\"prompt_tokens\":4}", {0, 0, 0, false}},
    {"{\"usage\":{\"x\":\"prompt_tokens\",\"y\":4}}", {0, 0, 0, false}},
    {"{\"usage\":{\"prompt_tokens\":\"7\",\"completion_tokens\":-3}}", {0, 0, 0, false}},
    {"{\"usage\":{\"prompt_tokens\":1e3,\"completion_tokens\":1.5}}", {0, 0, 0, false}},
    {"{\"usage\":{\"details\":{\"prompt_tokens\":9}}}", {0, 0, 0, false}},
    {"{\"usage\":{\"prompt_tokens\":99999999999999999999999999}}", {0, 0, 0, false}},
    // a false start right before the real one
    {"{\"content\":\"usage\",\"\":\"\"usage\":{\"prompt_tokens\":3}", {3, 0, 0, true}},
    {"\"\"us\"usag\"usage\":{\"output_tokens\":3}", {0, 3, 0, true}},
    // escapes in strings inside
    {"{\"usage\":{\"note\":\"a \\\" } \\\\\",\"prompt_tokens\":3}}", {3, 0, 0, true}},
    // Anthropic: first and last event
    {"{\"type\":\"message_start\",\"message\":{\"stop_reason\":null,\"usage\":{\"input_tokens\":25,"
     "\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
     "\"end_turn\"},\"usage\":{\"output_tokens\":15}}", {25, 15, 0, true}},
    // the last number ends with the object; a cut answer keeps what was complete
    {"{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4", {3, 0, 0, true}},
    {"", {0, 0, 0, false}},
};

static void assert_usage(const struct answer_usage *got, size_t row, size_t piece)
{
    const struct answer_usage *want = &rows[row].want;
    if (got->found != want->found || got->prompt_tokens != want->prompt_tokens ||
        got->completion_tokens != want->completion_tokens ||
        got->cached_tokens != want->cached_tokens) {
        fail_msg("pieces of %zu: found %d prompt %lu completion %lu cached %lu in\n%s", piece,
                 got->found, got->prompt_tokens, got->completion_tokens, got->cached_tokens,
                 rows[row].text);
    }
}

// Each piece is an exact heap copy, so that a sanitizer sees every read beyond its end.
static void feed_copy(struct answer_scan *scan, const char *text, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    answer_feed(scan, slice_of(copy, len));
    free(copy);
}

static void finds_usage_in_pieces_of_every_size(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        size_t len = strlen(rows[row].text);
        for (size_t piece = 1; piece <= len + 1; piece++) {
            struct answer_scan scan = {.usage = {0}};
            for (size_t at = 0; at < len; at += piece) {
                feed_copy(&scan, rows[row].text + at, MIN_OF(piece, len - at));
            }
            assert_usage(&scan.usage, row, piece);
        }
    }
}

static const struct {
    const char *text;
    const char *want;
} reasons[] = {
    {"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n"
     "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
     "length"},
    {"{\"choices\":[{\"finish_reason\" : \n\"tool_calls\",\"index\":0}]}", "tool_calls"},
    {"{\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":null}]}", "stop"},
    {"{\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":\"length\"}]}", "length"},
    // Anthropic's, streamed and whole; and beside OpenAI's, for what stopped it (vLLM)
    {"{\"stop_reason\":null}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
     "\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}", "end_turn"},
    {"{\"content\":[],\"stop_reason\":\"max_tokens\",\"usage\":{\"output_tokens\":9}}",
     "max_tokens"},
    {"{\"finish_reason\":null,\"stop_reason\":null}"
     "{\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}", "stop"},
    {"{\"finish_reason\":\"stop\",\"stop_reason\":128009}", "stop"},
    {"{\"stop_reason\":\"END\",\"finish_reason\":\"stop\"}", "stop"},
    {"{\"usage\":null,\"finish_reason\":\"stop\",\"usage\":{\"x\":1}}", "stop"},
    // what only looks like it
    {"{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}", ""},
    {"{\"finish_reasons\":\"stop\",\"xfinish_reason\":\"stop\"}", ""},
    {"{\"x\":\"finish_reason\",\"stop\":1}", ""},
    {"{\"stop_reasons\":\"stop\",\"stop_sequence\":\"stop\",\"qtop_reason\":\"x\"}", ""},
    {"{\"finish_reason\":{\"prompt_tokens\":4},\"usage\":\"stop\"}", ""},
    // no word, too long, not ended
    {"{\"finish_reason\":\"a b\"}", ""},
    {"{\"finish_reason\":\"aaaaaaaaaaaaaaaaaaaaaaaaa\"}", ""},
    {"{\"finish_reason\":\"stop", ""},
    // a false start right before the real one
    {"{\"content\":\"\"\"finish\"finish_reason\":\"stop\"}", "stop"},
    {"\"\"usag\"stop_\"s\"stop_reason\":\"a\"", "a"},
    {"", ""},
};

static void finds_reasons_in_pieces_of_every_size(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_LEN(reasons); row++) {
        size_t len = strlen(reasons[row].text);
        for (size_t piece = 1; piece <= len + 1; piece++) {
            struct answer_scan scan = {.usage = {0}};
            for (size_t at = 0; at < len; at += piece) {
                feed_copy(&scan, reasons[row].text + at, MIN_OF(piece, len - at));
            }
            if (!slice_eq_str(answer_reason(&scan), reasons[row].want)) {
                fail_msg("row %zu in pieces of %zu: \"%.*s\"", row, piece,
                         SLICE_FMT(answer_reason(&scan)));
            }
        }
    }
}

// The vector search must not lose a place at any alignment.
static void finds_usage_behind_any_amount_of_text(void **state)
{
    (void)state;
    static const char tail[] = "\"usage\":{\"prompt_tokens\":77},\"stop_reason\":\"end\"}";
    char text[400];
    for (size_t before = 0; before < 200; before++) {
        memset(text, 'u', before);
        memset(text, '"', before / 3);
        memcpy(text + before, tail, sizeof(tail) - 1);
        struct answer_scan scan = {.usage = {0}};
        feed_copy(&scan, text, before + sizeof(tail) - 1);
        assert_true(scan.usage.found);
        assert_int_equal(scan.usage.prompt_tokens, 77);
        assert_true(slice_eq_str(answer_reason(&scan), "end"));
    }
}

static void hostile_nesting_ends_the_search_inside(void **state)
{
    (void)state;
    struct answer_scan scan = {.usage = {0}};
    feed_copy(&scan, "\"usage\":{", 9);
    for (int i = 0; i < 100000; i++) {
        feed_copy(&scan, "{[", 2);
    }
    feed_copy(&scan, "\"usage\":{\"prompt_tokens\":5}", 27);
    assert_int_equal(scan.usage.prompt_tokens, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_usage_in_pieces_of_every_size),
        cmocka_unit_test(finds_reasons_in_pieces_of_every_size),
        cmocka_unit_test(finds_usage_behind_any_amount_of_text),
        cmocka_unit_test(hostile_nesting_ends_the_search_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
