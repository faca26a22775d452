#include "base/memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "base/slice.h"

enum { FILE_MAX = 4096, PATH_SIZE = 1024 };

// A limit of version 1 that means none is the largest whole number of pages.
#define NO_LIMIT (UINT64_C(1) << 62)

static struct slice read_small(const char *path, char buf[FILE_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return SLICE_NULL;
    }
    ssize_t n = read(fd, buf, FILE_MAX);
    close(fd);
    return n > 0 ? slice_of(buf, (size_t)n) : SLICE_NULL;
}

uint64_t memory_resident(void)
{
    char buf[FILE_MAX];
    struct slice text = read_small("/proc/self/statm", buf);
    // "size resident shared …", in pages
    const char *space = text.len != 0 ? memchr(text.ptr, ' ', text.len) : NULL;
    if (space == NULL) {
        return 0;
    }
    text = slice_skip(text, (size_t)(space + 1 - text.ptr));
    const char *end = text.len != 0 ? memchr(text.ptr, ' ', text.len) : NULL;
    uint64_t pages;
    if (end == NULL || slice_to_u64(slice_first(text, (size_t)(end - text.ptr)), &pages) != 0) {
        return 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

// The limit that stands in a file; 0 = none ("max", or no such file).
static uint64_t limit_in(const char *path)
{
    char buf[FILE_MAX];
    uint64_t limit;
    struct slice text = slice_trim(read_small(path, buf));
    if (text.len == 0 || slice_to_u64(text, &limit) != 0 || limit >= NO_LIMIT) {
        return 0;
    }
    return limit;
}

// The lowest limit of `group` and all above it.
static uint64_t lowest_limit(const char *root, const char *mount, struct slice group,
                             const char *file)
{
    uint64_t lowest = 0;
    while (true) {
        char path[PATH_SIZE];
        int n = snprintf(path, sizeof(path), "%s%s%.*s/%s", root, mount, SLICE_FMT(group), file);
        uint64_t limit = n > 0 && (size_t)n < sizeof(path) ? limit_in(path) : 0;
        if (limit != 0 && (lowest == 0 || limit < lowest)) {
            lowest = limit;
        }
        if (group.len == 0) {
            return lowest;
        }
        do { // up: "/a/b" to "/a" to ""
            group.len--;
        } while (group.len > 0 && group.ptr[group.len] != '/');
    }
}

// Is "memory" one of these names with commas?
static bool names_memory(struct slice list)
{
    while (list.len != 0) {
        const char *comma = memchr(list.ptr, ',', list.len);
        size_t len = comma != NULL ? (size_t)(comma - list.ptr) : list.len;
        if (slice_eq(slice_first(list, len), SLICE("memory"))) {
            return true;
        }
        list = slice_skip(list, comma != NULL ? len + 1 : len);
    }
    return false;
}

// A line "id:controllers:path". Version 2 has the id 0 and no controllers.
static uint64_t limit_of_line(const char *root, struct slice line)
{
    const char *first = line.len != 0 ? memchr(line.ptr, ':', line.len) : NULL;
    if (first == NULL) {
        return 0;
    }
    struct slice rest = slice_skip(line, (size_t)(first + 1 - line.ptr));
    const char *second = rest.len != 0 ? memchr(rest.ptr, ':', rest.len) : NULL;
    if (second == NULL) {
        return 0;
    }
    struct slice controllers = slice_first(rest, (size_t)(second - rest.ptr));
    struct slice group = slice_skip(rest, controllers.len + 1);
    if (controllers.len == 0) {
        return lowest_limit(root, "/sys/fs/cgroup", group, "memory.max");
    }
    return names_memory(controllers) ? lowest_limit(root, "/sys/fs/cgroup/memory", group,
                                                    "memory.limit_in_bytes")
                                     : 0;
}

uint64_t memory_cgroup_limit(const char *root)
{
    char path[PATH_SIZE];
    char buf[FILE_MAX];
    uint64_t lowest = 0;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    struct slice text = read_small(path, buf);
    while (text.len != 0) {
        const char *newline = memchr(text.ptr, '\n', text.len);
        size_t len = newline != NULL ? (size_t)(newline - text.ptr) : text.len;
        uint64_t limit = limit_of_line(root, slice_first(text, len));
        if (limit != 0 && (lowest == 0 || limit < lowest)) {
            lowest = limit;
        }
        text = slice_skip(text, newline != NULL ? len + 1 : len);
    }
    return lowest;
}
