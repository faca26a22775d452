#include "kube/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int kube_file_read(const char *path, struct strbuf *buf)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    char chunk[4096];
    int rc = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n < 0 ? -errno : 0;
            break;
        }
        strbuf_add(buf, slice_of(chunk, (size_t)n));
        if (buf->failed) {
            rc = -EFBIG;
            break;
        }
    }
    explicit_bzero(chunk, sizeof(chunk)); // it may have been a token or a key
    close(fd);
    return rc;
}

void kube_file_init(struct kube_file *file, const char *path, size_t max)
{
    *file = (struct kube_file){.path = path};
    strbuf_init(&file->text, max);
}

static void wipe(struct strbuf *buf)
{
    if (buf->ptr != NULL) {
        explicit_bzero(buf->ptr, buf->cap);
    }
    strbuf_fini(buf);
}

void kube_file_fini(struct kube_file *file)
{
    wipe(&file->text);
    file->path = NULL;
}

void kube_file_expire(struct kube_file *file)
{
    file->was_read = false;
}

struct slice kube_file_get(struct kube_file *file, uint64_t now_ms, uint64_t max_age_ms)
{
    if (file->path != NULL && (!file->was_read || now_ms - file->read_at_ms >= max_age_ms)) {
        struct strbuf fresh;
        strbuf_init(&fresh, file->text.max);
        int rc = kube_file_read(file->path, &fresh);
        if (rc == 0 && slice_trim(strbuf_slice(&fresh)).len == 0) {
            rc = -ENODATA;
        }
        if (rc == 0) {
            wipe(&file->text);
            file->text = fresh;
        } else {
            wipe(&fresh);
        }
        file->failure = rc;
        file->was_read = file->text.len > 0;
        file->read_at_ms = now_ms;
    }
    return slice_trim(strbuf_slice(&file->text));
}
