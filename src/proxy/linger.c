#include "proxy/linger.h"

#include <errno.h>

#include "proxy/downstream.h"
#include "proxy/worker.h"

enum { LINGER_MS = 1000, LINGER_BYTES = 4 * 1024 * 1024 };

static void on_readable(struct downstream *down, uint32_t events)
{
    (void)events;
    char *data = worker_receive_buffer(down->stream.worker);
    while (down->lingered <= LINGER_BYTES) {
        ssize_t n = transport_recv(&down->transport, data, SCRATCH_SIZE);
        if (n == -EAGAIN) {
            return;
        }
        if (n <= 0) {
            break;
        }
        down->lingered += (uint64_t)n;
    }
    downstream_close(down);
}

static void on_nothing(struct downstream *down)
{
    (void)down;
}

static const struct downstream_protocol lingering = {
    .on_readable = on_readable,
    .on_writable = on_nothing,
    .on_broken = downstream_close,
    .on_deadline = downstream_close,
    .drain = on_nothing,
    .cut = downstream_close,
};

void linger_start(struct downstream *down)
{
    down->protocol = &lingering;
    down->lingered = 0;
    transport_shutdown(&down->transport);
    downstream_set_deadline(down, LINGER_MS);
    on_readable(down, 0); // its edge may have been seen already
}
