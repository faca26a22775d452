#include "http/grpc.h"

#include <errno.h>

enum { MESSAGE_MAX = 1024, TIMEOUT_DIGITS = 8 };

bool grpc_content_type(struct slice value)
{
    ptrdiff_t semicolon = slice_find_byte(value, ';');
    if (semicolon >= 0) {
        value = slice_first(value, (size_t)semicolon);
    }
    value = slice_trim(value);
    struct slice base = SLICE("application/grpc");
    return slice_ieq(slice_first(value, base.len), base) &&
           (value.len == base.len || (value.ptr[base.len] == '+' && value.len > base.len + 1));
}

// Nanoseconds of a unit; 0: none.
static uint64_t unit_ns(char unit)
{
    switch (unit) {
    case 'H':
        return UINT64_C(3600000000000);
    case 'M':
        return UINT64_C(60000000000);
    case 'S':
        return UINT64_C(1000000000);
    case 'm':
        return UINT64_C(1000000);
    case 'u':
        return UINT64_C(1000);
    case 'n':
        return 1;
    default:
        return 0;
    }
}

int grpc_timeout_ms(struct slice value, uint64_t *ret_ms)
{
    uint64_t number;
    if (value.len < 2 || value.len > TIMEOUT_DIGITS + 1) {
        return -EINVAL;
    }
    uint64_t unit = unit_ns(value.ptr[value.len - 1]);
    if (unit == 0 || slice_to_u64(slice_first(value, value.len - 1), &number) != 0) {
        return -EINVAL;
    }
    const uint64_t ms = unit_ns('m');
    *ret_ms = unit >= ms ? number * (unit / ms) : (number * unit + ms - 1) / ms;
    return 0;
}

enum grpc_status grpc_status_parse(struct slice value)
{
    uint64_t number;
    if (value.len > 2 || slice_to_u64(value, &number) != 0 || number > GRPC_STATUS_MAX) {
        return GRPC_UNKNOWN;
    }
    return (enum grpc_status)number;
}

enum grpc_status grpc_status_of_http(unsigned status)
{
    switch (status) {
    case 400:
    case 500:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
    case 405:
    case 501:
        return GRPC_UNIMPLEMENTED;
    case 413:
        return GRPC_RESOURCE_EXHAUSTED;
    case 422:
        return GRPC_INVALID_ARGUMENT;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    case 499:
        return GRPC_CANCELLED;
    default:
        return GRPC_UNKNOWN;
    }
}

unsigned grpc_status_blames(enum grpc_status status)
{
    switch (status) {
    case GRPC_UNAVAILABLE:
        return 503;
    case GRPC_RESOURCE_EXHAUSTED:
        return 429;
    case GRPC_UNKNOWN:
    case GRPC_INTERNAL:
    case GRPC_DATA_LOSS:
        return 500;
    default:
        return 200;
    }
}

static struct slice encode_message(struct slice text, struct arena *arena)
{
    static const char digits[] = "0123456789ABCDEF";
    text = slice_first(text, MESSAGE_MAX);
    char *out = arena_bytes(arena, 3 * text.len);
    if (out == NULL) {
        return SLICE_NULL;
    }
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '%') {
            out[len++] = (char)c;
        } else {
            out[len++] = '%';
            out[len++] = digits[c >> 4];
            out[len++] = digits[c & 15];
        }
    }
    return slice_of(out, len);
}

static struct slice status_text(enum grpc_status status, struct arena *arena)
{
    char digits[SLICE_U64_MAX];
    return arena_dup(arena, slice_of(digits, slice_print_u64(status, digits)));
}

size_t grpc_answer(enum grpc_status status, struct slice text, struct arena *arena,
                   struct http_header fields[GRPC_ANSWER_FIELDS])
{
    fields[0] = (struct http_header){.name = SLICE("content-type"),
                                     .value = SLICE("application/grpc"),
                                     .token = HTTP_TOKEN_CONTENT_TYPE};
    struct slice code = status_text(status, arena);
    fields[1] = (struct http_header){.name = SLICE("grpc-status"),
                                     .value = code.ptr != NULL ? code : SLICE("2")};
    struct slice message = encode_message(text, arena);
    if (message.len == 0) {
        return 2;
    }
    fields[2] = (struct http_header){.name = SLICE("grpc-message"), .value = message};
    return 3;
}
