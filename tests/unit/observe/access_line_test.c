// A line of the access log: every field, valid whatever clients send.
#include "observe/access_line.h"

#include <json-c/json.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct access_tls tls = {
    .version = SLICE("TLSv1.3"),
    .cipher = SLICE("TLS_AES_128_GCM_SHA256"),
    .alpn = SLICE("h2"),
    .server_name = SLICE("api.example.com"),
    .subject = SLICE("CN=me,O=Example"),
    .san = SLICE("URI:spiffe://example.com/me"),
};

static struct access_record sample(void)
{
    return (struct access_record){
        .wall_ns = UINT64_C(1767323045678901234),
        .request_id = SLICE("req-1"),
        .client = SLICE("10.0.0.9"),
        .protocol = SLICE("HTTP/1.1"),
        .tls = &tls,
        .consumer = SLICE("team a"),
        .method = SLICE("POST"),
        .path = SLICE("/v1/chat/completions"),
        .host = SLICE("api.example.com"),
        .user_agent = SLICE("curl/8"),
        .status = 200,
        .model = SLICE("llama"),
        .route = SLICE("ml/chat"),
        .rule = SLICE("all"),
        .backend = SLICE("ml/llama"),
        .endpoint = SLICE("10.0.0.1:8000"),
        .attempts = 2,
        .fallback = true,
        .hedged = SLICE("won"),
        .stream = true,
        .ttft_ns = 1234567,
        .duration_ns = UINT64_C(9876543210),
        .bytes_in = 300,
        .bytes_out = 4000,
        .has_usage = true,
        .prompt_tokens = 21,
        .completion_tokens = 6,
        .cached_tokens = 16,
        .outcome = "ok",
        .finish = SLICE("stop"),
        .reject = SLICE("obs_fold"),
    };
}

static const char *line_of(const struct access_record *record, enum access_format format)
{
    static char text[ACCESS_LINE_MAX + 1];
    struct access_line line;
    memset(text, '?', sizeof(text));
    access_line_init(&line, format);
    size_t len = access_line_write(&line, record, text);
    assert_true(len > 0 && len <= ACCESS_LINE_MAX);
    text[len] = '\0';
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    return text;
}

static void a_line_holds_every_field(void **state)
{
    (void)state;
    struct access_record record = sample();
    assert_string_equal(
        line_of(&record, ACCESS_JSON),
        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"request_id\":\"req-1\",\"client\":\"10.0.0.9\","
        "\"consumer\":\"team a\",\"protocol\":\"HTTP/1.1\",\"tls\":\"TLSv1.3\","
        "\"tls_cipher\":\"TLS_AES_128_GCM_SHA256\",\"tls_alpn\":\"h2\","
        "\"tls_server_name\":\"api.example.com\",\"tls_client_subject\":\"CN=me,O=Example\","
        "\"tls_client_san\":\"URI:spiffe://example.com/me\","
        "\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"host\":\"api.example.com\","
        "\"status\":200,\"outcome\":\"ok\",\"finish\":\"stop\",\"reject\":\"obs_fold\","
        "\"model\":\"llama\",\"route\":\"ml/chat\","
        "\"rule\":\"all\",\"backend\":\"ml/llama\",\"endpoint\":\"10.0.0.1:8000\",\"attempts\":2,"
        "\"fallback\":true,\"hedged\":\"won\","
        "\"stream\":true,\"ttft_ms\":1.234,\"duration_ms\":9876.543,"
        "\"bytes_in\":300,\"bytes_out\":4000,\"prompt_tokens\":21,\"completion_tokens\":6,"
        "\"cached_tokens\":16,\"user_agent\":\"curl/8\"}\n");
}

static void a_text_line_has_the_same_fields(void **state)
{
    (void)state;
    struct access_record record = sample();
    record.path = SLICE("/a=\"b\"\n");
    assert_string_equal(
        line_of(&record, ACCESS_TEXT),
        "2026-01-02T03:04:05.678Z request_id=req-1 client=10.0.0.9 consumer=\"team a\" "
        "protocol=HTTP/1.1 tls=TLSv1.3 tls_cipher=TLS_AES_128_GCM_SHA256 tls_alpn=h2 "
        "tls_server_name=api.example.com tls_client_subject=\"CN=me,O=Example\" "
        "tls_client_san=URI:spiffe://example.com/me method=POST path=\"/a=\\\"b\\\"\\u000a\" "
        "host=api.example.com status=200 outcome=ok finish=stop reject=obs_fold model=llama "
        "route=ml/chat rule=all "
        "backend=ml/llama endpoint=10.0.0.1:8000 attempts=2 fallback=true "
        "hedged=won stream=true "
        "ttft_ms=1.234 duration_ms=9876.543 bytes_in=300 bytes_out=4000 prompt_tokens=21 "
        "completion_tokens=6 cached_tokens=16 user_agent=curl/8\n");
}

static void formats_have_names(void **state)
{
    (void)state;
    enum access_format format = ACCESS_TEXT;
    assert_int_equal(access_format_parse("json", &format), 0);
    assert_int_equal(format, ACCESS_JSON);
    assert_true(access_format_parse("JSON", &format) < 0);
    assert_int_equal(access_format_parse("text", &format), 0);
    assert_int_equal(format, ACCESS_TEXT);
}

static void what_is_unknown_is_left_out(void **state)
{
    (void)state;
    struct access_record record = {.wall_ns = 0, .outcome = "header_timeout", .status = 408};
    assert_string_equal(line_of(&record, ACCESS_JSON),
                        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"status\":408,"
                        "\"outcome\":\"header_timeout\",\"duration_ms\":0.000,"
                        "\"bytes_in\":0,\"bytes_out\":0}\n");
}

static void hostile_texts_stay_one_valid_line(void **state)
{
    (void)state;
    char all[256];
    char longest[100000];
    for (int i = 0; i < 256; i++) {
        all[i] = (char)i;
    }
    memset(longest, '\n', sizeof(longest));
    struct slice texts[] = {slice_of(all, sizeof(all)), slice_of(longest, sizeof(longest)),
                            SLICE("\",\"status\":200,\"x\":\"")};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const struct access_tls odd = {
            .version = texts[i], .cipher = texts[i], .alpn = texts[i], .server_name = texts[i],
            .subject = texts[i], .san = texts[i],
        };
        struct access_record record = {
            .request_id = texts[i], .protocol = texts[i], .tls = &odd,
            .consumer = texts[i], .reject = texts[i], .finish = texts[i],
            .client = texts[i], .method = texts[i], .path = texts[i],
            .host = texts[i], .user_agent = texts[i], .model = texts[i],
            .upstream_model = texts[i], .route = texts[i], .rule = texts[i],
            .backend = texts[i], .endpoint = texts[i],
            .status = 404, .attempts = UINT_MAX, .fallback = true, .stream = true,
            .ttft_ns = UINT64_MAX, .duration_ns = UINT64_MAX, .bytes_in = UINT64_MAX,
            .bytes_out = UINT64_MAX, .has_usage = true, .prompt_tokens = UINT64_MAX,
            .completion_tokens = UINT64_MAX, .cached_tokens = UINT64_MAX, .outcome = "ok",
        };
        line_of(&record, ACCESS_TEXT);
        const char *text = line_of(&record, ACCESS_JSON);
        struct json_object *json = json_tokener_parse(text);
        assert_non_null(json);
        assert_int_equal(json_object_get_int(json_object_object_get(json, "status")), 404);
        json_object_put(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_holds_every_field),
        cmocka_unit_test(a_text_line_has_the_same_fields),
        cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(hostile_texts_stay_one_valid_line),
        cmocka_unit_test(formats_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
