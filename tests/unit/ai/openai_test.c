// The OpenAI format: error bodies, errors inside streams, names that are close.
#include "ai/openai.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_text(struct strbuf *buf, const char *want)
{
    assert_string_equal(strbuf_cstr(buf), want);
    strbuf_fini(buf);
}

static void an_error_has_the_form_that_clients_parse(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1024);
    openai_error_write(&out, 404, SLICE("invalid_request_error"), SLICE("model_not_found"),
                       SLICE("model"), SLICE("no \"such\" model"));
    assert_text(&out, "{\"error\":{\"message\":\"no \\\"such\\\" model\","
                      "\"type\":\"invalid_request_error\",\"param\":\"model\","
                      "\"code\":\"model_not_found\"}}");
    strbuf_init(&out, 1024);
    openai_error_write(&out, 429, SLICE(""), SLICE(""), SLICE_NULL, SLICE("slow down"));
    assert_text(&out, "{\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\","
                      "\"param\":null,\"code\":null}}");
}

static void errors_in_streams_stand_for_a_status(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        int status;
    } rows[] = {
        // vLLM over its queue
        {"{\"error\": {\"message\": \"busy\", \"type\": \"Service Unavailable\", \"param\": null, "
         "\"code\": 503}}", 503},
        {"{\"error\":{\"message\":\"x\",\"type\":\"BadRequestError\",\"code\":400}}", 400},
        // SGLang and older vLLM: flat
        {"{\"object\":\"error\",\"message\":\"too long\",\"type\":\"BadRequestError\","
         "\"param\":null,\"code\":400}", 400},
        {"{\"error\":{\"message\":\"queue\",\"type\":\"SERVICE_UNAVAILABLE\",\"code\":503}}", 503},
        // TGI
        {"{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}", 429},
        {"{\"error\":\"Request failed during generation\",\"error_type\":\"generation\"}", 500},
        // the code as a string, or only a type
        {"{\"error\":{\"code\":\"503\"}}", 503},
        {"{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}", 429},
        {"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}", 503},
        {"{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}", 500},
        // numbers that are no HTTP error
        {"{\"error\":{\"code\":200}}", 500},
        {"{\"error\":{\"code\":-503}}", 500},
        {"{\"error\":{\"code\":99999999999999999999999}}", 500},
        // not errors
        {"{\"id\":\"x\",\"error\":null,\"choices\":[]}", 0},
        {"{\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\": 503\"}}]}", 0},
        {"{\"choices\":[{\"delta\":{\"content\":\"error\"}}]}", 0},
        {"{\"choices\":[{\"error\":{\"code\":503}}]}", 0},
        {"[DONE]", 0},
        {"", 0},
        {"{\"error\":", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int status = openai_event_error_status(slice_of_str(rows[i].data));
        if (status != rows[i].status) {
            fail_msg("%s: %d, not %d", rows[i].data, status, rows[i].status);
        }
    }
}

static void paths_name_operations(void **state)
{
    (void)state;
    assert_int_equal(openai_operation_of(SLICE("/v1/chat/completions")), OPENAI_CHAT_COMPLETIONS);
    assert_int_equal(openai_operation_of(SLICE("/team/v1/completions")), OPENAI_COMPLETIONS);
    assert_int_equal(openai_operation_of(SLICE("/v1/embeddings")), OPENAI_EMBEDDINGS);
    assert_int_equal(openai_operation_of(SLICE("/v1/responses")), OPENAI_RESPONSES);
    assert_int_equal(openai_operation_of(SLICE("/v1/models")), OPENAI_MODELS);
    assert_int_equal(openai_operation_of(SLICE("/v1/chat/completions/x")), OPENAI_OTHER);
    assert_int_equal(openai_operation_of(SLICE("")), OPENAI_OTHER);
}

static void assert_close(const char *asked, const char *const *names, const char *want)
{
    struct openai_close_names close;
    openai_close_names_init(&close, slice_of_str(asked));
    for (; *names != NULL; names++) {
        openai_close_names_offer(&close, slice_of_str(*names));
    }
    struct strbuf out;
    strbuf_init(&out, 1024);
    openai_close_names_write(&close, &out);
    assert_text(&out, want);
}

static void close_names_are_offered_best_first(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-5-mini", "llama-3.1-70b", "llama-3.3-70b",
                                        "llama-3.3-8b", "mistral-7b",  NULL};
    assert_close("llama-3.3-70B", names,
                 "; did you mean \"llama-3.3-70b\", \"llama-3.1-70b\" or \"llama-3.3-8b\"?");
    assert_close("mistral", names, "; did you mean \"mistral-7b\"?");
    assert_close("whisper", names, "");
    assert_close("", names, "");
}

static void absurd_names_cost_nothing(void **state)
{
    (void)state;
    char longest[5000];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    const char *const names[] = {"aaaa", longest, NULL};
    assert_close(longest, names, "");
    assert_close("aaab", names, "; did you mean \"aaaa\"?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_has_the_form_that_clients_parse),
        cmocka_unit_test(errors_in_streams_stand_for_a_status),
        cmocka_unit_test(paths_name_operations),
        cmocka_unit_test(close_names_are_offered_best_first),
        cmocka_unit_test(absurd_names_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
