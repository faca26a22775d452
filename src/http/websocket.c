#include "http/websocket.h"

#include <errno.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

enum { KEY_BYTES = 16, SHA1_BYTES = 20, KEY_DIGITS = 22 };

#define KEY_SUFFIX SLICE("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")

int websocket_key_make(char out[WEBSOCKET_KEY_LEN + 1])
{
    unsigned char bytes[KEY_BYTES];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return -ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)out, bytes, sizeof(bytes));
    return 0;
}

bool websocket_key_is_valid(struct slice key)
{
    unsigned char bytes[WEBSOCKET_KEY_LEN];
    return key.len == WEBSOCKET_KEY_LEN && memchr(key.ptr, '=', KEY_DIGITS) == NULL &&
           memcmp(key.ptr + KEY_DIGITS, "==", 2) == 0 &&
           EVP_DecodeBlock(bytes, (const unsigned char *)key.ptr, WEBSOCKET_KEY_LEN) > 0;
}

int websocket_accept_of(struct slice key, char out[WEBSOCKET_ACCEPT_LEN + 1])
{
    unsigned char digest[SHA1_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool fine = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
                EVP_DigestUpdate(ctx, key.ptr, key.len) == 1 &&
                EVP_DigestUpdate(ctx, KEY_SUFFIX.ptr, KEY_SUFFIX.len) == 1 &&
                EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!fine) {
        return -ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
    return 0;
}
