// What servers are told of a client's certificate, whatever is in it.
#include "proxy/forwarded_cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct tls_peer *peer, const char *wanted)
{
    struct strbuf out;
    strbuf_init(&out, FORWARDED_CERT_MAX);
    forwarded_cert_write(peer, &out);
    assert_false(out.failed);
    assert_string_equal(strbuf_cstr(&out), wanted);
    strbuf_fini(&out);
}

static void all_of_it_in_the_known_form(void **state)
{
    (void)state;
    struct slice uris[] = {SLICE("spiffe://example.com/ns/a"), SLICE("https://x.test/?a=1;b,c")};
    struct slice names[] = {SLICE("me.example.com"), SLICE("*.example.org")};
    const struct tls_peer peer = {
        .subject = SLICE("CN=me,O=A\\, B\\; C"), .uris = uris, .uri_count = 2, .dns_names = names,
        .dns_count = 2, .fingerprint = "ab01"};
    expect(&peer, "Hash=ab01;Subject=\"CN=me,O=A\\, B\\; C\";URI=spiffe://example.com/ns/a;"
                  "URI=\"https://x.test/?a=1;b,c\";DNS=me.example.com;DNS=*.example.org");
}

// No name may pass for the end of its field and the beginning of another.
static void quotes_and_backslashes_never_end_a_field(void **state)
{
    (void)state;
    static const struct {
        struct slice subject;
        const char *wanted;
    } rows[] = {
        {SLICE("CN=a\\\";URI=spiffe://x"), "Hash=;Subject=\"CN=a\\22;URI=spiffe://x\""},
        {SLICE("CN=a\""), "Hash=;Subject=\"CN=a\\22\""},
        {SLICE("CN=a\\\\"), "Hash=;Subject=\"CN=a\\5C\""},
        {SLICE("CN=a\\"), "Hash=;Subject=\"CN=a\\5C\""},
        {SLICE("CN=a\\\\\\\""), "Hash=;Subject=\"CN=a\\5C\\22\""},
        {SLICE("CN=\\C3\\A9"), "Hash=;Subject=\"CN=\\C3\\A9\""},
        {SLICE(""), "Hash="},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct tls_peer peer = {.subject = rows[i].subject};
        expect(&peer, rows[i].wanted);
    }
    struct slice uris[] = {SLICE("spiffe://a\";URI=spiffe://b"), SLICE("spiffe://a\\"),
                           SLICE("spiffe://c")};
    struct slice names[] = {SLICE("a;URI=spiffe://b"), SLICE("a,Hash=1"), SLICE("a\""),
                            SLICE("b.test")};
    const struct tls_peer peer = {
        .uris = uris, .uri_count = 3, .dns_names = names, .dns_count = 4};
    expect(&peer, "Hash=;URI=spiffe://c;DNS=b.test");
}

static void it_is_bounded_and_never_cut_inside_a_name(void **state)
{
    (void)state;
    static char longest[TLS_PEER_SUBJECT_MAX];
    memset(longest, 'a', sizeof(longest));
    struct slice uris[TLS_PEER_NAMES_MAX];
    for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
        uris[i] = slice_of(longest, i % 2 != 0 ? 1000 : 100);
    }
    // A subject that is as long as this may have been cut.
    struct tls_peer peer = {.subject = slice_of(longest, sizeof(longest)), .uris = uris,
                            .uri_count = ARRAY_LEN(uris), .dns_names = uris,
                            .dns_count = ARRAY_LEN(uris)};
    struct strbuf out;
    strbuf_init(&out, FORWARDED_CERT_MAX);
    forwarded_cert_write(&peer, &out);
    assert_false(out.failed);
    assert_true(out.len > FORWARDED_CERT_MAX - 200 && out.len <= FORWARDED_CERT_MAX);
    assert_null(strstr(strbuf_cstr(&out), "Subject"));
    struct slice rest = slice_skip(strbuf_slice(&out), 6); // Hash=;
    struct slice part;
    while (slice_split(&rest, ';', &part)) {
        assert_true(part.len == 104 || part.len == 1004);
    }
    // Each byte of it escaped: still within the bound.
    memset(longest, '"', sizeof(longest));
    peer = (struct tls_peer){.subject = slice_of(longest, sizeof(longest) - 1)};
    strbuf_reset(&out);
    forwarded_cert_write(&peer, &out);
    assert_false(out.failed);
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_in_the_known_form),
        cmocka_unit_test(quotes_and_backslashes_never_end_a_field),
        cmocka_unit_test(it_is_bounded_and_never_cut_inside_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
