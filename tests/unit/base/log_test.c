// Every call gives exactly one line, whatever the fields hold.
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static char line[20000];
static int saved_stderr;
static int pipe_fds[2];

static void capture_begin(void)
{
    assert_int_equal(pipe(pipe_fds), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    close(pipe_fds[1]);
    clock_fake_set_ns(UINT64_C(1000000000000000000));
}

static void capture_end(void)
{
    clock_fake_set_ns(0);
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    size_t len = 0;
    ssize_t n;
    while ((n = read(pipe_fds[0], line + len, sizeof line - 1 - len)) > 0) {
        len += (size_t)n;
    }
    line[len] = '\0';
    close(pipe_fds[0]);
}

static void text_lines_quote_what_needs_it(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin();
    log_info("listening", LOG_STR("address", "127.0.0.1:80"), LOG_U64("workers", 2),
             LOG_STR("name", "a \"b\"\n\xff\xc3\xa4"), LOG_BOOL("tls", true), LOG_STR("empty", ""));
    log_debug("not at this level");
    capture_end();
    assert_string_equal(line, "2001-09-09T01:46:40.000Z info  listening address=127.0.0.1:80 "
                              "workers=2 name=\"a \\\"b\\\"\\n\xef\xbf\xbd\xc3\xa4\" tls=true "
                              "empty=\"\"\n");
}

static void json_lines_are_json(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    capture_begin();
    log_warn("a \"message\"", LOG_STR("s", "x\x01\xe2\x82"), LOG_I64("i", -1), LOG_F64("f", 0.5));
    capture_end();
    assert_string_equal(line, "{\"time\":\"2001-09-09T01:46:40.000Z\",\"level\":\"warn\","
                              "\"message\":\"a \\\"message\\\"\",\"s\":\"x\\u0001\xef\xbf\xbd"
                              "\xef\xbf\xbd\",\"i\":-1,\"f\":0.5}\n");
}

static void long_fields_leave_the_line_whole(void **state)
{
    (void)state;
    char quotes[1025];
    memset(quotes, '"', sizeof quotes - 1);
    quotes[sizeof quotes - 1] = '\0';
    for (size_t shorter = 0; shorter < 1024; shorter += 31) {
        for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
            log_setup(LOG_LEVEL_INFO, (enum log_format)format);
            capture_begin();
            log_error("m", LOG_STR("a", quotes), LOG_STR("b", quotes + shorter), LOG_STR("c", "d"));
            capture_end();
            size_t len = strlen(line);
            assert_true(len <= 4096);
            assert_int_equal(line[len - 1], '\n');
            assert_null(memchr(line, '\n', len - 1));
            if (format == LOG_FORMAT_JSON) {
                assert_string_equal(line + len - 2, "}\n");
            }
            // The second field is there whole, or not at all.
            assert_true(line[len - 2] == 'd' || line[len - 2] == '"' || line[len - 2] == '}');
        }
    }
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

static void the_level_changes_at_run_time(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin();
    log_debug("one");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("two");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("three");
    log_error("four");
    capture_end();
    assert_string_equal(line, "2001-09-09T01:46:40.000Z debug two\n"
                              "2001-09-09T01:46:40.000Z error four\n");
    assert_string_equal(log_level_name(log_current_level()), "error");
    log_set_level(LOG_LEVEL_INFO);
}

// Nobody reads: the writer would wait for ever here.
static void a_full_pipe_drops_lines_and_says_so_later(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    capture_begin();
    for (int i = 0; i < 1000; i++) {
        log_info(text);
    }
    char buf[4096];
    size_t lines = 0;
    for (int i = 0; i < 3; i++) { // makes room for a few
        ssize_t n = read(pipe_fds[0], buf, sizeof(buf));
        for (ssize_t k = 0; k < n; k++) {
            lines += buf[k] == '\n' ? 1 : 0;
        }
    }
    log_info("last");
    int saved = fcntl(pipe_fds[0], F_GETFL);
    assert_int_equal(fcntl(pipe_fds[0], F_SETFL, saved | O_NONBLOCK), 0);
    static char all[1 << 20];
    size_t len = 0;
    for (ssize_t n; (n = read(pipe_fds[0], all + len, sizeof(all) - 1 - len)) > 0;) {
        len += (size_t)n;
    }
    all[len] = '\0';
    capture_end();
    for (size_t k = 0; k < len; k++) {
        lines += all[k] == '\n' ? 1 : 0;
    }
    unsigned long long dropped = 0;
    const char *said = strstr(all, "warn  log lines were dropped lines=");
    assert_non_null(said);
    dropped = strtoull(said + strlen("warn  log lines were dropped lines="), NULL, 10);
    assert_non_null(strstr(said, " info  last\n"));
    assert_int_equal(lines + dropped, 1002); // all of them, what was said of them, and the last
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_INFO;
    assert_int_equal(log_level_parse(SLICE("error"), &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_true(log_level_parse(SLICE("Error"), &level) < 0);
    assert_true(log_level_parse(SLICE(""), &level) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines_quote_what_needs_it),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(long_fields_leave_the_line_whole),
        cmocka_unit_test(the_level_changes_at_run_time),
        cmocka_unit_test(a_full_pipe_drops_lines_and_says_so_later),
        cmocka_unit_test(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
