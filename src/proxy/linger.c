#include "proxy/linger.h"

#include <errno.h>

#include "proxy/downstream.h"
#include "proxy/worker.h"

enum { LINGER_MS = 2000, LINGER_BYTES = 4 * 1024 * 1024, READS_A_TURN = 16 };

static void on_resume(struct task *task, void *arg);

static void resume(struct downstream *down)
{
    loop_task_set(down->stream.worker->loop, &down->resume, on_resume, down);
}

// Everything was sent.
static void shut(struct downstream *down)
{
    if (down->hung_up) {
        downstream_close(down);
        return;
    }
    down->lingered = 0;
    transport_shutdown(&down->transport);
    downstream_set_deadline(down, LINGER_MS);
}

// Also while the last answer is being sent: a client that first sends all of its body, and then
// reads, would otherwise wait for us.
static void discard(struct downstream *down)
{
    char *data = worker_receive_buffer(down->stream.worker);
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t n = transport_recv(&down->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            return;
        }
        down->hung_up = down->hung_up || n == 0;
        if (n == 0 && down->out.len != 0) {
            return; // it may still read
        }
        down->lingered += n > 0 ? (uint64_t)n : 0;
        if (n <= 0 || (down->lingered > LINGER_BYTES && down->out.len == 0)) {
            downstream_close(down);
            return;
        }
    }
    resume(down); // others wait
}

static void on_resume(struct task *task, void *arg)
{
    (void)task;
    discard(arg);
}

static void on_readable(struct downstream *down, uint32_t events)
{
    (void)events;
    discard(down);
}

static void on_deadline(struct downstream *down)
{
    if (down->out.len != 0 && downstream_progressed_lately(down)) {
        downstream_set_deadline(down, down->stream.worker->config->write_timeout_ms);
    } else {
        downstream_close(down);
    }
}

static void on_drain(struct downstream *down)
{
    (void)down;
}

static const struct downstream_protocol lingering = {
    .on_readable = on_readable,
    .on_writable = shut,
    .on_broken = downstream_close,
    .on_deadline = on_deadline,
    .drain = on_drain,
    .cut = downstream_close,
};

void linger_start(struct downstream *down)
{
    down->protocol = &lingering;
    down->state = DOWNSTREAM_LINGER;
    down->lingered = 0;
    strbuf_fini(&down->in);
    (void)downstream_charge(down);
    loop_task_cancel(down->stream.worker->loop, &down->resume);
    if (down->out.len != 0) {
        downstream_set_deadline(down, down->stream.worker->config->write_timeout_ms);
    } else {
        shut(down);
    }
    if (!down->stream.closed && !down->hung_up) {
        resume(down); // its edge may have been seen already
    }
}
