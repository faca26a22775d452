#include "proxy/hold.h"

#include "ai/shutdown_words.h"
#include "proxy/attempt.h"
#include "proxy/reply.h"

// Which retry condition a status is; 0 = none.
static uint32_t status_condition(unsigned status)
{
    if (status == 429 || status == 503) {
        return SNAP_RETRY_OVERLOADED;
    }
    return status >= 500 ? SNAP_RETRY_SERVER_ERROR : 0;
}

bool hold_judge(struct request *request, unsigned status, struct slice text)
{
    uint32_t condition = status_condition(status);
    if (shutdown_words_found(status, text)) {
        attempt_report(request, HEALTH_REPORT_LEAVING);
        condition = SNAP_RETRY_OVERLOADED; // it did nothing, and will do nothing
    } else if (condition == SNAP_RETRY_OVERLOADED) {
        attempt_report(request, HEALTH_REPORT_OVERLOADED);
    } else {
        attempt_report(request, status >= 500 ? HEALTH_REPORT_ERROR : HEALTH_REPORT_OK);
    }
    return condition != 0 && attempt_again(request, condition);
}

// Of the server, and not merely a want of room.
static bool is_error(unsigned status)
{
    return status_condition(status) == SNAP_RETRY_SERVER_ERROR;
}

bool hold_waits(unsigned status, bool sse)
{
    return is_error(status) || (sse && status == 200);
}

// An error that came as the first event of a 200: the status that it names counts.
static bool first_event_is_error(struct request *request, struct slice event, bool *ret_gone)
{
    struct slice data = sse_event_data(event);
    int named = data.ptr != NULL ? openai_event_error_status(data) : 0;
    if (named <= 0) {
        return false;
    }
    *ret_gone = true;
    if (!hold_judge(request, (unsigned)named, data)) {
        // The slice may lie in `held`, which the reply throws away.
        struct slice body = arena_dup(&request->arena, data);
        if (body.ptr != NULL) {
            reply_json(request, (unsigned)named, body);
        } else {
            reply_fault(request, FAULT_INTERNAL, SLICE(""));
        }
    }
    return true;
}

// Collects the first event that has data. Comments before it are passed on with it.
static enum hold hold_first_event(struct request *request, char *data, size_t len, bool done)
{
    size_t at = 0;
    size_t event_start = 0;
    bool in_held = request->held.len > request->held_head;
    while (at < len) {
        size_t n = sse_scan_event_end(&request->events, slice_of(data + at, len - at));
        if (n == 0) {
            break;
        }
        at += n;
        struct slice event = slice_of(data + event_start, at - event_start);
        if (in_held) {
            strbuf_add(&request->held, slice_of(data, at));
            if (request->held.failed) {
                reply_fault(request, FAULT_INTERNAL, SLICE(""));
                return HOLD_GONE;
            }
            event = slice_skip(strbuf_slice(&request->held), request->held_head);
        }
        bool gone = false;
        bool has_data = sse_event_data(event).ptr != NULL;
        if (has_data && first_event_is_error(request, event, &gone)) {
            return HOLD_GONE;
        }
        if (in_held) {
            request->held.len -= at; // it goes out from the receive buffer
        }
        if (has_data) {
            return HOLD_GO;
        }
        event_start = at;
        in_held = false;
    }
    if (done || request->held.len - request->held_head + len > REQUEST_FIRST_EVENT_MAX) {
        return HOLD_GO;
    }
    strbuf_add(&request->held, slice_of(data, len));
    if (request->held.failed) {
        reply_fault(request, FAULT_INTERNAL, SLICE(""));
        return HOLD_GONE;
    }
    return HOLD_MORE;
}

// Collects the body of an error, which is looked at before anybody sees it. A long one is not read
// to its end.
static enum hold hold_error(struct request *request, char *data, size_t len, bool done)
{
    size_t held = request->held.len - request->held_head;
    bool enough = done || held + len > REQUEST_ERROR_BODY_MAX;
    struct slice body = slice_of(data, len);
    if (held != 0 || !enough) {
        strbuf_add(&request->held, body);
        if (request->held.failed) {
            reply_fault(request, FAULT_INTERNAL, SLICE(""));
            return HOLD_GONE;
        }
        body = slice_skip(strbuf_slice(&request->held), request->held_head);
    }
    if (!enough) {
        return HOLD_MORE;
    }
    if (hold_judge(request, request->status, body)) {
        return HOLD_GONE;
    }
    if (held != 0) {
        request->held.len -= len; // it goes out from the receive buffer
    }
    return HOLD_GO;
}

enum hold hold_back(struct request *request, char *data, size_t len, bool done)
{
    if (is_error(request->status)) {
        return hold_error(request, data, len, done);
    }
    if (!request->sse || request->status != 200) {
        return HOLD_GO;
    }
    enum hold hold = hold_first_event(request, data, len, done);
    if (hold == HOLD_GO) {
        attempt_report(request, HEALTH_REPORT_OK);
    }
    return hold;
}
