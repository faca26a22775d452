// Why a model stopped, in whatever pieces the answer arrives.
#include "ai/finish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    const char *want;
} rows[] = {
    {"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n"
     "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
     "length"},
    {"{\"choices\":[{\"finish_reason\" : \n\"tool_calls\",\"index\":0}]}", "tool_calls"},
    {"{\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":null}]}", "stop"},
    {"{\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":\"length\"}]}", "length"},
    // what only looks like it
    {"{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}", ""},
    {"{\"finish_reasons\":\"stop\",\"xfinish_reason\":\"stop\"}", ""},
    {"{\"x\":\"finish_reason\",\"stop\":1}", ""},
    // no word, too long, not ended
    {"{\"finish_reason\":\"a b\"}", ""},
    {"{\"finish_reason\":\"aaaaaaaaaaaaaaaaaaaaaaaaa\"}", ""},
    {"{\"finish_reason\":\"stop", ""},
    // a false start right before the real one
    {"{\"content\":\"\"\"finish\"finish_reason\":\"stop\"}", "stop"},
    {"", ""},
};

static void every_form_in_every_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice text = slice_of_str(rows[i].text);
        for (size_t step = 1; step <= text.len + 1; step++) {
            struct finish_scan scan = {0};
            for (size_t at = 0; at < text.len; at += step) {
                finish_feed(&scan, slice_first(slice_skip(text, at), step));
            }
            if (!slice_eq_str(finish_reason(&scan), rows[i].want)) {
                fail_msg("row %zu in pieces of %zu: \"%.*s\"", i, step,
                         SLICE_FMT(finish_reason(&scan)));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_in_every_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
