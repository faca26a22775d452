#include "http/sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

// Counts the event ends in text fed in pieces of `step`; ends[] gets their offsets.
static size_t ends_of(struct slice text, size_t step, size_t *ends)
{
    struct sse_scan scan = {.state = 0};
    size_t count = 0;
    for (size_t at = 0; at < text.len; at += step) {
        size_t len = text.len - at < step ? text.len - at : step;
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, text.ptr + at, len);
        size_t used = 0;
        size_t hit;
        while (used < len &&
               (hit = sse_scan_event_end(&scan, slice_of(copy + used, len - used))) > 0) {
            used += hit;
            ends[count++] = at + used;
        }
        free(copy);
    }
    return count;
}

static void events_end_at_blank_lines_of_any_kind(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t count;
        size_t ends[4];
    } rows[] = {
        {"data: a\n\n", 1, {9}},
        {"data: a\r\n\r\n", 1, {11}},
        {"data: a\r\r", 1, {9}},
        {"data: a\n\r\n", 1, {10}},
        {"data: a\r\n\ndata: b\n\n", 2, {10, 19}},
        {"data: a\n\ndata: b\n\ndata: [DONE]\n\n", 3, {9, 18, 32}},
        {"event: x\ndata: {\"a\": \"b\\n\\n\"}\n: c\n\n", 1, {35}},
        {"data: a\n", 0, {0}},
        {"data: a\r\n", 0, {0}},
        {"data: 0123456789abcdef0123456789abcdef0123456789\n\nx", 1, {50}},
        {": ping\n\n: ping\n\n", 2, {8, 16}},
        {"\n", 1, {1}},
    };
    size_t ends[64];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice text = slice_of_str(rows[i].text);
        for (size_t step = 1; step <= text.len; step++) {
            size_t count = ends_of(text, step, ends);
            if (count != rows[i].count) {
                fail_msg("row %zu, step %zu: %zu events", i, step, count);
            }
            for (size_t k = 0; k < count; k++) {
                // A blank CR ends the event before its LF is known, when the piece ends between.
                bool split = text.ptr[rows[i].ends[k] - 1] == '\n' && rows[i].ends[k] >= 2 &&
                             text.ptr[rows[i].ends[k] - 2] == '\r' &&
                             ends[k] + 1 == rows[i].ends[k];
                if (ends[k] != rows[i].ends[k] && !split) {
                    fail_msg("row %zu, step %zu: event %zu ends at %zu", i, step, k, ends[k]);
                }
            }
        }
    }
}

static void data_is_the_first_data_line(void **state)
{
    (void)state;
    static const struct {
        const char *event;
        const char *data; // NULL: none
    } rows[] = {
        {"data: {\"a\":1}\n\n", "{\"a\":1}"},
        {"data:{\"a\":1}\r\n\r\n", "{\"a\":1}"},
        {"data:  two\n\n", " two"},
        {"event: error\ndata: x\ndata: y\n\n", "x"},
        {": ping - 2026\n\n", NULL},
        {"event: ping\rdata: z\r\r", "z"},
        {"data:\n\n", ""},
        {"data\n\n", ""},
        {"datax: 1\n\n", NULL},
        {"\ndata: 1\n\n", "1"},
        {"data: [DONE]\n\n", "[DONE]"},
        {"data: [DONE]", "[DONE]"},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice data = sse_event_data(slice_of_str(rows[i].event));
        if (rows[i].data == NULL) {
            assert_null(data.ptr);
        } else {
            assert_non_null(data.ptr);
            assert_true(slice_eq_str(data, rows[i].data));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_end_at_blank_lines_of_any_kind),
        cmocka_unit_test(data_is_the_first_data_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
