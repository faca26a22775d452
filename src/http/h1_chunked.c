// Chunked transfer coding, RFC 9112 section 7.1.
#include "http/h1.h"
#include "http/h1_scan.h"

// Extensions and trailers that a peer may send beyond one byte for each byte of data: bounds the
// work for a body that carries next to nothing (compare CVE-2023-39326).
enum { OVERHEAD_MAX = H1_TRAILERS_MAX };

enum state {
    SIZE_FIRST = 0,
    SIZE_MORE,
    EXT_NAME_FIRST,
    EXT_NAME,
    EXT_VALUE_FIRST,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_PAIR,
    EXT_AFTER_QUOTED,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
};

static enum http_reject line_reason(char c, enum http_reject reason)
{
    return c == '\n' ? HTTP_REJECT_BARE_LF : reason;
}

static bool is_text(char c)
{
    return h1_scan_value_scalar(&c, &c + 1) != &c;
}

// Size digits, and what may follow them. White space around extensions is "bad" in the grammar's
// own words, and whoever reads past it may disagree with us: refused.
static enum http_reject step_size(struct h1_chunked *d, char c)
{
    int digit = h1_hex_value(c);
    if (digit >= 0) {
        // 16 digits are 64 bits; the top one stays free, so that sums do not overflow.
        if (d->digits == 16 || d->left >> 59 != 0) {
            return HTTP_REJECT_CHUNK_SIZE;
        }
        d->left = d->left << 4 | (uint64_t)digit;
        d->digits++;
        d->state = SIZE_MORE;
        return HTTP_REJECT_NONE;
    }
    if (d->state == SIZE_FIRST) {
        return line_reason(c, HTTP_REJECT_CHUNK_SIZE);
    }
    if (c == '\r') {
        d->state = SIZE_LF;
    } else if (c == ';') {
        d->state = EXT_NAME_FIRST;
    } else {
        return line_reason(c, HTTP_REJECT_CHUNK_SIZE);
    }
    return HTTP_REJECT_NONE;
}

// The states after a whole name or value.
static bool end_extension(struct h1_chunked *d, char c)
{
    if (c == ';') {
        d->state = EXT_NAME_FIRST;
    } else if (c == '\r') {
        d->state = SIZE_LF;
    } else {
        return false;
    }
    return true;
}

static enum http_reject step_extension(struct h1_chunked *d, char c)
{
    bool token = (h1_class_of(c) & H1_TCHAR) != 0;
    bool fine = true;
    switch ((enum state)d->state) {
    case EXT_NAME_FIRST:
        fine = token;
        d->state = EXT_NAME;
        break;
    case EXT_NAME:
        if (c == '=') {
            d->state = EXT_VALUE_FIRST;
        } else {
            fine = token || end_extension(d, c);
        }
        break;
    case EXT_VALUE_FIRST:
        fine = token || c == '"';
        d->state = token ? EXT_VALUE : EXT_QUOTED;
        break;
    case EXT_VALUE:
        fine = token || end_extension(d, c);
        break;
    case EXT_QUOTED:
        fine = is_text(c);
        if (c == '"') {
            d->state = EXT_AFTER_QUOTED;
        } else if (c == '\\') {
            d->state = EXT_QUOTED_PAIR;
        }
        break;
    case EXT_QUOTED_PAIR:
        fine = is_text(c);
        d->state = EXT_QUOTED;
        break;
    default:
        fine = end_extension(d, c);
        break;
    }
    if (!fine) {
        return line_reason(c, HTTP_REJECT_CHUNK_EXTENSION);
    }
    return ++d->overhead > OVERHEAD_MAX ? HTTP_REJECT_CHUNK_EXTENSION : HTTP_REJECT_NONE;
}

// LF after the CR of a size line.
static enum http_reject end_size_line(struct h1_chunked *d, char c)
{
    if (c != '\n') {
        return HTTP_REJECT_CHUNK_SIZE;
    }
    d->state = d->left > 0 ? DATA : TRAILER_FIRST;
    d->digits = 0;
    d->overhead -= d->left < d->overhead ? (uint32_t)d->left : d->overhead;
    return HTTP_REJECT_NONE;
}

static enum http_reject step_trailer(struct h1_chunked *d, char c)
{
    if (d->state == TRAILER_FIRST && c == '\r') {
        d->state = END_LF;
        return HTTP_REJECT_NONE;
    }
    bool token = (h1_class_of(c) & H1_TCHAR) != 0;
    bool fine = true;
    switch ((enum state)d->state) {
    case TRAILER_FIRST:
        fine = token;
        d->state = TRAILER_NAME;
        break;
    case TRAILER_NAME:
        if (c == ':') {
            d->state = TRAILER_VALUE;
        } else {
            fine = token;
        }
        break;
    case TRAILER_VALUE:
        if (c == '\r') {
            d->state = TRAILER_LF;
        } else {
            fine = is_text(c);
        }
        break;
    default:
        fine = c == '\n';
        d->state = TRAILER_FIRST;
        break;
    }
    if (!fine) {
        return line_reason(c, HTTP_REJECT_TRAILER);
    }
    if (d->trailers != NULL) {
        strbuf_add_char(d->trailers, c);
    }
    return ++d->overhead > OVERHEAD_MAX ? HTTP_REJECT_TRAILER : HTTP_REJECT_NONE;
}

// One byte that is not data.
static enum http_reject step(struct h1_chunked *d, char c)
{
    switch ((enum state)d->state) {
    case SIZE_FIRST:
    case SIZE_MORE:
        return step_size(d, c);
    case SIZE_LF:
        return end_size_line(d, c);
    case DATA_CR:
        d->state = DATA_LF;
        return c == '\r' ? HTTP_REJECT_NONE : line_reason(c, HTTP_REJECT_CHUNK_DATA);
    case DATA_LF:
        d->state = SIZE_FIRST;
        return c == '\n' ? HTTP_REJECT_NONE : HTTP_REJECT_CHUNK_DATA;
    case TRAILER_FIRST:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
        return step_trailer(d, c);
    case END_LF:
        d->done = true;
        return c == '\n' ? HTTP_REJECT_NONE : HTTP_REJECT_TRAILER;
    default:
        return step_extension(d, c);
    }
}

ptrdiff_t h1_chunked_decode(struct h1_chunked *decoder, const char *in, size_t len,
                            struct slice *ret_data)
{
    size_t at = 0;
    struct slice data = slice_of(in, 0);
    while (at < len && !decoder->done && data.len == 0) {
        if (decoder->state != DATA) {
            enum http_reject reason = step(decoder, in[at]);
            if (reason != HTTP_REJECT_NONE) {
                return -(ptrdiff_t)reason;
            }
            at++;
            continue;
        }
        size_t here = len - at;
        data = slice_of(in + at, decoder->left < here ? (size_t)decoder->left : here);
        at += data.len;
        decoder->left -= data.len;
        if (decoder->left == 0) {
            decoder->state = DATA_CR;
        }
    }
    // What closes the chunk is usually there already: spare the caller a call that brings nothing.
    while (data.len > 0 && at < len && (decoder->state == DATA_CR || decoder->state == DATA_LF)) {
        enum http_reject reason = step(decoder, in[at]);
        if (reason != HTTP_REJECT_NONE) {
            return -(ptrdiff_t)reason;
        }
        at++;
    }
    *ret_data = data;
    return (ptrdiff_t)at;
}
