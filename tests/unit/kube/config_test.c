#include "kube/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct kube_config *config;
    struct error err;
};

static void put(struct fixture *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static char *path_of(struct fixture *f, const char *name)
{
    static char path[4][256];
    static size_t at;
    char *out = path[at++ % 4];
    snprintf(out, sizeof(path[0]), "%s/%s", f->dir, name);
    return out;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/kube-config-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    unsetenv("KUBECONFIG");
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    unsetenv("POD_NAMESPACE");
    setenv("HOME", f->dir, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    kube_config_free(f->config);
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static int load(struct fixture *f, const struct kube_config_options *options)
{
    kube_config_free(f->config);
    f->config = NULL;
    return kube_config_load(options, &f->config, &f->err);
}

static void expect_error(struct fixture *f, const char *text, const char *why)
{
    put(f, "c", text);
    struct kube_config_options options = {.kubeconfig = path_of(f, "c")};
    assert_int_not_equal(load(f, &options), 0);
    assert_null(f->config);
    if (strstr(f->err.text, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f->err.text, why);
    }
}

#define CONTEXT                                                                                    \
    "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u, namespace: ml}}]\n"
#define CLUSTER "clusters: [{name: k, cluster: {server: 'https://h:6443/'}}]\n"

static void a_kubeconfig_is_read_with_every_field(void **state)
{
    struct fixture *f = *state;
    put(f, "c",
        CONTEXT "clusters:\n- name: other\n  cluster: {server: 'https://x'}\n"
                "- name: k\n  cluster:\n    server: https://h:6443/prefix/\n"
                "    certificate-authority-data: Q0EK\n    certificate-authority: pki/ca.crt\n"
                "    tls-server-name: real.name\n    proxy-url: http://p:3128\n"
                "users:\n- name: u\n  user:\n    client-certificate: /abs/c.crt\n"
                "    client-key-data: S0VZ\n    token: t0\n    tokenFile: tok\n"
                "    username: me\n    password: pw\n    as: joe\n    as-uid: '7'\n"
                "    as-groups: [a, b]\n");
    struct kube_config_options options = {.kubeconfig = path_of(f, "c")};
    assert_int_equal(load(f, &options), 0);
    const struct kube_config *c = f->config;
    assert_string_equal(c->server, "https://h:6443/prefix");
    assert_string_equal(c->namespace_name, "ml");
    assert_string_equal(c->ca_pem, "CA\n");
    assert_string_equal(c->ca_file, path_of(f, "pki/ca.crt"));
    assert_string_equal(c->tls_server_name, "real.name");
    assert_string_equal(c->proxy_url, "http://p:3128");
    assert_string_equal(c->cert_file, "/abs/c.crt");
    assert_string_equal(c->key_pem, "KEY");
    assert_string_equal(c->token, "t0");
    assert_string_equal(c->token_file, path_of(f, "tok"));
    assert_string_equal(c->username, "me");
    assert_string_equal(c->password, "pw");
    assert_string_equal(c->as_user, "joe");
    assert_string_equal(c->as_uid, "7");
    assert_string_equal(c->as_groups[1], "b");
    assert_null(c->as_groups[2]);
    assert_false(c->insecure);
}

// To send requests as less, or as somebody else, than the file says would be worse than to send
// none.
static void impersonation_that_cannot_be_had_is_refused(void **state)
{
    static const struct {
        const char *user;
        const char *text; // NULL: accepted
    } cases[] = {
        {"{as: joe, as-user-extra: {scopes: [a]}}", "as-user-extra is not supported"},
        {"{as: joe, as-user-extra: {}}", NULL},
        {"{as-groups: [a]}", "as-groups and as-uid need as"},
        {"{as-uid: '7'}", "as-groups and as-uid need as"},
        {"{as-groups: []}", NULL},
        {"{as: joe, as-groups: a}", "as-groups must be a list of strings"},
        {"{as: joe, as-groups: [1]}", "as-groups must be a list of strings"},
        {"{as: [joe]}", "as must be a string"},
        {"{as: joe, as-uid: 7}", "as-uid must be a string"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text), CONTEXT CLUSTER "users: [{name: u, user: %s}]\n",
                 cases[i].user);
        put(f, "c", text);
        struct kube_config_options options = {.kubeconfig = path_of(f, "c")};
        int rc = load(f, &options);
        if (cases[i].text == NULL) {
            assert_int_equal(rc, 0);
        } else if (rc != -EINVAL || strstr(f->err.text, cases[i].text) == NULL) {
            fail_msg("%s: %d %s", cases[i].user, rc, f->err.text);
        }
    }
}

static void another_context_can_be_asked_for(void **state)
{
    struct fixture *f = *state;
    put(f, "c",
        CONTEXT CLUSTER "users: [{name: u, user: {token: t}}]\n"
                        "extra: 1\n");
    put(f, "d",
        "contexts: [{name: d, context: {cluster: k2}}]\n"
        "clusters: [{name: k2, cluster: {server: 'http://h2:1', insecure-skip-tls-verify: true}}]");
    struct kube_config_options options = {.kubeconfig = path_of(f, "d"), .context = "d"};
    assert_int_equal(load(f, &options), 0);
    assert_string_equal(f->config->server, "http://h2:1");
    assert_true(f->config->insecure);
    assert_null(f->config->token);
    options.context = "nope";
    assert_int_equal(load(f, &options), -EINVAL);
    assert_non_null(strstr(f->err.text, "there is no context \"nope\""));
}

static void a_list_of_files_is_merged_and_the_first_wins(void **state)
{
    struct fixture *f = *state;
    char list[512];
    assert_int_equal(mkdir(path_of(f, "two"), 0700), 0);
    put(f, "one", "current-context: c\nusers: [{name: u, user: {token: first}}]\n");
    put(f, "two/two",
        "current-context: other\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
        "clusters: [{name: k, cluster: {server: 'h:1', certificate-authority: ca}}]\n"
        "users: [{name: u, user: {token: second}}]\n");
    snprintf(list, sizeof(list), "%s:%s::%s", path_of(f, "absent"), path_of(f, "one"),
             path_of(f, "two/two"));
    setenv("KUBECONFIG", list, 1);
    assert_int_equal(load(f, NULL), 0);
    assert_string_equal(f->config->token, "first");
    assert_string_equal(f->config->server, "https://h:1");
    assert_string_equal(f->config->ca_file, path_of(f, "two/ca")); // relative to its own file
    setenv("KUBECONFIG", path_of(f, "absent"), 1);
    assert_int_equal(load(f, NULL), -ENOENT);
}

static void a_pod_finds_its_service_account(void **state)
{
    struct fixture *f = *state;
    put(f, "token", "abc\n");
    put(f, "ca.crt", "CA");
    put(f, "namespace", "ml\n");
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    struct kube_config_options options = {.service_account = f->dir};
    assert_int_equal(load(f, &options), 0);
    assert_non_null(strstr(f->config->origin, "service account"));
    assert_string_equal(f->config->server, "https://[fd00::1]:443");
    assert_string_equal(f->config->token_file, path_of(f, "token"));
    assert_string_equal(f->config->ca_file, path_of(f, "ca.crt"));
    assert_string_equal(f->config->namespace_name, "ml");
    setenv("POD_NAMESPACE", "other", 1);
    setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
    assert_int_equal(load(f, &options), 0);
    assert_string_equal(f->config->server, "https://10.0.0.1:443");
    assert_string_equal(f->config->namespace_name, "other");
    options.service_account = "/nowhere";
    assert_int_equal(load(f, &options), -ENOENT);
}

static void an_exec_program_is_read(void **state)
{
    struct fixture *f = *state;
    put(f, "c",
        CONTEXT "clusters:\n- name: k\n  cluster:\n    server: https://h\n    extensions:\n"
                "    - name: client.authentication.k8s.io/exec\n      extension: {audience: x}\n"
                "users:\n- name: u\n  user:\n    exec:\n"
                "      apiVersion: client.authentication.k8s.io/v1\n      command: ./bin/plugin\n"
                "      args: [get, token]\n      env: [{name: A, value: b}]\n"
                "      interactiveMode: IfAvailable\n      provideClusterInfo: true\n"
                "      installHint: get it\n");
    struct kube_config_options options = {.kubeconfig = path_of(f, "c")};
    assert_int_equal(load(f, &options), 0);
    const struct kube_exec_spec *e = f->config->exec;
    assert_string_equal(e->command, path_of(f, "./bin/plugin"));
    assert_string_equal(e->args[1], "token");
    assert_null(e->args[2]);
    assert_string_equal(e->env[0], "A=b");
    assert_string_equal(e->install_hint, "get it");
    assert_true(e->provide_cluster_info);
    assert_string_equal(json_object_get_string(json_object_object_get(e->extension, "audience")),
                        "x");
}

static void mistakes_are_named(void **state)
{
    struct fixture *f = *state;
    expect_error(f, "contexts: [", "/c:2: ");
    expect_error(f, "- a\n", "is not a kubeconfig");
    expect_error(f, CLUSTER, "no current-context");
    expect_error(f, "current-context: x\n", "there is no context \"x\"");
    expect_error(f, CONTEXT, "names no cluster that exists");
    expect_error(f, CONTEXT CLUSTER, "names user \"u\"");
    expect_error(f, CONTEXT "clusters: [{name: k, cluster: {}}]\n", "has no server");
    expect_error(f, CONTEXT "clusters: [{name: k, cluster: {server: 'ftp://h'}}]\n",
                 "not an http or https URL");
    expect_error(f, CONTEXT CLUSTER "users: [{name: u, user: {client-certificate: x}}]\n",
                 "need each other");
    expect_error(f, CONTEXT CLUSTER "users: [{name: u, user: {client-key-data: '*'}}]\n",
                 "is not base64");
    expect_error(f, CONTEXT CLUSTER "users: [{name: u, user: {auth-provider: {name: gcp}}}]\n",
                 "auth-provider was removed");
    expect_error(f, CONTEXT CLUSTER "users: [{name: u, user: {exec: {command: x}}}]\n",
                 "exec apiVersion must be");
    expect_error(f,
                 CONTEXT CLUSTER "users: [{name: u, user: {exec: {command: x, interactiveMode: "
                                 "Always, apiVersion: client.authentication.k8s.io/v1}}}]\n",
                 "wants a terminal");
    expect_error(f,
                 CONTEXT "clusters: [{name: k, cluster: {server: 'https://h', "
                         "certificate-authority: x, insecure-skip-tls-verify: true}}]\n",
                 "exclude each other");
    struct kube_config_options options = {.kubeconfig = path_of(f, "absent")};
    assert_int_equal(load(f, &options), -ENOENT);
    assert_int_equal(load(f, NULL), -ENOENT);
    assert_non_null(strstr(f->err.text, "--kubeconfig"));
}

static void the_home_folder_is_the_last_resort(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(path_of(f, ".kube"), 0700), 0);
    put(f, ".kube/config", CONTEXT CLUSTER "users: [{name: u}]\n");
    assert_int_equal(load(f, NULL), 0);
    assert_string_equal(f->config->server, "https://h:6443");
    assert_non_null(strstr(f->config->origin, ".kube/config"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_kubeconfig_is_read_with_every_field),
        CASE(impersonation_that_cannot_be_had_is_refused),
        CASE(another_context_can_be_asked_for),
        CASE(a_list_of_files_is_merged_and_the_first_wins),
        CASE(a_pod_finds_its_service_account),
        CASE(an_exec_program_is_read),
        CASE(mistakes_are_named),
        CASE(the_home_folder_is_the_last_resort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
