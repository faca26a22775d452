// Certificates for tests, made on the spot. Everything lives until certs_free.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "tls/config.h"

struct certs_authority {
    EVP_PKEY *key;
    X509 *certificate;
};

struct certs_spec {
    const char *common_name;
    const char *san;    // "DNS:a.example.com,IP:127.0.0.1,URI:spiffe://x/y"; NULL = none
    int days_ago;       // valid since; 0 = 1
    int days_left;      // 0 = 30; negative: expired
    bool is_authority;
    bool rsa;
};

static struct arena certs_arena;

static inline struct slice certs_pem_of(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    struct slice pem = arena_dup(&certs_arena, slice_of(data, (size_t)len));
    assert_non_null(pem.ptr);
    BIO_free(bio);
    return pem;
}

static inline struct slice certs_pem(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_X509(bio, certificate));
    return certs_pem_of(bio);
}

static inline void certs_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_true(X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

// `by` NULL: self-signed.
static inline struct certs_authority certs_make(const struct certs_authority *by,
                                                struct certs_spec spec)
{
    static long serial = 1;
    struct certs_authority made = {
        .key = spec.rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"),
        .certificate = X509_new(),
    };
    assert_non_null(made.key);
    X509 *certificate = made.certificate;
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    int days_ago = spec.days_ago != 0 ? spec.days_ago : 1;
    int days_left = spec.days_left != 0 ? spec.days_left : 30;
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400L * days_ago);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * days_left);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               (const unsigned char *)spec.common_name, -1, -1, 0);
    X509 *issuer = by != NULL ? by->certificate : certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, made.key);
    certs_extension(certificate, issuer, NID_basic_constraints,
                    spec.is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (spec.san != NULL) {
        certs_extension(certificate, issuer, NID_subject_alt_name, spec.san);
    }
    assert_true(X509_sign(certificate, by != NULL ? by->key : made.key, EVP_sha256()) > 0);
    return made;
}

static inline void certs_drop(struct certs_authority *made)
{
    EVP_PKEY_free(made->key);
    X509_free(made->certificate);
}

static inline struct certs_authority certs_root(const char *name)
{
    return certs_make(NULL, (struct certs_spec){.common_name = name, .is_authority = true});
}

static inline void certs_digest(struct slice a, struct slice b, uint8_t digest[TLS_DIGEST_LEN])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    EVP_DigestUpdate(md, a.ptr, a.len);
    EVP_DigestUpdate(md, b.ptr, b.len);
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
}

// A leaf and its key, as the compiler would hand them over. `chain`: also the issuer.
static inline struct tls_identity certs_identity(const struct certs_authority *by,
                                                 struct certs_spec spec)
{
    struct certs_authority leaf = certs_make(by, spec);
    struct tls_identity identity = {.certificate_pem = certs_pem(leaf.certificate)};
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(bio, leaf.key, NULL, NULL, 0, NULL, NULL));
    identity.key_pem = certs_pem_of(bio);
    certs_digest(identity.certificate_pem, identity.key_pem, identity.digest);
    certs_drop(&leaf);
    return identity;
}

static inline struct tls_trust certs_trust(const struct certs_authority *authority)
{
    struct tls_trust trust = {.ca_pem = certs_pem(authority->certificate)};
    certs_digest(trust.ca_pem, SLICE(""), trust.digest);
    return trust;
}

static inline void certs_free(void)
{
    arena_fini(&certs_arena);
}
