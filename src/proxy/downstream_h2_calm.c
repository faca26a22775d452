// What a client connection over HTTP/2 may say that moves no request on.
//
// Such frames are paid from an allowance that requests fill: floods of them (CVE-2019-9511 and its
// kin, CVE-2023-44487) end the connection with ENHANCE_YOUR_CALM. All frames are counted as they
// arrive, also those that nghttp2 skips without a word.
#include "observe/metrics.h"
#include "proxy/downstream_h2_stream.h"
#include "proxy/warn.h"
#include "proxy/worker.h"

enum {
    A_SECOND = 100,
    COST_FRAME = 1, // a PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown type …
    COST_CONTINUATION = 4,
    FILL_AT_MOST_MS = 60000,
};

void h2_calm_init(struct h2_calm *calm, uint64_t now_ms)
{
    *calm = (struct h2_calm){.left = H2_CALM_MAX, .filled_ms = now_ms};
    h2_frames_init(&calm->frames, H2_PREFACE_LEN);
}

void h2_calm_earn(struct h2_server *server, int amount)
{
    struct h2_calm *calm = &server->calm;
    calm->left = MIN_OF(calm->left + amount, (int64_t)H2_CALM_MAX);
}

static void fill(struct h2_calm *calm, uint64_t now)
{
    uint64_t passed = MIN_OF(now - calm->filled_ms, (uint64_t)FILL_AT_MOST_MS);
    int64_t amount = (int64_t)passed * A_SECOND / 1000;
    if (amount > 0) {
        calm->left = MIN_OF(calm->left + amount, (int64_t)H2_CALM_MAX);
        calm->filled_ms = now;
    }
}

void h2_calm_spend(struct h2_server *server, int64_t cost)
{
    struct worker *worker = server->down->stream.worker;
    struct h2_calm *calm = &server->calm;
    if (server->flooded || cost == 0) {
        return;
    }
    fill(calm, worker_now_ms(worker));
    calm->left -= cost;
    if (calm->left >= 0) {
        return;
    }
    server->flooded = true;
    server->leaving = true;
    metrics_add(worker->metrics, METRIC_HTTP2_FLOODS, 1);
    warn_flood(worker, server->down->peer);
    h2_server_must(server,
                   nghttp2_session_terminate_session(server->session, NGHTTP2_ENHANCE_YOUR_CALM));
}

bool h2_calm_is_message(uint8_t type, uint8_t flags, size_t length)
{
    return type == NGHTTP2_HEADERS ||
           (type == NGHTTP2_DATA && (length != 0 || (flags & NGHTTP2_FLAG_END_STREAM) != 0));
}

static int64_t cost_of(const struct h2_frame_seen *seen)
{
    return seen->type == NGHTTP2_RST_STREAM     ? H2_CALM_RESET
           : seen->type == NGHTTP2_CONTINUATION ? COST_CONTINUATION
                                                : COST_FRAME;
}

bool h2_calm_before(struct h2_server *server, const char *data, size_t len)
{
    struct h2_frame_seen seen;
    size_t at = 0;
    int64_t cost = 0;
    while (h2_frames_next(&server->calm.frames, data, len, &at, &seen)) {
        if (h2_calm_is_message(seen.type, seen.flags, seen.length)) {
            server->calm.skipped++;
        } else {
            cost += cost_of(&seen);
        }
    }
    h2_calm_spend(server, cost);
    return !server->flooded;
}

void h2_calm_taken(struct h2_server *server)
{
    server->calm.skipped--;
}

void h2_calm_after(struct h2_server *server)
{
    int64_t skipped = server->calm.skipped;
    server->calm.skipped = 0;
    if (skipped > 0) {
        h2_calm_spend(server, skipped * COST_FRAME);
    } else {
        h2_calm_earn(server, (int)-skipped * COST_FRAME); // its head came with the bytes before
    }
}
