#include "kube/reflector.h"

#include <errno.h>

#include "base/clock.h"
#include "kube/fake_api.h"

struct fixture {
    struct loop *loop;
    struct fake_api fake;
    struct kube_reflector *r;
    uint64_t now_ms;
    char log[4096]; // what the reflector told: "+ns/name@version -ns/name synced"
    char notes[8192];
};

static void on_upsert(void *arg, struct json_object *object)
{
    struct fixture *f = arg;
    struct kube_meta m;
    size_t at = strlen(f->log);
    assert_true(kube_meta_read(object, &m));
    snprintf(f->log + at, sizeof(f->log) - at, "+%.*s@%.*s ", SLICE_FMT(m.name),
             SLICE_FMT(m.version));
}

static void on_remove(void *arg, struct slice namespace_name, struct slice name)
{
    struct fixture *f = arg;
    size_t at = strlen(f->log);
    assert_true(slice_eq_str(namespace_name, "d"));
    snprintf(f->log + at, sizeof(f->log) - at, "-%.*s ", SLICE_FMT(name));
}

static void on_synced(void *arg)
{
    struct fixture *f = arg;
    size_t at = strlen(f->log);
    snprintf(f->log + at, sizeof(f->log) - at, "synced ");
}

static void on_note(void *arg, enum log_level level, const char *text)
{
    (void)level;
    struct fixture *f = arg;
    size_t at = strlen(f->notes);
    snprintf(f->notes + at, sizeof(f->notes) - at, "%s\n", text);
}

static void advance(struct fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    clock_fake_set_ns(f->now_ms * 1000000);
    loop_turn(f->loop, 0);
    loop_turn(f->loop, 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->now_ms = 1000000;
    clock_fake_set_ns(f->now_ms * 1000000);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    fake_api_init(&f->fake);
    struct kube_reflector_options options = {
        .resource = {.api_version = "g.io/v1", .kind = "Thing", .plural = "things"}, .seed = 7};
    struct kube_reflector_events events = {on_upsert, on_remove, on_synced, on_note, NULL};
    assert_int_equal(kube_reflector_new(f->loop, &f->fake.api, &options, &events, f, &f->r), 0);
    kube_reflector_start(f->r);
    advance(f, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    kube_reflector_free(f->r);
    assert_int_equal(f->fake.n_open, 0);
    loop_free(f->loop);
    clock_fake_set_ns(0);
    free(f);
    return 0;
}

static void expect_log(struct fixture *f, const char *text)
{
    assert_string_equal(f->log, text);
    f->log[0] = '\0';
}

static void expect_path(struct fixture *f, const char *part)
{
    const char *path = fake_call(&f->fake)->path;
    if (strstr(path, part) == NULL) {
        fail_msg("%s lacks %s", path, part);
    }
}

static void expect_list(struct fixture *f, const char *query)
{
    char path[256];
    snprintf(path, sizeof(path), "/apis/g.io/v1/things?%s", query);
    assert_string_equal(fake_call(&f->fake)->path, path);
}

#define OBJECT(name, uid, version)                                                                 \
    "{\"metadata\":{\"namespace\":\"d\",\"name\":\"" name "\",\"uid\":\"" uid                       \
    "\",\"resourceVersion\":\"" version "\"}}"
#define LIST(version, more, items)                                                                 \
    "{\"kind\":\"ThingList\",\"apiVersion\":\"g.io/v1\",\"metadata\":{\"resourceVersion\":\"" version \
    "\"" more "},\"items\":[" items "]}"
#define EVENT(type, name, uid, version)                                                            \
    "{\"type\":\"" type "\",\"object\":" OBJECT(name, uid, version) "}\n"
#define BOOKMARK(version)                                                                          \
    "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Thing\",\"apiVersion\":\"g.io/v1\",\"metadata\":" \
    "{\"resourceVersion\":\"" version "\"}}}\n"
#define ERROR_EVENT(code, reason)                                                                  \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":" code ",\"reason\":\"" reason "\"}}\n"

static void answer_list(struct fixture *f, const char *body)
{
    struct kube_response ok = {.status = 200, .reason = "", .text = ""};
    struct kube_call *call = fake_call(&f->fake);
    int rc = fake_send(call, body);
    ok.rc = rc;
    fake_end(&f->fake, call, &ok);
}

static void end_watch(struct fixture *f, int rc)
{
    struct kube_response response = {.rc = rc, .status = 200, .reason = "", .text = "ended"};
    fake_end(&f->fake, fake_call(&f->fake), &response);
}

// Sends events; ends the call when the receiver wants that.
static void send_events(struct fixture *f, const char *text)
{
    int rc = fake_send(fake_call(&f->fake), text);
    if (rc < 0) {
        end_watch(f, rc);
    }
}

// Listed a@10 and b@11 at 20, now watching.
static void sync_two(struct fixture *f)
{
    answer_list(f, LIST("20", "", OBJECT("a", "ua", "10") "," OBJECT("b", "ub", "11")));
    expect_log(f, "+a@10 +b@11 synced ");
    expect_path(f, "watch=1&allowWatchBookmarks=true&timeoutSeconds=");
    expect_path(f, "&resourceVersion=20");
}

static void the_first_list_takes_any_version_and_a_watch_follows(void **state)
{
    struct fixture *f = *state;
    expect_list(f, "limit=500&resourceVersion=0");
    assert_false(kube_reflector_is_synced(f->r));
    sync_two(f);
    assert_true(kube_reflector_is_synced(f->r));
    send_events(f, EVENT("ADDED", "c", "uc", "21") EVENT("MODIFIED", "a", "ua", "22"));
    send_events(f, EVENT("DELETED", "b", "ub", "23"));
    expect_log(f, "+c@21 +a@22 -b ");
    assert_int_equal(kube_reflector_count(f->r), 2);
}

static void an_ended_watch_goes_on_from_the_last_version_or_bookmark(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, EVENT("ADDED", "c", "uc", "21") BOOKMARK("35"));
    advance(f, 100000);
    end_watch(f, 0);
    expect_path(f, "watch=1");
    expect_path(f, "&resourceVersion=35");
    assert_int_equal(kube_reflector_counters(f->r)->bookmarks, 1);
    assert_int_equal(kube_reflector_counters(f->r)->lists, 1);
}

static void pages_are_joined_and_only_then_is_anything_gone(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, ERROR_EVENT("410", "Expired"));
    advance(f, 5000);
    expect_list(f, "limit=0&resourceVersion=20");
    fake_status(&f->fake, 410, "Expired", 0);
    expect_list(f, "limit=500");
    answer_list(f, LIST("30", ",\"continue\":\"t/1\"", OBJECT("a", "ua", "10")));
    expect_log(f, "");
    expect_list(f, "limit=500&continue=t%2F1");
    answer_list(f, LIST("30", "", OBJECT("c", "uc", "25")));
    expect_log(f, "+c@25 -b synced ");
    expect_path(f, "&resourceVersion=30");
}

static void an_expired_page_leads_to_one_whole_list(void **state)
{
    struct fixture *f = *state;
    answer_list(f, LIST("20", ",\"continue\":\"t\"", OBJECT("a", "ua", "10")));
    fake_status(&f->fake, 410, "Expired", 0);
    expect_list(f, "limit=0&resourceVersion=0");
    answer_list(f, LIST("21", "", OBJECT("a", "ua", "10") "," OBJECT("b", "ub", "11")));
    expect_log(f, "+a@10 +b@11 synced ");
}

static void endless_pages_are_given_up(void **state)
{
    struct fixture *f = *state;
    answer_list(f, LIST("20", ",\"continue\":\"t\"", ""));
    answer_list(f, LIST("20", ",\"continue\":\"t\"", ""));
    assert_int_equal(f->fake.n_open, 0);
    assert_non_null(strstr(f->notes, "do not end"));
}

static void a_version_too_large_leads_at_once_to_the_newest(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    end_watch(f, 0); // ended at once: lists again after a pause
    advance(f, 5000);
    expect_list(f, "limit=0&resourceVersion=20");
    struct kube_response large = {.status = 504, .reason = "Timeout", .text = "too large",
                                  .too_large_version = true};
    fake_end(&f->fake, fake_call(&f->fake), &large);
    expect_list(f, "limit=500");
    // The server was restored from a backup: its versions are lower, and are believed.
    answer_list(f, LIST("5", "", OBJECT("a", "ua", "3") "," OBJECT("b", "ub", "11")));
    expect_log(f, "+a@3 synced ");
    expect_path(f, "&resourceVersion=5");
}

static void a_failed_list_takes_nothing_away_and_backs_off(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    fake_status(&f->fake, 410, "Expired", 0);
    advance(f, 2000);
    fake_fail(&f->fake, -ECONNREFUSED);
    uint64_t pauses[8];
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        uint64_t from = f->now_ms;
        while (f->fake.n_open == 0) {
            advance(f, 50);
        }
        pauses[i] = f->now_ms - from;
        struct kube_call *call = fake_call(&f->fake);
        fake_send(call, "{\"kind\":\"ThingList\",\"items\":[");
        fake_fail(&f->fake, -ECONNRESET);
    }
    assert_true(pauses[1] > pauses[0] / 2 && pauses[0] >= 800);
    assert_in_range(pauses[7], 30000, 60100);
    expect_log(f, "");
    assert_int_equal(kube_reflector_count(f->r), 2);
    assert_true(kube_reflector_is_synced(f->r));
    assert_string_not_equal(kube_reflector_trouble(f->r), "");
}

static void a_watch_that_worked_ends_the_pauses_of_an_earlier_outage(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, BOOKMARK("25"));
    end_watch(f, -ECONNRESET);
    for (int i = 0; i < 4; i++) {
        advance(f, 30000);
        fake_fail(&f->fake, -ECONNREFUSED);
    }
    advance(f, 60000);
    if (strstr(fake_call(&f->fake)->path, "watch=1") == NULL) {
        answer_list(f, LIST("26", "", OBJECT("a", "ua", "3") "," OBJECT("b", "ub", "11")));
    }
    send_events(f, BOOKMARK("30"));
    advance(f, 10000);
    end_watch(f, -ECONNRESET);
    advance(f, 1700); // the first pause again, with its jitter
    expect_path(f, "watch=1");
}

static void an_odd_list_takes_nothing_away(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    static const char *const bodies[] = {
        "{}", "", "<html>captive portal</html>", "{\"kind\":\"ThingList\",\"items\":[]}",
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\"}",
        "{\"kind\":\"ThingList\",\"apiVersion\":\"g.io/v1\",\"metadata\":{\"resourceVersion\":\"9\"}}",
        ("{\"kind\":\"OtherList\",\"apiVersion\":\"g.io/v1\",\"metadata\":{\"resourceVersion\":\"9\"},"
         "\"items\":[]}"),
    };
    fake_status(&f->fake, 403, "Forbidden", 0);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        advance(f, 70000);
        expect_path(f, "?limit=0&resourceVersion=20");
        answer_list(f, bodies[i]);
        expect_log(f, "");
    }
    assert_int_equal(kube_reflector_count(f->r), 2);
}

static void a_sudden_empty_list_must_be_confirmed(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    fake_status(&f->fake, 403, "Forbidden", 0);
    advance(f, 70000);
    answer_list(f, LIST("40", "", ""));
    expect_log(f, "");
    assert_int_equal(kube_reflector_counters(f->r)->prunes_held, 1);
    assert_non_null(strstr(f->notes, "suddenly lacks 2 of 2"));
    advance(f, 2100);
    expect_list(f, "limit=500"); // consistent
    answer_list(f, LIST("41", "", ""));
    expect_log(f, "");
    advance(f, 6000);
    answer_list(f, LIST("42", "", ""));
    assert_int_equal(kube_reflector_count(f->r), 0);
    assert_non_null(strstr(f->log, "-a "));
    assert_non_null(strstr(f->log, "-b "));
    assert_non_null(strstr(f->log, "synced"));
}

static void an_unconfirmed_empty_list_is_forgotten(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    fake_status(&f->fake, 403, "Forbidden", 0);
    advance(f, 70000);
    answer_list(f, LIST("40", "", ""));
    advance(f, 6000);
    answer_list(f, LIST("41", "", OBJECT("a", "ua", "10") "," OBJECT("b", "ub", "11")));
    expect_log(f, "synced ");
    assert_int_equal(kube_reflector_count(f->r), 2);
}

static void a_silent_watch_is_opened_again(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    advance(f, 100000);
    send_events(f, BOOKMARK("21"));
    advance(f, 100000);
    assert_int_equal(f->fake.n_cancelled, 0);
    advance(f, 60000);
    assert_int_equal(f->fake.n_cancelled, 1);
    expect_path(f, "&resourceVersion=21");
    assert_int_equal(kube_reflector_counters(f->r)->lists, 1);
}

static void a_watch_that_stays_silent_leads_to_a_list(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    for (int i = 0; i < 3; i++) { // no bookmark ever: there may be none of a kind at rest
        advance(f, 151000);
        expect_path(f, "watch=1");
    }
    advance(f, 151000);
    expect_list(f, "limit=0&resourceVersion=20");
    answer_list(f, LIST("20", "", OBJECT("a", "ua", "10") "," OBJECT("b", "ub", "11")));
    send_events(f, BOOKMARK("21"));
    advance(f, 151000);
    expect_path(f, "watch=1");
    advance(f, 151000);
    expect_list(f, "limit=0&resourceVersion=21");
}

static void a_watch_is_ended_when_the_server_does_not(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    for (int i = 0; i < 20 && f->fake.n_cancelled == 0; i++) {
        send_events(f, BOOKMARK("21"));
        advance(f, 60000);
    }
    assert_int_equal(f->fake.n_cancelled, 1);
}

static void a_refused_watch_is_tried_again_from_the_same_version(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, BOOKMARK("25"));
    end_watch(f, -ECONNRESET);
    assert_int_equal(f->fake.n_open, 0);
    advance(f, 2000);
    expect_path(f, "watch=1");
    expect_path(f, "&resourceVersion=25");
    fake_fail(&f->fake, -ECONNREFUSED);
    advance(f, 4000);
    expect_path(f, "watch=1");
    fake_status(&f->fake, 429, "TooManyRequests", 20000);
    advance(f, 19000);
    assert_int_equal(f->fake.n_open, 0); // Retry-After is longer than the back-off
    advance(f, 1500);
    expect_path(f, "watch=1");
    assert_int_equal(kube_reflector_counters(f->r)->lists, 1);
    send_events(f, ERROR_EVENT("429", "TooManyRequests"));
    advance(f, 60000);
    expect_path(f, "watch=1");
    assert_int_equal(kube_reflector_counters(f->r)->lists, 1);
}

// A server that is up again after a long outage and asks for a second knows better than pauses that
// have grown meanwhile.
static void a_pause_that_the_server_asks_for_is_not_stretched(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, BOOKMARK("25"));
    for (int i = 0; i < 4; i++) {
        fake_fail(&f->fake, -ECONNREFUSED);
        advance(f, 30000);
    }
    fake_status(&f->fake, 429, "TooManyRequests", 1000);
    advance(f, 1600);
    expect_path(f, "watch=1");
    // But not for ever: in the end our own pauses count again.
    int asked = 0;
    for (; f->fake.n_open == 1 && asked < 20; asked++) {
        fake_status(&f->fake, 429, "TooManyRequests", 1000);
        advance(f, 1600);
    }
    assert_in_range(asked, 5, 12);
}

// Another kind reached the server: this one need not sit out a pause that has grown long.
static void a_reachable_server_ends_the_pauses_of_an_outage_only(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, BOOKMARK("25"));
    kube_reflector_hurry(f->r); // nothing to hurry: the watch runs
    assert_int_equal(f->fake.n_started, 2);
    for (int i = 0; i < 4; i++) {
        fake_fail(&f->fake, -ECONNREFUSED);
        advance(f, 30000);
    }
    fake_fail(&f->fake, -ECONNREFUSED);
    advance(f, 1000);
    assert_int_equal(f->fake.n_open, 0);
    kube_reflector_hurry(f->r);
    advance(f, 600);
    assert_int_equal(f->fake.n_open, 1);
    fake_status(&f->fake, 403, "Forbidden", 0); // this is no matter of reaching it
    advance(f, 100);
    kube_reflector_hurry(f->r);
    advance(f, 600);
    assert_int_equal(f->fake.n_open, 0);
}

static void a_watch_that_never_works_leads_to_a_list(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    for (int i = 0; i < 5; i++) {
        expect_path(f, "watch=1");
        fake_fail(&f->fake, -ECONNREFUSED);
        advance(f, 70000);
    }
    expect_list(f, "limit=0&resourceVersion=20");
}

static void duplicates_and_late_events_tell_nothing(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, EVENT("MODIFIED", "a", "ua", "30") EVENT("MODIFIED", "a", "ua", "30")
                       EVENT("MODIFIED", "a", "ua", "25") EVENT("ADDED", "a", "ua", "10"));
    expect_log(f, "+a@30 ");
    // Deleted and made again, with the deletion of the first repeated late.
    send_events(f, EVENT("DELETED", "a", "ua", "31") EVENT("ADDED", "a", "ua2", "32")
                       EVENT("DELETED", "a", "ua", "31") EVENT("DELETED", "zz", "u", "33"));
    expect_log(f, "-a +a@32 ");
    assert_int_equal(kube_reflector_counters(f->r)->duplicates, 5);
    end_watch(f, -ECONNRESET);
    advance(f, 2000);
    expect_path(f, "&resourceVersion=33");
}

static void odd_events_are_skipped(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\"}}\n"
                   "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n{\"type\":\"ADDED\"}\n"
                   "{\"type\":\"NEWTHING\",\"object\":{}}\n{}\n{\"type\":5,\"object\":[]}\n"
                   "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Thing\"}}\n"
                   "{\"type\":\"DELETED\",\"object\":null}\n");
    send_events(f, EVENT("ADDED", "c", "uc", "21"));
    expect_log(f, "+c@21 ");
    assert_int_equal(kube_reflector_counters(f->r)->odd, 8);
}

static void garbage_in_a_watch_leads_to_a_list(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    send_events(f, EVENT("ADDED", "c", "uc", "21") "garbage\n");
    expect_log(f, "+c@21 ");
    advance(f, 2000);
    expect_list(f, "limit=0&resourceVersion=21");
}

static void an_unknown_kind_and_a_forbidden_one_say_what_to_do(void **state)
{
    struct fixture *f = *state;
    fake_status(&f->fake, 404, "NotFound", 0);
    assert_non_null(strstr(f->notes, "install the resource definitions"));
    advance(f, 10000);
    fake_status(&f->fake, 404, "NotFound", 0);
    advance(f, 10000);
    fake_status(&f->fake, 403, "Forbidden", 0);
    assert_non_null(strstr(f->notes, "not allowed to list and watch things"));
    assert_false(kube_reflector_is_synced(f->r));
    advance(f, 10000);
    sync_two(f);
    assert_non_null(strstr(f->notes, "in touch again"));
    // Each said once.
    const char *first = strstr(f->notes, "install");
    assert_null(strstr(first + 1, "install"));
}

static void a_410_storm_is_not_a_busy_loop(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    for (int i = 0; i < 100; i++) {
        if (f->fake.n_open == 1) {
            if (strstr(fake_call(&f->fake)->path, "watch=1") != NULL) {
                send_events(f, ERROR_EVENT("410", "Expired"));
            } else {
                answer_list(f, LIST("20", "", OBJECT("a", "ua", "10") "," OBJECT("b", "ub", "11")));
            }
        }
        advance(f, 100);
    }
    assert_in_range(kube_reflector_counters(f->r)->lists, 2, 9);
}

static void stopping_forgets_and_starting_begins_anew(void **state)
{
    struct fixture *f = *state;
    sync_two(f);
    kube_reflector_stop(f->r);
    assert_int_equal(f->fake.n_open, 0);
    assert_int_equal(kube_reflector_count(f->r), 0);
    assert_false(kube_reflector_is_synced(f->r));
    expect_log(f, "");
    kube_reflector_start(f->r);
    advance(f, 1);
    expect_list(f, "limit=500&resourceVersion=0");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_first_list_takes_any_version_and_a_watch_follows),
        CASE(an_ended_watch_goes_on_from_the_last_version_or_bookmark),
        CASE(pages_are_joined_and_only_then_is_anything_gone),
        CASE(an_expired_page_leads_to_one_whole_list),
        CASE(endless_pages_are_given_up),
        CASE(a_version_too_large_leads_at_once_to_the_newest),
        CASE(a_failed_list_takes_nothing_away_and_backs_off),
        CASE(a_watch_that_worked_ends_the_pauses_of_an_earlier_outage),
        CASE(an_odd_list_takes_nothing_away),
        CASE(a_sudden_empty_list_must_be_confirmed),
        CASE(an_unconfirmed_empty_list_is_forgotten),
        CASE(a_silent_watch_is_opened_again),
        CASE(a_watch_that_stays_silent_leads_to_a_list),
        CASE(a_watch_is_ended_when_the_server_does_not),
        CASE(a_refused_watch_is_tried_again_from_the_same_version),
        CASE(a_pause_that_the_server_asks_for_is_not_stretched),
        CASE(a_reachable_server_ends_the_pauses_of_an_outage_only),
        CASE(a_watch_that_never_works_leads_to_a_list),
        CASE(duplicates_and_late_events_tell_nothing),
        CASE(odd_events_are_skipped),
        CASE(garbage_in_a_watch_leads_to_a_list),
        CASE(an_unknown_kind_and_a_forbidden_one_say_what_to_do),
        CASE(a_410_storm_is_not_a_busy_loop),
        CASE(stopping_forgets_and_starting_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
