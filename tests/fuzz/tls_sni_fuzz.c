// Any bytes as the body of a server_name extension: what is taken is a name in our own alphabet.
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "tls/sni.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    char name[TLS_SNI_MAX];
    size_t len = 0;
    CHECK(copy != NULL);
    if (size != 0) {
        memcpy(copy, data, size);
    }
    if (tls_sni_parse(copy, size, name, &len) == 0) {
        CHECK(len <= TLS_SNI_MAX && len + 2 <= size);
        for (size_t i = 0; i < len; i++) {
            char c = name[i];
            CHECK((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.');
        }
    }
    free(copy);
    return 0;
}
