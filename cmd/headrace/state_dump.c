#include "state_dump.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/state.h"
#include "base/log.h"
#include "proxy/dump.h"

enum { TEXT_MAX = 16 * 1024 * 1024, PATIENCE_MS = 2000 };

struct state_dump {
    struct admin_config config;
    struct epoch_reader *reader;
    pthread_t thread;
    bool started;        // and not joined yet
    atomic_bool running; // release by the thread at its end, acquire by who would start another
};

// Gives up when nobody takes anything for PATIENCE_MS.
static void write_out(const struct strbuf *text)
{
    size_t at = 0;
    while (at < text->len) {
        struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (poll(&out, 1, PATIENCE_MS) != 1) {
            return;
        }
        // A pipe with room takes PIPE_BUF bytes without making us wait (pipe(7)).
        ssize_t n = write(STDERR_FILENO, text->ptr + at, MIN_OF(text->len - at, (size_t)PIPE_BUF));
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return;
        }
        at += n > 0 ? (size_t)n : 0;
    }
}

static void *dump_main(void *arg)
{
    struct state_dump *dump = arg;
    struct strbuf text;
    strbuf_init(&text, TEXT_MAX);
    epoch_enter(dump->config.epoch, dump->reader);
    state_write(&dump->config, DUMP_MOST_DEFAULT, &text);
    epoch_leave(dump->reader);
    strbuf_add_char(&text, '\n');
    if (text.failed) {
        log_warn("the live state is too large, or memory is short");
    } else {
        write_out(&text);
    }
    strbuf_fini(&text);
    atomic_store_explicit(&dump->running, false, memory_order_release);
    return NULL;
}

int state_dump_new(const struct admin_config *config, struct state_dump **ret_dump,
                   struct error *err)
{
    struct state_dump *dump = calloc(1, sizeof(*dump));
    if (dump == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    dump->config = *config;
    int rc = epoch_add_reader(config->epoch, &dump->reader);
    if (rc != 0) {
        free(dump);
        return error_set(err, rc, "too many threads");
    }
    *ret_dump = dump;
    return 0;
}

static void join(struct state_dump *dump)
{
    if (dump->started) {
        pthread_join(dump->thread, NULL);
        dump->started = false;
    }
}

void state_dump_start(struct state_dump *dump)
{
    if (atomic_load_explicit(&dump->running, memory_order_acquire)) {
        return;
    }
    join(dump);
    atomic_store_explicit(&dump->running, true, memory_order_relaxed);
    int code = pthread_create(&dump->thread, NULL, dump_main, dump);
    dump->started = code == 0;
    if (code != 0) {
        atomic_store_explicit(&dump->running, false, memory_order_relaxed);
        log_warn("the live state cannot be written", LOG_STR("error", strerror(code)));
    }
}

void state_dump_free(struct state_dump *dump)
{
    if (dump != NULL) {
        join(dump);
        free(dump);
    }
}
