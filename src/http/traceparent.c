#include "http/traceparent.h"

enum {
    VERSION_END = 2,
    TRACE_ID_END = 35,
    PARENT_ID_END = 52,
    STATE_BYTES_MAX = 512,
    STATE_MEMBERS_MAX = 32,
};

static bool is_lower_hex(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return false;
        }
    }
    return true;
}

static bool is_all_zero(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '0') {
            return false;
        }
    }
    return true;
}

bool traceparent_is_valid(struct slice value)
{
    if (value.len < TRACEPARENT_LEN || value.ptr[VERSION_END] != '-' ||
        value.ptr[TRACE_ID_END] != '-' || value.ptr[PARENT_ID_END] != '-') {
        return false;
    }
    struct slice version = slice_first(value, VERSION_END);
    struct slice trace_id = slice_first(slice_skip(value, VERSION_END + 1), 32);
    struct slice parent_id = slice_first(slice_skip(value, TRACE_ID_END + 1), 16);
    struct slice flags = slice_first(slice_skip(value, PARENT_ID_END + 1), 2);
    bool longer = value.len > TRACEPARENT_LEN;
    if (longer && (slice_eq(version, SLICE("00")) || value.ptr[TRACEPARENT_LEN] != '-')) {
        return false;
    }
    return is_lower_hex(version) && !slice_eq(version, SLICE("ff")) && is_lower_hex(trace_id) &&
           !is_all_zero(trace_id) && is_lower_hex(parent_id) && !is_all_zero(parent_id) &&
           is_lower_hex(flags);
}

static bool is_printable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static size_t members_of(struct slice value)
{
    size_t members = 0;
    struct slice part;
    while (slice_split(&value, ',', &part)) {
        members += slice_trim(part).len > 0;
    }
    return members;
}

struct slice traceparent_find(const struct http_header *headers, size_t count,
                              bool *ret_pass_state)
{
    struct slice parent = SLICE_NULL;
    size_t parents = 0;
    size_t bytes = 0;
    size_t members = 0;
    bool printable = true;
    for (size_t i = 0; i < count; i++) {
        if (headers[i].token == HTTP_TOKEN_TRACEPARENT) {
            parent = headers[i].value;
            parents++;
        } else if (headers[i].token == HTTP_TOKEN_TRACESTATE) {
            bytes += headers[i].value.len;
            members += members_of(headers[i].value);
            printable = printable && is_printable(headers[i].value);
        }
    }
    bool valid = parents == 1 && traceparent_is_valid(parent);
    *ret_pass_state =
        valid && printable && bytes <= STATE_BYTES_MAX && members <= STATE_MEMBERS_MAX;
    return valid ? parent : SLICE_NULL;
}

// 16 digits of a number that is not 0.
static char *put_id(char *out, struct rand_state *rng)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t id = rand_u64(rng);
    id = id != 0 ? id : 1;
    for (int shift = 60; shift >= 0; shift -= 4) {
        *out++ = digits[id >> shift & 15];
    }
    return out;
}

void traceparent_make(struct rand_state *rng, char out[TRACEPARENT_LEN])
{
    memcpy(out, "00-", 3);
    char *at = put_id(put_id(out + 3, rng), rng);
    *at++ = '-';
    at = put_id(at, rng);
    memcpy(at, "-01", 3);
}
