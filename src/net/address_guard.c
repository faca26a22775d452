#include "net/address_guard.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>

#define V4(a, b, c, d)                                              \
    {                                                               \
        {                                                           \
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d    \
        }                                                           \
    }
enum { V4_BITS = 96 };

static const struct {
    struct cidr range;
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

// Forms of IPv6 that carry an IPv4 address, and who reads them as one: RFC 4291 section 2.5.5 (the
// second is deprecated, and the kernel knows it no more), and the prefix of NAT64 (RFC 6052).
static struct ip unwrap_v4(struct ip ip)
{
    static const struct cidr forms[] = {
        {{{0}}, V4_BITS},
        {{{0, 0x64, 0xff, 0x9b}}, V4_BITS},
    };
    // ::0 and ::1 are addresses of their own.
    static const struct cidr own = {{{0}}, 127};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (cidr_contains(&forms[i], &ip) && !cidr_contains(&own, &ip)) {
            return ip_of_v4(ip.bytes + V4_BITS / 8);
        }
    }
    return ip;
}

// What it means to who connects to it. False: no IP address.
static bool ip_meant(const struct sockaddr *address, struct ip *ret)
{
    struct ip ip;
    if (ip_of_sockaddr(address, &ip) != 0) {
        return false;
    }
    *ret = unwrap_v4(ip);
    return true;
}

// ---- filling ------------------------------------------------------------------------------------

// Adds the ranges of a class; none for a word that is not one.
static size_t ranges_of_word(struct slice word, struct cidr *out)
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
    struct cidr found[ARRAY_LEN(special)];
    size_t count = ranges_of_word(part, found);
    if (count == 0 && slice_eq(part, SLICE("none"))) {
        return 0;
    }
    if (count == 0 && cidr_parse_around(part, &found[0], NULL) == 0) {
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
    static const struct ip any4 = V4(0, 0, 0, 0);
    static const struct ip any6 = {{0}};
    struct ip ip;
    if (guard->own_count < ARRAY_LEN(guard->own) &&
        ip_meant((const struct sockaddr *)address, &ip)) {
        guard->own[guard->own_count].address = ip;
        guard->own[guard->own_count].port = port;
        guard->own[guard->own_count].is_any = ip_eq(&ip, &any4) || ip_eq(&ip, &any6);
        guard->own_count++;
    }
}

void address_guard_add_local(struct address_guard *guard, const struct sockaddr *address)
{
    struct ip ip;
    if (guard->local_count < ARRAY_LEN(guard->locals) && ip_meant(address, &ip)) {
        guard->locals[guard->local_count++] = ip;
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

static enum address_class class_of(const struct ip *ip)
{
    for (size_t i = 0; i < ARRAY_LEN(special); i++) {
        if (cidr_contains(&special[i].range, ip)) {
            return special[i].class;
        }
    }
    return ADDRESS_ORDINARY;
}

// The kernel takes a connection to the wildcard address as one to the loopback.
static bool is_here(const struct address_guard *guard, const struct ip *ip)
{
    enum address_class class = class_of(ip);
    bool here = class == ADDRESS_LOOPBACK || class == ADDRESS_NO_HOST;
    for (size_t i = 0; i < guard->local_count && !here; i++) {
        here = ip_eq(ip, &guard->locals[i]);
    }
    return here;
}

static bool is_own(const struct address_guard *guard, const struct ip *ip, uint16_t port)
{
    for (size_t i = 0; i < guard->own_count; i++) {
        if (port == guard->own[i].port &&
            (guard->own[i].is_any ? is_here(guard, ip) : ip_eq(ip, &guard->own[i].address))) {
            return true;
        }
    }
    return false;
}

enum address_class address_guard_check(const struct address_guard *guard,
                                       const struct sockaddr_storage *address)
{
    struct ip ip;
    if (guard == NULL) {
        return ADDRESS_ORDINARY;
    }
    if (!ip_meant((const struct sockaddr *)address, &ip)) {
        return ADDRESS_NO_HOST;
    }
    // The port lies at the same place in both families.
    if (is_own(guard, &ip, ntohs(((const struct sockaddr_in *)address)->sin_port))) {
        return ADDRESS_OWN;
    }
    enum address_class class = class_of(&ip);
    for (size_t i = 0; i < guard->allowed_count && class != ADDRESS_ORDINARY; i++) {
        // ::/0 says that everything is allowed; what is IPv4 is a matter of how it was written.
        if (cidr_contains_mapped(&guard->allowed[i], &ip)) {
            class = ADDRESS_ORDINARY;
        }
    }
    return class;
}
