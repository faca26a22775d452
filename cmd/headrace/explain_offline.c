#include "explain_offline.h"

#include <errno.h>
#include <stdio.h>

#include "manifest/offline.h"
#include "manifest_files.h"

enum { TEXT_MAX = 16 * 1024 * 1024 };

// What one of the files' objects has wrong does not matter for the others: it is left out, as a
// running instance leaves it out.
static int read_files(char **paths, int count, struct offline *offline, struct error *err)
{
    struct manifest_files files = {0};
    size_t wrong = 0;
    int rc = offline_init(offline);
    for (int i = 0; i < count && rc == 0; i++) {
        rc = manifest_files_add(&files, paths[i]);
    }
    for (size_t i = 0; i < files.manifests.len && rc == 0; i++) {
        const struct manifest *manifest = &files.manifests.items[i];
        for (size_t k = 0; k < manifest->objects.len && rc == 0; k++) {
            const struct object *first;
            rc = offline_add(offline, manifest->objects.items[k], &first);
            wrong += first != NULL || problems_any(&manifest->objects.items[k]->problems);
        }
    }
    if (rc < 0) {
        rc = error_set(err, rc, "out of memory");
    } else if (files.problems != 0) {
        rc = error_set(err, -EINVAL, "not all files can be read");
    } else if (wrong != 0) {
        fprintf(stderr, "headrace explain: %zu object%s left out: see headrace validate\n", wrong,
                wrong == 1 ? " is" : "s are");
    }
    manifest_files_fini(&files);
    return rc;
}

static int write_answer(struct offline *offline, const char *ingress_class,
                        const struct explain_question *question, struct strbuf *out,
                        struct error *err)
{
    struct rand_state rng;
    int rc = offline_compile(offline, slice_of_str(ingress_class));
    if (rc == 0) {
        rc = offline_apply_endpoints(offline);
    }
    if (rc < 0) {
        return error_set(err, rc, "out of memory");
    }
    rand_seed_random(&rng);
    explain_write(offline->result.snapshot, question, &rng, out);
    return 0;
}

int explain_offline(struct explain_question *question, const char *ingress_class, char **paths,
                    int count, struct json_object **ret_json, struct error *err)
{
    struct offline offline;
    struct strbuf text;
    strbuf_init(&text, TEXT_MAX);
    question->from_files = true;
    int rc = read_files(paths, count, &offline, err);
    if (rc == 0) {
        rc = write_answer(&offline, ingress_class, question, &text, err);
    }
    offline_fini(&offline);
    strbuf_add_char(&text, '\0');
    if (rc == 0) {
        *ret_json = text.failed ? NULL : json_tokener_parse(text.ptr);
        rc = *ret_json == NULL ? error_set(err, -ENOMEM, "out of memory") : 0;
    }
    strbuf_fini(&text);
    return rc;
}
