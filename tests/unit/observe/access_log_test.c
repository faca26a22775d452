// The access log: valid JSON whatever clients send, whole lines, and a slow reader stops nobody.
#include "observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct access_record sample(void)
{
    return (struct access_record){
        .wall_ns = UINT64_C(1767323045678901234),
        .request_id = SLICE("req-1"),
        .client = SLICE("10.0.0.9"),
        .method = SLICE("POST"),
        .path = SLICE("/v1/chat/completions"),
        .host = SLICE("api.example.com"),
        .user_agent = SLICE("curl/8"),
        .status = 200,
        .model = SLICE("llama"),
        .route = SLICE("ml/chat"),
        .rule = SLICE("all"),
        .backend = SLICE("ml/llama"),
        .endpoint = SLICE("10.0.0.1:8000"),
        .attempts = 2,
        .fallback = true,
        .stream = true,
        .ttft_ns = 1234567,
        .duration_ns = UINT64_C(9876543210),
        .bytes_in = 300,
        .bytes_out = 4000,
        .has_usage = true,
        .prompt_tokens = 21,
        .completion_tokens = 6,
        .cached_tokens = 16,
        .outcome = "ok",
    };
}

// What the file behind `path` holds; the caller frees.
static char *slurp(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    *ret_len = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    return text;
}

static int open_temp(char *path)
{
    int made = mkstemp(path);
    assert_true(made >= 0);
    close(made);
    int fd;
    struct error err;
    assert_int_equal(access_log_open(path, &fd, &err), 0);
    return fd;
}

static char *log_one(const struct access_record *record)
{
    char path[] = "/tmp/access-log-XXXXXX";
    int fd = open_temp(path);
    struct access_log *log = access_log_new(fd);
    assert_non_null(log);
    access_log_write(log, record);
    access_log_flush(log);
    access_log_free(log);
    close(fd);
    size_t len;
    char *text = slurp(path, &len);
    unlink(path);
    assert_true(len > 0 && text[len - 1] == '\n');
    return text;
}

static void a_line_holds_every_field(void **state)
{
    (void)state;
    struct access_record record = sample();
    char *text = log_one(&record);
    assert_string_equal(
        text,
        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"request_id\":\"req-1\",\"client\":\"10.0.0.9\","
        "\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"host\":\"api.example.com\","
        "\"status\":200,\"outcome\":\"ok\",\"model\":\"llama\",\"route\":\"ml/chat\","
        "\"rule\":\"all\",\"backend\":\"ml/llama\",\"endpoint\":\"10.0.0.1:8000\",\"attempts\":2,"
        "\"fallback\":true,\"stream\":true,\"ttft_ms\":1.234,\"duration_ms\":9876.543,"
        "\"bytes_in\":300,\"bytes_out\":4000,\"prompt_tokens\":21,\"completion_tokens\":6,"
        "\"cached_tokens\":16,\"user_agent\":\"curl/8\"}\n");
    free(text);
}

static void what_is_unknown_is_left_out(void **state)
{
    (void)state;
    struct access_record record = {.wall_ns = 0, .outcome = "header_timeout", .status = 408};
    char *text = log_one(&record);
    assert_string_equal(text, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"status\":408,"
                              "\"outcome\":\"header_timeout\",\"duration_ms\":0.000,"
                              "\"bytes_in\":0,\"bytes_out\":0}\n");
    free(text);
}

static void hostile_texts_stay_one_valid_line(void **state)
{
    (void)state;
    char all[256];
    char longest[100000];
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    memset(longest, '\n', sizeof(longest));
    struct slice texts[] = {slice_of(all, sizeof(all)), slice_of(longest, sizeof(longest)),
                            SLICE("\",\"status\":200,\"x\":\"")};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct access_record record = {
            .request_id = texts[i], .client = texts[i], .method = texts[i], .path = texts[i],
            .host = texts[i], .user_agent = texts[i], .model = texts[i],
            .upstream_model = texts[i], .route = texts[i], .rule = texts[i],
            .backend = texts[i], .endpoint = texts[i],
            .status = 404, .attempts = UINT_MAX, .fallback = true, .stream = true,
            .ttft_ns = UINT64_MAX, .duration_ns = UINT64_MAX, .bytes_in = UINT64_MAX,
            .bytes_out = UINT64_MAX, .has_usage = true, .prompt_tokens = UINT64_MAX,
            .completion_tokens = UINT64_MAX, .cached_tokens = UINT64_MAX, .outcome = "ok",
        };
        char *text = log_one(&record);
        assert_true(strlen(text) <= ACCESS_LOG_LINE_MAX);
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        struct json_object *json = json_tokener_parse(text);
        assert_non_null(json);
        assert_int_equal(json_object_get_int(json_object_object_get(json, "status")), 404);
        json_object_put(json);
        free(text);
    }
}

static void a_full_buffer_goes_out_by_itself(void **state)
{
    (void)state;
    char path[] = "/tmp/access-log-XXXXXX";
    int fd = open_temp(path);
    struct access_log *log = access_log_new(fd);
    struct access_record record = sample();
    for (int i = 0; i < 1000; i++) {
        access_log_write(log, &record);
    }
    assert_int_equal(access_log_take_dropped(log), 0);
    access_log_flush(log);
    access_log_free(log);
    close(fd);
    size_t len;
    char *text = slurp(path, &len);
    size_t lines = 0;
    for (size_t i = 0; i < len; i++) {
        lines += text[i] == '\n' ? 1 : 0;
    }
    assert_int_equal(lines, 1000);
    free(text);
    unlink(path);
}

// Nobody reads the pipe: lines are dropped and counted, writes to it are whole lines.
static void a_slow_reader_never_makes_the_writer_wait(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0); // blocking, as standard output is
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 16384) >= 0);
    struct access_log *log = access_log_new(fds[1]);
    struct access_record record = sample();
    int lines_written = 1000;
    for (int i = 0; i < lines_written; i++) {
        access_log_write(log, &record); // would hang here
    }
    access_log_flush(log);
    int64_t dropped = (int64_t)access_log_take_dropped(log);
    assert_true(dropped > 0);
    int64_t lines = 0;
    char buf[65536];
    bool ends_whole = true;
    for (struct pollfd p = {.fd = fds[0], .events = POLLIN}; poll(&p, 1, 0) == 1;) {
        ssize_t n = read(fds[0], buf, sizeof(buf));
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            lines += buf[i] == '\n' ? 1 : 0;
        }
        ends_whole = buf[n - 1] == '\n';
        access_log_flush(log); // the reader woke up: the rest follows
    }
    assert_true(ends_whole);
    assert_int_equal(lines + dropped, lines_written);
    access_log_free(log);
    close(fds[0]);
    close(fds[1]);
}

static void places_to_write_to(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    int fd = 99;
    assert_int_equal(access_log_open("off", &fd, &err), 0);
    assert_int_equal(fd, -1);
    assert_int_equal(access_log_open("stdout", &fd, &err), 0);
    assert_true(fd > STDERR_FILENO);
    close(fd);
    fd = 99;
    assert_int_equal(access_log_open("/nonexistent/folder/log", &fd, &err), -ENOENT);
    assert_int_equal(fd, 99);
    assert_non_null(strstr(err.text, "/nonexistent/folder/log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_holds_every_field),
        cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(hostile_texts_stay_one_valid_line),
        cmocka_unit_test(a_full_buffer_goes_out_by_itself),
        cmocka_unit_test(a_slow_reader_never_makes_the_writer_wait),
        cmocka_unit_test(places_to_write_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
