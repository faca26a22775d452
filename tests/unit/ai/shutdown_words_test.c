#include "ai/shutdown_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_server_that_goes_is_recognised_by_its_words(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *body;
        bool found;
    } rows[] = {
        // vLLM 0.24 after SIGTERM with --shutdown-timeout, as it was seen.
        {500,
         "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\","
         "\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}",
         true},
        {500, "{\"object\":\"error\",\"message\":\"cannot schedule new futures after shutdown\"}",
         true},
        {500, "{\"detail\":\"cannot schedule new futures after interpreter shutdown\"}", true},
        {500, " cannot schedule new futures after shutdown\n", true},
        {500, "{\"error\":\"EngineCore encountered an issue. See stack trace (above) for …\"}",
         true},
        {503, "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\"}}", true},
        // Not an error of the server.
        {400, "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\"}}", false},
        // Only quoted, by a prompt perhaps.
        {500, "{\"error\":{\"message\":\"bad prompt: cannot schedule new futures after\"}}", false},
        {500, "{\"error\":{\"prompt\":\"cannot schedule new futures after shutdown\"}}", false},
        {500, "{\"choices\":[{\"message\":\"cannot schedule new futures after\"}]}", false},
        // Other errors, broken ones, none.
        {500, "{\"error\":{\"message\":\"CUDA out of memory\"}}", false},
        {500, "{\"error\":{\"message\":\"cannot schedule new futures after", false},
        {500, "{", false},
        {500, "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool found = shutdown_words_found(rows[i].status, slice_of_str(rows[i].body));
        if (found != rows[i].found) {
            fail_msg("%u %s", rows[i].status, rows[i].body);
        }
    }
}

static void a_long_body_is_not_looked_through(void **state)
{
    (void)state;
    static char body[SHUTDOWN_WORDS_BODY_MAX + 2];
    memset(body, 'x', sizeof(body) - 1);
    memcpy(body, "cannot schedule new futures after", 33);
    assert_false(shutdown_words_found(500, slice_of(body, SHUTDOWN_WORDS_BODY_MAX + 1)));
    assert_true(shutdown_words_found(500, slice_of(body, SHUTDOWN_WORDS_BODY_MAX)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_goes_is_recognised_by_its_words),
        cmocka_unit_test(a_long_body_is_not_looked_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
