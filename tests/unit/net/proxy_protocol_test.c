#include "net/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define IPV4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb"
#define V6A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6B "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"

static const struct {
    const char *what;
    struct slice text;
    enum proxy_protocol_error error;
    const char *source; // NULL: none
    const char *destination;
    unsigned source_port;
    unsigned destination_port;
} rows[] = {
#define GOOD(what, text, ...) {what, SLICE(text), PROXY_PROTOCOL_NONE, __VA_ARGS__}
#define LOCAL(what, text) {what, SLICE(text), PROXY_PROTOCOL_NONE, NULL, NULL, 0, 0}
#define BAD(what, text, error) {what, SLICE(text), PROXY_PROTOCOL_##error, NULL, NULL, 0, 0}
    GOOD("v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", "192.0.2.1", "198.51.100.2",
         1234, 443),
    GOOD("v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n", "2001:db8::1", "2001:db8::2",
         65535, 0),
    LOCAL("v1 UNKNOWN", "PROXY UNKNOWN\r\n"),
    LOCAL("v1 UNKNOWN and more", "PROXY UNKNOWN ffff::1 what ever 1 2\r\n"),
    BAD("v1 UDP4", "PROXY UDP4 192.0.2.1 198.51.100.2 1234 443\r\n", SYNTAX),
    BAD("v1 lower case", "PROXY tcp4 192.0.2.1 198.51.100.2 1234 443\r\n", SYNTAX),
    BAD("v1 no end", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\n", SYNTAX),
    BAD("v1 bare CR", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\rX", SYNTAX),
    BAD("v1 too few", "PROXY TCP4 192.0.2.1 198.51.100.2 1234\r\n", SYNTAX),
    BAD("v1 too many", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 1\r\n", SYNTAX),
    BAD("v1 space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443 \r\n", SYNTAX),
    BAD("v1 two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 1234 443\r\n", SYNTAX),
    BAD("v1 wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 1234 443\r\n", ADDRESS),
    BAD("v1 wrong family 6", "PROXY TCP6 192.0.2.1 198.51.100.2 1234 443\r\n", ADDRESS),
    BAD("v1 leading zero", "PROXY TCP4 192.0.2.01 198.51.100.2 1234 443\r\n", ADDRESS),
    BAD("v1 large port", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", ADDRESS),
    BAD("v1 port with zero", "PROXY TCP4 192.0.2.1 198.51.100.2 01234 443\r\n", ADDRESS),
    BAD("v1 signed port", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", ADDRESS),
    BAD("v1 endless",
        "PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaa\r\n",
        SYNTAX),
    BAD("HTTP", "GET / HTTP/1.1\r\n", SIGNATURE),
    BAD("almost", "PROXZ TCP4", SIGNATURE),
    GOOD("v2 TCP4", V2 "\x21\x11\0\x0c" IPV4, "192.0.2.1", "198.51.100.2", 1234, 443),
    GOOD("v2 TCP6", V2 "\x21\x21\0\x24" V6A V6B "\x04\xd2\x01\xbb", "2001:db8::1", "2001:db8::2",
         1234, 443),
    GOOD("v2 with TLVs", V2 "\x21\x11\0\x15" IPV4 "\x02\0\x03" "a.b" "\x04\0\0", "192.0.2.1",
         "198.51.100.2", 1234, 443),
    LOCAL("v2 LOCAL", V2 "\x20\0\0\0"),
    LOCAL("v2 LOCAL with addresses", V2 "\x20\x11\0\x0c" IPV4),
    LOCAL("v2 LOCAL with anything", V2 "\x20\xff\0\x02\x01\x02"),
    LOCAL("v2 UNSPEC", V2 "\x21\0\0\x02\x01\x02"),
    BAD("v2 version 3", V2 "\x31\x11\0\x0c" IPV4, VERSION),
    BAD("v2 command 2", V2 "\x22\x11\0\x0c" IPV4, VERSION),
    BAD("v2 UDP", V2 "\x21\x12\0\x0c" IPV4, FAMILY),
    BAD("v2 family 4", V2 "\x21\x41\0\x0c" IPV4, FAMILY),
    BAD("v2 too short", V2 "\x21\x11\0\x0b" IPV4, LENGTH),
    BAD("v2 too long", V2 "\x21\x11\x08\x01" IPV4, LENGTH),
    BAD("v2 cut TLV", V2 "\x21\x11\0\x0e" IPV4 "\x04\0", TLV),
    BAD("v2 TLV beyond the end", V2 "\x21\x11\0\x0f" IPV4 "\x04\0\x01", TLV),
    BAD("v2 wrong checksum", V2 "\x21\x11\0\x13" IPV4 "\x03\0\x04\0\0\0\0", CHECKSUM),
    BAD("v2 short checksum", V2 "\x21\x11\0\x11" IPV4 "\x03\0\x02\0\0", TLV),
};

static void assert_address(const struct ip *ip, const char *want)
{
    char text[IP_TEXT_MAX];
    ip_print(ip, text);
    assert_string_equal(text, want);
}

static void reads_or_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct proxy_protocol header = {.source_port = 7};
        ptrdiff_t rc = proxy_protocol_parse(rows[i].text.ptr, rows[i].text.len, &header);
        ptrdiff_t want = rows[i].error == PROXY_PROTOCOL_NONE ? (ptrdiff_t)rows[i].text.len
                                                              : -(ptrdiff_t)rows[i].error;
        if (rc != want) {
            fail_msg("%s: %td", rows[i].what, rc);
        }
        if (rc < 0) {
            assert_int_equal(header.source_port, 7);
            assert_true(strlen(proxy_protocol_text(rows[i].error)) > 0);
            continue;
        }
        assert_int_equal(header.has_addresses, rows[i].source != NULL);
        if (rows[i].source != NULL) {
            assert_address(&header.source, rows[i].source);
            assert_address(&header.destination, rows[i].destination);
            assert_int_equal(header.source_port, rows[i].source_port);
            assert_int_equal(header.destination_port, rows[i].destination_port);
        }
    }
}

static void no_prefix_is_enough(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t whole = rows[i].error == PROXY_PROTOCOL_NONE ? rows[i].text.len : 0;
        for (size_t len = 0; len < whole; len++) {
            struct proxy_protocol header;
            char *copy = malloc(len + 1);
            assert_non_null(copy);
            memcpy(copy, rows[i].text.ptr, len);
            assert_true(proxy_protocol_may_start(copy, len));
            assert_int_equal(proxy_protocol_parse(copy, len, &header), 0);
            free(copy);
        }
    }
}

static void what_follows_is_left_alone(void **state)
{
    (void)state;
    struct proxy_protocol header;
    struct slice text = SLICE("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n\r\n");
    assert_int_equal(proxy_protocol_parse(text.ptr, text.len, &header), 15);
    text = SLICE(V2 "\x20\0\0\0GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(proxy_protocol_parse(text.ptr, text.len, &header), 16);
}

static void a_unix_socket_has_no_address_of_use(void **state)
{
    (void)state;
    struct proxy_protocol header;
    char text[16 + 216] = {0};
    memcpy(text, V2 "\x21\x31\0\xd8", 16);
    assert_int_equal(proxy_protocol_parse(text, sizeof(text), &header), sizeof(text));
    assert_false(header.has_addresses);
}

// CRC-32C of this header, computed with an independent implementation.
static void a_right_checksum_is_taken(void **state)
{
    (void)state;
    struct proxy_protocol header;
    struct slice text = SLICE(V2 "\x21\x11\0\x13" IPV4 "\x03\0\x04" "\x3f\x39\x34\x85");
    assert_int_equal(proxy_protocol_parse(text.ptr, text.len, &header), text.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_or_refuses),
        cmocka_unit_test(no_prefix_is_enough),
        cmocka_unit_test(what_follows_is_left_alone),
        cmocka_unit_test(a_unix_socket_has_no_address_of_use),
        cmocka_unit_test(a_right_checksum_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
