#include "net/address_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define V4(a, b, c, d)                                              \
    {                                                               \
        {                                                           \
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d    \
        }                                                           \
    }
enum { V4_BITS = 96 };

static const struct {
    struct address_range range;
    enum address_class class;
} special[] = {
    // Before the ranges that they lie in.
    {{V4(169, 254, 169, 254), 128}, ADDRESS_METADATA}, // AWS, GCP, Azure, OpenStack, Oracle …
    {{V4(169, 254, 170, 2), 128}, ADDRESS_METADATA},   // AWS: credentials of ECS tasks
    {{V4(169, 254, 170, 23), 128}, ADDRESS_METADATA},  // AWS: EKS pod identity
    {{V4(100, 100, 100, 200), 128}, ADDRESS_METADATA}, // Alibaba Cloud
    {{V4(168, 63, 129, 16), 128}, ADDRESS_METADATA},   // Azure's wire server
    {{V4(192, 0, 0, 192), 128}, ADDRESS_METADATA},     // Oracle Cloud, classic
    {{{{0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}}, 128}, ADDRESS_METADATA}, // AWS
    {{{{0xfd, 0, 0x0e, 0xc2, [15] = 0x23}}, 128}, ADDRESS_METADATA}, // AWS: EKS pod identity
    {{{{0xfd, 0x20, 0, 0xce, [14] = 0x02, [15] = 0x54}}, 128}, ADDRESS_METADATA}, // GCP
    {{V4(0, 0, 0, 0), V4_BITS + 8}, ADDRESS_NO_HOST},
    {{V4(127, 0, 0, 0), V4_BITS + 8}, ADDRESS_LOOPBACK},
    {{V4(169, 254, 0, 0), V4_BITS + 16}, ADDRESS_LINK_LOCAL},
    {{V4(224, 0, 0, 0), V4_BITS + 4}, ADDRESS_MULTICAST},
    {{V4(240, 0, 0, 0), V4_BITS + 4}, ADDRESS_NO_HOST},
    {{{{0}}, 128}, ADDRESS_NO_HOST},
    {{{{[15] = 1}}, 128}, ADDRESS_LOOPBACK},
    {{{{0xfe, 0x80}}, 10}, ADDRESS_LINK_LOCAL},
    {{{{0xff}}, 8}, ADDRESS_MULTICAST},
};

const char *address_class_text(enum address_class class)
{
    switch (class) {
    case ADDRESS_LOOPBACK:
        return "a loopback address";
    case ADDRESS_LINK_LOCAL:
        return "a link-local address";
    case ADDRESS_MULTICAST:
        return "a multicast address";
    case ADDRESS_NO_HOST:
        return "not the address of a host";
    case ADDRESS_METADATA:
        return "the address of a cloud's metadata service";
    case ADDRESS_OWN:
        return "what this gateway listens on itself";
    case ADDRESS_ORDINARY:
        break;
    }
    return "an ordinary address";
}

static bool in_range(const struct address_bytes *address, const struct address_range *range)
{
    unsigned whole = range->bits / 8;
    unsigned rest = range->bits % 8;
    if (memcmp(address->b, range->first.b, whole) != 0) {
        return false;
    }
    uint8_t mask = (uint8_t)(0xff00U >> rest);
    return rest == 0 || ((address->b[whole] ^ range->first.b[whole]) & mask) == 0;
}

// Forms of IPv6 that carry an IPv4 address, and who reads them as one: RFC 4291 section 2.5.5 (the
// second is deprecated, and the kernel knows it no more), and the prefix of NAT64 (RFC 6052).
static void unwrap_v4(struct address_bytes *address)
{
    static const struct address_range forms[] = {
        {{{0}}, 96},
        {{{0, 0x64, 0xff, 0x9b}}, 96},
    };
    static const struct address_bytes mapped = V4(0, 0, 0, 0);
    // ::0 and ::1 are addresses of their own.
    static const struct address_range own = {{{0}}, 127};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (in_range(address, &forms[i]) && !in_range(address, &own)) {
            memcpy(address->b, mapped.b, 12);
        }
    }
}

static bool to_bytes(const struct sockaddr *address, struct address_bytes *ret, uint16_t *ret_port)
{
    if (address->sa_family == AF_INET) {
        static const struct address_bytes mapped = V4(0, 0, 0, 0);
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        *ret = mapped;
        memcpy(ret->b + 12, &in->sin_addr, 4);
        *ret_port = ntohs(in->sin_port);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(ret->b, &in6->sin6_addr, 16);
        *ret_port = ntohs(in6->sin6_port);
        unwrap_v4(ret);
        return true;
    }
    return false;
}

// ---- filling ------------------------------------------------------------------------------------

static bool parse_address(struct slice text, struct address_range *ret)
{
    char buf[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (text.len >= sizeof(buf)) {
        return false;
    }
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = '\0';
    ret->bits = 128;
    if (inet_pton(AF_INET, buf, &v4) == 1) {
        struct address_bytes mapped = V4(0, 0, 0, 0);
        memcpy(mapped.b + 12, &v4, 4);
        ret->first = mapped;
        return true;
    }
    if (inet_pton(AF_INET6, buf, &v6) == 1) {
        memcpy(ret->first.b, &v6, 16);
        return true;
    }
    return false;
}

static bool parse_range(struct slice text, struct address_range *ret)
{
    const char *slash = text.len != 0 ? memchr(text.ptr, '/', text.len) : NULL;
    size_t len = slash != NULL ? (size_t)(slash - text.ptr) : text.len;
    if (len == 0 || !parse_address(slice_first(text, len), ret)) {
        return false;
    }
    if (slash == NULL) {
        return true;
    }
    bool is_v4 = memchr(text.ptr, ':', len) == NULL;
    uint64_t bits;
    if (slice_to_u64(slice_skip(text, len + 1), &bits) != 0 || bits > (is_v4 ? 32 : 128)) {
        return false;
    }
    ret->bits = (unsigned)bits + (is_v4 ? V4_BITS : 0);
    return true;
}

// Adds the ranges of a class; none for a word that is not one.
static size_t ranges_of_word(struct slice word, struct address_range *out)
{
    enum address_class class = ADDRESS_ORDINARY;
    if (slice_eq(word, SLICE("loopback"))) {
        class = ADDRESS_LOOPBACK;
    } else if (slice_eq(word, SLICE("link-local"))) {
        class = ADDRESS_LINK_LOCAL;
    }
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(special) && class != ADDRESS_ORDINARY; i++) {
        if (special[i].class == class) {
            out[count++] = special[i].range;
        }
    }
    return count;
}

static int allow_one(struct address_guard *guard, struct slice part, struct error *err)
{
    struct address_range found[ARRAY_LEN(special)];
    size_t count = ranges_of_word(part, found);
    if (count == 0 && slice_eq(part, SLICE("none"))) {
        return 0;
    }
    if (count == 0 && parse_range(part, &found[0])) {
        count = 1;
    }
    if (count == 0) {
        return error_set(err, -EINVAL,
                         "\"%.*s\" is no address, no range like 10.0.0.0/8, and not one of "
                         "loopback, link-local, none",
                         SLICE_FMT(part));
    }
    if (guard->allowed_count + count > ARRAY_LEN(guard->allowed)) {
        return error_set(err, -EINVAL, "at most %d ranges", ADDRESS_GUARD_RANGES_MAX);
    }
    memcpy(&guard->allowed[guard->allowed_count], found, count * sizeof(found[0]));
    guard->allowed_count += count;
    return 0;
}

int address_guard_allow(struct address_guard *guard, struct slice list, struct error *err)
{
    size_t before = guard->allowed_count;
    for (;;) {
        const char *comma = list.len != 0 ? memchr(list.ptr, ',', list.len) : NULL;
        size_t len = comma != NULL ? (size_t)(comma - list.ptr) : list.len;
        int rc = allow_one(guard, slice_trim(slice_first(list, len)), err);
        if (rc != 0) {
            guard->allowed_count = before;
            return rc;
        }
        if (comma == NULL) {
            return 0;
        }
        list = slice_skip(list, len + 1);
    }
}

void address_guard_add_own(struct address_guard *guard, const struct sockaddr_storage *address,
                           uint16_t port)
{
    struct address_bytes bytes;
    uint16_t unused;
    if (guard->own_count == ARRAY_LEN(guard->own) ||
        !to_bytes((const struct sockaddr *)address, &bytes, &unused)) {
        return;
    }
    static const struct address_bytes any4 = V4(0, 0, 0, 0);
    static const struct address_bytes any6 = {{0}};
    guard->own[guard->own_count].address = bytes;
    guard->own[guard->own_count].port = port;
    guard->own[guard->own_count].is_any = memcmp(&bytes, &any4, sizeof(bytes)) == 0 ||
                                          memcmp(&bytes, &any6, sizeof(bytes)) == 0;
    guard->own_count++;
}

void address_guard_add_local(struct address_guard *guard, const struct sockaddr *address)
{
    struct address_bytes bytes;
    uint16_t port;
    if (guard->local_count < ARRAY_LEN(guard->locals) && to_bytes(address, &bytes, &port)) {
        guard->locals[guard->local_count++] = bytes;
    }
}

void address_guard_learn_locals(struct address_guard *guard)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) != 0) {
        return;
    }
    for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr != NULL) {
            address_guard_add_local(guard, i->ifa_addr);
        }
    }
    freeifaddrs(list);
}

// ---- asking -------------------------------------------------------------------------------------

static enum address_class class_of(const struct address_bytes *address)
{
    for (size_t i = 0; i < ARRAY_LEN(special); i++) {
        if (in_range(address, &special[i].range)) {
            return special[i].class;
        }
    }
    return ADDRESS_ORDINARY;
}

// The kernel takes a connection to the wildcard address as one to the loopback.
static bool is_here(const struct address_guard *guard, const struct address_bytes *address)
{
    enum address_class class = class_of(address);
    if (class == ADDRESS_LOOPBACK || class == ADDRESS_NO_HOST) {
        return true;
    }
    for (size_t i = 0; i < guard->local_count; i++) {
        if (memcmp(address, &guard->locals[i], sizeof(*address)) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_own(const struct address_guard *guard, const struct address_bytes *address,
                   uint16_t port)
{
    for (size_t i = 0; i < guard->own_count; i++) {
        if (port == guard->own[i].port &&
            (guard->own[i].is_any ? is_here(guard, address)
                                  : memcmp(address, &guard->own[i].address, 16) == 0)) {
            return true;
        }
    }
    return false;
}

enum address_class address_guard_check(const struct address_guard *guard,
                                       const struct sockaddr_storage *address)
{
    struct address_bytes bytes;
    uint16_t port;
    if (guard == NULL) {
        return ADDRESS_ORDINARY;
    }
    if (!to_bytes((const struct sockaddr *)address, &bytes, &port)) {
        return ADDRESS_NO_HOST;
    }
    if (is_own(guard, &bytes, port)) {
        return ADDRESS_OWN;
    }
    enum address_class class = class_of(&bytes);
    for (size_t i = 0; i < guard->allowed_count && class != ADDRESS_ORDINARY; i++) {
        if (in_range(&bytes, &guard->allowed[i])) {
            class = ADDRESS_ORDINARY;
        }
    }
    return class;
}
