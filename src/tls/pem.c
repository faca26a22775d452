#include "tls/pem.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tls/internal.h"

int tls_no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)arg;
    return -1;
}

BIO *tls_pem_reader(struct slice pem)
{
    return pem.len <= TLS_PEM_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
}

X509 *tls_next_certificate(OSSL_LIB_CTX *library, BIO *bio)
{
    X509 *certificate = X509_new_ex(library, NULL);
    if (certificate != NULL &&
        PEM_read_bio_X509(bio, &certificate, tls_no_password, NULL) == NULL) {
        X509_free(certificate);
        certificate = NULL;
    }
    unsigned long last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE) {
        ERR_clear_error(); // the end
    }
    return certificate;
}

// What OpenSSL says is wrong: words of its own table, nothing of the input.
static int refuse(struct error *err, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason != NULL ? error_set(err, -EINVAL, "%s: %s", what, reason)
                          : error_set(err, -EINVAL, "%s", what);
}

static BIO *open_pem(struct slice pem)
{
    ERR_clear_error();
    return tls_pem_reader(pem);
}

// The next certificate, or NULL: *ret_rc is 0 at the end, -EINVAL where something is broken.
static X509 *next_certificate(BIO *bio, int *ret_rc)
{
    X509 *certificate = tls_next_certificate(NULL, bio);
    *ret_rc = certificate == NULL && ERR_peek_error() != 0 ? -EINVAL : 0;
    return certificate;
}

// The certificates after the leaf, into the context.
static int read_chain(BIO *bio, SSL_CTX *ctx, struct error *err)
{
    int rc;
    X509 *certificate;
    for (size_t n = 1; (certificate = next_certificate(bio, &rc)) != NULL; n++) {
        if (n == TLS_CHAIN_MAX) {
            X509_free(certificate);
            return error_set(err, -EINVAL, "more than %d certificates in a chain", TLS_CHAIN_MAX);
        }
        if (SSL_CTX_add0_chain_cert(ctx, certificate) != 1) {
            X509_free(certificate);
            return refuse(err, "a certificate of the chain cannot be used");
        }
    }
    return rc < 0 ? refuse(err, "a certificate of the chain cannot be read") : 0;
}

static int read_key(struct slice key_pem, X509 *leaf, SSL_CTX *ctx, struct error *err)
{
    BIO *bio = open_pem(key_pem);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
    int rc = 0;
    if (key == NULL) {
        rc = refuse(err, "the private key cannot be read");
    } else if (X509_check_private_key(leaf, key) != 1) {
        rc = refuse(err, "the private key is not that of the certificate");
    } else if (SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        rc = refuse(err, "the private key cannot be used");
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc;
}

static bool to_seconds(const ASN1_TIME *time, int64_t *ret)
{
    struct tm tm;
    if (time == NULL || ASN1_TIME_to_tm(time, &tm) != 1) {
        return false;
    }
    *ret = (int64_t)timegm(&tm);
    return true;
}

static struct slice copy_name(struct arena *arena, const ASN1_STRING *text)
{
    struct slice from = slice_of((const char *)ASN1_STRING_get0_data(text),
                                 (size_t)ASN1_STRING_length(text));
    char *copy = arena_bytes(arena, from.len + 1);
    if (copy == NULL) {
        return SLICE_NULL;
    }
    for (size_t i = 0; i < from.len; i++) {
        char c = from.ptr[i];
        copy[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    copy[from.len] = '\0';
    return slice_of(copy, from.len);
}

static int read_names(X509 *leaf, struct arena *arena, struct tls_leaf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    int n = MIN_OF(names != NULL ? sk_GENERAL_NAME_num(names) : 0, (int)TLS_NAMES_MAX);
    out->names = ARENA_ARRAY(arena, struct slice, (size_t)n + 1);
    int rc = out->names != NULL ? 0 : -ENOMEM;
    for (int i = 0; i < n && rc == 0; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            struct slice copy = copy_name(arena, name->d.dNSName);
            rc = copy.ptr != NULL ? 0 : -ENOMEM;
            out->names[out->name_count++] = copy;
        }
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return rc;
}

static int read_leaf(X509 *leaf, struct arena *arena, struct tls_leaf *out, struct error *err)
{
    if (!to_seconds(X509_get0_notBefore(leaf), &out->not_before) ||
        !to_seconds(X509_get0_notAfter(leaf), &out->not_after)) {
        return refuse(err, "the certificate has no readable times");
    }
    return read_names(leaf, arena, out) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int check_with(BIO *bio, SSL_CTX *ctx, struct slice key_pem, struct arena *arena,
                      struct tls_leaf *out, struct error *err)
{
    int rc;
    X509 *leaf = next_certificate(bio, &rc);
    if (leaf == NULL) {
        return rc < 0 ? refuse(err, "the certificate cannot be read")
                      : error_set(err, -EINVAL, "there is no certificate in it");
    }
    rc = SSL_CTX_use_certificate(ctx, leaf) == 1 ? 0
                                                 : refuse(err, "the certificate cannot be used");
    rc = rc == 0 ? read_chain(bio, ctx, err) : rc;
    rc = rc == 0 ? read_key(key_pem, leaf, ctx, err) : rc;
    rc = rc == 0 ? read_leaf(leaf, arena, out, err) : rc;
    X509_free(leaf);
    return rc;
}

int tls_pem_check_identity(struct slice certificate_pem, struct slice key_pem, struct arena *arena,
                           struct tls_leaf *ret_leaf, struct error *err)
{
    struct tls_leaf leaf = {0};
    if (certificate_pem.len > TLS_PEM_MAX || key_pem.len > TLS_PEM_MAX) {
        return error_set(err, -EINVAL, "larger than %d bytes", TLS_PEM_MAX);
    }
    BIO *bio = open_pem(certificate_pem);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int rc = bio == NULL || ctx == NULL
                 ? error_set(err, -ENOMEM, "out of memory")
                 : check_with(bio, ctx, key_pem, arena, &leaf, err);
    SSL_CTX_free(ctx);
    BIO_free(bio);
    if (rc == 0) {
        *ret_leaf = leaf;
    }
    return rc;
}

int tls_pem_check_trust(struct slice ca_pem, struct error *err)
{
    if (ca_pem.len > TLS_PEM_MAX) {
        return error_set(err, -EINVAL, "larger than %d bytes", TLS_PEM_MAX);
    }
    BIO *bio = open_pem(ca_pem);
    if (bio == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int rc;
    size_t count = 0;
    X509 *certificate;
    while ((certificate = next_certificate(bio, &rc)) != NULL && count <= TLS_TRUST_MAX) {
        X509_free(certificate);
        certificate = NULL;
        count++;
    }
    X509_free(certificate);
    BIO_free(bio);
    if (rc < 0) {
        return refuse(err, "a certificate cannot be read");
    }
    if (count == 0) {
        return error_set(err, -EINVAL, "there is no certificate in it");
    }
    return count > TLS_TRUST_MAX
               ? error_set(err, -EINVAL, "more than %d certificates", TLS_TRUST_MAX)
               : 0;
}

static bool name_covers(struct slice name, struct slice host)
{
    if (slice_eq(name, host)) {
        return true;
    }
    ptrdiff_t dot = slice_find_byte(host, '.');
    return slice_has_prefix(name, SLICE("*.")) && dot > 0 &&
           slice_eq(slice_skip(name, 1), slice_skip(host, (size_t)dot));
}

bool tls_leaf_covers(const struct tls_leaf *leaf, struct slice host)
{
    bool covered = host.len == 0;
    for (size_t i = 0; i < leaf->name_count && !covered; i++) {
        covered = name_covers(leaf->names[i], host);
    }
    return covered;
}

bool tls_digest(const struct slice *parts, size_t count, uint8_t digest[TLS_DIGEST_LEN])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; i < count && ok; i++) {
        uint64_t len = htole64(parts[i].len); // the same digest on every machine
        ok = EVP_DigestUpdate(ctx, &len, sizeof(len)) == 1 &&
             EVP_DigestUpdate(ctx, parts[i].ptr, parts[i].len) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}
