// headrace as it is, but for memory and files: in its workers, allocations and the making of
// sockets fail when the test says so. The program's own calls are wrapped by the linker, so that a
// sanitizer keeps its allocator, and only the data plane is struck: the control half may give up at
// its start.
//
// TORTURE_FILE names a file of 48 bytes, shared with the test: u64 calls so far, u64 the call that
// fails (0 = none), u64 after how many calls on average another one fails (0 = no other), u64 which
// of the calls that wait or move bytes is interrupted by a signal (every n-th, 0 = none), u64 bytes
// of the kernel's send buffer of each new socket (0 = as always), so that writes are partial, u64
// whether every address is forbidden to those that connect (0 = no).
//
// TORTURE_THREADS: how the names of the threads that are struck begin; worker- if it is not set.
//
// OpenSSL is told to allocate by the same calls, so its allocations fail as well.
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/address_guard.h"

struct plan {
    _Atomic uint64_t calls;
    _Atomic uint64_t fail_at;
    _Atomic uint64_t step;
    _Atomic uint64_t interrupt;
    _Atomic uint64_t buffer;
    _Atomic uint64_t forbid;
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *path = getenv("TORTURE_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED) {
        abort();
    }
    close(fd);
    plan = mapped;
}

static bool is_struck(void)
{
    static _Thread_local bool is_one; // a thread is named before its first request
    if (!is_one) {
        const char *threads = getenv("TORTURE_THREADS");
        threads = threads != NULL ? threads : "worker-";
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof(name));
        is_one = strncmp(name, threads, strlen(threads)) == 0;
    }
    return is_one;
}

static bool must_interrupt(void)
{
    static _Thread_local uint64_t waits;
    uint64_t every = plan != NULL ? atomic_load(&plan->interrupt) : 0;
    return every != 0 && is_struck() && ++waits % every == 0;
}

static int shrink(int fd)
{
    int bytes = fd >= 0 && plan != NULL && is_struck() ? (int)atomic_load(&plan->buffer) : 0;
    if (bytes != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    return fd;
}

static bool must_fail(void)
{
    if (plan == NULL || !is_struck()) {
        return false;
    }
    uint64_t call = atomic_fetch_add(&plan->calls, 1) + 1;
    uint64_t at = atomic_load(&plan->fail_at);
    if (at == 0 || call != at) {
        return false;
    }
    uint64_t step = atomic_load(&plan->step);
    // Not in step with the program: a call that is made again and again shall succeed some time.
    uint64_t draw = call * UINT64_C(0x9e3779b97f4a7c15) >> 33;
    atomic_store(&plan->fail_at, step != 0 ? call + 1 + draw % (2 * step) : 0);
    return true;
}

#define WRAP_IF(must, type, name, failure, error, parameters, result) \
    type __real_##name parameters;                                    \
    type __wrap_##name parameters;                                    \
    type __wrap_##name parameters                                     \
    {                                                                 \
        if (must) {                                                   \
            errno = error;                                            \
            return failure;                                           \
        }                                                             \
        return result;                                                \
    }
#define WRAP(type, name, failure, error, parameters, arguments) \
    WRAP_IF(must_fail(), type, name, failure, error, parameters, __real_##name arguments)

WRAP(void *, malloc, NULL, ENOMEM, (size_t size), (size))
WRAP(void *, calloc, NULL, ENOMEM, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, NULL, ENOMEM, (void *old, size_t size), (old, size))
WRAP(void *, aligned_alloc, NULL, ENOMEM, (size_t align, size_t size), (align, size))
WRAP_IF(must_fail(), int, socket, -1, EMFILE, (int domain, int type, int protocol),
        shrink(__real_socket(domain, type, protocol)))
WRAP_IF(must_fail(), int, accept4, -1, ENFILE,
        (int fd, struct sockaddr *address, socklen_t *len, int flags),
        shrink(__real_accept4(fd, address, len, flags)))
WRAP(int, epoll_ctl, -1, ENOSPC, (int epoll, int op, int fd, struct epoll_event *event),
     (epoll, op, fd, event))

#define INTERRUPT(type, name, parameters, arguments) \
    WRAP_IF(must_interrupt(), type, name, -1, EINTR, parameters, __real_##name arguments)

INTERRUPT(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags))
INTERRUPT(ssize_t, send, (int fd, const void *buf, size_t len, int flags), (fd, buf, len, flags))
INTERRUPT(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
          (fd, message, flags))
INTERRUPT(ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len))
INTERRUPT(int, epoll_wait, (int epoll, struct epoll_event *events, int max, int timeout),
          (epoll, events, max, timeout))

// The control half asks as well, of the same addresses, and leaves out what is forbidden: only so
// does a worker meet one.
WRAP_IF(plan != NULL && atomic_load(&plan->forbid) != 0 && is_struck(), enum address_class,
        address_guard_check, ADDRESS_OWN, EACCES,
        (const struct address_guard *guard, const struct sockaddr_storage *address),
        __real_address_guard_check(guard, address))

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return realloc(old, size);
}

static void openssl_free(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

__attribute__((constructor)) static void take_openssl(void)
{
    if (!CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free)) {
        abort(); // it has allocated something already
    }
}
