// Frames are told wherever the pieces are cut.
#include "http/h2_frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static const char wire[] = "PRI" // skipped
                           "\0\0\0\x04\0\0\0\0\0"         // SETTINGS, empty
                           "\0\0\x05\0\x01\0\0\0\x03hello" // DATA
                           "\0\x01\x02\xbe\xff\0\0\0\0";   // of no known kind, 258 bytes
enum { WIRE = sizeof(wire) - 1, LAST = 258, TOTAL = WIRE + LAST + H2_FRAME_HEAD };

static void each_frame_is_told_once_wherever_it_is_cut(void **state)
{
    (void)state;
    static const struct h2_frame_seen want[] = {
        {0, 4, 0}, {5, 0, 1}, {LAST, 0xbe, 0xff}, {0, 4, 1}};
    char data[TOTAL] = {0};
    memcpy(data, wire, WIRE);
    memcpy(data + WIRE + LAST, "\0\0\0\x04\x01\0\0\0", H2_FRAME_HEAD); // SETTINGS, ACK
    for (size_t piece = 1; piece <= TOTAL; piece++) {
        struct h2_frames frames;
        size_t count = 0;
        h2_frames_init(&frames, 3);
        for (size_t start = 0; start < TOTAL; start += piece) {
            size_t len = MIN_OF(piece, (size_t)TOTAL - start);
            size_t at = 0;
            struct h2_frame_seen seen;
            while (h2_frames_next(&frames, data + start, len, &at, &seen)) {
                assert_true(count < ARRAY_LEN(want));
                assert_int_equal(seen.length, want[count].length);
                assert_int_equal(seen.type, want[count].type);
                assert_int_equal(seen.flags, want[count].flags);
                count++;
            }
            assert_int_equal(at, len);
        }
        assert_int_equal(count, ARRAY_LEN(want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_frame_is_told_once_wherever_it_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
