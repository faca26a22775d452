// What repeats is written once, then counted.
#include "base/log_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char message[] = "it failed";

static bool ask(struct log_limit *limit, const char *key, uint64_t now_ms)
{
    return log_limit_allows(limit, LOG_LEVEL_WARN, message, slice_of_str(key), now_ms);
}

// What a sweep writes to standard error.
static const char *sweep(struct log_limit *limit, uint64_t now_ms)
{
    static char text[20000];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
    log_limit_sweep(limit, now_ms);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0;) {
        len += (size_t)n;
    }
    close(fds[0]);
    text[len] = '\0';
    return text;
}

static void of_each_key_one_line_is_written(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    assert_true(ask(&limit, "a", 1000));
    assert_false(ask(&limit, "a", 1001));
    assert_true(ask(&limit, "b", 1001));
    assert_false(ask(&limit, "a", 5000));
    assert_string_equal(sweep(&limit, 10999), "");
    const char *said = sweep(&limit, 11000);
    assert_non_null(strstr(said, "the same again like=\"it failed\" key=a more=2 seconds=10\n"));
    assert_null(strstr(said, "key=b")); // it came once: all was said
    assert_true(ask(&limit, "a", 11000));
    assert_true(ask(&limit, "b", 12000));
}

static void what_is_below_the_level_is_not_counted(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    log_set_level(LOG_LEVEL_ERROR);
    assert_false(ask(&limit, "a", 0));
    log_set_level(LOG_LEVEL_INFO);
    assert_true(ask(&limit, "a", 0));
}

static void too_many_keys_share_one(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    char key[300];
    memset(key, 'k', sizeof(key));
    unsigned written = 0;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, 20, "%u", i);
        key[strlen(key)] = '-';
        key[sizeof(key) - 1] = '\0';
        written += ask(&limit, key, 0) ? 1 : 0;
    }
    assert_int_equal(written, LOG_LIMIT_KEYS + 1);
    char want[100];
    snprintf(want, sizeof(want), "key=others more=%d", 1000 - LOG_LIMIT_KEYS - 1);
    assert_non_null(strstr(sweep(&limit, LOG_LIMIT_MS), want));
    assert_true(ask(&limit, "new", LOG_LIMIT_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_each_key_one_line_is_written),
        cmocka_unit_test(what_is_below_the_level_is_not_counted),
        cmocka_unit_test(too_many_keys_share_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
