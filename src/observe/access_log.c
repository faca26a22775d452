#include "observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/clock.h"

// What one text may take in a line, escapes included. The sum of all fits ACCESS_LOG_LINE_MAX.
enum { TEXT_MAX = 384, ID_MAX = 160 };

struct access_log {
    int fd;
    bool is_pipe; // or a socket, a terminal: what may make a writer wait
    size_t len;
    uint64_t dropped;
    uint64_t second; // of the time that `when` holds
    char when[CLOCK_RFC3339_SIZE];
    char buffer[ACCESS_LOG_BUFFER];
};

int access_log_open(const char *where, int *ret_fd, struct error *err)
{
    if (strcmp(where, "off") == 0) {
        *ret_fd = -1;
        return 0;
    }
    bool is_stdout = strcmp(where, "-") == 0 || strcmp(where, "stdout") == 0;
    int fd = is_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                       : open(where, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0) {
        return error_set(err, -errno, "cannot open the access log %s: %s", where, strerror(errno));
    }
    *ret_fd = fd;
    return 0;
}

struct access_log *access_log_new(int fd)
{
    struct access_log *log = malloc(sizeof(*log));
    if (log == NULL) {
        return NULL;
    }
    struct stat info;
    log->fd = fd;
    log->is_pipe = fstat(fd, &info) != 0 || !S_ISREG(info.st_mode);
    log->len = 0;
    log->dropped = 0;
    log->second = UINT64_MAX;
    return log;
}

void access_log_free(struct access_log *log)
{
    free(log);
}

uint64_t access_log_take_dropped(struct access_log *log)
{
    uint64_t dropped = log->dropped;
    log->dropped = 0;
    return dropped;
}

// ---- writing out --------------------------------------------------------------------------------

static size_t count_lines(const char *p, size_t len)
{
    size_t lines = 0;
    const char *end = p + len;
    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
        lines++;
    }
    return lines;
}

// Whole lines of at most PIPE_BUF bytes: such a write is atomic, and one does not wait when poll
// says that there is room (pipe(7)).
static size_t pipe_piece(const struct access_log *log, size_t at)
{
    size_t left = log->len - at;
    if (left <= PIPE_BUF) {
        return left;
    }
    const char *newline = memrchr(log->buffer + at, '\n', PIPE_BUF);
    return newline != NULL ? (size_t)(newline - (log->buffer + at)) + 1 : PIPE_BUF;
}

static bool has_room(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    return poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT) != 0;
}

void access_log_flush(struct access_log *log)
{
    size_t at = 0;
    while (at < log->len && (!log->is_pipe || has_room(log->fd))) {
        size_t piece = log->is_pipe ? pipe_piece(log, at) : log->len - at;
        ssize_t n = write(log->fd, log->buffer + at, piece);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (n <= 0) { // the disk is full, or the reader is gone
            log->dropped += count_lines(log->buffer + at, log->len - at);
            at = log->len;
            break;
        }
        at += (size_t)n;
    }
    memmove(log->buffer, log->buffer + at, log->len - at);
    log->len -= at;
}

// ---- formatting ---------------------------------------------------------------------------------

static char *put(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

#define PUT(out, literal) put((out), "" literal, sizeof(literal) - 1)

static char *put_u64(char *out, uint64_t value)
{
    return out + slice_print_u64(value, out);
}

// Nanoseconds as milliseconds with three decimals.
static char *put_ms(char *out, uint64_t ns)
{
    uint64_t us = ns / 1000;
    out = put_u64(out, us / 1000);
    unsigned rest = (unsigned)(us % 1000);
    char decimals[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                        (char)('0' + rest % 10)};
    return put(out, decimals, sizeof(decimals));
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && (unsigned char)c < 0x7f && c != '"' && c != '\\';
}

// How many bytes of the text from `at` on were copied because they are plain, 16 at a time.
static size_t put_plain(char *out, struct slice text, size_t at, size_t room)
{
    size_t done = 0;
#ifdef __SSE2__
    while (text.len - at - done >= 16 && room - done >= 16) {
        const __m128i block =
            _mm_loadu_si128((const __m128i *)(const void *)(text.ptr + at + done));
        // As signed bytes, non-ASCII ones are negative: below the space.
        __m128i bad = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f)));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
        if (_mm_movemask_epi8(bad) != 0) {
            break;
        }
        _mm_storeu_si128((__m128i *)(void *)(out + done), block);
        done += 16;
    }
#else
    (void)out, (void)text, (void)at, (void)room;
#endif
    return done;
}

// The inside of a JSON string, at most max bytes of it. Bytes that are not plain ASCII are escaped
// one by one, as their code points: the line is valid JSON whatever a client sent.
static char *put_text(char *out, struct slice text, size_t max)
{
    static const char hex[] = "0123456789abcdef";
    const char *limit = out + max;
    size_t i = put_plain(out, text, 0, max);
    out += i;
    for (; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (LIKELY(is_plain((char)c))) {
            if (out == limit) {
                return out;
            }
            *out++ = (char)c;
            continue;
        }
        char form[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        size_t len = sizeof(form);
        if (c == '"' || c == '\\') {
            form[1] = (char)c;
            len = 2;
        }
        if ((size_t)(limit - out) < len) {
            return out;
        }
        out = put(out, form, len);
    }
    return out;
}

static char *put_field(char *out, const char *key, size_t key_len, struct slice text, size_t max)
{
    if (text.len == 0) {
        return out;
    }
    out = put(out, key, key_len);
    out = put_text(out, text, max);
    *out++ = '"';
    return out;
}

#define PUT_FIELD(out, key, text, max) \
    put_field((out), ",\"" key "\":\"", sizeof(",\"" key "\":\"") - 1, (text), (max))

// The date changes once a second; the milliseconds are ours.
static char *put_time(struct access_log *log, char *out, uint64_t wall_ns)
{
    uint64_t second = wall_ns / 1000000000u;
    if (log->second != second) {
        clock_format_rfc3339(second * 1000000000u, log->when, sizeof(log->when));
        log->second = second;
    }
    unsigned ms = (unsigned)(wall_ns / 1000000u % 1000u);
    log->when[20] = (char)('0' + ms / 100);
    log->when[21] = (char)('0' + ms / 10 % 10);
    log->when[22] = (char)('0' + ms % 10);
    return put(out, log->when, 24); // "2026-01-02T03:04:05.678Z"
}

static char *put_numbers(char *out, const struct access_record *r)
{
    if (r->attempts != 0) {
        out = put_u64(PUT(out, ",\"attempts\":"), r->attempts);
    }
    if (r->fallback) {
        out = PUT(out, ",\"fallback\":true");
    }
    if (r->stream) {
        out = PUT(out, ",\"stream\":true");
    }
    if (r->ttft_ns != 0) {
        out = put_ms(PUT(out, ",\"ttft_ms\":"), r->ttft_ns);
    }
    out = put_ms(PUT(out, ",\"duration_ms\":"), r->duration_ns);
    out = put_u64(PUT(out, ",\"bytes_in\":"), r->bytes_in);
    out = put_u64(PUT(out, ",\"bytes_out\":"), r->bytes_out);
    if (r->has_usage) {
        out = put_u64(PUT(out, ",\"prompt_tokens\":"), r->prompt_tokens);
        out = put_u64(PUT(out, ",\"completion_tokens\":"), r->completion_tokens);
        out = put_u64(PUT(out, ",\"cached_tokens\":"), r->cached_tokens);
    }
    return out;
}

static char *put_record(struct access_log *log, char *out, const struct access_record *r)
{
    out = put_time(log, PUT(out, "{\"time\":\""), r->wall_ns);
    *out++ = '"';
    out = PUT_FIELD(out, "request_id", r->request_id, ID_MAX);
    out = PUT_FIELD(out, "client", r->client, ID_MAX);
    out = PUT_FIELD(out, "method", r->method, ID_MAX);
    out = PUT_FIELD(out, "path", r->path, TEXT_MAX);
    out = PUT_FIELD(out, "host", r->host, TEXT_MAX);
    out = put_u64(PUT(out, ",\"status\":"), r->status);
    out = PUT_FIELD(out, "outcome", slice_of_str(r->outcome), ID_MAX);
    out = PUT_FIELD(out, "model", r->model, TEXT_MAX);
    out = PUT_FIELD(out, "upstream_model", r->upstream_model, TEXT_MAX);
    out = PUT_FIELD(out, "route", r->route, TEXT_MAX);
    out = PUT_FIELD(out, "rule", r->rule, ID_MAX);
    out = PUT_FIELD(out, "backend", r->backend, TEXT_MAX);
    out = PUT_FIELD(out, "endpoint", r->endpoint, ID_MAX);
    out = put_numbers(out, r);
    out = PUT_FIELD(out, "user_agent", r->user_agent, ID_MAX);
    return PUT(out, "}\n");
}

// Six texts of TEXT_MAX, seven of ID_MAX, then keys (about 230 bytes) and numbers (9 of 24 bytes).
_Static_assert(6 * TEXT_MAX + 7 * ID_MAX + 256 + 9 * 24 + 32 <= ACCESS_LOG_LINE_MAX, "a line fits");

void access_log_write(struct access_log *log, const struct access_record *record)
{
    if (log->len >= ACCESS_LOG_FLUSH_AT) {
        access_log_flush(log);
    }
    if (ACCESS_LOG_BUFFER - log->len < ACCESS_LOG_LINE_MAX) {
        log->dropped++;
        return;
    }
    log->len = (size_t)(put_record(log, log->buffer + log->len, record) - log->buffer);
}
