// The usage finder: every engine's form, in whatever pieces it arrives.
#include "ai/openai.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct {
    const char *text;
    struct openai_usage want;
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
    // the last number ends with the object; a cut answer keeps what was complete
    {"{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4", {3, 0, 0, true}},
    {"", {0, 0, 0, false}},
};

static void assert_usage(const struct openai_usage *got, size_t row, size_t piece)
{
    const struct openai_usage *want = &rows[row].want;
    if (got->found != want->found || got->prompt_tokens != want->prompt_tokens ||
        got->completion_tokens != want->completion_tokens ||
        got->cached_tokens != want->cached_tokens) {
        fail_msg("pieces of %zu: found %d prompt %lu completion %lu cached %lu in\n%s", piece,
                 got->found, got->prompt_tokens, got->completion_tokens, got->cached_tokens,
                 rows[row].text);
    }
}

// Each piece is an exact heap copy, so that a sanitizer sees every read beyond its end.
static void feed_copy(struct openai_usage_scan *scan, const char *text, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    openai_usage_feed(scan, slice_of(copy, len));
    free(copy);
}

static void finds_usage_in_pieces_of_every_size(void **state)
{
    (void)state;
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        size_t len = strlen(rows[row].text);
        for (size_t piece = 1; piece <= len + 1; piece++) {
            struct openai_usage_scan scan = {.usage = {0}};
            for (size_t at = 0; at < len; at += piece) {
                feed_copy(&scan, rows[row].text + at, MIN_OF(piece, len - at));
            }
            assert_usage(&scan.usage, row, piece);
        }
    }
}

// The vector search must not lose a place at any alignment.
static void finds_usage_behind_any_amount_of_text(void **state)
{
    (void)state;
    static const char tail[] = "\"usage\":{\"prompt_tokens\":77}}";
    char text[400];
    for (size_t before = 0; before < 200; before++) {
        memset(text, 'u', before);
        memset(text, '"', before / 3);
        memcpy(text + before, tail, sizeof(tail) - 1);
        struct openai_usage_scan scan = {.usage = {0}};
        feed_copy(&scan, text, before + sizeof(tail) - 1);
        assert_true(scan.usage.found);
        assert_int_equal(scan.usage.prompt_tokens, 77);
    }
}

static void hostile_nesting_ends_the_search_inside(void **state)
{
    (void)state;
    struct openai_usage_scan scan = {.usage = {0}};
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
        cmocka_unit_test(finds_usage_behind_any_amount_of_text),
        cmocka_unit_test(hostile_nesting_ends_the_search_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
