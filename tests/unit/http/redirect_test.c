#include "http/redirect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct slice prefixes[] = {SLICE("/foo"), SLICE("/foo/bar")};

static void becomes(const struct path_change *change, const char *path, const char *wanted)
{
    struct strbuf out;
    strbuf_init(&out, 4096);
    path_change_write(change, slice_of_str(path), &out);
    if (!slice_eq_str(strbuf_slice(&out), wanted)) {
        fail_msg("%s: %s instead of %s", path, strbuf_cstr(&out), wanted);
    }
    strbuf_fini(&out);
}

static void a_prefix_is_replaced_by_whole_segments(void **state)
{
    (void)state;
    struct path_change change = {.type = PATH_CHANGE_PREFIX,
                                 .value = SLICE("/new"),
                                 .prefixes = prefixes,
                                 .prefix_count = 1};
    becomes(&change, "/foo", "/new");
    becomes(&change, "/foo/", "/new/");
    becomes(&change, "/foo/x", "/new/x");
    becomes(&change, "/foo/bar/x", "/new/bar/x");
    becomes(&change, "/food", "/new/food"); // not of this prefix: of the root
    change.prefix_count = 2;
    becomes(&change, "/foo/bar/x", "/new/x");
    becomes(&change, "/foo/x", "/new/x");
}

static void the_result_has_one_slash_where_the_parts_meet(void **state)
{
    (void)state;
    struct path_change change = {.type = PATH_CHANGE_PREFIX,
                                 .value = SLICE("/new/"),
                                 .prefixes = prefixes,
                                 .prefix_count = 1};
    becomes(&change, "/foo", "/new/");
    becomes(&change, "/foo/", "/new/");
    becomes(&change, "/foo/x", "/new/x");
    change.value = SLICE("/");
    becomes(&change, "/foo", "/");
    becomes(&change, "/foo/x", "/x");
    change.prefix_count = 0;
    becomes(&change, "/foo/x", "/foo/x");
    change.value = SLICE("/api");
    becomes(&change, "/", "/api/");
    becomes(&change, "/foo", "/api/foo");
}

static void a_whole_path_is_replaced(void **state)
{
    (void)state;
    struct path_change change = {.type = PATH_CHANGE_FULL, .value = SLICE("/v1/x")};
    becomes(&change, "/whatever", "/v1/x");
    becomes(&(struct path_change){0}, "/same", "/same");
}

static void leads(const struct redirect *redirect, const char *scheme, const char *authority,
                  const char *wanted)
{
    const struct redirect_from from = {.scheme = slice_of_str(scheme),
                                       .authority = slice_of_str(authority),
                                       .path = SLICE("/a"),
                                       .query = SLICE("q=1")};
    struct strbuf out;
    strbuf_init(&out, 4096);
    redirect_write(redirect, &from, &out);
    if (!slice_eq_str(strbuf_slice(&out), wanted)) {
        fail_msg("%s instead of %s", strbuf_cstr(&out), wanted);
    }
    strbuf_fini(&out);
}

static void what_is_not_named_stays(void **state)
{
    (void)state;
    const struct redirect https = {.scheme = SLICE("https")};
    const struct redirect host = {.hostname = SLICE("b.org")};
    const struct redirect port = {.port = 8443};
    leads(&https, "http", "a.org", "https://a.org/a?q=1");
    leads(&https, "http", "a.org:8080", "https://a.org/a?q=1"); // the port of the new scheme
    leads(&host, "http", "a.org:8080", "http://b.org:8080/a?q=1");
    leads(&host, "http", "a.org", "http://b.org/a?q=1");
    leads(&port, "https", "a.org:1", "https://a.org:8443/a?q=1");
    leads(&port, "https", "[::1]:1", "https://[::1]:8443/a?q=1");
    leads(&port, "https", "[fd00::1]", "https://[fd00::1]:8443/a?q=1");
    leads(&https, "http", "[fd00::1]", "https://[fd00::1]/a?q=1");
}

static void the_usual_port_is_not_said(void **state)
{
    (void)state;
    const struct redirect all = {
        .scheme = SLICE("https"), .hostname = SLICE("b.org"), .port = 443};
    const struct redirect plain = {.scheme = SLICE("http"), .port = 443};
    leads(&all, "http", "a.org", "https://b.org/a?q=1");
    leads(&plain, "https", "a.org", "http://a.org:443/a?q=1");
    leads(&(struct redirect){.hostname = SLICE("b.org")}, "http", "a.org:80", "http://b.org/a?q=1");
}

static void without_a_host_it_is_a_path(void **state)
{
    (void)state;
    const struct redirect redirect = {
        .scheme = SLICE("https"), .path = {.type = PATH_CHANGE_FULL, .value = SLICE("/b")}};
    leads(&redirect, "http", "", "/b?q=1");
}

static void a_path_alone_is_never_another_host(void **state)
{
    (void)state;
    static const char *const paths[] = {"//evil.com/x", "///evil.com/x", "/\\evil.com/x",
                                        "/foo//evil.com/x", "/foo/\\/evil.com/x"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct redirect redirect = {.scheme = SLICE("https"),
                                          .path = {.type = PATH_CHANGE_PREFIX,
                                                   .value = SLICE("/"),
                                                   .prefixes = prefixes,
                                                   .prefix_count = 1}};
        const struct redirect_from from = {.scheme = SLICE("http"), .path = slice_of_str(paths[i])};
        struct strbuf out;
        strbuf_init(&out, 4096);
        redirect_write(&redirect, &from, &out);
        assert_string_equal(strbuf_cstr(&out), "/evil.com/x");
        strbuf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_replaced_by_whole_segments),
        cmocka_unit_test(the_result_has_one_slash_where_the_parts_meet),
        cmocka_unit_test(a_whole_path_is_replaced),
        cmocka_unit_test(what_is_not_named_stays),
        cmocka_unit_test(the_usual_port_is_not_said),
        cmocka_unit_test(without_a_host_it_is_a_path),
        cmocka_unit_test(a_path_alone_is_never_another_host),
    };
    return cmocka_run_group_tests_name("redirect", tests, NULL, NULL);
}
