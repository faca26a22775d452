#include "load/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void count_text(void *arg)
{
    (*(unsigned *)arg)++;
}

// Feeds the body in pieces of `step`, each in memory of its own so that sanitizers see overruns.
static struct load_reply read_all(unsigned status, bool is_stream, const char *body, size_t step,
                                  unsigned *texts)
{
    struct load_reply reply;
    struct slice rest = slice_of_str(body);
    *texts = 0;
    load_reply_init(&reply, status, is_stream, count_text, texts);
    while (rest.len > 0) {
        struct slice piece = slice_first(rest, step);
        char *copy = malloc(piece.len);
        assert_non_null(copy);
        memcpy(copy, piece.ptr, piece.len);
        load_reply_feed(&reply, slice_of(copy, piece.len));
        free(copy);
        rest = slice_skip(rest, piece.len);
    }
    load_reply_end(&reply, true);
    load_reply_fini(&reply);
    return reply;
}

static const struct {
    const char *what;
    unsigned status;
    bool is_stream;
    const char *body;
    enum load_failure failure;
    unsigned code;
    unsigned texts;
    uint64_t prompt, cached, completion;
} cases[] = {
    {"a vLLM stream with usage", 200, true,
     "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"content\":\" b\"},\"finish_reason\":\"length\"}]}\n\n"
     "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"completion_tokens\":6,"
     "\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\ndata: [DONE]\n\n",
     LOAD_FAILURE_NONE, 0, 2, 21, 16, 6},
    {"llama.cpp's null content, CR LF, comments", 200, true,
     ": ping\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":null}}]}\r\n\r\n"
     "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\r\n\r\n"
     "data: [DONE]\r\n\r\n",
     LOAD_FAILURE_NONE, 0, 1, 0, 0, 0},
    {"reasoning and tool calls are output too", 200, true,
     "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\": "
     "\"{\"}}]}}]}\n\ndata: {\"choices\":[{\"text\":\"t\"}]}\n\ndata: [DONE]\n\n",
     LOAD_FAILURE_NONE, 0, 3, 0, 0, 0},
    {"text that looks like a key", 200, true,
     "data: {\"choices\":[{\"delta\":{\"role\":\"\\\"content\\\":\\\"x\\\"\"}}]}\n\n"
     "data: [DONE]\n\n",
     LOAD_FAILURE_EMPTY, 0, 0, 0, 0, 0},
    {"an error event with a code", 200, true,
     "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
     "data: {\"error\":{\"message\":\"full\",\"code\":503}}\n\ndata: [DONE]\n\n",
     LOAD_FAILURE_ERROR_EVENT, 503, 1, 0, 0, 0},
    {"an error event with a code that is text", 200, true,
     "data: {\"error\":{\"message\":\"full\",\"code\":\"overloaded\"}}\n\ndata: [DONE]\n\n",
     LOAD_FAILURE_ERROR_EVENT, 0, 0, 0, 0, 0},
    {"no [DONE]", 200, true, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
     LOAD_FAILURE_TRUNCATED, 0, 1, 0, 0, 0},
    {"an unfinished event", 200, true, "data: [DONE]", LOAD_FAILURE_TRUNCATED, 0, 0, 0, 0, 0},
    {"invalid JSON in an event", 200, true, "data: {\"choices\":\n\ndata: [DONE]\n\n",
     LOAD_FAILURE_BAD_JSON, 0, 0, 0, 0, 0},
    {"a whole answer", 200, false,
     "{\"choices\":[{\"message\":{\"content\":\"hello\"}}],\"usage\":{\"prompt_tokens\":3,"
     "\"completion_tokens\":2}}",
     LOAD_FAILURE_NONE, 0, 1, 3, 0, 2},
    {"a whole answer without text", 200, false, "{\"choices\":[{\"message\":{\"content\":\"\"}}]}",
     LOAD_FAILURE_EMPTY, 0, 0, 0, 0, 0},
    {"a whole answer that is not JSON", 200, false, "<html>", LOAD_FAILURE_BAD_JSON, 0, 0, 0, 0, 0},
    {"SGLang's flat error under 200", 200, false,
     "{\"object\":\"error\",\"message\":\"m\",\"code\":400}", LOAD_FAILURE_ERROR_EVENT, 400, 0, 0,
     0,
     0},
    {"a status", 404, false, "{\"detail\":\"Not Found\"}", LOAD_FAILURE_STATUS, 0, 0, 0, 0, 0},
    {"a status without a body", 502, false, "", LOAD_FAILURE_STATUS, 0, 0, 0, 0, 0},
    {"negative and huge counts are none", 200, false,
     "{\"choices\":[{\"text\":\"t\"}],\"usage\":{\"prompt_tokens\":-3,"
     "\"completion_tokens\":99999999999999999999}}",
     LOAD_FAILURE_NONE, 0, 1, 0, 0, 0},
};

static void answers_are_read_alike_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const size_t steps[] = {1, 2, 3, 7, 64, 100000};
        for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
            unsigned texts;
            struct load_reply reply = read_all(cases[i].status, cases[i].is_stream, cases[i].body,
                                               steps[s], &texts);
            if (reply.failure != cases[i].failure || texts != cases[i].texts) {
                print_message("%s, in pieces of %zu: %s, %u texts\n", cases[i].what, steps[s],
                              load_failure_text(reply.failure), texts);
            }
            assert_int_equal(reply.failure, cases[i].failure);
            assert_int_equal(texts, cases[i].texts);
            assert_int_equal(reply.code, cases[i].code);
            assert_int_equal(reply.usage.prompt_tokens, cases[i].prompt);
            assert_int_equal(reply.usage.cached_tokens, cases[i].cached);
            assert_int_equal(reply.usage.completion_tokens, cases[i].completion);
        }
    }
}

static void samples_are_printable_and_bounded(void **state)
{
    (void)state;
    unsigned texts;
    char body[1000];
    memset(body, '\x1b', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    struct load_reply reply = read_all(500, false, body, 1000, &texts);
    assert_int_equal(strlen(reply.sample), LOAD_SAMPLE_MAX - 1);
    assert_int_equal(reply.sample[0], '?');
}

static void an_event_without_end_is_too_large(void **state)
{
    (void)state;
    unsigned texts = 0;
    struct load_reply reply;
    char junk[4096];
    memset(junk, 'x', sizeof(junk));
    load_reply_init(&reply, 200, true, count_text, &texts);
    for (int i = 0; i < 10000; i++) {
        load_reply_feed(&reply, slice_of(junk, sizeof(junk)));
        assert_true(reply.held.cap <= LOAD_EVENT_MAX + 1);
    }
    load_reply_end(&reply, true);
    assert_int_equal(reply.failure, LOAD_FAILURE_TOO_LARGE);
    load_reply_fini(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_alike_in_any_pieces),
        cmocka_unit_test(samples_are_printable_and_bounded),
        cmocka_unit_test(an_event_without_end_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
