#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "tls/conn.h"
#include "tls/internal.h"

enum { TEXT_MAX = 600, NAME_MAX_BYTES = 1024 };

// The subject into the buffer; OpenSSL escapes what is not printable ASCII.
static void add_subject(struct strbuf *out, const X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL) {
        return;
    }
    char *data = NULL;
    if (X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(bio, &data);
        size_t size = len > 0 ? MIN_OF((size_t)len, (size_t)TLS_PEER_SUBJECT_MAX) : 0;
        strbuf_add(out, slice_of(data, size));
    }
    BIO_free(bio);
}

// A name of this kind (GEN_DNS, GEN_URI) as text; ptr NULL: of another kind, or not fit to show.
static struct slice name_text(const GENERAL_NAME *name, int kind)
{
    if (name->type != kind) {
        return SLICE_NULL;
    }
    const ASN1_STRING *string = name->d.ia5;
    int len = ASN1_STRING_length(string);
    const char *data = (const char *)ASN1_STRING_get0_data(string);
    if (len <= 0 || len > NAME_MAX_BYTES) {
        return SLICE_NULL;
    }
    for (int i = 0; i < len; i++) {
        if (data[i] <= ' ' || data[i] > '~') {
            return SLICE_NULL;
        }
    }
    return slice_of(data, (size_t)len);
}

// ---- what is wrong with a certificate -----------------------------------------------------------

static enum tls_fault fault_of(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_CERTIFICATE_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAULT_CERTIFICATE_NAME;
    case X509_V_ERR_OUT_OF_MEM:
        return TLS_FAULT_INTERNAL;
    default:
        return TLS_FAULT_CERTIFICATE_BAD;
    }
}

// " (it is for a.example.com, b.example.com)"
static void add_names(struct strbuf *out, const X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    const char *before = " (it is for ";
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < 8; i++) {
        struct slice text = name_text(sk_GENERAL_NAME_value(names, i), GEN_DNS);
        if (text.ptr != NULL) {
            strbuf_printf(out, "%s%.*s", before, SLICE_FMT(text));
            before = ", ";
        }
    }
    strbuf_add_str(out, before[0] == ',' ? ")" : " (it has no DNS names)");
    GENERAL_NAMES_free(names);
}

int tls_peer_on_verify(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *conn = ssl != NULL ? SSL_get_app_data(ssl) : NULL;
    if (ok || conn == NULL) {
        return ok;
    }
    int error = X509_STORE_CTX_get_error(store);
    const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    struct strbuf text;
    strbuf_init(&text, TEXT_MAX);
    strbuf_printf(&text, "certificate verification failed: %s",
                  X509_verify_cert_error_string(error));
    if (fault_of(error) == TLS_FAULT_CERTIFICATE_NAME) {
        strbuf_printf(&text, ": wanted \"%s\"", conn->name != NULL ? conn->name : "");
    }
    if (certificate != NULL) {
        strbuf_add_str(&text, ", certificate of \"");
        add_subject(&text, certificate);
        strbuf_add_char(&text, '"');
    }
    if (certificate != NULL && fault_of(error) == TLS_FAULT_CERTIFICATE_NAME) {
        add_names(&text, certificate);
    }
    tls_conn_note(conn, fault_of(error), strbuf_cstr(&text));
    strbuf_fini(&text);
    return ok;
}

bool tls_peer_expired(const SSL *ssl)
{
    const X509 *certificate = SSL_get0_peer_certificate(ssl);
    return certificate != NULL && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0;
}

// ---- who it is ----------------------------------------------------------------------------------

static int copy_names(const GENERAL_NAMES *names, int kind, struct arena *arena,
                      struct slice **ret_names, size_t *ret_count)
{
    size_t count = 0;
    int all = sk_GENERAL_NAME_num(names);
    if (all <= 0) {
        return 0;
    }
    struct slice *copies =
        ARENA_ARRAY(arena, struct slice, MIN_OF((size_t)all, (size_t)TLS_PEER_NAMES_MAX));
    if (copies == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < all && count < TLS_PEER_NAMES_MAX; i++) {
        struct slice text = name_text(sk_GENERAL_NAME_value(names, i), kind);
        if (text.ptr == NULL) {
            continue;
        }
        copies[count] = arena_dup(arena, text);
        if (copies[count++].ptr == NULL) {
            return -ENOMEM;
        }
    }
    *ret_names = copies;
    *ret_count = count;
    return 0;
}

static int copy_subject(const X509 *certificate, struct arena *arena, struct slice *ret_subject)
{
    struct strbuf text;
    strbuf_init(&text, TLS_PEER_SUBJECT_MAX + 1);
    add_subject(&text, certificate);
    *ret_subject = arena_dup(arena, strbuf_slice(&text));
    int rc = text.failed || (ret_subject->ptr == NULL && text.len != 0) ? -ENOMEM : 0;
    strbuf_fini(&text);
    return rc;
}

static int copy_fingerprint(const struct tls_conn *conn, const X509 *certificate, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!X509_digest(certificate, conn->worker->sha256, digest, &len) || len != TLS_DIGEST_LEN) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < len; i++) {
        snprintf(hex + (size_t)i * 2, 3, "%02x", digest[i]);
    }
    return 0;
}

static const X509 *verified_certificate(const struct tls_conn *conn)
{
    bool verified = conn->established && SSL_get_verify_mode(conn->ssl) != SSL_VERIFY_NONE;
    return verified ? SSL_get0_peer_certificate(conn->ssl) : NULL;
}

bool tls_conn_verified(const struct tls_conn *conn, uint8_t ret_trust_digest[TLS_DIGEST_LEN])
{
    if (conn->context == NULL || verified_certificate(conn) == NULL) {
        return false;
    }
    memcpy(ret_trust_digest, conn->context->trust_digest, TLS_DIGEST_LEN);
    return true;
}

int tls_conn_peer(const struct tls_conn *conn, struct arena *arena, struct tls_peer *ret_peer)
{
    const X509 *certificate = verified_certificate(conn);
    if (certificate == NULL) {
        return 0;
    }
    struct tls_peer peer = {.uri_count = 0};
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int rc = copy_subject(certificate, arena, &peer.subject);
    if (rc == 0) {
        rc = copy_names(names, GEN_URI, arena, &peer.uris, &peer.uri_count);
    }
    if (rc == 0) {
        rc = copy_names(names, GEN_DNS, arena, &peer.dns_names, &peer.dns_count);
    }
    if (rc == 0) {
        rc = copy_fingerprint(conn, certificate, peer.fingerprint);
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    if (rc != 0) {
        return rc;
    }
    *ret_peer = peer;
    return 1;
}
