#include "net/cidr.h"

#include <errno.h>
#include <stdlib.h>

enum { MAPPED_BITS = 96, ALL_BITS = 128 };

// Whether a and b agree in their first `bits`.
static bool same_prefix(const struct ip *a, const struct ip *b, unsigned bits)
{
    size_t whole = bits / 8;
    unsigned rest = bits % 8;
    if (memcmp(a->bytes, b->bytes, whole) != 0) {
        return false;
    }
    return rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

// Whether there were any.
static bool clear_host_bits(struct cidr *range)
{
    bool found = false;
    for (unsigned bit = range->bits; bit < ALL_BITS; bit++) {
        uint8_t mask = (uint8_t)(0x80U >> bit % 8);
        found = found || (range->first.bytes[bit / 8] & mask) != 0;
        range->first.bytes[bit / 8] &= (uint8_t)~mask;
    }
    return found;
}

static int parse_bits(struct slice text, struct cidr *range, struct error *err)
{
    ptrdiff_t slash = slice_find_byte(text, '/');
    struct slice address = slash >= 0 ? slice_first(text, (size_t)slash) : text;
    range->bits = ALL_BITS;
    if (ip_parse(address, &range->first) != 0) {
        return error_set(err, -EINVAL, "\"%.*s\" is no IP address or range", SLICE_FMT(text));
    }
    if (slash < 0) {
        return 0;
    }
    struct slice digits = slice_skip(text, (size_t)slash + 1);
    bool v4 = slice_find_byte(address, ':') < 0;
    unsigned base = v4 ? MAPPED_BITS : 0;
    uint64_t bits;
    if (digits.len > 3 || (digits.len > 1 && digits.ptr[0] == '0') ||
        slice_to_u64(digits, &bits) != 0 || bits > ALL_BITS - base) {
        return error_set(err, -EINVAL, "\"%.*s\": the prefix is 0 to %u bits long",
                         SLICE_FMT(text), ALL_BITS - base);
    }
    range->bits = (uint8_t)(base + bits);
    return 0;
}

int cidr_parse_around(struct slice text, struct cidr *ret_range, struct error *err)
{
    struct cidr range;
    int rc = parse_bits(text, &range, err);
    if (rc == 0) {
        clear_host_bits(&range);
        *ret_range = range;
    }
    return rc;
}

int cidr_parse(struct slice text, struct cidr *ret_range, struct error *err)
{
    struct cidr range;
    int rc = parse_bits(text, &range, err);
    if (rc != 0) {
        return rc;
    }
    if (clear_host_bits(&range)) {
        return error_set(err, -EINVAL, "\"%.*s\": the address has bits beyond the prefix",
                         SLICE_FMT(text));
    }
    *ret_range = range;
    return 0;
}

static size_t count_parts(struct slice text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++) {
        count += text.ptr[i] == ',';
    }
    return count;
}

int cidr_list_add(struct cidr_list *list, struct slice text, struct error *err)
{
    size_t more = count_parts(text);
    if (more > CIDR_LIST_MAX || list->count > CIDR_LIST_MAX - more) {
        return error_set(err, -E2BIG, "more than %d ranges", CIDR_LIST_MAX);
    }
    struct cidr *ranges = realloc(list->ranges, (list->count + more) * sizeof(*ranges));
    if (ranges == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    list->ranges = ranges;
    struct slice part;
    size_t at = list->count;
    while (slice_split(&text, ',', &part)) {
        int rc = cidr_parse(slice_trim(part), &ranges[at++], err);
        if (rc != 0) {
            return rc;
        }
    }
    list->count = at;
    return 0;
}

void cidr_list_fini(struct cidr_list *list)
{
    free(list->ranges);
    *list = (struct cidr_list){.ranges = NULL};
}

bool cidr_contains_mapped(const struct cidr *range, const struct ip *ip)
{
    return same_prefix(&range->first, ip, range->bits);
}

bool cidr_contains(const struct cidr *range, const struct ip *ip)
{
    return (range->bits >= MAPPED_BITS || !ip_is_v4(ip)) && cidr_contains_mapped(range, ip);
}

bool cidr_list_contains(const struct cidr_list *list, const struct ip *ip)
{
    for (size_t i = 0; i < list->count; i++) {
        if (cidr_contains(&list->ranges[i], ip)) {
            return true;
        }
    }
    return false;
}
