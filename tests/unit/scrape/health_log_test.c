#include "scrape/health_log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "endpoint/endpoint.h"

// What the log wrote to stderr, line by line counted.
struct capture {
    int saved;
    char path[64];
};

static void capture_begin(struct capture *capture)
{
    snprintf(capture->path, sizeof(capture->path), "/tmp/health-log-test-XXXXXX");
    int fd = mkstemp(capture->path);
    assert_true(fd >= 0);
    capture->saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static size_t capture_end(struct capture *capture, char *text, size_t size)
{
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    FILE *file = fopen(capture->path, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, size - 1, file);
    fclose(file);
    unlink(capture->path);
    text[len] = '\0';
    size_t lines = 0;
    for (size_t i = 0; i < len; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static void take(struct health_log *log, enum health_change change, unsigned times)
{
    static char key[] = "ml/llama";
    static struct endpoint endpoint = {.text = "10.0.0.1:8000", .pod = "llama-0"};
    static struct backend_state backend = {.key = key};
    struct health_event event = {.change = change, .backend = &backend, .endpoint = &endpoint,
                                 .reason = HEALTH_REASON_SLOW, .for_ms = 30000, .times = 2};
    for (unsigned i = 0; i < times; i++) {
        health_log_take(log, &event);
    }
}

static void lines_say_who_and_why_and_are_limited(void **state)
{
    (void)state;
    static struct health_log log;
    char text[16384];
    struct capture capture;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);

    capture_begin(&capture);
    take(&log, HEALTH_CHANGE_EJECTED, 1);
    health_log_flush(&log, 100000);
    assert_int_equal(capture_end(&capture, text, sizeof(text)), 1);
    assert_non_null(strstr(text, "endpoint ejected"));
    assert_non_null(strstr(text, "backend=ml/llama endpoint=10.0.0.1:8000 pod=llama-0"));
    assert_non_null(strstr(text, "for_ms=30000 in_row=2"));

    capture_begin(&capture);
    take(&log, HEALTH_CHANGE_RETURNED, 50); // more than it keeps
    health_log_flush(&log, 100100);
    assert_int_equal(capture_end(&capture, text, sizeof(text)), HEALTH_LOG_LINES_MAX - 1);
    assert_non_null(strstr(text, "suppressed=30"));

    capture_begin(&capture);
    take(&log, HEALTH_CHANGE_HEALTHY, 3);
    health_log_flush(&log, 100200); // the same while
    assert_int_equal(capture_end(&capture, text, sizeof(text)), 0);

    capture_begin(&capture);
    take(&log, HEALTH_CHANGE_HEALTHY, 2);
    health_log_flush(&log, 100000 + HEALTH_LOG_WHILE_MS);
    assert_int_equal(capture_end(&capture, text, sizeof(text)), 2);
    assert_non_null(strstr(text, "suppressed=4")); // one of those before, and three
    assert_null(strstr(strstr(text, "\n"), "suppressed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_say_who_and_why_and_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
