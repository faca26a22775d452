// The access log's lanes and its thread: whole lines, and whatever the place does, nobody waits.
#include "observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static const struct access_record record = {.path = SLICE("/v1/chat/completions"),
                                            .status = 200,
                                            .outcome = "ok"};

struct place {
    char path[64];
    char moved[80];
};

static struct place place_new(void)
{
    struct place place = {.path = "/tmp/access-log-XXXXXX"};
    int fd = mkstemp(place.path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(place.moved, sizeof(place.moved), "%s.1", place.path);
    return place;
}

static struct access_log *start(const char *where, unsigned lanes)
{
    struct access_log *log = NULL;
    struct error err = ERROR_INIT;
    assert_int_equal(access_log_start(where, ACCESS_JSON, lanes, &log, &err), 0);
    assert_non_null(log);
    return log;
}

// Lines of the file; all of them are whole.
static size_t lines_of(const char *path)
{
    char line[ACCESS_LINE_MAX + 2];
    size_t lines = 0;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        assert_int_equal(line[0], '{');
        assert_string_equal(line + strlen(line) - 2, "}\n");
        lines++;
    }
    fclose(file);
    return lines;
}

static void lines_of_all_lanes_arrive(void **state)
{
    (void)state;
    struct place place = place_new();
    struct access_log *log = start(place.path, 2);
    for (int i = 0; i < 50; i++) {
        access_log_write(access_log_lane(log, 0), &record);
        access_log_write(access_log_lane(log, 1), &record);
    }
    access_log_flush(access_log_lane(log, 0)); // the other is taken at the end
    access_log_stop(log);
    assert_int_equal(lines_of(place.path), 100);
    unlink(place.path);
}

static void pause_ms(long ms)
{
    struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

// More than all chunks hold, with pauses in which the thread catches up.
static void full_chunks_go_out_by_themselves(void **state)
{
    (void)state;
    struct place place = place_new();
    struct access_log *log = start(place.path, 1);
    struct access_log_lane *lane = access_log_lane(log, 0);
    uint64_t lost = 0;
    for (int i = 0; i < 20000; i++) {
        access_log_write(lane, &record);
    }
    lost += access_log_take_lost(lane).slow;
    access_log_stop(log);
    assert_int_equal(lines_of(place.path) + lost, 20000);
    unlink(place.path);
}

// Standard output is a pipe for a while.
static int pipe_as_stdout(int *ret_saved)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 16384) >= 0);
    fflush(stdout);
    *ret_saved = dup(STDOUT_FILENO);
    assert_true(dup2(fds[1], STDOUT_FILENO) >= 0);
    close(fds[1]);
    return fds[0];
}

static void stdout_again(int saved)
{
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
}

// Nobody reads the pipe: lines are dropped and counted, the writer is never waited for.
static void a_slow_reader_never_makes_a_worker_wait(void **state)
{
    (void)state;
    int saved;
    int reader = pipe_as_stdout(&saved);
    struct access_log *log = start("stdout", 1);
    stdout_again(saved); // the log has its own by now
    struct access_log_lane *lane = access_log_lane(log, 0);
    enum { WRITTEN = 5000 };
    for (int i = 0; i < WRITTEN; i++) {
        access_log_write(lane, &record); // would hang here
    }
    uint64_t dropped = access_log_take_lost(lane).slow;
    assert_true(dropped > 0);
    // The reader wakes up: what was kept arrives, and new lines do.
    uint64_t lines = 0;
    char buf[65536];
    struct pollfd in = {.fd = reader, .events = POLLIN};
    while (lines + dropped < WRITTEN) {
        access_log_flush(lane);
        if (poll(&in, 1, 100) == 1) {
            ssize_t n = read(reader, buf, sizeof(buf));
            assert_true(n > 0);
            for (ssize_t i = 0; i < n; i++) {
                lines += buf[i] == '\n' ? 1 : 0;
            }
        }
    }
    assert_int_equal(lines + dropped, WRITTEN);
    assert_int_equal(access_log_take_lost(lane).failed, 0);
    access_log_stop(log);
    close(reader);
}

static uint64_t wait_for_failures(struct access_log_lane *lane, uint64_t want)
{
    uint64_t failed = 0;
    for (int i = 0; i < 5000 && failed < want; i++) {
        failed += access_log_take_lost(lane).failed;
        pause_ms(2);
    }
    return failed;
}

static void a_reader_that_is_gone_costs_lines_only(void **state)
{
    (void)state;
    int saved;
    int reader = pipe_as_stdout(&saved);
    struct access_log *log = start("stdout", 1);
    stdout_again(saved);
    close(reader);
    struct access_log_lane *lane = access_log_lane(log, 0);
    for (int i = 0; i < 3; i++) {
        access_log_write(lane, &record);
    }
    access_log_flush(lane);
    assert_int_equal(wait_for_failures(lane, 3), 3);
    access_log_stop(log);
}

// The file may not grow, as on a full disk; later it may. What follows a torn line begins anew.
static void a_full_disk_costs_lines_only(void **state)
{
    (void)state;
    struct place place = place_new();
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 250, .rlim_max = before.rlim_max};
    struct access_log *log = start(place.path, 1);
    struct access_log_lane *lane = access_log_lane(log, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 4; i++) {
        access_log_write(lane, &record);
    }
    access_log_flush(lane);
    uint64_t failed = wait_for_failures(lane, 1);
    assert_true(failed >= 1 && failed < 4);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    access_log_write(lane, &record);
    access_log_stop(log);
    char text[4096] = "";
    FILE *file = fopen(place.path, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    assert_true(len > 250);
    const char *last = memrchr(text, '\n', len - 1);
    assert_non_null(last);
    assert_int_equal(last[1], '{');
    unlink(place.path);
}

static void a_renamed_file_is_left_when_asked(void **state)
{
    (void)state;
    struct place place = place_new();
    struct access_log *log = start(place.path, 1);
    struct access_log_lane *lane = access_log_lane(log, 0);
    assert_int_equal(rename(place.path, place.moved), 0);
    access_log_reopen(log);
    struct stat info;
    for (int i = 0; i < 5000 && stat(place.path, &info) != 0; i++) {
        pause_ms(2);
    }
    access_log_write(lane, &record);
    access_log_stop(log);
    assert_int_equal(lines_of(place.moved), 0);
    assert_int_equal(lines_of(place.path), 1);
    unlink(place.path);
    unlink(place.moved);
}

static void places_to_write_to(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct access_log *log = (struct access_log *)&err;
    assert_int_equal(access_log_start("off", ACCESS_JSON, 1, &log, &err), 0);
    assert_null(log);
    assert_null(access_log_lane(NULL, 0));
    access_log_stop(NULL);
    assert_int_equal(access_log_start("/nonexistent/folder/log", ACCESS_JSON, 1, &log, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/folder/log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_all_lanes_arrive),
        cmocka_unit_test(full_chunks_go_out_by_themselves),
        cmocka_unit_test(a_slow_reader_never_makes_a_worker_wait),
        cmocka_unit_test(a_reader_that_is_gone_costs_lines_only),
        cmocka_unit_test(a_full_disk_costs_lines_only),
        cmocka_unit_test(a_renamed_file_is_left_when_asked),
        cmocka_unit_test(places_to_write_to),
    };
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
