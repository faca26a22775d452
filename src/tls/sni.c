#include "tls/sni.h"

#include <errno.h>
#include <stdbool.h>

// Letters, digits, '-', '_' and '.': what a host name of ours can have. Anything else matches no
// host anyway, and shall not come up in logs.
static bool name_char(char *c)
{
    if (*c >= 'A' && *c <= 'Z') {
        *c = (char)(*c - 'A' + 'a');
    }
    return (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' ||
           *c == '.';
}

static int take_name(const uint8_t *data, size_t len, char ret_name[TLS_SNI_MAX], size_t *ret_len)
{
    if (len > 1 && data[len - 1] == '.') {
        len--;
    }
    if (len == 0 || len > TLS_SNI_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        char c = (char)data[i];
        if (!name_char(&c)) {
            return -EINVAL;
        }
        ret_name[i] = c;
    }
    *ret_len = len;
    return 0;
}

int tls_sni_parse(const uint8_t *data, size_t len, char ret_name[TLS_SNI_MAX], size_t *ret_len)
{
    if (len < 2 || (size_t)(data[0] << 8 | data[1]) != len - 2) {
        return -EINVAL;
    }
    size_t found = 0;
    for (size_t at = 2; at < len;) {
        if (len - at < 3) {
            return -EINVAL;
        }
        size_t name_len = (size_t)(data[at + 1] << 8 | data[at + 2]);
        if (name_len > len - at - 3) {
            return -EINVAL;
        }
        // At most one name of each type; host_name is type 0 and no other was ever defined.
        if (data[at] == 0 &&
            (found != 0 || take_name(data + at + 3, name_len, ret_name, &found) != 0)) {
            return -EINVAL;
        }
        at += 3 + name_len;
    }
    *ret_len = found;
    return 0;
}
