#include "proxy/mirror.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "observe/metrics.h"
#include "proxy/attempt.h"
#include "proxy/mute_stream.h"
#include "proxy/worker.h"

struct mirror {
    struct stream stream;
    struct list_node node; // of worker.mirrors, then of worker.closed_mirrors
    size_t size;
    char peer[64];
    struct snap_client who; // of the client whose request it was
};

// ---- the stream that nobody reads -------------------------------------------------------------

static int take(struct stream *stream, const struct stream_output *output)
{
    stream->bytes_out += output->head.len + output->first.len + output->len;
    return stream->bytes_out <= MIRROR_ANSWER_MAX ? 0 : -EFBIG;
}

static void on_reap(struct task *task, void *arg)
{
    (void)task;
    mirror_reap(arg);
}

static void end(struct stream *stream)
{
    struct mirror *mirror = container_of(stream, struct mirror, stream);
    struct worker *worker = stream->worker;
    stream->closed = true;
    list_remove(&mirror->node);
    worker->mirror_count--;
    worker->mirror_bytes -= mirror->size;
    list_push_back(&worker->closed_mirrors, &mirror->node);
    loop_task_set(worker->loop, &worker->reap_mirrors, on_reap, worker);
}

static const struct stream_ops mirror_ops = {
    .send = take,
    .send_interim = mute_send_interim,
    .blocked = mute_blocked,
    .want_body = mute_want_body,
    .done = mute_done,
    .close = end,
};

void mirror_reap(struct worker *worker)
{
    while (!list_empty(&worker->closed_mirrors)) {
        struct mirror *mirror = list_first(&worker->closed_mirrors, struct mirror, node);
        list_remove(&mirror->node);
        free(mirror);
    }
}

void mirror_cut_all(struct worker *worker)
{
    while (!list_empty(&worker->mirrors)) {
        struct mirror *mirror = list_first(&worker->mirrors, struct mirror, node);
        request_abort(mirror->stream.request, FAULT_SHUTDOWN);
    }
}

// ---- copies -------------------------------------------------------------------------------------

// There is room for it, and what the worker holds for clients leaves enough.
static bool fits(const struct worker *worker, size_t size)
{
    return worker->mirror_count < MIRRORS_MAX && size <= MIRROR_BODY_MAX &&
           worker->mirror_bytes + size <= MIRROR_BYTES_MAX &&
           worker->buffered_bytes <= worker->config->max_buffered_bytes / 2;
}

// What goes on in both directions for as long as it likes is no use to anybody later.
static bool is_call(const struct request *request)
{
    return request->head.upgrade.ptr == NULL && !request->grpc;
}

bool mirror_takes(const struct request *request)
{
    uint64_t most = MIN_OF((uint64_t)MIRROR_BODY_MAX, request->worker->config->max_body_bytes);
    return is_call(request) && request->head.framing != HTTP_FRAMING_CHUNKED &&
           request->head.content_length <= most;
}

static struct mirror *mirror_new(struct worker *worker, const struct stream *client, size_t size)
{
    struct mirror *mirror = calloc(1, sizeof(*mirror));
    if (mirror == NULL) {
        return NULL;
    }
    snprintf(mirror->peer, sizeof(mirror->peer), "%s", client->peer);
    mirror->who = *client->who;
    mirror->size = size;
    mirror->stream.ops = &mirror_ops;
    mirror->stream.worker = worker;
    mirror->stream.peer = mirror->peer;
    mirror->stream.who = &mirror->who;
    mirror->stream.version = client->version;
    worker->mirror_count++;
    worker->mirror_bytes += size;
    list_push_back(&worker->mirrors, &mirror->node);
    return mirror;
}

static void count(struct worker *worker, enum metric how)
{
    metrics_add(worker->metrics, how, 1);
}

void mirror_start(const struct request *request)
{
    struct worker *worker = request->worker;
    const struct snap_rule *rule = request->rule;
    size_t size = request->input_size + request->body.len;
    if (rand_below(&worker->rng, 100) >= rule->mirror_percent) {
        return;
    }
    if (rule->mirror->backend == NULL || !request->body_complete || !request->body_buffered ||
        request->input == NULL || !is_call(request) || !fits(worker, size)) {
        count(worker, METRIC_MIRRORS_DROPPED);
        return;
    }
    struct mirror *mirror = mirror_new(worker, request->client, size);
    if (mirror == NULL) {
        count(worker, METRIC_MIRRORS_DROPPED);
        return;
    }
    struct request *copy = request_copy(request, &mirror->stream, REQUEST_MIRROR);
    if (copy == NULL) {
        end(&mirror->stream);
        return;
    }
    copy->deadline_ms = worker_now_ms(worker) + MIRROR_TIME_MAX_MS;
    attempt_copy(copy, rule->mirror);
}

void mirror_settle(const struct request *copy)
{
    bool good = copy->answered && copy->fault == FAULT_NONE && copy->status < 500;
    count(copy->worker, good                                     ? METRIC_MIRRORS_ANSWERED
                        : copy->fault == FAULT_REQUEST_TIMEOUT ? METRIC_MIRRORS_CUT
                                                                 : METRIC_MIRRORS_FAILED);
}
