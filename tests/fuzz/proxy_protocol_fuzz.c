// Any bytes before a connection: the verdict on the whole is that on the shortest prefix that has
// one, and what is asked for never ends.
#include <stdlib.h>

#include "net/proxy_protocol.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ptrdiff_t parse_copy(const uint8_t *data, size_t len, struct proxy_protocol *ret_header)
{
    char *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    ptrdiff_t rc = proxy_protocol_parse(copy, len, ret_header);
    CHECK(rc < 0 || proxy_protocol_may_start(copy, len));
    free(copy);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol header;
    ptrdiff_t whole = parse_copy(data, size, &header);
    CHECK(whole > -(ptrdiff_t)PROXY_PROTOCOL_ERROR_COUNT && whole <= (ptrdiff_t)size);
    CHECK(whole != 0 || size < PROXY_PROTOCOL_MAX);
    size_t step = size > 200 ? size / 100 : 1;
    for (size_t len = 0; len < size; len += step) {
        ptrdiff_t rc = parse_copy(data, len, &header);
        CHECK(rc == 0 || rc == whole);
        CHECK(whole <= 0 || rc == 0 || len >= (size_t)whole);
    }
    return 0;
}
