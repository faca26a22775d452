// Hostile manifests: YAML or JSON of any kind, read, compiled together with a sound backend and
// route, judged. Whatever comes in, the sound ones stay in the snapshot.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "compile/compile.h"
#include "compile/judge.h"
#include "json/yaml_json.h"
#include "manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char sound[] =
    "apiVersion: headrace.dev/v1alpha1\n"
    "kind: ModelBackend\n"
    "metadata: {name: sound, namespace: sound, creationTimestamp: '1971-01-01T00:00:00Z'}\n"
    "spec: {static: {endpoints: [{address: 10.0.0.1, port: 80}]}}\n"
    "---\n"
    "apiVersion: headrace.dev/v1alpha1\n"
    "kind: AIRoute\n"
    "metadata: {name: sound, namespace: sound, creationTimestamp: '1971-01-01T00:00:00Z'}\n"
    "spec: {hostnames: [sound.example.com], rules: [{name: r, backends: [{name: sound}]}]}\n";

static struct epoch *epoch;
static struct manifest sound_manifest;

static void set_up(void)
{
    struct error err = ERROR_INIT;
    if (epoch != NULL) {
        return;
    }
    BUG_ON(posix_memalign((void **)&epoch, CACHE_LINE, sizeof(*epoch)) != 0);
    epoch_init(epoch);
    BUG_ON(manifest_parse(slice_of_str(sound), "sound", &sound_manifest, &err) != 0);
}

static void put_all(struct resources *resources, const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->objects.len; i++) {
        struct object *object = manifest->objects.items[i];
        if (!slice_eq_str(object->namespace, "sound")) {
            BUG_ON(resources_put(resources, object) != 0);
        }
    }
}

static size_t none_ready(void *arg, struct slice key)
{
    (void)arg;
    (void)key;
    return 0;
}

static void judge(const struct resources *resources, const struct finding *finding)
{
    struct object_status status;
    struct resolution resolution = {0};
    struct backend_view view = {0};
    if (finding->object->kind == OBJECT_AIROUTE) {
        BUG_ON(!judge_route_status(finding, true, none_ready, NULL, &status));
    } else {
        if (finding->accepted.holds) {
            BUG_ON(resolve_backend(resources, finding->object, &resolution) != 0);
            view.resolution = &resolution;
        }
        BUG_ON(!judge_backend_status(finding, &view, true, &status));
        resolution_fini(&resolution);
    }
    object_status_fini(&status);
}

static void compile_all(struct resources *resources, struct endpoint_table *table)
{
    struct compile_input input = {
        .resources = resources, .endpoints = table, .ingress_class = SLICE("headrace")};
    struct compile_result result;
    BUG_ON(compile(&input, &result) != 0);
    for (size_t i = 0; i < result.finding_count; i++) {
        judge(resources, &result.findings[i]);
    }
    struct route_query query = {
        .host = SLICE("sound.example.com"), .path = SLICE("/x"), .method = SLICE("GET")};
    enum route_miss miss;
    const struct snap_rule *rule = snapshot_match(result.snapshot, &query, &miss);
    // Another namespace may have a more specific match for the host, never take this one away.
    BUG_ON(rule == NULL || rule->target_count == 0);
    compile_result_fini(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest manifest;
    struct error err = ERROR_INIT;
    set_up();
    if (manifest_parse(slice_of((const char *)data, size), "fuzz", &manifest, &err) < 0) {
        BUG_ON(err.text[0] == '\0');
        return 0;
    }
    struct resources resources = {0};
    struct endpoint_table *table;
    BUG_ON(endpoint_table_new(&table, epoch) != 0);
    put_all(&resources, &manifest);
    for (size_t i = 0; i < sound_manifest.objects.len; i++) {
        BUG_ON(resources_put(&resources, sound_manifest.objects.items[i]) != 0);
    }
    compile_all(&resources, table);
    resources_fini(&resources);
    manifest_fini(&manifest);
    endpoint_table_free(table);
    epoch_collect(epoch);
    return 0;
}
