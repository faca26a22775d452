#include "manifest/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "manifest/manifest.h"

enum {
    SETTLE_MS = 60,       // after the last event, for editors write in several steps
    SETTLE_MAX_MS = 500,  // after the first
    LOOK_MS = 10000,      // without any event
    FILES_MAX = 10000,
};

struct folder_file {
    char *path;
    struct stat st; // as it was when it was read last
    struct manifest good;
    bool is_broken; // what is there now is not what is served
    bool is_new;    // never read
    bool seen;
};

struct folder {
    struct loop *loop;
    struct controller *controller;
    char *path;
    int fd; // inotify
    int watch;
    struct io io;
    struct timer settle;
    struct timer look;
    uint64_t first_event_ms; // 0 = none waits
    VEC(struct folder_file *) files; // sorted by path
    struct map applied[OBJECT_KIND_COUNT]; // key → object that the controller was given, referenced
    struct folder_counters counters;
    bool listing_failed;
};

// ---- files ----

bool folder_is_manifest_name(const char *name)
{
    struct slice s = slice_of_str(name);
    return s.len > 0 && s.ptr[0] != '.' &&
           (slice_has_suffix(s, SLICE(".yaml")) || slice_has_suffix(s, SLICE(".yml")) ||
            slice_has_suffix(s, SLICE(".json")));
}

static void file_free(struct folder_file *file)
{
    manifest_fini(&file->good);
    free(file->path);
    free(file);
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void log_problems(const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->objects.len; i++) {
        const struct object *object = manifest->objects.items[i];
        for (size_t p = 0; p < object->problems.list.len; p++) {
            const struct problem *problem = &object->problems.list.items[p];
            char at[512];
            snprintf(at, sizeof(at), "%.*s:%d", SLICE_FMT(object->file), problem->line);
            log_error("manifest is wrong", LOG_STR("at", at),
                      LOG_STR("kind", object_kinds[object->kind].kind),
                      LOG_SLICE("object", object->key), LOG_STR("field", problem->path),
                      LOG_STR("error", problem->message));
        }
    }
}

// Is the file perhaps as it should be, and only could not be read at this moment?
static bool may_pass(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -EIO || rc == -ESTALE;
}

// Reads a file that changed. True when what counts of it is another now.
static bool load(struct folder *folder, struct folder_file *file)
{
    struct manifest manifest = {0};
    struct error err = ERROR_INIT;
    folder->counters.loads++;
    int rc = manifest_read(file->path, &manifest, &err);
    bool wrong = rc < 0 || manifest_has_problems(&manifest);
    bool first = file->is_new;
    file->is_new = false;
    file->is_broken = wrong;
    if (rc < 0) {
        log_error(first ? "manifest left out" : "manifest is broken, its last good state stays",
                  LOG_STR("error", err.text));
    } else if (wrong) {
        log_problems(&manifest);
    }
    if (wrong) {
        folder->counters.load_errors++;
    }
    bool good_stays = file->good.objects.len > 0 && !manifest_has_problems(&file->good);
    if (rc == 0 && wrong && good_stays) {
        log_error("the last good state of the file stays", LOG_STR("file", file->path));
        manifest_fini(&manifest);
        return false;
    }
    if (rc < 0) {
        if (may_pass(rc)) {
            file->st = (struct stat){0}; // the next look tries again
        }
        return false;
    }
    manifest_fini(&file->good);
    file->good = manifest;
    return true;
}

static struct folder_file *find_file(struct folder *folder, const char *path)
{
    for (size_t i = 0; i < folder->files.len; i++) {
        if (strcmp(folder->files.items[i]->path, path) == 0) {
            return folder->files.items[i];
        }
    }
    return NULL;
}

static struct folder_file *add_file(struct folder *folder, const char *path)
{
    struct folder_file *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return NULL;
    }
    file->path = strdup(path);
    file->is_new = true;
    if (file->path == NULL || folder->files.len >= FILES_MAX ||
        !VEC_PUSH(&folder->files, file)) {
        file_free(file);
        return NULL;
    }
    return file;
}

// Gone meanwhile, or a link to nowhere; everything else is no answer, and not "gone".
static void keep_unless_gone(struct folder_file *file, int why)
{
    if (file == NULL || why == ENOENT || why == ENOTDIR || why == ELOOP) {
        return;
    }
    file->seen = true;
    if (!file->is_broken) {
        file->is_broken = true;
        file->st = (struct stat){0};
        log_error("manifest cannot be looked at, its last good state stays",
                  LOG_STR("file", file->path), LOG_STR("error", strerror(why)));
    }
}

// One entry of the folder. True when what counts changed.
static bool look_at(struct folder *folder, const char *name)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return false;
    }
    struct folder_file *file = find_file(folder, path);
    if (stat(path, &st) < 0) {
        keep_unless_gone(file, errno);
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        return false;
    }
    if (file == NULL) {
        file = add_file(folder, path);
    }
    if (file == NULL) {
        log_error("too many manifests, or out of memory", LOG_STR("file", path));
        return false;
    }
    file->seen = true;
    if (!file->is_new && same_stat(&st, &file->st)) {
        return false;
    }
    file->st = st;
    return load(folder, file);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp((*(struct folder_file *const *)a)->path, (*(struct folder_file *const *)b)->path);
}

static bool drop_unseen(struct folder *folder)
{
    size_t kept = 0;
    for (size_t i = 0; i < folder->files.len; i++) {
        struct folder_file *file = folder->files.items[i];
        if (file->seen) {
            folder->files.items[kept++] = file;
        } else {
            log_info("manifest is gone", LOG_STR("file", file->path));
            file_free(file);
        }
    }
    bool dropped = kept < folder->files.len;
    folder->files.len = kept;
    return dropped;
}

// Brings the list of files up to date. *ret_changed: what counts is another now.
static int scan(struct folder *folder, bool *ret_changed, struct error *err)
{
    DIR *dir = opendir(folder->path);
    if (dir == NULL) {
        return error_set(err, -errno, "%s: %s", folder->path, strerror(errno));
    }
    for (size_t i = 0; i < folder->files.len; i++) {
        folder->files.items[i]->seen = false;
    }
    bool changed = false;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL; errno = 0) {
        if (folder_is_manifest_name(entry->d_name)) {
            changed = look_at(folder, entry->d_name) || changed;
        }
    }
    int code = -errno;
    closedir(dir);
    if (code < 0) {
        return error_set(err, code, "%s: %s", folder->path, strerror(-code));
    }
    changed = drop_unseen(folder) || changed;
    if (folder->files.len > 1) {
        qsort(folder->files.items, folder->files.len, sizeof(struct folder_file *), compare_files);
    }
    folder->counters.files = folder->files.len;
    folder->counters.files_broken = 0;
    for (size_t i = 0; i < folder->files.len; i++) {
        folder->counters.files_broken += folder->files.items[i]->is_broken;
    }
    *ret_changed = changed;
    return 0;
}

// ---- objects ----

static void log_duplicate(const struct object *first, const struct object *second)
{
    char first_at[512], second_at[512];
    snprintf(first_at, sizeof(first_at), "%.*s:%d", SLICE_FMT(first->file), first->line);
    snprintf(second_at, sizeof(second_at), "%.*s:%d", SLICE_FMT(second->file), second->line);
    log_error("object is defined twice, the first counts",
              LOG_STR("kind", object_kinds[first->kind].kind), LOG_SLICE("object", first->key),
              LOG_STR("first", first_at), LOG_STR("second", second_at));
}

// All objects by key, the first of each. Lent: the files own them.
static int merge(const struct folder *folder, struct map *wanted)
{
    for (size_t f = 0; f < folder->files.len; f++) {
        const struct manifest *manifest = &folder->files.items[f]->good;
        for (size_t i = 0; i < manifest->objects.len; i++) {
            struct object *object = manifest->objects.items[i];
            struct object *first = map_get(&wanted[object->kind], object->key);
            if (first != NULL) {
                log_duplicate(first, object);
            } else if (map_put(&wanted[object->kind], object->key, object, NULL) < 0) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

static int apply_kind(struct folder *folder, enum object_kind kind, const struct map *wanted)
{
    struct map *applied = &folder->applied[kind];
    struct map next = {0};
    int rc = 0;
    for (struct map_entry *e = NULL; rc == 0 && (e = map_next(wanted, e)) != NULL;) {
        if (map_get(applied, e->key) != e->value) {
            rc = controller_upsert_object(folder->controller, e->value);
        }
        if (rc == 0) {
            rc = map_put(&next, e->key, e->value, NULL);
        }
        if (rc == 0) {
            object_ref(e->value);
        }
    }
    for (struct map_entry *e = NULL; (e = map_next(applied, e)) != NULL;) {
        struct object *object = e->value;
        if (map_get(wanted, e->key) == NULL) {
            controller_delete(folder->controller, kind, object->namespace, object->name);
        }
        object_unref(object);
    }
    map_fini(applied);
    *applied = next;
    return rc;
}

static int apply(struct folder *folder)
{
    struct map wanted[OBJECT_KIND_COUNT] = {0};
    int rc = merge(folder, wanted);
    for (size_t kind = 0; kind < OBJECT_KIND_COUNT && rc == 0; kind++) {
        rc = apply_kind(folder, (enum object_kind)kind, &wanted[kind]);
    }
    for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
        map_fini(&wanted[kind]);
    }
    return rc;
}

// ---- watching ----

// Watches what is at the path now: the folder itself may have been replaced.
static void watch(struct folder *folder)
{
    int old = folder->watch;
    folder->watch = inotify_add_watch(folder->fd, folder->path,
                                      IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_CREATE |
                                          IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                          IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
    if (old >= 0 && old != folder->watch) {
        inotify_rm_watch(folder->fd, old);
    }
    if (folder->watch < 0 && old >= 0) {
        log_warn("folder is not watched, only looked at every ten seconds",
                 LOG_STR("folder", folder->path), LOG_STR("error", strerror(errno)));
    }
}

void folder_rescan(struct folder *folder)
{
    struct error err = ERROR_INIT;
    bool changed = false;
    loop_timer_cancel(folder->loop, &folder->settle);
    folder->first_event_ms = 0;
    int rc = scan(folder, &changed, &err);
    if (rc < 0 && !folder->listing_failed) {
        log_error("folder cannot be listed, its last state stays", LOG_STR("error", err.text));
    }
    folder->listing_failed = rc < 0;
    if (rc == 0) {
        watch(folder);
    }
    if (rc == 0 && changed && apply(folder) < 0) {
        log_error("out of memory while reading manifests");
    }
}

static void on_settled(struct timer *timer UNUSED, void *arg)
{
    folder_rescan(arg);
}

static void on_look(struct timer *timer, void *arg)
{
    struct folder *folder = arg;
    folder_rescan(folder);
    loop_timer_set(folder->loop, timer, LOOK_MS, on_look, folder);
}

static void settle(struct folder *folder)
{
    uint64_t now = loop_now_ms(folder->loop);
    if (folder->first_event_ms == 0) {
        folder->first_event_ms = now > 0 ? now : 1;
    }
    uint64_t latest = folder->first_event_ms + SETTLE_MAX_MS;
    uint64_t at = MIN_OF(now + SETTLE_MS, latest);
    loop_timer_set(folder->loop, &folder->settle, at > now ? at - now : 0, on_settled, folder);
}

static void on_inotify(struct io *io UNUSED, uint32_t events UNUSED, void *arg)
{
    struct folder *folder = arg;
    _Alignas(struct inotify_event) char buf[8192];
    bool any = false;
    ssize_t n;
    while ((n = read(folder->fd, buf, sizeof(buf))) > 0) {
        any = true;
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
            struct inotify_event event;
            memcpy(&event, buf + at, sizeof(event));
            at += (ssize_t)(sizeof(event) + event.len);
            if ((event.mask & IN_IGNORED) != 0 && event.wd == folder->watch) {
                folder->watch = -1; // the folder was removed
            }
        }
    }
    if (any) {
        settle(folder);
    }
}

int folder_new(struct loop *loop, struct controller *controller, const char *path,
               struct folder **ret_folder, struct error *err)
{
    struct folder *folder = calloc(1, sizeof(*folder));
    if (folder == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    folder->loop = loop;
    folder->controller = controller;
    folder->watch = -1;
    folder->path = strdup(path);
    folder->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    int rc = folder->path == NULL ? -ENOMEM : folder->fd < 0 ? -errno : 0;
    if (rc == 0) {
        rc = loop_io_add(loop, &folder->io, folder->fd, EPOLLIN, on_inotify, folder);
    }
    if (rc < 0) {
        error_set(err, rc, "%s: cannot watch: %s", path, strerror(-rc));
    } else {
        bool changed;
        watch(folder); // before the first look, so that nothing falls between
        rc = scan(folder, &changed, err);
        if (rc == 0 && apply(folder) < 0) {
            rc = error_set(err, -ENOMEM, "out of memory");
        }
    }
    if (rc < 0) {
        folder_free(folder);
        return rc;
    }
    log_info("manifests loaded", LOG_STR("folder", path), LOG_U64("files", folder->files.len),
             LOG_U64("broken", folder->counters.files_broken));
    controller_synced(controller);
    loop_timer_set(loop, &folder->look, LOOK_MS, on_look, folder);
    *ret_folder = folder;
    return 0;
}

void folder_free(struct folder *folder)
{
    if (folder == NULL) {
        return;
    }
    loop_timer_cancel(folder->loop, &folder->settle);
    loop_timer_cancel(folder->loop, &folder->look);
    if (folder->fd >= 0) {
        loop_io_del(folder->loop, &folder->io);
        close(folder->fd);
    }
    for (size_t i = 0; i < folder->files.len; i++) {
        file_free(folder->files.items[i]);
    }
    VEC_FINI(&folder->files);
    for (size_t kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
        for (struct map_entry *e = NULL; (e = map_next(&folder->applied[kind], e)) != NULL;) {
            object_unref(e->value);
        }
        map_fini(&folder->applied[kind]);
    }
    free(folder->path);
    free(folder);
}

const struct folder_counters *folder_counters(const struct folder *folder)
{
    return &folder->counters;
}
