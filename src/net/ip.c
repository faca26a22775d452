#include "net/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct ip ip_of_v4(const uint8_t bytes[4])
{
    struct ip ip;
    memcpy(ip.bytes, mapped, sizeof(mapped));
    memcpy(ip.bytes + sizeof(mapped), bytes, 4);
    return ip;
}

int ip_parse(struct slice text, struct ip *ret_ip)
{
    char copy[IP_TEXT_MAX];
    struct ip ip;
    uint8_t v4[4];
    if (text.len == 0 || text.len >= sizeof(copy) || slice_find_byte(text, '\0') >= 0) {
        return -EINVAL;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, v4) == 1) {
        *ret_ip = ip_of_v4(v4);
        return 0;
    }
    if (inet_pton(AF_INET6, copy, ip.bytes) != 1) {
        return -EINVAL;
    }
    *ret_ip = ip;
    return 0;
}

int ip_of_sockaddr(const struct sockaddr *address, struct ip *ret_ip)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        uint8_t bytes[4];
        memcpy(bytes, &in.sin_addr, sizeof(bytes));
        *ret_ip = ip_of_v4(bytes);
        return 0;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof(in));
        memcpy(ret_ip->bytes, &in.sin6_addr, sizeof(ret_ip->bytes));
        return 0;
    }
    return -EAFNOSUPPORT;
}

bool ip_is_v4(const struct ip *ip)
{
    return memcmp(ip->bytes, mapped, sizeof(mapped)) == 0;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

size_t ip_print(const struct ip *ip, char out[IP_TEXT_MAX])
{
    bool v4 = ip_is_v4(ip);
    const void *bytes = v4 ? ip->bytes + sizeof(mapped) : ip->bytes;
    BUG_ON(inet_ntop(v4 ? AF_INET : AF_INET6, bytes, out, IP_TEXT_MAX) == NULL);
    return strlen(out);
}
