#include "observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/log_limit.h"

enum { POLL_MS = 200 };

struct chunk {
    size_t len;
    char text[ACCESS_LOG_CHUNK];
};

// Chunks [drained, filled) are the writer's, the one at `filled` is the worker's to fill.
struct access_log_lane {
    struct access_log *log;
    struct access_line line;
    uint64_t slow; // the worker's
    uint64_t failed_told;
    // Release when a chunk is whole; acquire by the writer.
    CACHE_ALIGNED _Atomic uint64_t filled;
    // Release when a chunk is free again; acquire by the worker.
    CACHE_ALIGNED _Atomic uint64_t drained;
    _Atomic uint64_t failed; // the writer's; a count that says nothing else: relaxed
    struct chunk chunks[ACCESS_LOG_CHUNKS];
};

struct access_log {
    char *path; // NULL: standard output
    int fd;
    int wake_fd;
    bool is_file; // else a pipe, a socket, a terminal: asked for room before each write
    bool torn;    // the last line is not whole
    pthread_t thread;
    struct log_limit limit;
    atomic_bool reopen;
    _Atomic uint64_t stop_ms; // 0 = go on; else give up from then on
    unsigned lane_count;
    struct access_log_lane lanes[];
};

// ---- the worker's side --------------------------------------------------------------------------

static void wake(struct access_log *log)
{
    uint64_t one = 1;
    ssize_t n = write(log->wake_fd, &one, sizeof(one));
    (void)n; // EAGAIN: the counter is full, so the thread is being woken anyway
}

static struct chunk *lane_chunk(struct access_log_lane *lane, uint64_t number)
{
    return &lane->chunks[number % ACCESS_LOG_CHUNKS];
}

// False: the writer still has all others.
static bool hand_over(struct access_log_lane *lane)
{
    uint64_t filled = atomic_load_explicit(&lane->filled, memory_order_relaxed);
    // Acquire pairs with the release in drain: the chunk is not read any more.
    uint64_t drained = atomic_load_explicit(&lane->drained, memory_order_acquire);
    if (filled + 1 - drained >= ACCESS_LOG_CHUNKS) {
        return false;
    }
    lane_chunk(lane, filled + 1)->len = 0;
    // Release pairs with the acquire in drain: the text is seen whole.
    atomic_store_explicit(&lane->filled, filled + 1, memory_order_release);
    wake(lane->log);
    return true;
}

void access_log_write(struct access_log_lane *lane, const struct access_record *record)
{
    uint64_t filled = atomic_load_explicit(&lane->filled, memory_order_relaxed);
    struct chunk *chunk = lane_chunk(lane, filled);
    if (ACCESS_LOG_CHUNK - chunk->len < ACCESS_LINE_MAX) {
        if (!hand_over(lane)) {
            lane->slow++;
            return;
        }
        chunk = lane_chunk(lane, filled + 1);
    }
    chunk->len += access_line_write(&lane->line, record, chunk->text + chunk->len);
}

void access_log_flush(struct access_log_lane *lane)
{
    uint64_t filled = atomic_load_explicit(&lane->filled, memory_order_relaxed);
    if (lane_chunk(lane, filled)->len != 0) {
        (void)hand_over(lane); // later, then
    }
}

struct access_log_lost access_log_take_lost(struct access_log_lane *lane)
{
    uint64_t failed = atomic_load_explicit(&lane->failed, memory_order_relaxed);
    struct access_log_lost lost = {.slow = lane->slow, .failed = failed - lane->failed_told};
    lane->slow = 0;
    lane->failed_told = failed;
    return lost;
}

struct access_log_lane *access_log_lane(struct access_log *log, unsigned index)
{
    return log != NULL ? &log->lanes[index] : NULL;
}

// ---- the writer's side --------------------------------------------------------------------------

static int open_place(const char *path)
{
    // Not blocking, so that a FIFO without a reader is an error and no wait.
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return path == NULL ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, flags, 0640);
}

static void take_place(struct access_log *log, int fd)
{
    struct stat info;
    log->fd = fd;
    log->is_file = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    log->torn = false;
}

static void reopen_if_asked(struct access_log *log)
{
    if (!atomic_exchange_explicit(&log->reopen, false, memory_order_relaxed) || log->path == NULL) {
        return;
    }
    int fd = open_place(log->path);
    if (fd < 0) {
        log_error("the access log cannot be opened again, the old file stays",
                  LOG_STR("file", log->path), LOG_STR("error", strerror(errno)));
        return;
    }
    close(log->fd);
    take_place(log, fd);
    log_info("the access log was opened again", LOG_STR("file", log->path));
}

static bool gave_up(const struct access_log *log)
{
    // Relaxed: a moment later is as good.
    uint64_t stop = atomic_load_explicit(&log->stop_ms, memory_order_relaxed);
    return stop != 0 && clock_mono_ms() >= stop;
}

// Waits until the place takes something, or it is time to give up.
static bool wait_for_room(const struct access_log *log)
{
    while (!gave_up(log)) {
        struct pollfd out = {.fd = log->fd, .events = POLLOUT};
        if (poll(&out, 1, POLL_MS) == 1) {
            return true; // an error too: the write tells which
        }
    }
    return false;
}

// 0, or -errno: *ret_written bytes went out all the same.
static int write_all(struct access_log *log, const char *text, size_t len, size_t *ret_written)
{
    size_t at = 0;
    int rc = 0;
    while (at < len && rc == 0) {
        if (!log->is_file && !wait_for_room(log)) {
            rc = -ETIMEDOUT;
            break;
        }
        // A pipe with room takes PIPE_BUF bytes without making us wait (pipe(7)).
        size_t piece = log->is_file ? len - at : MIN_OF(len - at, (size_t)PIPE_BUF);
        ssize_t n = write(log->fd, text + at, piece);
        if (n >= 0) {
            at += (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            rc = -errno;
        }
    }
    *ret_written = at;
    return rc;
}

static size_t count_lines(const char *p, size_t len)
{
    size_t lines = 0;
    const char *end = p + len;
    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
        lines++;
    }
    return lines;
}

static void complain(struct access_log *log, int error)
{
    static const char message[] = "the access log cannot be written, lines are lost";
    const char *where = log->path != NULL ? log->path : "stdout";
    if (log_limit_allows(&log->limit, LOG_LEVEL_ERROR, message, SLICE_NULL, clock_mono_ms())) {
        log_error(message, LOG_STR("where", where), LOG_STR("error", strerror(error)));
    }
}

static void write_chunk(struct access_log_lane *lane, const struct chunk *chunk)
{
    struct access_log *log = lane->log;
    size_t written = 0;
    int rc = 0;
    if (log->torn) { // so that what follows begins a line
        rc = write_all(log, "\n", 1, &written);
        log->torn = written == 0;
        written = 0;
    }
    if (rc == 0) {
        rc = write_all(log, chunk->text, chunk->len, &written);
        log->torn = written != 0 ? chunk->text[written - 1] != '\n' : log->torn;
    }
    if (rc != 0) {
        uint64_t lost = count_lines(chunk->text + written, chunk->len - written);
        uint64_t failed = atomic_load_explicit(&lane->failed, memory_order_relaxed);
        atomic_store_explicit(&lane->failed, failed + lost, memory_order_relaxed);
        complain(log, -rc);
    }
}

// At the end the chunk that is being filled is taken too: nobody fills it any more.
static void drain(struct access_log_lane *lane, bool at_end)
{
    // Acquire pairs with the release in hand_over.
    uint64_t filled = atomic_load_explicit(&lane->filled, memory_order_acquire);
    uint64_t at = atomic_load_explicit(&lane->drained, memory_order_relaxed);
    for (; at < filled; at++) {
        reopen_if_asked(lane->log);
        write_chunk(lane, lane_chunk(lane, at));
        // Release pairs with the acquire in hand_over.
        atomic_store_explicit(&lane->drained, at + 1, memory_order_release);
    }
    if (at_end && lane_chunk(lane, at)->len != 0) {
        write_chunk(lane, lane_chunk(lane, at));
    }
}

static void *writer_main(void *arg)
{
    struct access_log *log = arg;
    pthread_setname_np(pthread_self(), "access-log");
    bool stopping = false;
    while (!stopping) {
        struct pollfd in = {.fd = log->wake_fd, .events = POLLIN};
        if (poll(&in, 1, LOG_LIMIT_MS) == 1) {
            uint64_t count;
            ssize_t n = read(log->wake_fd, &count, sizeof(count));
            (void)n;
        }
        // Acquire pairs with the release in access_log_stop: what workers wrote before is seen, so
        // one more round takes all of it.
        stopping = atomic_load_explicit(&log->stop_ms, memory_order_acquire) != 0;
        reopen_if_asked(log);
        for (unsigned i = 0; i < log->lane_count; i++) {
            drain(&log->lanes[i], stopping);
        }
        log_limit_sweep(&log->limit, clock_mono_ms());
    }
    return NULL;
}

// ---- life ---------------------------------------------------------------------------------------

static void log_free(struct access_log *log)
{
    if (log->fd >= 0) {
        close(log->fd);
    }
    if (log->wake_fd >= 0) {
        close(log->wake_fd);
    }
    free(log->path);
    free(log);
}

static struct access_log *log_new(enum access_format format, unsigned lanes)
{
    size_t size = sizeof(struct access_log) + lanes * sizeof(struct access_log_lane);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct access_log *log = aligned_alloc(CACHE_LINE, size);
    if (log == NULL) {
        return NULL;
    }
    memset(log, 0, sizeof(*log));
    log->fd = -1;
    log->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log->lane_count = lanes;
    for (unsigned i = 0; i < lanes; i++) {
        struct access_log_lane *lane = &log->lanes[i];
        memset(lane, 0, offsetof(struct access_log_lane, chunks)); // the texts are not touched yet
        lane->log = log;
        access_line_init(&lane->line, format);
        lane->chunks[0].len = 0;
    }
    return log;
}

static int start_writer(struct access_log *log, const char *where, struct error *err)
{
    bool is_stdout = strcmp(where, "-") == 0 || strcmp(where, "stdout") == 0;
    log->path = is_stdout ? NULL : strdup(where);
    if (log->wake_fd < 0 || (!is_stdout && log->path == NULL)) {
        return error_set(err, -ENOMEM, "out of memory or files");
    }
    int fd = open_place(log->path);
    if (fd < 0) {
        return error_set(err, -errno, "cannot open the access log %s: %s", where, strerror(errno));
    }
    take_place(log, fd);
    int code = pthread_create(&log->thread, NULL, writer_main, log);
    return code == 0 ? 0 : error_set(err, -code, "cannot start a thread: %s", strerror(code));
}

int access_log_start(const char *where, enum access_format format, unsigned lanes,
                     struct access_log **ret_log, struct error *err)
{
    if (strcmp(where, "off") == 0) {
        *ret_log = NULL;
        return 0;
    }
    struct access_log *log = log_new(format, lanes);
    if (log == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int rc = start_writer(log, where, err);
    if (rc != 0) {
        log_free(log);
        return rc;
    }
    *ret_log = log;
    return 0;
}

void access_log_reopen(struct access_log *log)
{
    atomic_store_explicit(&log->reopen, true, memory_order_relaxed);
    wake(log);
}

void access_log_stop(struct access_log *log)
{
    if (log == NULL) {
        return;
    }
    // Release pairs with the acquire in writer_main.
    atomic_store_explicit(&log->stop_ms, clock_mono_ms() + ACCESS_LOG_STOP_MS,
                          memory_order_release);
    wake(log);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2 * ACCESS_LOG_STOP_MS / 1000;
    if (pthread_timedjoin_np(log->thread, NULL, &until) != 0) {
        pthread_detach(log->thread); // stuck in the kernel: what it uses stays with it
        return;
    }
    log_free(log);
}
