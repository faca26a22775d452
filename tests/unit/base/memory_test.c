// The memory that a process has and may have.
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/headrace-memory-XXXXXX";

static void write_file(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(full, 0700);
        *p = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int up(void **state)
{
    (void)state;
    memcpy(root + strlen(root) - 6, "XXXXXX", 6);
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void test_version_2(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
    assert_int_equal(memory_cgroup_limit(root), 0);
    write_file("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "268435456\n");
    assert_int_equal(memory_cgroup_limit(root), 268435456);
    // Who is above counts, too.
    write_file("/sys/fs/cgroup/kubepods/memory.max", "134217728\n");
    assert_int_equal(memory_cgroup_limit(root), 134217728);
    write_file("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n");
    assert_int_equal(memory_cgroup_limit(root), 134217728);
}

static void test_version_2_in_a_namespace(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup", "0::/\n");
    write_file("/sys/fs/cgroup/memory.max", "67108864\n");
    assert_int_equal(memory_cgroup_limit(root), 67108864);
}

static void test_version_1(void **state)
{
    (void)state;
    write_file("/proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=a:/\n");
    write_file("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "268435456\n");
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(memory_cgroup_limit(root), 268435456);
    // In a container the path is the host's, and the mount shows its own group.
    write_file("/proc/self/cgroup", "4:hugetlb,memory:/docker/y\n");
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "100000000\n");
    assert_int_equal(memory_cgroup_limit(root), 100000000);
}

static void test_nonsense_is_no_limit(void **state)
{
    (void)state;
    assert_int_equal(memory_cgroup_limit(root), 0);
    write_file("/proc/self/cgroup", "nonsense\n\n0:\n0::\n");
    assert_int_equal(memory_cgroup_limit(root), 0);
    write_file("/sys/fs/cgroup/memory.max", "a lot\n");
    assert_int_equal(memory_cgroup_limit(root), 0);
}

static void test_resident(void **state)
{
    (void)state;
    uint64_t before = memory_resident();
    assert_true(before > 100000);
    size_t size = 64 << 20;
    char *data = malloc(size);
    assert_non_null(data);
    memset(data, 1, size);
    assert_true(memory_resident() > before + size / 2);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_version_2, up, down),
        cmocka_unit_test_setup_teardown(test_version_2_in_a_namespace, up, down),
        cmocka_unit_test_setup_teardown(test_version_1, up, down),
        cmocka_unit_test_setup_teardown(test_nonsense_is_no_limit, up, down),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
