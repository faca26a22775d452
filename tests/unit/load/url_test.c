#include "load/url.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *authority, *path;
        enum load_api api;
        uint16_t port;
    } cases[] = {
        {"http://h", "h", "h", "/v1/chat/completions", LOAD_API_CHAT, 80},
        {"http://h/", "h", "h", "/v1/chat/completions", LOAD_API_CHAT, 80},
        {"http://h:8080/v1", "h", "h:8080", "/v1/completions", LOAD_API_COMPLETIONS, 8080},
        {"http://h:8080/a/v1/", "h", "h:8080", "/a/v1/embeddings", LOAD_API_EMBEDDINGS, 8080},
        {"http://h/v1/responses", "h", "h", "/v1/responses", LOAD_API_CHAT, 80},
        {"http://h/p?q=1", "h", "h", "/p?q=1", LOAD_API_CHAT, 80},
        {"http://[::1]:99", "::1", "[::1]:99", "/v1/chat/completions", LOAD_API_CHAT, 99},
        {"http://[::1]", "::1", "[::1]", "/v1/chat/completions", LOAD_API_CHAT, 80},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct load_url url;
        assert_int_equal(load_url_parse(slice_of_str(cases[i].text), cases[i].api, &url, NULL), 0);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.authority, cases[i].authority);
        assert_string_equal(url.path, cases[i].path);
        assert_int_equal(url.port, cases[i].port);
    }
}

static void wrong_urls_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "h",           "https://h",      "http://",         "http://h:0",
        "http://h:x", "http://h:",   "http://h:65536", "http://u:p@h",    "http://h/a b",
        "http://[::1", "http://[::1]x", "http://h/#f", "http://h\r\nX: y", "ftp://h",
        "http://h?q",  "http://:80",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct load_url url = {.port = 77};
        struct error err = ERROR_INIT;
        int rc = load_url_parse(slice_of_str(texts[i]), LOAD_API_CHAT, &url, &err);
        if (rc != -EINVAL) {
            print_message("accepted: %s\n", texts[i]);
        }
        assert_int_equal(rc, -EINVAL);
        assert_int_equal(url.port, 77);
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(wrong_urls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
