#include "kube/auth.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kube/exec.h"

struct fixture {
    char dir[64];
    struct loop *loop;
    struct kube_config config;
    struct kube_exec_spec spec;
    struct kube_auth *auth;
    struct kube_auth_waiter waiter;
    int ready;
    int rc;
    char why[1024];
};

static char *path_of(struct fixture *f, const char *name)
{
    static char path[4][256];
    static size_t at;
    char *out = path[at++ % 4];
    snprintf(out, sizeof(path[0]), "%s/%s", f->dir, name);
    return out;
}

static void put(struct fixture *f, const char *name, const char *text)
{
    FILE *file = fopen(path_of(f, name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path_of(f, name), 0755);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/kube-auth-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    f->spec.api_version = (char *)(uintptr_t) "client.authentication.k8s.io/v1";
    f->spec.command = strdup(path_of(f, "plugin"));
    f->config.server = (char *)(uintptr_t) "https://h";
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    kube_auth_wait_cancel(&f->waiter);
    kube_auth_free(f->auth);
    loop_free(f->loop);
    free(f->spec.command);
    free(f->config.token_file);
    clock_fake_set_ns(0);
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void begin(struct fixture *f)
{
    assert_int_equal(kube_auth_new(f->loop, &f->config, &f->auth), 0);
}

static void on_ready(int rc, const struct error *err, void *arg)
{
    struct fixture *f = arg;
    f->ready++;
    f->rc = rc;
    snprintf(f->why, sizeof(f->why), "%s", err->text);
}

static void expect_token(struct fixture *f, const char *token)
{
    struct kube_credentials c;
    struct error err = ERROR_INIT;
    if (kube_auth_get(f->auth, &c, &err) != 0) {
        fail_msg("%s", err.text);
    }
    char text[256];
    snprintf(text, sizeof(text), "%.*s", SLICE_FMT(c.token));
    assert_string_equal(text, token);
}

// Runs the program to its end; returns what the waiter was told.
static int run_program(struct fixture *f)
{
    struct kube_credentials c;
    int before = f->ready;
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), -EINPROGRESS);
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), -EINPROGRESS); // one run for all
    kube_auth_wait(f->auth, &f->waiter, on_ready, f);
    for (int i = 0; i < 5000 && f->ready == before; i++) {
        loop_turn(f->loop, 20);
    }
    assert_int_equal(f->ready, before + 1);
    return f->rc;
}

static void a_token_file_is_read_again_every_minute_and_on_refusal(void **state)
{
    struct fixture *f = *state;
    clock_fake_set_ns(UINT64_C(5000000000));
    put(f, "token", " one \n");
    f->config.token_file = strdup(path_of(f, "token"));
    f->config.token = (char *)(uintptr_t) "static";
    begin(f);
    expect_token(f, "one");
    put(f, "token", "two");
    clock_fake_set_ns(UINT64_C(64000000000));
    expect_token(f, "one");
    clock_fake_set_ns(UINT64_C(66000000000));
    expect_token(f, "two");
    put(f, "token", "three");
    struct kube_credentials c;
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), 0);
    kube_auth_reject(f->auth, c.serial + 1); // of other credentials
    expect_token(f, "two");
    kube_auth_reject(f->auth, c.serial);
    expect_token(f, "three");
    kube_auth_reject(f->auth, c.serial); // the same answer, late
    // Gone or empty: the last one stays.
    unlink(path_of(f, "token"));
    clock_fake_set_ns(UINT64_C(200000000000));
    expect_token(f, "three");
    put(f, "token", "\n");
    clock_fake_set_ns(UINT64_C(300000000000));
    expect_token(f, "three");
}

static void expect_authority(struct fixture *f, const char *pem)
{
    struct kube_credentials c;
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), 0);
    assert_true(slice_eq_str(c.ca_pem, pem));
}

static void certificates_are_read_again_when_they_failed(void **state)
{
    struct fixture *f = *state;
    clock_fake_set_ns(UINT64_C(5000000000));
    put(f, "ca.crt", "old");
    f->config.ca_file = path_of(f, "ca.crt");
    begin(f);
    expect_authority(f, "old");
    put(f, "ca.crt", "new");
    expect_authority(f, "old");
    kube_auth_reread_certificates(f->auth);
    expect_authority(f, "new");
}

static void expect_no_credentials(struct fixture *f, const char *why)
{
    struct kube_credentials c;
    struct error err = ERROR_INIT;
    assert_int_equal(kube_auth_get(f->auth, &c, &err), -ENOENT);
    assert_non_null(strstr(err.text, why));
    kube_auth_free(f->auth);
    f->auth = NULL;
}

// Nothing else may take the place of what was named: neither the authorities of the system nor
// nobody.
static void a_file_that_is_not_there_is_an_error(void **state)
{
    struct fixture *f = *state;
    f->config.ca_file = path_of(f, "ca.crt");
    begin(f);
    expect_no_credentials(f, "/ca.crt: No such file");
    f->config.ca_file = NULL;
    f->config.cert_file = path_of(f, "client.crt");
    f->config.key_file = path_of(f, "client.key");
    put(f, "client.crt", "pem");
    begin(f);
    expect_no_credentials(f, "/client.key: No such file");
    f->config.cert_file = f->config.key_file = NULL;
    f->config.token_file = strdup(path_of(f, "token"));
    begin(f);
    expect_no_credentials(f, "/token: No such file");
    // What was read once stays good when the file goes.
    put(f, "token", "one");
    clock_fake_set_ns(UINT64_C(5000000000));
    begin(f);
    expect_token(f, "one");
    unlink(path_of(f, "token"));
    clock_fake_set_ns(UINT64_C(500000000000));
    expect_token(f, "one");
}

static void without_a_token_file_the_token_counts(void **state)
{
    struct fixture *f = *state;
    f->config.token_file = strdup(path_of(f, "absent"));
    f->config.token = (char *)(uintptr_t) "static";
    begin(f);
    expect_token(f, "static");
}

static void a_program_gives_a_token_until_it_expires_or_is_refused(void **state)
{
    struct fixture *f = *state;
    put(f, "plugin",
        "#!/bin/sh\necho run >> \"$(dirname \"$0\")/runs\"\n"
        "n=$(wc -l < \"$(dirname \"$0\")/runs\")\n"
        "echo \"$KUBERNETES_EXEC_INFO\" > \"$(dirname \"$0\")/info\"\n"
        "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\","
        "\"status\":{\"token\":\"t'$n$EXTRA'\","
        "\"expirationTimestamp\":\"2100-01-01T00:00:00Z\"}}'\n");
    char *env[] = {(char *)(uintptr_t) "EXTRA=x", NULL};
    f->spec.env = env;
    f->config.exec = &f->spec;
    begin(f);
    assert_int_equal(run_program(f), 0);
    expect_token(f, "t1x");
    expect_token(f, "t1x");
    struct kube_credentials c;
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), 0);
    kube_auth_reject(f->auth, c.serial);
    assert_int_equal(run_program(f), 0);
    expect_token(f, "t2x");
    char info[512] = "";
    FILE *file = fopen(path_of(f, "info"), "r");
    assert_non_null(fgets(info, sizeof(info), file));
    fclose(file);
    assert_string_equal(info, "{\"apiVersion\":\"client.authentication.k8s.io\\/v1\",\"kind\":"
                              "\"ExecCredential\",\"spec\":{\"interactive\":false}}\n");
    f->spec.env = NULL;
}

static void a_program_that_misbehaves_is_a_clear_error(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *script;
        const char *why;
    } cases[] = {
        {"#!/bin/sh\nexit 3\n", "exit status 3"},
        {"#!/bin/sh\nkill -9 $$\n", "ended by signal 9"},
        {"#!/bin/sh\necho hello\n", "not a JSON object"},
        {"#!/bin/sh\necho '{}'\n", "not of apiVersion"},
        {"#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\"}'\n",
         "has no status"},
        {"#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{}}'\n",
         "neither a token nor a certificate"},
        {"#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":"
         "{\"clientKeyData\":\"x\"}}'\n", "without the other"},
        {"#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":"
         "{\"token\":\"x\",\"expirationTimestamp\":\"soon\"}}'\n", "is not a time"},
        {"#!/bin/sh\nexec head -c 2000000 /dev/zero\n", "wrote more than"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put(f, "plugin", cases[i].script);
        f->config.exec = &f->spec;
        begin(f);
        assert_true(run_program(f) < 0);
        if (strstr(f->why, cases[i].why) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", f->why, cases[i].why);
        }
        struct kube_credentials c;
        struct error err = ERROR_INIT;
        assert_true(kube_auth_get(f->auth, &c, &err) < 0); // not started again at once
        assert_non_null(strstr(err.text, cases[i].why));
        kube_auth_free(f->auth);
        f->auth = NULL;
    }
}

static void an_absent_program_says_where_to_get_it(void **state)
{
    struct fixture *f = *state;
    f->spec.install_hint = (char *)(uintptr_t) "See example.com.";
    f->config.exec = &f->spec;
    begin(f);
    struct kube_credentials c;
    struct error err = ERROR_INIT;
    assert_int_equal(kube_auth_get(f->auth, &c, &err), -ENOENT);
    assert_non_null(strstr(err.text, "See example.com."));
}

static void a_program_that_runs_is_killed_when_nobody_waits_any_more(void **state)
{
    struct fixture *f = *state;
    put(f, "plugin", "#!/bin/sh\nexec sleep 1000\n");
    f->config.exec = &f->spec;
    begin(f);
    struct kube_credentials c;
    assert_int_equal(kube_auth_get(f->auth, &c, NULL), -EINPROGRESS);
    kube_auth_free(f->auth); // reaps it; a hang here fails the test
    f->auth = NULL;
}

static void on_run_done(int rc, struct slice output, const struct error *err, void *arg)
{
    struct fixture *f = arg;
    f->ready++;
    f->rc = rc;
    snprintf(f->why, sizeof(f->why), "%.*s%s", SLICE_FMT(output), err->text);
}

static void a_slow_program_times_out_and_a_held_pipe_does_not_hold_us(void **state)
{
    struct fixture *f = *state;
    struct kube_exec_run *run = NULL;
    char *slow[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000", NULL};
    assert_int_equal(kube_exec_start(f->loop, slow, NULL, 50, on_run_done, f, &run, NULL), 0);
    for (int i = 0; i < 5000 && f->ready == 0; i++) {
        loop_turn(f->loop, 20);
    }
    assert_int_equal(f->rc, -ETIMEDOUT);
    char *holder[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                      (char *)(uintptr_t) "sleep 600 & echo $!", NULL};
    assert_int_equal(kube_exec_start(f->loop, holder, NULL, 60000, on_run_done, f, &run, NULL), 0);
    for (int i = 0; i < 5000 && f->ready == 1; i++) {
        loop_turn(f->loop, 20);
    }
    assert_int_equal(f->rc, 0); // though whoever it left behind still has the pipe
    long left_behind = strtol(f->why, NULL, 10);
    assert_true(left_behind > 1);
    kill((pid_t)left_behind, SIGKILL);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_token_file_is_read_again_every_minute_and_on_refusal),
        CASE(certificates_are_read_again_when_they_failed),
        CASE(a_file_that_is_not_there_is_an_error),
        CASE(without_a_token_file_the_token_counts),
        CASE(a_program_gives_a_token_until_it_expires_or_is_refused),
        CASE(a_program_that_misbehaves_is_a_clear_error),
        CASE(an_absent_program_says_where_to_get_it),
        CASE(a_program_that_runs_is_killed_when_nobody_waits_any_more),
        CASE(a_slow_program_times_out_and_a_held_pipe_does_not_hold_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
